/** What an overlay applies: no Secret with a value, and no SopsSecret but its sealed files, unchanged. */
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { parse } from "yaml";
import { z } from "zod";
import { readIfThere } from "../../file.ts";
import { type Finding, findingAt } from "../../finding.ts";
import { idOf, type Manifest } from "../../manifests/manifest.ts";
import type { Rendering } from "../../manifests/rendering.ts";
import { clearValues } from "../../plaintext/manifest.ts";

const SEAL = "take it out of the overlay; `npm run seal` writes the SopsSecrets that a cluster may open";

/** What a SopsSecret opens to, and where: all but labels and annotations, which Argo CD and kustomize may add to. */
const Content = z.looseObject({
  metadata: z.looseObject({ name: z.string(), namespace: z.string().optional() }),
  spec: z.unknown(),
  sops: z.unknown(),
});

/** Looks for values in clear, and compares each SopsSecret with the sealed file of its name in the same overlay. */
export async function renderedFindings(root: string, renderings: readonly Rendering[]): Promise<Finding[]> {
  const found = renderings.map(async ({ overlay, manifests }) => {
    const clear = manifests.flatMap((manifest) =>
      clearValues(manifest).map(({ what }) => findingAt(overlay, `applies ${idOf(manifest)}: ${what}`, SEAL)),
    );
    const secrets = manifests.filter(({ kind }) => kind === "SopsSecret");
    return [...clear, ...(await Promise.all(secrets.map(async (one) => look(root, overlay, one)))).flat()];
  });
  return (await Promise.all(found)).flat();
}

async function look(root: string, overlay: string, secret: Manifest): Promise<Finding[]> {
  const path = `${overlay}/${secret.metadata.name}.sops.yaml`;
  const text = await readIfThere(join(root, path));
  if (text !== undefined && isDeepStrictEqual(contentOf(parse(text)), contentOf(secret))) return [];
  const what = text === undefined ? "it has no sealed file" : `it differs from ${path}`;
  return [findingAt(overlay, `applies ${idOf(secret)}: ${what}`, SEAL)];
}

function contentOf(value: unknown): unknown {
  const { success, data } = Content.safeParse(value);
  if (!success) return undefined;
  const { metadata, spec, sops } = data;
  return { name: metadata.name, namespace: metadata.namespace, spec, sops };
}
