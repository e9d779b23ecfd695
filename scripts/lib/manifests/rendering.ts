/** Overlays as kustomize renders them, read once for all who look at them. */
import { type CommandError, messageOf } from "../errors.ts";
import { type Finding, findingAt } from "../finding.ts";
import { idOf, type Manifest, parseManifests } from "./manifest.ts";

export interface Rendering {
  /** Directory of the overlay, relative to the root. */
  overlay: string;
  manifests: Manifest[];
}

/** How kustomize answers for one overlay. */
export type Rendered =
  | { kind: "rendered"; yaml: string }
  /** There is no such overlay. */
  | { kind: "absent" }
  /** It is built from a place elsewhere, and nothing is fetched. */
  | { kind: "remote"; entry: string }
  | { kind: "broken"; error: CommandError };

/**
 * Reads what overlays render.
 * @param rendered an answer for each overlay, in their order
 * @returns those that render, and a finding for each that does not, both in the order of the overlays; of absent ones nothing
 */
export function readRenderings(
  overlays: readonly string[],
  rendered: readonly Rendered[],
): { renderings: Rendering[]; findings: Finding[] } {
  const answers = overlays.flatMap((overlay, index) => read(overlay, rendered[index] ?? { kind: "absent" }));
  return {
    renderings: answers.flatMap((answer) => ("manifests" in answer ? [answer] : [])),
    findings: answers.flatMap((answer) => ("manifests" in answer ? [] : [answer])),
  };
}

function read(overlay: string, rendered: Rendered): (Rendering | Finding)[] {
  if (rendered.kind === "absent") return [];
  if (rendered.kind === "broken")
    return [findingAt(overlay, `does not render: ${messageOf(rendered.error)}`, "correct it until it does")];
  if (rendered.kind === "remote")
    return [
      findingAt(
        overlay,
        `does not render: it is built from ${rendered.entry}, and nothing is fetched`,
        "have it in the repository",
      ),
    ];
  const manifests = parseManifests(rendered.yaml);
  // Argo CD deploys the items of any object in its place. Source: argo-cd, reposerver/repository, GenerateManifests.
  const list = manifests.find((manifest) => "items" in manifest);
  if (list === undefined) return [{ overlay, manifests }];
  const fact = `${idOf(list)} has items, and Argo CD would deploy those`;
  return [findingAt(overlay, fact, "make each of them a resource of its own")];
}
