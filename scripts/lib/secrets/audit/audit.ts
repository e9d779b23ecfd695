/**
 * The audit of the sealed Secrets, without a key: against the catalogue, the rules of `.sops.yaml` and each other. Every file has
 * exactly the keys that the catalogue says, so environments have the same ones.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { RefusedError } from "../../errors.ts";
import { type Finding, findingAt, findingIn, noteIn } from "../../finding.ts";
import { readCatalogue } from "../../tree/catalogue.ts";
import { readEnvironments } from "../../tree/environment.ts";
import {
  type Credential,
  credentialsOf,
  manifestFiles,
  placesIn,
  resourcesOf,
  type SecretPlace,
  sealedFiles,
  sealedPath,
} from "../credential.ts";
import { isExample } from "../keys/readers.ts";
import { initCommand, nameOf, type Recipient, RULES_FILE, type Rule, readRules } from "../keys/recipients.ts";
import { keysOf, parseSealed, sopsSecretsIn } from "../sealed.ts";
import { DEMANDING } from "../secret-type.ts";
import { fault, fileFindings, type Look, sealAgain } from "./sealed-file.ts";

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
  /** When it was sealed last, and how many days ago that is. */
  sealed: string | null;
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

/** A year. */
export const MAX_AGE_DAYS = 365;
const [FINDING, NOTE] = ["finding", "note"] as const;
const DAY_MS = 24 * 60 * 60 * 1000;

interface Wanted {
  environment: string;
  credential: Credential;
  place: SecretPlace;
  path: string;
}

/** A part of a tree. */
export interface AuditScope {
  /** Directories of overlays: their Secrets are looked at. */
  overlays: ReadonlySet<string>;
  /** Files that may hold a Secret which nobody has sealed. */
  paths: readonly string[];
}

/**
 * Looks at every sealed Secret that the catalogue wants, and at every sealed file that is there.
 * @param root the repository's root directory
 * @param options.maxAgeDays a file that was sealed longer ago gets a note
 * @param options.only what a change that seals nothing has a part in; all by default
 * @returns findings in the order of paths and lines; nothing when there is no Secret at all
 * @throws RefusedError when catalogue, environments or `.sops.yaml` cannot be read
 */
export async function auditSecrets(
  root: string,
  options: { now: Date; maxAgeDays?: number; only?: AuditScope | undefined },
): Promise<Audited> {
  const { now, maxAgeDays = MAX_AGE_DAYS, only } = options;
  const credentials = credentialsOf(await readCatalogue(root));
  const environments = (await readEnvironments(root)).map(({ name }) => name);
  const last = environments.at(-1);
  const files = await sealedFiles(root);
  const all = await wantedIn(root, environments, credentials);
  if (files.length === 0 && all.length === 0) return { secrets: [], findings: [], looks: [], rules: [] };

  const rules = await readRules(root);
  const wanted = all.filter((want) => only === undefined || only.overlays.has(overlayOf(want)));
  const there = new Set(files);
  const read = wanted.map(({ path }) => path).filter((path) => there.has(path));
  const texts = new Map(
    await Promise.all(read.map(async (path) => [path, await readFile(join(root, path), "utf8")] as const)),
  );
  const findings = [
    ...credentials.flatMap(typeFindings),
    ...ruleFindings(rules, environments),
    ...strayFindings(files, all),
    ...(await hiddenFindings(root, there, only?.paths)),
  ];
  const looks: Look[] = [];
  const secrets: AuditedSecret[] = [];
  const listed = await listedResources(root, wanted);
  for (const want of wanted) {
    const rule = rules.find(({ environment }) => environment === want.environment);
    const text = texts.get(want.path);
    const look = text === undefined ? missing(want) : lookAt(want, text);
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
  const way = "remove its type: docs/secrets.md#secrets-have-no-type";
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
      return [noteIn(RULES_FILE, what, initCommand(environment))];
    }),
  ];
}

/** With the only key the values are lost. A note: it is right on the way from one key to two, and in a sandbox. */
function soleReader(environment: string, [only, ...others]: readonly Recipient[]): Finding[] {
  if (only === undefined || others.length > 0) return [];
  const what = `only ${only.name} can read ${environment}: its values are lost with that key`;
  const way = `add one that is kept offline: npm run keys add ${environment} break-glass <age1…>`;
  return [noteIn(RULES_FILE, what, way)];
}

function strayFindings(files: readonly string[], wanted: readonly Wanted[]): Finding[] {
  const known = new Set(wanted.map(({ path }) => path));
  return files
    .filter((path) => !known.has(path))
    .map((path) =>
      findingIn(
        path,
        "the catalogue has no Secret for it",
        "describe the Secret in apps/<app>.yaml, or remove the file",
      ),
    );
}

