/**
 * Whether every Secret that an overlay's workloads refer to is sealed, key by key. It needs renderings: `check` asks for it,
 * `secrets` does not.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CommandError, messageOf, RefusedError } from "../../errors.ts";
import { type Finding, findingAt } from "../../finding.ts";
import {
  missingReferences,
  neededReferences,
  type Offer,
  offeredReferences,
  type Reference,
} from "../../manifests/references.ts";
import type { Rendering } from "../../manifests/rendering.ts";
import { environmentOf, parseSealedPath, sealedFiles } from "../credential.ts";
import { sealCommand } from "../keys/readers.ts";
import { keysOf, parseSealed } from "../sealed.ts";

/**
 * Looks for references to Secrets that lead nowhere. An environment without a sealed file gets its Secrets from elsewhere, and
 * is not looked at.
 */
export async function referenceFindings(root: string, renderings: readonly Rendering[]): Promise<Finding[]> {
  const sealed = (await sealedFiles(root)).flatMap((path) => {
    const place = parseSealedPath(path);
    return place === undefined ? [] : [{ path, ...place }];
  });
  const found = renderings.map(async ({ overlay, manifests }) => {
    const files = sealed.filter(({ environment }) => environment === environmentOf(overlay));
    if (files.length === 0) return [];
    try {
      const needed = neededReferences(manifests).filter(({ kind }) => kind === "Secret");
      const names = new Set(needed.map(({ name }) => name));
      const named = files.filter(({ name }) => names.has(name));
      const offers = await Promise.all(
        named.map(async ({ path }) => offersOf(await readFile(join(root, path), "utf8"), path)),
      );
      const missing = missingReferences(needed, [...offers.flat(), ...offeredReferences(manifests)]);
      return missing.map((reference) => describe(overlay, reference));
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      return [findingAt(overlay, `its Secrets cannot be looked at: ${messageOf(error)}`, "correct it")];
    }
  });
  return (await Promise.all(found)).flat();
}

/** What a sealed file has. What is damaged offers nothing. */
function offersOf(text: string, path: string): Offer[] {
  try {
    const file = parseSealed(text, path);
    return [{ namespace: file.namespace, kind: "Secret", name: file.name, keys: keysOf(file) }];
  } catch (error) {
    if (error instanceof RefusedError) return [];
    throw error;
  }
}

function describe(overlay: string, reference: Reference): Finding {
  const { namespace, name, key, neededBy } = reference;
  const [, environment = "", app = ""] = overlay.split("/");
  const object = `the Secret ${namespace === undefined ? "" : `${namespace}/`}${name}`;
  const wanted = key === undefined ? object : `the key ${key} of ${object}`;
  const command = sealCommand({ environment, app, secret: name });
  return findingAt(
    overlay,
    `${neededBy.join(", ")} needs ${wanted}: no sealed file in ${environment} has it`,
    `correct the reference, or describe it in apps/${app}.yaml and seal it: ${command}`,
  );
}
