/** What `npm run seal` would do: which files, which values come and which stay. Nothing here asks, prints or writes. */
import { basename, dirname, join } from "node:path";
import { RefusedError, UsageError } from "../../errors.ts";
import { exists } from "../../file.ts";
import { type App, findApp, readCatalogue } from "../../tree/catalogue.ts";
import {
  type Credential,
  credentialsOf,
  generateValue,
  parseSealedPath,
  placesIn,
  resourcesOf,
  type SecretValues,
  sealedFiles,
  sealedPath,
  suppliedKeys,
} from "../credential.ts";
import { initCommand, RULES_FILE, type Rule, readRules } from "../keys/recipients.ts";
import { valuesOf } from "../sealed.ts";
import { NoKeyError, type Sops } from "../sops.ts";
import { readSealed, resealFile, type SealedChange, sealCredential } from "./seal.ts";

/** The most that Kubernetes takes in one Secret, all values together, in bytes (its MaxSecretSize). */
export const SECRET_LIMIT = 1024 * 1024;
/**
 * The most that a sealed file has: etcd takes requests of 1.5 MiB (--max-request-bytes), and the API server adds its own fields.
 * Encrypted text is a third longer, bytes, which are base64 before, are so twice.
 */
const SEALED_LIMIT = 1.5 * 1024 * 1024 - 16 * 1024;
/** Stands for every app where files are only sealed again. */
const ALL_APPS = "all";

/** What a person names. */
export interface SealRequest {
  environments: readonly string[];
  app: string;
  /** Needed only where the app has several Secrets. */
  secret: string | undefined;
}

export interface SealPlan {
  credential: Credential;
  /** The keys that get a new value, in the order of the catalogue. */
  keys: readonly string[];
  environments: readonly EnvironmentPlan[];
}

export interface EnvironmentPlan {
  environment: string;
  /** Says who can read the result. */
  rule: Rule;
  files: readonly { path: string; isNew: boolean }[];
  /** Values that are known before anybody is asked: fixed ones, and those that stay. */
  known: SecretValues;
  /** Keys whose values are still random afterwards. */
  placeholders: readonly string[];
}

/**
 * The credential that a request is about.
 * @throws UsageError for an app or a Secret that there is not; RefusedError when the app has no overlay there
 */
export async function findCredential(root: string, request: SealRequest): Promise<Credential> {
  const { app, secret } = request;
  const catalogue = await readCatalogue(root);
  await refuseUnknown(root, catalogue, request);
  const mine = credentialsOf(catalogue).flatMap((credential) =>
    credential.places.filter((place) => place.app === app).map(({ name }) => ({ name, credential })),
  );
  const names = mine.map(({ name }) => name).join(", ");
  if (mine.length === 0)
    throw new UsageError(`${app} has no Secret`, `describe it in apps/${app}.yaml under \`secrets\``);
  if (secret === undefined && mine.length > 1)
    throw new UsageError(`${app} has several Secrets: ${names}`, "say which one with --secret");
  const found = mine.find(({ name }) => secret === undefined || name === secret);
  if (found === undefined) throw new UsageError(`${app} has no Secret ${secret}`, `it has ${names}`);
  return found.credential;
}

async function refuseUnknown(
  root: string,
  catalogue: readonly App[],
  { environments, app }: SealRequest,
): Promise<void> {
  findApp(catalogue, app);
  for (const environment of environments) {
    if (!(await exists(join(root, "overlays", environment, app, "kustomization.yaml"))))
      throw new RefusedError(
        `${app} has no overlay in ${environment}`,
        `make overlays/${environment}/${app}/kustomization.yaml first`,
      );
  }
}

/**
 * The keys to set.
 * @param names what a person has named; none means all that have no fixed value
 * @throws UsageError for a key that there is not or that has a fixed value. It does not repeat what it does not know: that
 *   may be a value
 */
