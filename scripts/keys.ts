/** `npm run keys`: who can read which environment's Secrets, and changes of that. docs/secrets.md. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import { command, main } from "./lib/cli.ts";
import { readEnvironments } from "./lib/environment.ts";
import { RefusedError, UsageError } from "./lib/errors.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { verifyRecipient } from "./lib/secrets/age.ts";
import {
  clusterName,
  isExample,
  isFresh,
  parseEnvironments,
  readReaders,
  type SeenValue,
  seenValues,
  withoutRecipient,
  withRecipient,
} from "./lib/secrets/keys.ts";
import { createKey, type KeyPlace } from "./lib/secrets/new-key.ts";
import { formatRules, RULES_FILE, type Rule, readRules } from "./lib/secrets/recipients.ts";
import {
  readSealedFiles,
  refuseUncommitted,
  resealAll,
  type Sealed,
  type SopsProgram,
  writeChange,
} from "./lib/secrets/reseal.ts";
import type { SealedChange } from "./lib/secrets/seal.ts";
import { table } from "./lib/table.ts";
import { describeProgress, resolveTool, type ToolProgress } from "./lib/tools.ts";

interface Common {
  root: string;
}
interface Writing {
  dryRun?: true;
}
interface Adding extends Writing {
  later?: true;
}
interface Creating extends Adding {
  toCluster?: string;
  toFile?: string;
  trustThisMachine?: true;
  as?: string;
  replace?: true;
}

const program = command("keys", "Show who can read which environment's Secrets, or change it.")
  .usage("[options] [command]")
  .option("--json", "for machines")
  .option("--root <directory>", "the repository", repositoryRoot())
  .addHelpText(
    "after",
    `
Examples:
  npm run keys                                             who can read what
  npm run keys add dev,staging ada age1…                   ada can read dev and staging from now on
  npm run keys remove dev,staging ada                      and no longer; which values she knows
  npm run keys create prod -- --to-cluster admin@prod      a key for a cluster, which nobody else sees
  npm run keys create prod -- --to-cluster admin@prod --replace

Sealing files for other readers needs a private key that opens them: SOPS_AGE_KEY_FILE, or the file where sops looks by
itself. With npm, options come after --.`,
  )
  .hook("preSubcommand", (self) => {
    if (self.opts<{ json?: true }>().json === true)
      throw new UsageError("--json is for the table only", "leave it out");
  })
  .action(async (options: { json?: true }) => show(options.json === true));
program
  .command("add")
  .description("Let somebody read environments, whose key was made elsewhere.")
  .argument("<environments>", "as in prod, or dev,staging")
  .argument("<name>", "whose key it is, as in ada, break-glass or cluster-prod")
  .argument("<recipient>", "the public key: age1…")
  .option(
    "--later",
    "write .sops.yaml only; the files are sealed when this runs again where a private key is",
  )
  .option("--dry-run", "print what would change, and stop")
  .action(add);
program
  .command("remove")
  .description("Take a reader away, seal every file anew, and list the values that the reader knows.")
  .argument("<environments>", "as in prod, or dev,staging")
  .argument("<name>", "as `npm run keys` shows it")
  .option("--dry-run", "print what would change, and stop")
  .action(remove);
program
  .command("create")
  .description("Make the key of an environment's cluster.")
  .argument("<environment>")
  .option("--to-cluster <context>", "into the cluster of this kubeconfig context; it is in no file")
  .option("--to-file <path>", "into a file, added to what it holds")
  .option(
    "--trust-this-machine",
    "write a private key of another environment than the first into a file here",
  )
  .option(
    "--as <name>",
    "of the recipient, where an environment has several clusters (cluster-<environment>)",
  )
  .option(
    "--replace",
    "instead of the key that is there, which stays beside the new one in the cluster or file",
  )
  .option("--later", "write .sops.yaml only; the files are sealed for it afterwards")
  .option("--dry-run", "print what would change, and stop")
  .action(create);
await main(program);

async function show(json: boolean): Promise<void> {
  const rules = await readRules(rootOf(program));
  const { readers, stale } = await readReaders(rootOf(program), rules);
  if (json) {
    process.stdout.write(`${JSON.stringify({ readers, stale }, undefined, 2)}\n`);
    return;
  }
  const rows = readers.map(({ name, environments, files, key }) => [
    name,
    environments.join(", "),
    String(files),
    key,
  ]);
  say(table(["NAME", "READS", "FILES", "PUBLIC KEY"], rows));
  const examples = rules.filter(isExample).map(({ environment }) => environment);
  if (examples.length > 0)
    say(
      `\n${examples.join(", ")}: sealed for the example, whose keys nobody has. \`npm run init\` makes your own.`,
    );
  if (stale.length === 0) return;
  say(`\nSealed for others than ${RULES_FILE} says:`);
  const names = (list: readonly string[]) => list.join(", ") || "-";
  say(
    table(
      ["FILE", "CANNOT READ IT", "STILL CAN"],
      stale.map(({ path, missing, surplus }) => [path, names(missing), names(surplus)]),
    ),
  );
  say("Seal them again where a private key is: npm run seal -- --rotate <env> all");
}

async function add(list: string, name: string, key: string, options: Adding): Promise<void> {
  const root = rootOf(program);
  const environments = parseEnvironments(list, await namesOf(root));
  await verifyRecipient(await tool("age"), key);
  const before = await readRules(root);
  const after = withRecipient(before, environments, { name, key });
  const files = (await readSealedFiles(root, environments)).filter((file) => !isFresh(after, file));
  if (files.length === 0 && isSame(before, after)) {
    say(`unchanged: ${name} can read ${environments.join(", ")} already`);
    return;
  }
  const change = await prepare(root, { before, after, environments, files, later: options.later === true });
  if (options.dryRun !== true) await writeChange(root, change.files, change.rules);
  conclude(`${name} can read ${environments.join(", ")}`, change, options);
  if (options.later === true) say(`then, where a private key is: npm run keys add ${list} ${name} ${key}`);
}

function isSame(before: readonly Rule[], after: readonly Rule[]): boolean {
  return JSON.stringify(before) === JSON.stringify(after);
}

async function remove(list: string, name: string, options: Writing): Promise<void> {
  const root = rootOf(program);
  const environments = parseEnvironments(list, await namesOf(root));
  const before = await readRules(root);
  const after = withoutRecipient(before, environments, name);
  const files = await readSealedFiles(root, environments);
  const seen = (await Promise.all(environments.map((environment) => seenValues(root, environment)))).flat();
  const change = await prepare(root, { before, after, environments, files, later: false });
  if (options.dryRun !== true) await writeChange(root, change.files, change.rules);
  conclude(`${name} can no longer read ${environments.join(", ")}`, change, options);
  for (const line of describeSeen(name, seen)) say(line);
}

async function create(environment: string, options: Creating): Promise<void> {
  const root = rootOf(program);
  const known = await namesOf(root);
  const [first] = known;
  if (!known.includes(environment)) parseEnvironments(environment, known);
  const place = await placeOf(environment, environment === first, options);
  const before = await readRules(root);
  const name = options.as ?? clusterName(environment);
  const there = before
    .find((rule) => rule.environment === environment)
    ?.recipients.find((recipient) => recipient.name === name);
  if (there !== undefined && options.replace !== true)
    throw new RefusedError(
      `${environment} has the key of ${name} already`,
      "add --replace for a new one instead of it, or --as <name> for another cluster",
    );
  const made = await createKey(await tool("age-keygen"), name, place);
  const after = withRecipient(before, [environment], made.recipient, { replace: true });
  const files = await readSealedFiles(root, [environment]);
  const change = await prepare(root, {
    before,
    after,
    environments: [environment],
    files,
    later: options.later === true,
  });
  if (options.dryRun !== true) {
    // Before anything is sealed for it: what is sealed for a key that is nowhere is lost.
    await made.place();
    await writeChange(root, change.files, change.rules);
  }
  conclude(
    options.dryRun === true ? `${name} would get a new key` : `${name}: ${made.recipient.key}`,
    change,
    options,
  );
  if (options.later === true)
    say(
      `${name} reads nothing yet: npm run seal -- --rotate ${environment} all where a private key is; without any, seal every value anew`,
    );
}

async function placeOf(
  environment: string,
  isFirst: boolean,
  { toCluster, toFile, trustThisMachine, replace }: Creating,
): Promise<KeyPlace> {
  if ((toCluster === undefined) === (toFile === undefined))
    throw new UsageError(
      "where is the private key to go?",
      `say either --to-cluster <context> or --to-file <path>: npm run keys create ${environment} -- --to-cluster <context>`,
    );
  if (toCluster !== undefined)
    return {
      cluster: { kubectl: await tool("kubectl"), context: toCluster },
      replace: replace === true,
    };
  if (!isFirst && trustThisMachine !== true)
    throw new RefusedError(
      `a private key of ${environment} does not belong into a file on a developer's machine`,
      "use --to-cluster; or, on a machine that is kept for this and offline, add --trust-this-machine",
    );
  return { file: toFile ?? "" };
}

interface Preparation {
  before: readonly Rule[];
  after: readonly Rule[];
  environments: readonly string[];
  files: readonly Sealed[];
  later: boolean;
}

/** All that is to be written, before any of it is. */
async function prepare(
  root: string,
  { before, after, environments, files, later }: Preparation,
): Promise<{ rules: string; files: SealedChange[] }> {
  await refuseUncommitted(root, environments);
  const rules = formatRules(await readFile(join(root, RULES_FILE), "utf8"), after);
  if (later) return { rules, files: [] };
  const sops: SopsProgram = { path: await tool("sops"), env: process.env };
  return { rules, files: await resealAll(sops, files, before, rules) };
}

