/** What disruption budgets allow, as the disruption controller computes it. */
import {
  autoscalerOf,
  type DisruptionBudget,
  type Manifest,
  type Workload,
} from "../../scripts/lib/manifests/manifest.ts";

/** Every number of pods that a workload runs with: from its autoscaler's least to its most, or as many as it states. */
export function replicaCounts(workload: Workload, manifests: readonly Manifest[]): number[] {
  const replicas = workload.spec.replicas ?? 1;
  const { minReplicas, maxReplicas } = autoscalerOf(workload, manifests)?.spec ?? {
    minReplicas: replicas,
    maxReplicas: replicas,
  };
  return Array.from({ length: maxReplicas - minReplicas + 1 }, (_, index) => minReplicas + index);
}

/** How many of so many pods, all of them healthy, may be evicted at a time. Percentages are rounded up. */
export function evictable({ spec }: DisruptionBudget, pods: number): number {
  const scaled = (value: number | string) =>
    typeof value === "number" ? value : Math.ceil((Number.parseFloat(value) / 100) * pods);
  return spec.maxUnavailable === undefined
    ? pods - scaled(spec.minAvailable ?? 0)
    : Math.min(pods, scaled(spec.maxUnavailable));
}
