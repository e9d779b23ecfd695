/** CustomResourceDefinitions of the operators that the environments' clusters have, or a stand-in of. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { glob } from "tinyglobby";
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import { RefusedError } from "../errors.ts";
import { resolveAssets } from "../tools/resolve.ts";

/** A CustomResourceDefinition. */
export type Definition = z.infer<typeof Definition>;
const Definition = z.looseObject({
  kind: z.literal("CustomResourceDefinition"),
  metadata: z.looseObject({ name: z.string() }),
  spec: z.looseObject({
    group: z.string(),
    names: z.looseObject({ kind: z.string(), plural: z.string() }),
    versions: z.array(
      z.looseObject({
        name: z.string(),
        served: z.boolean(),
        storage: z.boolean(),
        schema: z.looseObject({ openAPIV3Schema: z.unknown() }),
      }),
    ),
  }),
});

/** The tool whose files have the kinds that prometheus-operator serves. */
export const OPERATOR = "prometheus-operator";

/** The directory with prometheus-operator's own definitions of the kinds that people write. */
export async function operatorDefinitions(): Promise<string> {
  return join(await resolveAssets(OPERATOR), "example/prometheus-operator-crd");
}

/**
 * The definitions for a cluster: this repository's own, of the fields that it uses, or the vendors'.
 * @param root the repository's root directory
 * @param vendors a directory, with whose definitions those of the same name are replaced
 * @param operator the directory with those of prometheus-operator
 * @throws RefusedError when a file holds something else, or the vendors' directory nothing
 */
export async function readDefinitions(
  root: string,
  vendors: string | undefined,
  operator?: string,
): Promise<Definition[]> {
  const own = await definitionsIn(join(root, "sandbox/crds"));
  const monitoring = operator === undefined ? [] : await definitionsIn(operator);
  const others = vendors === undefined ? [] : await definitionsIn(vendors);
  if (vendors !== undefined && others.length === 0)
    throw new RefusedError(
      `${vendors} has no CustomResourceDefinition`,
      "SANDBOX_CRDS is a directory with *.yaml files of them",
    );
  return [
    ...new Map([...own, ...monitoring, ...others].map((found) => [found.metadata.name, found])).values(),
  ];
}

async function definitionsIn(directory: string): Promise<Definition[]> {
  const files = (await glob("**/*.yaml", { cwd: directory, absolute: true })).toSorted();
  const found = await Promise.all(
    files.map(async (file) =>
      parseAllDocuments(await readFile(file, "utf8")).map((document) => {
        const parsed = Definition.safeParse(document.toJS());
        if (parsed.success) return parsed.data;
        throw new RefusedError(`${file} is no CustomResourceDefinition`, "remove it");
      }),
    ),
  );
  return found.flat();
}
