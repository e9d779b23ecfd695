/** Whether an overlay runs what its release says: a patch or an `images:` over it would be seen by no gate, hold or rollback. */
import { join } from "node:path";
import { z } from "zod";
import { RefusedError } from "../errors.ts";
import { readIfThere } from "../file.ts";
import { type Finding, findingAt } from "../finding.ts";
import { idOf, parseManifests } from "../manifests/manifest.ts";
import type { Rendering } from "../manifests/rendering.ts";
import { parseRelease } from "./release.ts";

/** What the images of the catalogue's own services start with, in place of a registry. */
const OURS = "registry/";

/**
 * Compares the containers of the workloads of each overlay's release with those of its rendering. Containers that only the
 * overlay has are its own.
 * @param options.registry as the settings name it; an overlay may put it into images of the catalogue's services
 * @param options.first the environment that builds the live base, and has no releases
 */
export async function imageFindings(
  root: string,
  renderings: readonly Rendering[],
  { registry, first }: { registry: string; first: string },
): Promise<Finding[]> {
  const hasReleases = (overlay: string) => {
    const [, environment, app] = overlay.split("/");
    return app !== undefined && environment !== first;
  };
  const found = renderings.map(async ({ overlay, manifests }) => {
    const path = `${overlay}/release.yaml`;
    const body = await bodyAt(root, path);
    if (body === undefined) return hasReleases(overlay) ? [unreleased(overlay)] : [];
    const rendered = new Map(manifests.map((manifest) => [idOf(manifest), imagesOf(manifest)]));
    return parseManifests(body).flatMap((manifest) =>
      [...imagesOf(manifest)].flatMap(([container, image]) => {
        const runs = rendered.get(idOf(manifest))?.get(container);
        const isSame = runs === image || runs === image.replace(OURS, `${registry}/`);
        if (isSame) return [];
        if (runs === undefined)
          return [
            findingAt(
              overlay,
              `${idOf(manifest)} of ${path} does not run ${container}`,
              "take out of the overlay what renames or removes it; `npm run promote` brings another release",
            ),
          ];
        const what = `${idOf(manifest)} runs ${runs} as ${container}, and not ${image}, as ${path} says`;
        return [
          findingAt(overlay, what, "take the image out of the overlay; `npm run promote` brings another"),
        ];
      }),
    );
  });
  return (await Promise.all(found)).flat();
}

function unreleased(overlay: string): Finding {
  const way = "restore its release.yaml, or promote one; or remove the directory";
  return findingAt(overlay, "has no release.yaml, and would deploy something else", way);
}

/** What a release applies; undefined where there is none; nothing where it is damaged, which its own check says. */
async function bodyAt(root: string, path: string): Promise<string | undefined> {
  try {
    const text = await readIfThere(join(root, path));
    return text === undefined ? undefined : parseRelease(text, path).body;
  } catch (error) {
    if (error instanceof RefusedError) return "";
    throw error;
  }
}

const Containers = z.array(z.object({ name: z.string(), image: z.string() })).catch([]);

/** By its name, the image of each container, in whatever kind of object. */
function imagesOf(value: unknown): Map<string, string> {
  const images = new Map<string, string>();
  const walk = (node: unknown) => {
    if (typeof node !== "object" || node === null) return;
    for (const [key, child] of Object.entries(node)) {
      if (/^(c|initC|ephemeralC)ontainers$/.test(key))
        for (const { name, image } of Containers.parse(child)) images.set(name, image);
      else walk(child);
    }
  };
  walk(value);
  return images;
}
