/** Sealing: a credential's values become the sealed files of every place that has a copy of it. */
import { join } from "node:path";
import { afterWriting, codeOf, RefusedError } from "../../errors.ts";
import { readIfThere, replaceFile } from "../../file.ts";
import { type Credential, placesIn, type SecretPlace, type SecretValues, sealedPath } from "../credential.ts";
import { keysOf, parseSealed, type SealedFile, valuesOf } from "../sealed.ts";
import type { Sops } from "../sops.ts";

/** A file to write. */
export interface SealedChange {
  /** Relative to the repository's root. */
  path: string;
  text: string;
}

/**
 * Seals values for every place of one environment that has a copy of the credential; writes nothing.
 * @param options.values of all keys of the credential
 * @param options.placeholders keys whose values stand in for what a person has to bring
 * @throws RefusedError when a key is missing or too many, or no rule of `.sops.yaml` is for the environment
 */
export async function sealCredential(
  root: string,
  sops: Sops,
  options: {
    credential: Credential;
    environment: string;
    values: SecretValues;
    placeholders: readonly string[];
  },
): Promise<SealedChange[]> {
  const { credential, environment, values, placeholders } = options;
  refuseOtherKeys(credential, values);
  const places = await placesIn(root, environment, credential);
  return Promise.all(
    places.map(async (place) => {
      const path = sealedPath(environment, place);
      return {
        path,
        text: await sops.seal(path, { ...place, type: credential.type, placeholders }, values),
      };
    }),
  );
}

function refuseOtherKeys({ id, keys }: Credential, values: SecretValues): void {
  const missing = [...keys.keys()].filter((key) => !values.has(key));
  if (missing.length > 0)
    throw new RefusedError(`${id} has no value for ${missing.join(", ")}`, "give it, too");
  const surplus = [...values.keys()].filter((key) => !keys.has(key));
  if (surplus.length > 0)
    throw new RefusedError(`${id} has no key ${surplus.join(", ")}`, `it has ${[...keys.keys()].join(", ")}`);
}

/**
 * Writes sealed files, each in one step: whoever reads or interrupts finds the old one or the new one.
 * @throws RefusedError when a directory cannot be written to
 */
export async function writeSealed(root: string, changes: readonly SealedChange[]): Promise<void> {
  let before: string | undefined;
  for (const { path, text } of changes) {
    await replaceFile(join(root, path), text, 0o644).catch((error: unknown) => {
      if (!["EACCES", "EPERM", "EROFS"].includes(String(codeOf(error)))) throw error;
      const refusal = new RefusedError(`${path} cannot be written: ${codeOf(error)}`, "make it writable");
      throw before === undefined ? refusal : afterWriting(refusal, `${before} is written`);
    });
    before = path;
  }
}

/**
 * What is sealed at a place.
 * @returns undefined when there is no file
 * @throws RefusedError when the file is damaged
 */
export async function readSealed(
  root: string,
  environment: string,
  place: Pick<SecretPlace, "app" | "name">,
): Promise<{ path: string; text: string; file: SealedFile } | undefined> {
  const path = sealedPath(environment, place);
  const text = await readIfThere(join(root, path));
  return text === undefined ? undefined : { path, text, file: parseSealed(text, path) };
}

/**
 * Seals a file's values again: with a new data key, for exactly the recipients that `.sops.yaml` has now.
 * @throws RefusedError without a private key for it, or when it has been tampered with
 */
export async function resealFile(sops: Sops, path: string, text: string): Promise<SealedChange> {
  const opened = await sops.open(path, text);
  return { path, text: await sops.seal(path, opened, valuesOf(opened)) };
}

/** Whether a sealed file has exactly the keys of its credential. */
export function hasKeysOf(file: SealedFile, { keys }: Credential): boolean {
  const there = keysOf(file);
  return there.length === keys.size && there.every((key) => keys.has(key));
}
