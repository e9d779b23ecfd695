/** Who can read what, and what follows when that changes. */

import { RefusedError, UsageError } from "../../errors.ts";
import { type App, readCatalogue } from "../../tree/catalogue.ts";
import { credentialsOf, placesIn } from "../credential.ts";
import { readSealed } from "../seal/seal.ts";
import { initCommand, type Recipient, type Rule } from "./recipients.ts";
import { readSealedFiles } from "./reseal.ts";

/** Names of recipients whose private keys were thrown away begin so. */
const EXAMPLE = "example-";
/** Names of recipients that are clusters begin so. */
const CLUSTER = "cluster-";

/** The usual name of the recipient that is an environment's cluster. */
export function clusterName(environment: string): string {
  return `${CLUSTER}${environment}`;
}

/** Whether a recipient is a cluster, by its name. */
export function isCluster({ name }: Pick<Recipient, "name">): boolean {
  return name.startsWith(CLUSTER);
}

/** Whether an environment is still as this repository was published: nobody can open its files. */
export function isExample({ recipients }: Rule): boolean {
  return recipients.some(({ name }) => name.startsWith(EXAMPLE));
}

/** One recipient, and what is sealed for it. */
export interface Reader extends Recipient {
  /** Where the rules name it. */
  environments: string[];
  /** How many files it can open. */
  files: number;
}

/** A file that others can read than `.sops.yaml` says. */
export interface StaleFile {
  path: string;
  /** Names of those who should be able to read it and cannot. */
  missing: string[];
  /** Names, or public keys that have none, of those who can and should not. */
  surplus: string[];
}

/**
 * Compares the sealed files with the rules, without a key.
 * @throws RefusedError when a file is damaged
 */
export async function readReaders(
  root: string,
  rules: readonly Rule[],
): Promise<{ readers: Reader[]; stale: StaleFile[] }> {
  const files = await readSealedFiles(root);
  const recipients = new Map(
    rules.flatMap((rule) => rule.recipients).map((recipient) => [recipient.key, recipient]),
  );
  const readers = [...recipients.values()].map(({ name, key }) => ({
    name,
    key,
    environments: rules
      .filter((rule) => rule.recipients.some((recipient) => recipient.key === key))
      .map(({ environment }) => environment),
    files: files.filter((file) => file.recipients.includes(key)).length,
  }));
  const stale = files.flatMap((file) => {
    const wanted = recipientsOf(rules, file.path);
    const missing = wanted.filter(({ key }) => !file.recipients.includes(key)).map(({ name }) => name);
    const surplus = file.recipients
      .filter((key) => !wanted.some((recipient) => recipient.key === key))
      .map((key) => recipients.get(key)?.name ?? key);
    return missing.length + surplus.length === 0 ? [] : [{ path: file.path, missing, surplus }];
  });
  return { readers, stale };
}

function recipientsOf(rules: readonly Rule[], path: string): readonly Recipient[] {
  return rules.find(({ environment }) => path.startsWith(`overlays/${environment}/`))?.recipients ?? [];
}

/** Whether exactly those whom the rules name can read a file. */
export function isFresh(
  rules: readonly Rule[],
  { path, recipients }: { path: string; recipients: readonly string[] },
): boolean {
  const wanted = recipientsOf(rules, path);
  return wanted.length === recipients.length && wanted.every(({ key }) => recipients.includes(key));
}

/**
 * The rules with a recipient more.
 * @param rules as they are
 * @param options.replace whether another key of the same name goes
 * @throws UsageError for a name that is none; RefusedError when the name or the key is another one's, or an environment is
 *   still the example's
 */
export function withRecipient(
  rules: readonly Rule[],
  environments: readonly string[],
  { name, key }: Recipient,
  { replace = false }: { replace?: boolean } = {},
): Rule[] {
  if (!/^[a-z][a-z0-9-]{0,62}$/.test(name) || name.startsWith(EXAMPLE))
    throw new UsageError(
      `${name} is not the name of a recipient`,
      `lower-case letters, digits and dashes, not ${EXAMPLE}…, as in ada or cluster-prod`,
    );
  for (const { environment, recipients } of rules) {
    const asked = environments.includes(environment);
    const sameName = recipients.find((one) => one.name === name);
    if (sameName !== undefined && sameName.key !== key && !(replace && asked))
      throw new RefusedError(
        `${name} has another key in ${environment}: ${sameName.key}`,
        `remove that with \`npm run keys remove ${environment} ${name}\`, or choose another name`,
      );
    const sameKey = recipients.find((one) => one.key === key);
    if (sameKey !== undefined && sameKey.name !== name)
      throw new RefusedError(`${key} is ${sameKey.name} already`, "one key has one name: use that");
  }
  return changed(rules, environments, ({ recipients }) =>
    recipients.some((one) => one.key === key)
      ? [...recipients]
      : [...recipients.filter((one) => one.name !== name), { name, key }],
  );
}

