/** The differences that a change makes in the rendered overlays. Every overlay that could differ is compared. */
import { compareRenderings, type ObjectChange } from "../manifests/change.ts";
import type { Rendered } from "../manifests/rendering.ts";
import { type Job, type RenderOptions, renderJobs } from "../render/overlays.ts";
import type { States } from "../render/states.ts";

export interface OverlayDiff {
  /** Directory, relative to the top. */
  overlay: string;
  /** The name below the last directory `overlays`; an empty text where there is none. */
  environment: string;
  /** The rest of the path; an empty text for an environment's own objects. */
  name: string;
  change: "added" | "removed" | "changed" | "unchanged" | "broken" | "remote";
  objects: readonly ObjectChange[];
  /** Why it cannot be compared. */
  problem: string | undefined;
  /** Empty texts where there is nothing. */
  rendered: { before: string; after: string };
}

export interface Diff {
  /** The commit where the change left its base. */
  left: string;
  /** How many files differ. */
  files: number;
  /** How many overlays there are before or after the change. */
  total: number;
  /** Those that are built from a file that differs, in the order of their names. */
  affected: readonly OverlayDiff[];
  /** Kustomizations of those that are not understood whole, and why: any change counts for them. */
  unclear: readonly string[];
  /** Whether all overlays were rendered on both sides, and the others are the same. */
  isProven: boolean;
}

/**
 * Compares both states of every overlay that the change has a part in.
 * @param prove renders every other overlay, too
 * @throws Error when an overlay differs that the dependency graph does not name
 */
export async function diffStates(states: States, prove: boolean, options: RenderOptions): Promise<Diff> {
  const { base, head, changed, left } = states;
  const all = [...new Set([...base.graph.overlays, ...head.graph.overlays])].toSorted();
  // Often both sides have the same graph.
  const graphs = [...new Set([base.graph, head.graph])];
  const affected = new Set(graphs.flatMap((graph) => graph.affectedBy(changed)));
  const looked = prove ? all : all.filter((overlay) => affected.has(overlay));
  const jobs = looked.flatMap((overlay): Job[] => [
    { state: base, overlay },
    { state: head, overlay },
  ]);
  const outcomes = await renderJobs(jobs, options);
  const diffs = looked.map((overlay, index) => {
    const [before, after] = [outcomes[2 * index], outcomes[2 * index + 1]];
    return compare(overlay, before ?? ABSENT, after ?? ABSENT);
  });
  const missed = diffs.find(({ overlay, change }) => !affected.has(overlay) && isDifferent(change));
  if (missed !== undefined)
    throw new Error(`${missed.overlay} differs, and the dependency graph does not know why`);
  return {
    left,
    files: changed.length,
    total: all.length,
    affected: diffs.filter(({ overlay }) => affected.has(overlay)),
    unclear: unclearIn(states, affected),
    isProven: prove,
  };
}

function unclearIn({ base, head }: States, overlays: ReadonlySet<string>): string[] {
  const problems = [base, head].flatMap(({ graph }) =>
    [...overlays].flatMap((overlay) => graph.closureOf(overlay).problems),
  );
  return [...new Set(problems.map(({ kustomization, problem }) => `${kustomization}: ${problem}`))];
}

const ABSENT: Rendered = { kind: "absent" };

/** Of a broken or remote overlay that no change has a part in, both sides are the same. */
function isDifferent(change: OverlayDiff["change"]): boolean {
  return change === "added" || change === "removed" || change === "changed";
}

function compare(overlay: string, before: Rendered, after: Rendered): OverlayDiff {
  const rendered = { before: yamlOf(before), after: yamlOf(after) };
  const entry = { overlay, ...placeOf(overlay), rendered, objects: [], problem: undefined };
  const problem = problemOf(after, "") ?? problemOf(before, " before the change");
  if (problem !== undefined) return { ...entry, ...problem };
  if (rendered.before === rendered.after && before.kind === after.kind)
    return { ...entry, change: "unchanged" };
  const objects = compareRenderings(...different(rendered.before, rendered.after));
  if (before.kind === "absent") return { ...entry, change: "added", objects };
  if (after.kind === "absent") return { ...entry, change: "removed", objects };
  return { ...entry, change: "changed", objects };
}

function yamlOf(outcome: Rendered): string {
  return outcome.kind === "rendered" ? outcome.yaml : "";
}

function problemOf(outcome: Rendered, when: string): Pick<OverlayDiff, "change" | "problem"> | undefined {
  if (outcome.kind === "broken")
    return { change: "broken", problem: `does not render${when}: ${outcome.error.message}` };
  if (outcome.kind === "remote")
    return { change: "remote", problem: `is built from ${outcome.entry}${when}, and nothing is fetched` };
  return undefined;
}

/** The documents that one side has and the other has not: to read the same ones twice takes the most time. */
function different(before: string, after: string): [string, string] {
  const [left, right] = [before.split(/^---\n/m), after.split(/^---\n/m)];
  const [inLeft, inRight] = [new Set(left), new Set(right)];
  return [
    left.filter((document) => !inRight.has(document)).join("---\n"),
    right.filter((document) => !inLeft.has(document)).join("---\n"),
  ];
}

function placeOf(overlay: string): { environment: string; name: string } {
  const parts = overlay.split("/");
  const index = parts.lastIndexOf("overlays");
  const environment = index === -1 ? undefined : parts[index + 1];
  if (environment === undefined) return { environment: "", name: overlay };
  const name = [...parts.slice(0, index), ...parts.slice(index + 2)].join("/");
  return { environment, name };
}