export function keysToSet({ id, keys }: Credential, names: readonly string[]): string[] {
  const isFixed = (name: string) => "fixed" in (keys.get(name) ?? {});
  const all = [...keys.keys()];
  for (const name of names) {
    if (name.includes("="))
      throw new UsageError(
        "a value is never an argument: it would be in the shell's history, and whoever is on this machine would see it",
        "change it if it was a real one, and give it at the prompt, on standard input or by --from-file",
      );
    if (!keys.has(name))
      throw new UsageError(`not every KEY that you name is one of ${id}`, `it has ${all.join(", ")}`);
    if (isFixed(name))
      throw new UsageError(
        `${name} of ${id} has a fixed value, which is no secret`,
        `change it in apps/${id.split("/")[0]}.yaml`,
      );
  }
  return all.filter((name) => (names.length === 0 ? !isFixed(name) : names.includes(name)));
}

/** @throws UsageError when a person has to bring one of some values */
export function refuseSupplied(credential: Credential, keys: readonly string[]): void {
  for (const [name, source] of suppliedKeys(credential)) {
    if (!keys.includes(name)) continue;
    throw new UsageError(
      `${name} of ${credential.id} cannot be generated: it comes from ${source}`,
      "leave --generate out, or name the KEYs to generate",
    );
  }
}

/**
 * Plans new values for some keys of a credential, in all its copies.
 * @param options.keys those that get a new value; a private key is needed when others have to stay
 * @throws RefusedError when a value that has to stay cannot be known, or no rule of `.sops.yaml` is for an environment
 */
export async function planSeal(
  root: string,
  sops: Sops,
  options: { credential: Credential; environments: readonly string[]; keys: readonly string[] },
): Promise<SealPlan> {
  const { credential, environments, keys } = options;
  const rules = await readRules(root);
  const plans = environments.map(async (environment) => {
    const rule = rules.find((candidate) => candidate.environment === environment);
    if (rule === undefined)
      throw new RefusedError(
        `${RULES_FILE} has no rule for ${environment}`,
        `make its keys with \`${initCommand(environment)}\``,
      );
    const places = await placesIn(root, environment, credential);
    const paths = places.map((place) => sealedPath(environment, place));
    const isThere = await Promise.all(paths.map(async (path) => exists(join(root, path))));
    return {
      environment,
      rule,
      files: paths.map((path, index) => ({ path, isNew: isThere[index] !== true })),
      ...(await whatStays(root, sops, { credential, environment, keys })),
    };
  });
  return { credential, keys, environments: await Promise.all(plans) };
}

/** The values that are not asked for. A file is opened only when one of them is known nowhere else. */
async function whatStays(
  root: string,
  sops: Sops,
  { credential, environment, keys }: { credential: Credential; environment: string; keys: readonly string[] },
): Promise<Pick<EnvironmentPlan, "known" | "placeholders">> {
  const known = new Map<string, Uint8Array>();
  for (const [name, key] of credential.keys) if ("fixed" in key) known.set(name, Buffer.from(key.fixed));
  const staying = [...credential.keys.keys()].filter((name) => !keys.includes(name) && !known.has(name));
  if (staying.length === 0) return { known, placeholders: [] };

  const wanted = staying.join(", ");
  const places = await placesIn(root, environment, credential);
  const sealed = await Promise.all(places.map(async (place) => readSealed(root, environment, place)));
  const there = sealed.filter((file) => file !== undefined);
  const opened = await Promise.all(
    there.map(async ({ path, text }) =>
      sops.open(path, text).catch((error: unknown) => {
        if (!(error instanceof NoKeyError)) throw error;
        throw new NoKeyError(
          `no private key here opens ${path}, so its ${wanted} cannot stay`,
          `give ${wanted}, too: then none is needed. Or run it where SOPS_AGE_KEY_FILE has a key of ${environment}`,
        );
      }),
    ),
  );
  for (const name of staying) {
    const values = opened.map((file) => valuesOf(file).get(name)).filter((value) => value !== undefined);
    const [value] = values;
    if (value === undefined)
      throw new RefusedError(
        `${environment} has no value for ${name} of ${credential.id} that could stay`,
        "give it, too",
      );
    if (values.some((other) => Buffer.compare(value, other) !== 0))
      throw new RefusedError(
        `the copies of ${credential.id} in ${environment} do not have the same ${name}`,
        "give it, too",
      );
    known.set(name, value);
  }
  const placeholders = new Set(there.flatMap(({ file }) => file.placeholders));
  return { known, placeholders: staying.filter((name) => placeholders.has(name)) };
}