/**
 * The rules with a recipient less.
 * @throws RefusedError when it is in none of the environments, or one would be left without a reader or without its cluster
 */
export function withoutRecipient(
  rules: readonly Rule[],
  environments: readonly string[],
  name: string,
): Rule[] {
  return changed(rules, environments, ({ environment, recipients }) => {
    const left = recipients.filter((one) => one.name !== name);
    if (left.length === recipients.length)
      throw new RefusedError(
        `${name} is no recipient of ${environment}`,
        `there are ${recipients.map((one) => one.name).join(", ")}`,
      );
    if (left.length === 0)
      throw new RefusedError(
        `nobody but ${name} can read ${environment}`,
        `first add another one with \`npm run keys add ${environment} <name> <age1…>\``,
      );
    if (isCluster({ name }) && !left.some(isCluster))
      throw new RefusedError(
        `without ${name} no cluster of ${environment} could read its Secrets`,
        `first make another key with \`npm run keys create ${environment}\`, or replace this one with --replace`,
      );
    return left;
  });
}

/** The rules with other recipients in some environments. */
function changed(
  rules: readonly Rule[],
  environments: readonly string[],
  recipientsFor: (rule: Rule) => Recipient[],
): Rule[] {
  refuseNotOwn(rules, environments);
  return rules.map((rule) =>
    environments.includes(rule.environment) ? { ...rule, recipients: recipientsFor(rule) } : rule,
  );
}

/** @throws RefusedError when one of some environments has no rule, or is still the example's */
function refuseNotOwn(rules: readonly Rule[], environments: readonly string[]): void {
  for (const environment of environments) {
    const rule = rules.find((one) => one.environment === environment);
    if (rule === undefined)
      throw new RefusedError(
        `.sops.yaml has no rule for ${environment}`,
        `make its keys with \`${initCommand(environment)}\``,
      );
    if (isExample(rule))
      throw new RefusedError(
        `${environment} is sealed for the example, whose key nobody has`,
        `make it yours with \`${initCommand(environment)}\``,
      );
  }
}

/** Reads `dev` or `dev,staging`. */
export function parseEnvironments(argument: string, known: readonly string[]): string[] {
  const names = [...new Set(argument.split(","))];
  const unknown = names.find((name) => !known.includes(name));
  if (unknown === undefined) return names;
  throw new UsageError(`there is no environment "${unknown}"`, `the environments are ${known.join(", ")}`);
}

/** A real value of a credential, which a reader of its environment has seen. */
export interface SeenValue {
  environment: string;
  app: string;
  secret: string;
  keys: string[];
  /** Where a person gets a new one; undefined when it is generated. */
  supply: string | undefined;
  /** What gives it a new value. */
  command: string;
}

/**
 * What must change when a reader of an environment must not know it any longer. What is fixed is no secret, and a
 * placeholder opens nothing.
 */
export async function seenValues(root: string, environment: string): Promise<SeenValue[]> {
  const found: SeenValue[] = [];
  const catalogue: App[] = await readCatalogue(root);
  for (const credential of credentialsOf(catalogue)) {
    const [place] = await placesIn(root, environment, credential);
    if (place === undefined) continue;
    const { app, name: secret } = place;
    const placeholders = (await readSealed(root, environment, place))?.file.placeholders ?? [];
    const generated: string[] = [];
    const supplied = new Map<string, string[]>();
    for (const [key, how] of credential.keys) {
      if ("generate" in how) generated.push(key);
      else if ("supply" in how && !placeholders.includes(key))
        supplied.set(how.supply, [...(supplied.get(how.supply) ?? []), key]);
    }
    const where = { environment, app, secret };
    if (generated.length > 0) {
      const rest = supplied.size === 0 ? [] : generated;
      const command = ["npm run seal -- --generate", environment, app, "--secret", secret, ...rest].join(" ");
      found.push({ ...where, keys: generated, supply: undefined, command });
    }
    for (const [supply, keys] of supplied)
      found.push({ ...where, keys, supply, command: sealCommand(where, keys) });
  }
  return found;
}

/** What takes values from a person. Several go together, as a certificate and its key: a line each could not be run alone. */
export function sealCommand(
  { environment, app, secret }: Pick<SeenValue, "environment" | "app" | "secret">,
  keys: readonly string[] = [],
): string {
  const given = keys.length > 1 ? keys.map((key) => `--from-file ${key}=FILE`) : keys;
  return ["npm run seal --", environment, app, "--secret", secret, ...given].join(" ");
}
