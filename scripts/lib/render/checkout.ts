/** Overlays of a checkout's files, committed or not. */
import type { Finding } from "../finding.ts";
import { type Rendering, readRenderings } from "../manifests/rendering.ts";
import { renderCache } from "./cache.ts";
import type { NamedByBlob } from "./graph.ts";
import { type RenderOptions, renderJobs } from "./overlays.ts";
import { renderPrograms } from "./programs.ts";
import { withRenderer } from "./renderer.ts";
import { withState } from "./states.ts";

/**
 * Renders overlays of a checkout.
 * @param root the top of the checkout
 * @param overlays their directories, relative to the root
 * @returns those that render, and a finding for each that does not, both in the order of the overlays
 */
export async function renderCheckout(
  root: string,
  overlays: readonly string[],
): Promise<{ renderings: Rendering[]; findings: Finding[] }> {
  if (overlays.length === 0) return { renderings: [], findings: [] };
  return withRendering(root, async (options, names) =>
    withState(root, names, async (state) => {
      const jobs = overlays.map((overlay) => ({ state, overlay }));
      return readRenderings(overlays, await renderJobs(jobs, options));
    }),
  );
}

/**
 * Calls a function with this machine's programs, renderings of before, and names in kustomizations of before.
 * @param root the top of the checkout
 * @param options.isFresh whether nothing of before is used or kept
 * @param options.needsAll see `renderPrograms`
 */
export async function withRendering<T>(
  root: string,
  use: (options: RenderOptions, names: NamedByBlob) => Promise<T>,
  { isFresh = false, needsAll = false } = {},
): Promise<T> {
  const { version, ...programs } = await renderPrograms(needsAll);
  const cache = isFresh ? undefined : renderCache(process.env, root);
  const called = async (names: NamedByBlob) =>
    withRenderer(programs, async (render) => use({ render, version, cache }, names));
  const result = await (cache === undefined ? called(new Map()) : cache.withNames(root, called));
  await cache?.trim();
  return result;
}
