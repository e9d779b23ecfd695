/** Overlays as kustomize renders them, each once for all who look at it. */
import { join } from "node:path";
import pLimit from "p-limit";
import { CommandError, messageOf } from "../errors.ts";
import type { Finding } from "../finding.ts";
import { build } from "../tree/kustomize.ts";
import { type Manifest, parseManifests } from "./manifest.ts";

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
 * @returns those that render, and a finding for each that does not
 */
export async function renderOverlays(
  root: string,
  overlays: readonly string[],
  kustomize: () => Promise<string>,
): Promise<{ renderings: Rendering[]; findings: Finding[] }> {
  if (overlays.length === 0) return { renderings: [], findings: [] };
  const program = await kustomize();
  const limit = pLimit(PARALLEL);
  const renderings: Rendering[] = [];
  const findings: Finding[] = [];
  const renders = overlays.map((overlay) =>
    limit(async () => {
      try {
        renderings.push({ overlay, manifests: parseManifests(await build(program, join(root, overlay))) });
      } catch (error) {
        if (!(error instanceof CommandError)) throw error;
        findings.push(findingAt(overlay, `does not render: ${messageOf(error)}`, "correct it until it does"));
      }
    }),
  );
  await Promise.all(renders);
  const inOrder = <T>(list: T[], name: (item: T) => string) =>
    list.toSorted((one, other) => name(one).localeCompare(name(other)));
  return {
    renderings: inOrder(renderings, ({ overlay }) => overlay),
    findings: inOrder(findings, ({ path }) => path),
  };
}

/** What is wrong with an overlay as a whole. */
export function findingAt(overlay: string, what: string, way: string): Finding {
  return { path: `${overlay}/kustomization.yaml`, line: 1, what, way, severity: "finding" };
}
