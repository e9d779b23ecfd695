/** A team's first day: its own keys in place of the example's, and new values for all credentials. */

import { RefusedError, UsageError } from "../../errors.ts";
import { readCatalogue } from "../../tree/catalogue.ts";
import { credentialsOf, environmentOf, placesIn, sealedFiles, suppliedKeys } from "../credential.ts";
import type { SealedChange } from "../seal/seal.ts";
import { sealEnvironment } from "../seal/seal-environment.ts";
import { createKey, type KeyPlace, type NewKey, prepare } from "./new-key.ts";
import { clusterName, isExample, withRecipient } from "./readers.ts";
import { formatRules, type Recipient, type Rule } from "./recipients.ts";
import { type SopsProgram, withRules, writeChange } from "./reseal.ts";

/** The readers that an environment is to have. */
export interface InitRequest {
  environment: string;
  /** Made elsewhere. */
  given: readonly Recipient[];
  /** Made here. */
  made: readonly { name: string; place: KeyPlace }[];
}

/**
 * Reads `prod=age1…`, the environment's cluster, or `prod/break-glass=age1…`, somebody else.
 * @throws UsageError when it is not of that form
 */
export function parseRecipient(argument: string): Recipient & { environment: string } {
  const [, environment, name, key] = /^([^=/]+)(?:\/([^=/]+))?=(.+)$/.exec(argument) ?? [];
  if (environment !== undefined && key !== undefined)
    return { environment, name: name ?? clusterName(environment), key };
  throw new UsageError(
    `--recipient ${argument} is not <environment>=<age1…>`,
    "as in prod=age1… for its cluster, or prod/break-glass=age1… for another reader",
  );
}

/** Whether an environment is sealed for keys that somebody has. */
export function hasOwnKeys(rules: readonly Rule[], environment: string): boolean {
  const rule = rules.find((one) => one.environment === environment);
  return rule !== undefined && !isExample(rule);
}

/**
 * Which environments are to be made: those that are still the example's, or have no rule.
 * @param only the environments that were asked for; all by default
 * @throws RefusedError when there is nothing to do, or a reader was given for an environment that has its own already
 * @throws UsageError when nobody could read one of them
 */
export function planInit(
  rules: readonly Rule[],
  requests: readonly InitRequest[],
  only: readonly string[],
): InitRequest[] {
  const isReal = (environment: string) => hasOwnKeys(rules, environment);
  const asked = requests.filter(({ environment }) => only.length === 0 || only.includes(environment));
  const wasted = requests.find(
    (request) =>
      request.given.length + request.made.length > 0 &&
      (isReal(request.environment) || !asked.includes(request)),
  );
  const todo = asked.filter(({ environment }) => !isReal(environment));
  if (todo.length === 0)
    throw new RefusedError(
      `${asked.map(({ environment }) => environment).join(", ")}: the keys are your own already`,
      "`npm run keys` shows who can read what, and `npm run keys -- --help` how to change it",
    );
  if (wasted !== undefined)
    throw new RefusedError(
      isReal(wasted.environment)
        ? `${wasted.environment} has keys of its own already`
        : `${wasted.environment} gets readers, but is not among --only`,
      isReal(wasted.environment)
        ? `add a reader with \`npm run keys add ${wasted.environment} <name> <age1…>\``
        : `leave its readers out, or add --only ${wasted.environment}`,
    );
  const nobodys = todo.find((request) => request.given.length + request.made.length === 0);
  if (nobodys === undefined) return todo;
  const name = nobodys.environment;
  throw new UsageError(
    `nobody is to read ${name}`,
    `give it --recipient ${name}=<age1…> or --to-cluster ${name}=<context>, or leave it for later with --only`,
  );
}

/** The rules with an environment's own readers instead of those it has. */
function withReaders(
  text: string,
  rules: readonly Rule[],
  environment: string,
  readers: readonly Recipient[],
): { text: string; rules: Rule[] } {
  const others = rules.filter((rule) => rule.environment !== environment);
  let after: Rule[] = [...others, { environment, recipients: [] }];
  for (const reader of readers) after = withRecipient(after, [environment], reader);
  return { text: formatRules(text, after), rules: after };
}

/** What an environment becomes; nothing of it is written yet. */
export interface MadeEnvironment {
  environment: string;
  readers: readonly Recipient[];
  keys: readonly NewKey[];
  files: readonly SealedChange[];
  /** The text of `.sops.yaml` once this environment and those before it are made. */
  rules: string;
}

/**
 * Makes keys, and seals new values for every credential of each environment; writes nothing.
 * @param rules the text of `.sops.yaml`, and what it says; without environments when there is none
 * @param programs.ageKeygen path of the program
 * @param domain the shop's; see `sealEnvironment`
 * @throws RefusedError when a file would stay that nobody could open
 */
export async function makeEnvironments(
  root: string,
  programs: { sops: SopsProgram; ageKeygen: string },
  rules: { text: string; rules: readonly Rule[] },
  plan: readonly InitRequest[],
  domain: string,
): Promise<MadeEnvironment[]> {
  const found: MadeEnvironment[] = [];
  let { text, rules: now } = rules;
  for (const { environment, given, made } of plan) {
    const keys: NewKey[] = [];
    for (const { name, place } of made) keys.push(await createKey(programs.ageKeygen, name, place));
    const readers = [...keys.map(({ recipient }) => recipient), ...given];
    ({ text, rules: now } = withReaders(text, now, environment, readers));
    const files = await withRules(programs.sops, text, async (sops) =>
      sealEnvironment(root, sops, environment, domain),
    );
    await refuseLeftOver(root, environment, files);
    found.push({ environment, readers, keys, files, rules: text });
  }
  return found;
}

/** Looks whether every key that is to be made can go to its place; makes none. */
export async function checkPlaces(plan: readonly InitRequest[]): Promise<void> {
  for (const { place } of plan.flatMap(({ made }) => made)) await prepare(place);
}

async function refuseLeftOver(
  root: string,
  environment: string,
  files: readonly SealedChange[],
): Promise<void> {
  const left = (await sealedFiles(root)).find(
    (path) => environmentOf(path) === environment && !files.some((file) => file.path === path),
  );
  if (left === undefined) return;
  throw new RefusedError(
    `${left} is of no credential in apps/, and nobody could open it any longer`,
    "delete it, or describe it there",
  );
}

/**
 * Writes an environment: first the private keys, since what is sealed for a key that is nowhere is lost; then the sealed
 * files; the rules last, so that until then the environment is the example's and is made anew.
 */
export async function writeEnvironment(root: string, made: MadeEnvironment): Promise<void> {
  for (const key of made.keys) await key.place();
  await writeChange(root, made.files, made.rules);
}

/** Values that a person has to bring. */
export interface Placeholder {
  environment: string;
  app: string;
  secret: string;
  keys: readonly string[];
  /** Where they come from. */
  supply: string;
}

/** What stands in for real values in an environment that has just been made; of copies, the first. */
export async function placeholdersOf(root: string, environment: string): Promise<Placeholder[]> {
  const found: Placeholder[] = [];
  for (const credential of credentialsOf(await readCatalogue(root))) {
    const [place] = await placesIn(root, environment, credential);
    const supplied = suppliedKeys(credential);
    if (place === undefined || supplied.size === 0) continue;
    const supply = [...new Set(supplied.values())].join(", ");
    found.push({ environment, app: place.app, secret: place.name, keys: [...supplied.keys()], supply });
  }
  return found;
}
