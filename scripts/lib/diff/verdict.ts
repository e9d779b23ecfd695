/** One line for each environment that a change affects: the first thing that a reviewer reads. */
import { counted } from "../cli/counted.ts";
import { type ObjectChange, risksOf } from "../manifests/change.ts";
import type { Diff, OverlayDiff } from "./diff.ts";

export interface Verdict {
  /** An empty text for what belongs to none. */
  environment: string;
  text: string;
  /** Whether a person has to look before it is merged: data would be lost, a cluster would refuse it, or nobody can tell. */
  isDangerous: boolean;
}

/** Kinds that hold data, or whose deletion takes objects along that do. */
const HOLDS_DATA: Record<string, string> = {
  PersistentVolumeClaim: "claim",
  PersistentVolume: "volume",
  Namespace: "namespace",
  "apps/StatefulSet": "StatefulSet",
  "apiextensions.k8s.io/CustomResourceDefinition": "CustomResourceDefinition",
  "elasticsearch.k8s.elastic.co/Elasticsearch": "Elasticsearch",
};

/**
 * Judges a change.
 * @param order of the environments; others follow in the order of their names
 * @returns one verdict for each environment that changes; or one without an environment when none does
 */
export function verdictsOf(diff: Diff, order: readonly string[]): Verdict[] {
  const changed = diff.affected.filter(({ change }) => change !== "unchanged");
  if (changed.length === 0) {
    const text =
      diff.affected.length > 0
        ? "no environment changes: refactor"
        : `no environment changes: ${diff.files === 0 ? "no file differs" : "no overlay is built from what differs"}`;
    return [{ environment: "", text, isDangerous: false }];
  }
  return environmentsOf(changed, order).map((environment) =>
    verdictOf(
      environment,
      changed.filter((overlay) => overlay.environment === environment),
    ),
  );
}

/** The environments of some overlays, in their order. */
export function environmentsOf(overlays: readonly OverlayDiff[], order: readonly string[]): string[] {
  const names = new Set(overlays.map(({ environment }) => environment));
  return [
    ...order.filter((name) => names.has(name)),
    ...[...names].filter((name) => !order.includes(name)).toSorted(),
  ];
}

/** Of the overlays of one environment. */
function verdictOf(environment: string, overlays: readonly OverlayDiff[]): Verdict {
  const label = environment === "" ? "outside of the environments" : environment;
  const objects = overlays.flatMap((overlay) => overlay.objects);
  const risks = risksOf(objects).filter((risk) => risk !== "deletion" && risk !== "immutable");
  const broken = overlays.filter(({ change }) => change === "broken");
  const remote = overlays.filter(({ change }) => change === "remote");
  const compared = overlays.filter((overlay) => !broken.includes(overlay) && !remote.includes(overlay));
  const isGone = ({ change }: ObjectChange) => change === "removed" || change === "renamed";
  const lost = objects.filter((object) => isGone(object) && object.kind in HOLDS_DATA);
  const refused = objects.filter(({ risks: own }) => own.includes("immutable"));
  const rest = objects.filter((object) => !lost.includes(object));
  const deleted = rest.filter(({ change }) => change === "removed");
  const renamed = rest.filter(({ change }) => change === "renamed");
  const warnings = [
    ...(broken.length > 0 ? [`${counted(broken.length, "overlay")} that does not render`] : []),
    ...(lost.length > 0 ? [`deletes ${dataLost(lost.map(({ kind }) => HOLDS_DATA[kind] ?? kind))}`] : []),
    ...(refused.length > 0 ? [`changes ${counted(refused.length, "immutable object")}`] : []),
    ...(remote.length > 0 ? [`${counted(remote.length, "overlay")} built from elsewhere, not compared`] : []),
  ];
  const isAll = warnings.length === 0 && deleted.length === 0 && renamed.length === 0 && risks.length === 1;
  const parts = [
    ...warnings,
    ...(compared.length > 0 ? [subjects(compared)] : []),
    ...(deleted.length > 0 ? [`deletes ${counted(deleted.length, "object")}`] : []),
    ...(renamed.length > 0 ? [`renames ${counted(renamed.length, "object")}`] : []),
    ...(risks.length > 0 ? [`${risks.join(", ")}${isAll ? " only" : ""}`] : []),
  ];
  return { environment, text: `${label}: ${parts.join(", ")}`, isDangerous: warnings.length > 0 };
}

/** `2 apps`, and an environment's own objects beside them. */
function subjects(overlays: readonly OverlayDiff[]): string {
  const apps = overlays.filter(({ name }) => name !== "").length;
  const own = overlays.length > apps ? ["the environment's own objects"] : [];
  return [...(apps > 0 ? [counted(apps, "app")] : []), ...own].join(" and ");
}

function dataLost(kinds: readonly string[]): string {
  return [...new Set(kinds)]
    .map((kind) => {
      const count = kinds.filter((one) => one === kind).length;
      return count === 1 ? `a ${kind}` : counted(count, kind);
    })
    .join(" and ");
}
