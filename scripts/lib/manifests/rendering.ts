/** Overlays as kustomize renders them, each once for all who look at it. */
import { join } from "node:path";
import pLimit from "p-limit";
import { CommandError, messageOf } from "../errors.ts";
import { type Finding, findingAt } from "../finding.ts";
import { build } from "../tree/kustomize.ts";
import { idOf, type Manifest, parseManifests } from "./manifest.ts";

export interface Rendering {
  /** Directory of the overlay, relative to the root. */
  overlay: string;
  manifests: Manifest[];
}

/** Renderings at the same time: kustomize takes a core each. */
const PARALLEL = 4;

/**
 * Renders overlays.
 * @param overlays their directories, relative to the root
 * @param kustomize gives the path of the program; called only when there is something to render
 * @returns those that render, and a finding for each that does not, both in the order of the overlays
 */
export async function renderOverlays(
  root: string,
  overlays: readonly string[],
  kustomize: () => Promise<string>,
): Promise<{ renderings: Rendering[]; findings: Finding[] }> {
  if (overlays.length === 0) return { renderings: [], findings: [] };
  const program = await kustomize();
  const answers = await pLimit(PARALLEL).map(overlays, async (overlay) => render(root, overlay, program));
  return {
    renderings: answers.flatMap((answer) => ("manifests" in answer ? [answer] : [])),
    findings: answers.flatMap((answer) => ("manifests" in answer ? [] : [answer])),
  };
}

async function render(root: string, overlay: string, program: string): Promise<Rendering | Finding> {
  try {
    const manifests = parseManifests(await build(program, join(root, overlay)));
    // Argo CD deploys the items of any object in its place. Source: argo-cd, reposerver/repository, GenerateManifests.
    const list = manifests.find((manifest) => "items" in manifest);
    if (list === undefined) return { overlay, manifests };
    return findingAt(
      overlay,
      `${idOf(list)} has items, and Argo CD would deploy those`,
      "make each of them a resource of its own",
    );
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    return findingAt(overlay, `does not render: ${messageOf(error)}`, "correct it until it does");
  }
}