/**
 * Seals what was planned; writes nothing.
 * @param given values for the plan's keys, the same in every environment; a generated key that has none gets another one in each
 * @throws RefusedError when a value is missing, or they are more than a Secret can hold
 */
export async function sealPlanned(
  root: string,
  sops: Sops,
  { credential, keys, environments }: SealPlan,
  given: SecretValues,
): Promise<SealedChange[]> {
  const changes: SealedChange[] = [];
  for (const { environment, known, placeholders } of environments) {
    const all = new Map([...known, ...generated(credential, keys), ...given]);
    const values = new Map([...credential.keys.keys()].flatMap((name) => pick(all, name)));
    refuseLarge(credential, values);
    const options = { credential, environment, values, placeholders };
    changes.push(...(await sealCredential(root, sops, options)));
  }
  for (const { text } of changes) refuseLong(credential, text);
  return changes;
}

function generated({ keys }: Credential, names: readonly string[]): [string, Uint8Array][] {
  return names.flatMap((name): [string, Uint8Array][] => {
    const key = keys.get(name);
    const value = key === undefined ? undefined : generateValue(key);
    return value === undefined ? [] : [[name, value]];
  });
}

function pick(values: SecretValues, name: string): [string, Uint8Array][] {
  const value = values.get(name);
  return value === undefined ? [] : [[name, value]];
}

/** @throws RefusedError when values are more than a Secret can hold */
export function refuseLarge({ id }: Credential, values: SecretValues): void {
  const size = [...values.values()].reduce((sum, value) => sum + value.length, 0);
  if (size > SECRET_LIMIT)
    throw new RefusedError(
      `the values of ${id} have ${size} bytes, and a Secret holds ${SECRET_LIMIT} at most`,
      "put what is no secret elsewhere, or make several Secrets of it",
    );
}

function refuseLong({ id }: Credential, text: string): void {
  const size = Buffer.byteLength(text);
  if (size > SEALED_LIMIT)
    throw new RefusedError(
      `the values of ${id} are ${size} bytes once they are sealed, and a cluster takes ${SEALED_LIMIT} at most`,
      "put what is no secret elsewhere, or make several Secrets of it",
    );
}

/**
 * Seals what is sealed already again, with new data keys and for the recipients of now; writes nothing.
 * @param request its app may be `ALL_APPS`
 * @throws NoKeyError without a key: to seal again is to open first
 */
export async function planRotation(root: string, sops: Sops, request: SealRequest): Promise<SealedChange[]> {
  const { environments, app, secret } = request;
  if (app !== ALL_APPS) await refuseUnknown(root, await readCatalogue(root), request);
  const paths = (await sealedFiles(root)).filter((path) => {
    const place = parseSealedPath(path);
    if (place === undefined || !environments.includes(place.environment)) return false;
    return (app === ALL_APPS || place.app === app) && (secret === undefined || place.name === secret);
  });
  if (paths.length === 0)
    throw new RefusedError(
      `nothing is sealed for ${secret ?? app} in ${environments.join(", ")}`,
      "seal it first, without --rotate",
    );
  return Promise.all(paths.map(async (path) => rotate(root, sops, path)));
}

async function rotate(root: string, sops: Sops, path: string): Promise<SealedChange> {
  const place = parseSealedPath(path);
  const sealed = place && (await readSealed(root, place.environment, place));
  if (sealed === undefined) throw new RefusedError(`${path} is gone`, "run it again");
  return resealFile(sops, path, sealed.text);
}

/**
 * Which of these files no overlay applies.
 * @param paths of sealed files
 * @returns the kustomization and the resource that it lacks
 */
export async function unlisted(
  root: string,
  paths: readonly string[],
): Promise<{ kustomization: string; resource: string }[]> {
  const lacking = await Promise.all(
    paths.map(async (path) => {
      const overlay = dirname(path);
      const kustomization = join(overlay, "kustomization.yaml");
      const resource = basename(path);
      const resources = await resourcesOf(root, overlay);
      return resources.includes(path) ? [] : [{ kustomization, resource }];
    }),
  );
  return lacking.flat();
}