/** A cluster decrypts every SopsSecret, whatever its file is called: also a copy that somebody has made. */
async function hiddenFindings(
  root: string,
  known: ReadonlySet<string>,
  paths: readonly string[] | undefined,
): Promise<Finding[]> {
  const files = await manifestFiles(root);
  const looked = paths === undefined ? undefined : new Set(paths);
  const found = files
    .filter((path) => !known.has(path) && looked?.has(path) !== false)
    .map(async (path) => {
      const text = await readFile(join(root, path), "utf8");
      const what = "a SopsSecret that `npm run seal` has not written";
      const way = "remove it; describe the Secret in apps/<app>.yaml and seal it";
      return sopsSecretsIn(text).map((line) => findingIn(path, what, way, line));
    });
  return (await Promise.all(found)).flat();
}

function missing(want: Wanted): Finding {
  const { path, environment, credential } = want;
  const what = `the file is missing: the catalogue has ${credential.id} in ${environment}`;
  return findingIn(path, what, sealAgain(want));
}

function lookAt(want: Wanted, text: string): Look | Finding {
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
  const overlays = new Set(wanted.map(overlayOf));
  const lists = await Promise.all([...overlays].map(async (overlay) => resourcesOf(root, overlay)));
  return new Set(lists.flat());
}

function unlisted(want: Wanted): Finding {
  const what = `resources lacks ${want.place.name}.sops.yaml: nobody applies it`;
  return findingAt(overlayOf(want), what, `add it, or remove ${want.path}`);
}

function overlayOf({ environment, place }: Wanted): string {
  return `overlays/${environment}/${place.app}`;
}

/** Notes on values that are old or still placeholders. The last environment, which customers use, must not have a placeholder. */
function timeFindings(
  look: Look,
  rule: Rule | undefined,
  { now, maxAgeDays, last }: { now: Date; maxAgeDays: number; last: string | undefined },
): Finding[] {
  const { file } = look;
  const isReal = rule !== undefined && !isExample(rule);
  const age = file.sops === undefined || !isReal ? 0 : ageDays(file.sops.lastModified, now);
  return [
    ...(file.placeholders.length === 0
      ? []
      : [{ ...placeholderNote(look), severity: isReal && look.environment === last ? FINDING : NOTE }]),
    ...(age > maxAgeDays ? [{ ...oldNote(look, age), severity: NOTE }] : []),
  ];
}

function placeholderNote(look: Look): Finding {
  const { placeholders } = look.file;
  const [are, values] =
    placeholders.length === 1 ? ["is a placeholder", "value"] : ["are placeholders", "values"];
  const way = `bring the real ${values}: ${sealAgain(look, placeholders)}`;
  return fault(look, ["metadata", "annotations"], `${placeholders.join(", ")} ${are}`, way);
}

function oldNote(look: Look, age: number): Finding {
  const way = `change its values where they are used, and seal the new ones: ${sealAgain(look)}`;
  return fault(look, ["sops", "lastmodified"], `sealed ${age} days ago`, way);
}

function ageDays(sealed: Date, now: Date): number {
  return Math.max(0, Math.floor((now.getTime() - sealed.getTime()) / DAY_MS));
}

/** A data key is random. One that stands in two files was copied, with what it opens, to be read somewhere else. */
function copyFindings(looks: readonly Look[]): Finding[] {
  const seen = new Map<string, string>();
  return looks.flatMap((look) =>
    (look.file.sops?.ages ?? []).flatMap(({ enc }, index) => {
      const key = enc.replaceAll(/\s/g, "");
      const other = seen.get(key);
      if (other === undefined) {
        seen.set(key, look.path);
        return [];
      }
      const way = `copies are sealed, not copied: ${sealAgain(look)}`;
      return [fault(look, ["sops", "age", index], `the data key is copied from ${other}`, way)];
    }),
  );
}

function describe(
  { environment, place, path }: Wanted,
  look: Look | undefined,
  rule: Rule | undefined,
  now: Date,
): AuditedSecret {
  const sops = look?.file.sops;
  return {
    environment,
    ...place,
    path,
    keys: look === undefined ? [] : keysOf(look.file),
    recipients: (sops?.recipients ?? []).map((key) => nameOf(rule?.recipients ?? [], key)),
    sealed: sops?.lastModified.toISOString() ?? null,
    ageDays: sops === undefined ? null : ageDays(sops.lastModified, now),
    placeholders: [...(look?.file.placeholders ?? [])],
  };
}
