/**
 * The audit of the sealed Secrets, without a key: against the catalogue, the rules of `.sops.yaml` and each other. Every file has
 * exactly the keys that the catalogue says, so environments have the same ones.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { RefusedError } from "../errors.ts";
import { type Finding, findingAt, findingIn } from "../finding.ts";
import { readCatalogue } from "../tree/catalogue.ts";
import { readEnvironments } from "../tree/environment.ts";
import { fault, fileFindings, type Look, sealAgain } from "./audit-file.ts";
import {
  type Credential,
  credentialsOf,
  manifestFiles,
  placesIn,
  resourcesOf,
  type SecretPlace,
  sealedFiles,
  sealedPath,
} from "./credential.ts";
import { isExample } from "./keys.ts";
import { initCommand, nameOf, type Recipient, RULES_FILE, type Rule, readRules } from "./recipients.ts";
import { daysOf, keysOf, MADE, parseSealed, pathOf, sopsSecretsIn } from "./sealed.ts";
import { DEMANDING } from "./secret-type.ts";

/** One Secret of one environment. What is not known because its file is missing or damaged is empty. */
export interface AuditedSecret {
  environment: string;
  app: string;
  name: string;
  namespace: string;
  path: string;
  keys: string[];
  /** Names; a public key that `.sops.yaml` has no name for is there itself. */
  recipients: string[];
  /** When it was sealed last. */
  sealed: string | null;
  /** The day on which the oldest of its values was made, and how long ago that is. */
  made: string | null;
  ageDays: number | null;
  /** Keys whose values nobody has brought yet. */
  placeholders: string[];
}

export interface Audit {
  secrets: AuditedSecret[];
  findings: Finding[];
}

/** What the audit has read, for one that has a key. */
export interface Audited extends Audit {
  /** Those files that are sealed. */
  looks: Look[];
  rules: readonly Rule[];
}

/** A year: longer than anybody remembers who has seen a value. */
export const MAX_AGE_DAYS = 365;
const [FINDING, NOTE] = ["finding", "note"] as const;
const DAY_MS = 24 * 60 * 60 * 1000;

interface Wanted {
  environment: string;
  credential: Credential;
  place: SecretPlace;
  path: string;
}

/**
 * Looks at every sealed Secret that the catalogue wants, and at every sealed file that is there.
 * @param root the repository's root directory
 * @param options.maxAgeDays a value that was made longer ago gets a note
 * @returns findings in the order of paths and lines; nothing when there is no Secret at all
 * @throws RefusedError when catalogue, environments or `.sops.yaml` cannot be read
 */
export async function auditSecrets(
  root: string,
  options: { now: Date; maxAgeDays?: number },
): Promise<Audited> {
  const { now, maxAgeDays = MAX_AGE_DAYS } = options;
  const credentials = credentialsOf(await readCatalogue(root));
  const environments = (await readEnvironments(root)).map(({ name }) => name);
  const last = environments.at(-1);
  const files = await sealedFiles(root);
  const wanted = await wantedIn(root, environments, credentials);
  if (files.length === 0 && wanted.length === 0) return { secrets: [], findings: [], looks: [], rules: [] };

  const rules = await readRules(root);
  const texts = new Map(
    await Promise.all(files.map(async (path) => [path, await readFile(join(root, path), "utf8")] as const)),
  );
  const findings = [
    ...credentials.flatMap(typeFindings),
    ...ruleFindings(rules, environments),
    ...strayFindings(files, wanted),
    ...(await hiddenFindings(root, new Set(files))),
  ];
  const looks: Look[] = [];
  const secrets: AuditedSecret[] = [];
  const listed = await listedResources(root, wanted);
  for (const want of wanted) {
    const rule = rules.find(({ environment }) => environment === want.environment);
    const text = texts.get(want.path);
    const look = text === undefined ? missing(want) : read(want, text);
    if ("file" in look) {
      looks.push(look);
      findings.push(...fileFindings(look, rule, now), ...timeFindings(look, rule, { now, maxAgeDays, last }));
    } else findings.push(look);
    if (text !== undefined && !listed.has(want.path)) findings.push(unlisted(want));
    secrets.push(describe(want, "file" in look ? look : undefined, rule, now));
  }
  findings.push(...copyFindings(looks));
  return { secrets, findings: findings.toSorted(byPlace), looks, rules };
}