function conclude(
  what: string,
  { files }: { files: readonly SealedChange[] },
  { dryRun }: { dryRun?: true },
): void {
  const count = `${files.length} ${files.length === 1 ? "file" : "files"}`;
  if (dryRun === true) say(`not done: ${what}; ${RULES_FILE} and ${count} would change`);
  else say(`${what}\nchanged: ${RULES_FILE} and ${count}. Commit them, and open a pull request.`);
}

function describeSeen(name: string, seen: readonly SeenValue[]): string[] {
  const rows = seen.map(({ environment, app, secret, keys, supply, command: how }) => [
    environment,
    `${app}/${secret}`,
    keys.join(", "),
    supply ?? "generated",
    how,
  ]);
  return [
    `\nGit's history keeps the old files, which ${name}'s key opens for ever. ${
      rows.length === 0 ? "They hold no real value." : "So these values must change:"
    }`,
    ...(rows.length === 0 ? [] : [table(["ENV", "SECRET", "KEYS", "FROM", "COMMAND"], rows)]),
  ];
}

async function namesOf(root: string): Promise<string[]> {
  return (await readEnvironments(root)).map(({ name }) => name);
}

function rootOf(of: Command): string {
  return of.opts<Common>().root;
}

async function tool(name: string): Promise<string> {
  const onProgress = (event: ToolProgress) => process.stderr.write(`${describeProgress(event)}\n`);
  return (await resolveTool(name, { onProgress })).path;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
