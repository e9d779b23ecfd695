/** The readers, and changes of them, for people. */
import { table } from "../../cli/table.ts";
import type { AddPlan } from "./add.ts";
import type { KeysChange } from "./change.ts";
import type { CreatePlan } from "./create.ts";
import { isExample, type Reader, type SeenValue, type StaleFile } from "./readers.ts";
import { initCommand, RULES_FILE, type Rule } from "./recipients.ts";
import type { RemovePlan } from "./remove.ts";

/** Who can read what; below it what is not as the rules say. */
export function describeReaders(
  rules: readonly Rule[],
  { readers, stale }: { readers: readonly Reader[]; stale: readonly StaleFile[] },
): string[] {
  const rows = readers.map(({ name, environments, files, key }) => [
    name,
    environments.join(", "),
    String(files),
    key,
  ]);
  const lines = [table(["NAME", "READS", "FILES", "PUBLIC KEY"], rows)];
  const examples = rules.filter(isExample).map(({ environment }) => environment);
  if (examples.length > 0)
    lines.push(
      `\n${examples.join(", ")}: sealed for the example, whose keys nobody has. Your own: ${initCommand(...examples)}`,
    );
  return stale.length === 0 ? lines : [...lines, ...describeStale(stale)];
}

function describeStale(stale: readonly StaleFile[]): string[] {
  const names = (list: readonly string[]) => list.join(", ") || "-";
  const rows = stale.map(({ path, missing, surplus }) => [path, names(missing), names(surplus)]);
  return [
    `\nSealed for others than ${RULES_FILE} says:`,
    table(["FILE", "CANNOT READ IT", "STILL CAN"], rows),
    "Seal them again where a private key is: npm run seal -- --rotate <env> all",
  ];
}

/** A reader more. */
export function describeAdd({ request, environments, change }: AddPlan, isDry: boolean): string[] {
  const { name, key, later } = request;
  const what = `${name} can read ${environments.join(", ")}`;
  if (change === undefined) return [`unchanged: ${what} already`];
  const next = `then, where a private key is: npm run keys add ${request.environments} ${name} ${key}`;
  return [...describeChange(what, change, isDry), ...(later ? [next] : [])];
}

/** A reader less, and what must change for it to count. */
export function describeRemove({ name, environments, change, seen }: RemovePlan, isDry: boolean): string[] {
  const what = `${name} can no longer read ${environments.join(", ")}`;
  return [...describeChange(what, change, isDry), ...describeSeen(`${name}'s key`, seen)];
}

/** A cluster's new key. A dry run's is thrown away, so it is not shown. */
export function describeCreate(
  { environment, later, recipient: { name, key }, change, seen }: CreatePlan,
  isDry: boolean,
): string[] {
  const what = isDry ? `${name} would get a new key` : `${name}: ${key}`;
  const next = `${name} reads nothing yet: npm run seal -- --rotate ${environment} all where a private key is; without any, seal every value anew`;
  const old = seen === undefined ? [] : describeSeen("the old key, should it have leaked,", seen);
  return [...describeChange(what, change, isDry), ...(later ? [next] : []), ...old];
}

function describeChange(what: string, { files }: KeysChange, isDry: boolean): string[] {
  const count = `${files.length} ${files.length === 1 ? "file" : "files"}`;
  return isDry
    ? [`not done: ${what}; ${RULES_FILE} and ${count} would change`]
    : [what, `changed: ${RULES_FILE} and ${count}. Commit them, and open a pull request.`];
}

/** @param whose as in `ada's key` */
function describeSeen(whose: string, seen: readonly SeenValue[]): string[] {
  const rows = seen.map(({ environment, app, secret, keys, supply, command }) => [
    environment,
    `${app}/${secret}`,
    keys.join(", "),
    supply ?? "generated",
    command,
  ]);
  return [
    `\nGit's history keeps the old files, which ${whose} opens for ever. ${
      rows.length === 0 ? "They hold no real value." : "So these values must change:"
    }`,
    ...(rows.length === 0 ? [] : [table(["ENV", "SECRET", "KEYS", "FROM", "COMMAND"], rows)]),
    ...(seen.some(({ supply }) => supply !== undefined)
      ? ["What a person has brought may be in other environments, too: then it must change there as well."]
      : []),
  ];
}