function byPlace(one: Finding, other: Finding): number {
  return one.path < other.path ? -1 : one.path > other.path ? 1 : one.line - other.line;
}

async function wantedIn(
  root: string,
  environments: readonly string[],
  credentials: readonly Credential[],
): Promise<Wanted[]> {
  const all = environments.flatMap((environment) =>
    credentials.map(async (credential) =>
      (await placesIn(root, environment, credential)).map((place) => {
        return { environment, credential, place, path: sealedPath(environment, place) };
      }),
    ),
  );
  const byEnvironment = ({ environment, path }: Wanted) => `${environments.indexOf(environment)} ${path}`;
  return (await Promise.all(all))
    .flat()
    .toSorted((one, other) => (byEnvironment(one) < byEnvironment(other) ? -1 : 1));
}

function typeFindings({ id, type, places }: Credential): Finding[] {
  if (!DEMANDING.includes(type)) return [];
  const what = `${id} has the type ${type}, whose Secrets the operator may report as failed`;
  const way = "leave its type out: docs/secrets.md#secrets-have-no-type";
  return [findingIn(`apps/${places[0]?.app}.yaml`, what, way)];
}

function ruleFindings(rules: readonly Rule[], environments: readonly string[]): Finding[] {
  const without = environments.filter((name) => !rules.some(({ environment }) => environment === name));
  return [
    ...without.map((name) => findingIn(RULES_FILE, `no rule is for ${name}`, initCommand(name))),
    ...rules.flatMap(({ environment, recipients }, index): Finding[] => {
      const wrong = (what: string) => [findingIn(RULES_FILE, what, "remove the rule")];
      if (!environments.includes(environment))
        return wrong(`a rule is for ${environment}, which is no environment`);
      if (rules.findIndex((rule) => rule.environment === environment) !== index)
        return wrong(`a second rule is for ${environment}, and SOPS takes the first`);
      if (!isExample({ environment, recipients })) return soleReader(environment, recipients);
      const names = recipients.map(({ name }) => name).join(", ");
      const what = `${environment} is sealed for ${names}: nobody has the example's key`;
      return [{ ...findingIn(RULES_FILE, what, initCommand(environment)), severity: "note" }];
    }),
  ];
}

/** Whoever loses the only key loses the values: a note, since it is right on the way from one key to two, and in a sandbox. */
function soleReader(environment: string, [only, ...others]: readonly Recipient[]): Finding[] {
  if (only === undefined || others.length > 0) return [];
  const what = `only ${only.name} can read ${environment}, and who loses that key loses its values`;
  const way = `add one that is kept offline: npm run keys add ${environment} break-glass <age1…>`;
  return [{ ...findingIn(RULES_FILE, what, way), severity: "note" }];
}

function strayFindings(files: readonly string[], wanted: readonly Wanted[]): Finding[] {
  const known = new Set(wanted.map(({ path }) => path));
  return files
    .filter((path) => !known.has(path))
    .map((path) =>
      findingIn(
        path,
        "belongs to no Secret that the catalogue has for an overlay",
        "say so in apps/<app>.yaml, or remove it",
      ),
    );
}

/** A cluster decrypts a SopsSecret whatever the file is called, and so for whoever copies one. */
async function hiddenFindings(root: string, known: ReadonlySet<string>): Promise<Finding[]> {
  const files = await manifestFiles(root);
  const found = files
    .filter((path) => !known.has(path))
    .map(async (path) => {
      const text = await readFile(join(root, path), "utf8");
      const what = "a SopsSecret, and not the file that sealing writes";
      const way = "remove it; describe it in apps/<app>.yaml and seal it";
      return sopsSecretsIn(text).map((line) => findingIn(path, what, way, line));
    });
  return (await Promise.all(found)).flat();
}

function missing(want: Wanted): Finding {
  const { path, environment, credential } = want;
  const what = `${environment} has no such Secret, and the catalogue's ${credential.id} wants it`;
  return findingIn(path, what, sealAgain(want));
}

function read(want: Wanted, text: string): Look | Finding {
  try {
    return { ...want, text, file: parseSealed(text, want.path) };
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    const [, line = "1", what = error.message] = /^[^:]+(?::(\d+))?: (.*)$/.exec(error.message) ?? [];
    return findingIn(want.path, what, error.hint ?? sealAgain(want), Number(line));
  }
}

