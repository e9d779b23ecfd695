/**
 * What overlays behind the first environment take from `base` without a promotion. What comes out of it is compared with their
 * releases; here the part that service teams write is held to what it is for, also where it changes nothing yet.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { glob } from "tinyglobby";
import { z } from "zod";
import { readDocument } from "../document.ts";
import { RefusedError } from "../errors.ts";
import { type Finding, findingIn, findingOf } from "../finding.ts";

/** A sealed Secret's checksum becomes an annotation of the pods that use it. */
const Checksums = z.strictObject({
  apiVersion: z.string(),
  kind: z.literal("Component"),
  replacements: z.array(
    z.strictObject({
      source: z.strictObject({
        kind: z.literal("SopsSecret"),
        name: z.string(),
        fieldPath: z.literal("sops.mac"),
      }),
      targets: z.array(
        z.strictObject({
          select: z.strictObject({ kind: z.string(), name: z.string().optional() }),
          fieldPaths: z.array(
            z
              .string()
              .regex(/^spec\.template\.metadata\.annotations\.checksum\/[a-z0-9-]+$/, "not a checksum"),
          ),
          options: z.strictObject({ create: z.literal(true) }),
        }),
      ),
    }),
  ),
});

/** The directories of `base` that overlays of every environment may be built from, relative to the root. */
export function takenDirectories(app: string): string[] {
  return [`base/${app}/checksums`, "base/transformers/settings", "base/transformers/hosts"];
}

/** Looks at the checksums of all apps. */
export async function takenFindings(root: string): Promise<Finding[]> {
  const files = (await glob("base/*/checksums/**", { cwd: root, dot: true })).toSorted();
  const found = await Promise.all(files.map(async (file) => lookAt(root, file)));
  return found.flat();
}

async function lookAt(root: string, file: string): Promise<Finding[]> {
  const way = "every environment has it without a promotion: put it into the base itself";
  if (!file.endsWith("/checksums/kustomization.yaml"))
    return [findingIn(file, "is no part of the checksums", way)];
  try {
    readDocument(await readFile(join(root, file), "utf8"), file, Checksums);
    return [];
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    const { line, what } = findingOf(error, file);
    return [findingIn(file, `does more than checksums: ${what}`, way, line)];
  }
}
