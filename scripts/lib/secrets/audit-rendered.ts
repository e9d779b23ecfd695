/**
 * Whether the SopsSecrets that an overlay applies are its sealed files, and those as they are: what a patch makes of one nobody
 * audits.
 */
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { parse } from "yaml";
import { z } from "zod";
import { readIfThere } from "../file.ts";
import { type Finding, findingAt } from "../finding.ts";
import { idOf, type Manifest } from "../manifests/manifest.ts";
import type { Rendering } from "../manifests/rendering.ts";

/** What a SopsSecret opens to, and where: all but labels and annotations, which Argo CD and kustomize may add to. */
const Content = z.looseObject({
  metadata: z.looseObject({ name: z.string(), namespace: z.string().optional() }),
  spec: z.unknown(),
  sops: z.unknown(),
});

/** Compares each SopsSecret of each rendering with the sealed file of its name in the same overlay. */
export async function renderedFindings(root: string, renderings: readonly Rendering[]): Promise<Finding[]> {
  const found = renderings.map(async ({ overlay, manifests }) => {
    const secrets = manifests.filter(({ kind }) => kind === "SopsSecret");
    return (await Promise.all(secrets.map(async (secret) => look(root, overlay, secret)))).flat();
  });
  return (await Promise.all(found)).flat();
}

async function look(root: string, overlay: string, secret: Manifest): Promise<Finding[]> {
  const path = `${overlay}/${secret.metadata.name}.sops.yaml`;
  const text = await readIfThere(join(root, path));
  if (text !== undefined && isDeepStrictEqual(contentOf(parse(text)), contentOf(secret))) return [];
  const what = text === undefined ? "which it has no sealed file of" : `and not as ${path} has it`;
  const way = "take it out of the overlay; `npm run seal` writes what a cluster may open";
  return [findingAt(overlay, `applies ${idOf(secret)}, ${what}`, way)];
}

function contentOf(value: unknown): unknown {
  const { success, data } = Content.safeParse(value);
  if (!success) return undefined;
  const { metadata, spec, sops } = data;
  return { name: metadata.name, namespace: metadata.namespace, spec, sops };
}