/** The paths of what the overlays of some Secrets list as resources. */
async function listedResources(root: string, wanted: readonly Wanted[]): Promise<Set<string>> {
  const overlays = new Set(wanted.map(({ environment, place }) => `overlays/${environment}/${place.app}`));
  const lists = await Promise.all([...overlays].map(async (overlay) => resourcesOf(root, overlay)));
  return new Set(lists.flat());
}

function unlisted({ path, environment, place }: Wanted): Finding {
  const what = `does not list ${place.name}.sops.yaml, so nobody applies it`;
  return findingAt(`overlays/${environment}/${place.app}`, what, `add it to resources, or remove ${path}`);
}

/**
 * What is as it should be, and yet not done: too old, or not brought yet. The last environment, which customers use, cannot do
 * with a placeholder.
 */
function timeFindings(
  look: Look,
  rule: Rule | undefined,
  { now, maxAgeDays, last }: { now: Date; maxAgeDays: number; last: string | undefined },
): Finding[] {
  const { file } = look;
  const isReal = rule !== undefined && !isExample(rule);
  const old = isReal ? daysOfSecret(look).filter(([, day]) => ageDays(day, now) > maxAgeDays) : [];
  return [
    ...(file.placeholders.length === 0
      ? []
      : [{ ...placeholderNote(look), severity: isReal && look.environment === last ? FINDING : NOTE }]),
    ...old.map(([key, day]) => ({ ...oldNote(look, key, ageDays(day, now)), severity: NOTE })),
  ];
}

function placeholderNote(look: Look): Finding {
  const { placeholders } = look.file;
  const [are, values] =
    placeholders.length === 1 ? ["is a placeholder", "value"] : ["are placeholders", "values"];
  const way = `bring the real ${values}: ${sealAgain(look, placeholders)}`;
  return fault(look, ["metadata", "annotations"], `${placeholders.join(", ")} ${are}`, way);
}

function oldNote(look: Look, key: string, age: number): Finding {
  const way = `change it where it is used, and seal the new value: ${sealAgain(look)}`;
  return fault(look, ["metadata", "annotations", MADE], `${key} was made ${age} days ago`, way);
}

/** The keys of a file whose values are secrets, with the days on which they were made. */
function daysOfSecret({ file, credential }: Look): [string, string][] {
  return [...daysOf(file)].filter(([key]) => !("fixed" in (credential.keys.get(key) ?? {})));
}

function ageDays(day: string, now: Date): number {
  return Math.max(0, Math.floor((now.getTime() - Date.parse(day)) / DAY_MS));
}

/** Nonces and data keys are random: one that is there twice was copied, and opens nothing where it is now. */
function copyFindings(looks: readonly Look[]): Finding[] {
  const seen = new Map<string, string>();
  const found: Finding[] = [];
  for (const look of looks) {
    const { file } = look;
    const parts = [
      ...[...file.data, ...file.stringData, ["the MAC", file.sops?.mac ?? ""] as const].map(
        ([name, value]) => [name, /,iv:([^,]+),/.exec(value)?.[1] ?? ""] as const,
      ),
      ...(file.sops?.ages ?? []).map(({ enc }) => ["a data key", enc] as const),
    ];
    for (const [name, part] of parts) {
      if (part === "") continue;
      const other = seen.get(part);
      if (other !== undefined) {
        const what = `${name} is copied from ${other}`;
        const way = `copies are sealed, not copied: ${sealAgain(look)}`;
        found.push(fault(look, pathOfPart(look, name), what, way));
      } else seen.set(part, `${look.path} (${name})`);
    }
  }
  return found;
}

function pathOfPart({ file }: Look, name: string): readonly (string | number)[] {
  return keysOf(file).includes(name) ? pathOf(file, name) : ["sops", name === "the MAC" ? "mac" : "age"];
}

function describe(
  { environment, place, path }: Wanted,
  look: Look | undefined,
  rule: Rule | undefined,
  now: Date,
): AuditedSecret {
  const sops = look?.file.sops;
  const [made = null] =
    look === undefined
      ? []
      : daysOfSecret(look)
          .map(([, day]) => day)
          .toSorted();
  return {
    environment,
    ...place,
    path,
    keys: look === undefined ? [] : keysOf(look.file),
    recipients: (sops?.recipients ?? []).map((key) => nameOf(rule?.recipients ?? [], key)),
    sealed: sops?.lastModified.toISOString() ?? null,
    made,
    ageDays: made === null ? null : ageDays(made, now),
    placeholders: [...(look?.file.placeholders ?? [])],
  };
}
