/**
 * The arithmetic of a namespace's quota: what its workloads need when every autoscaler is at its maximum, every Deployment rolls
 * out and every CronJob runs at once. Amounts are in thousandths, so that 200m of a CPU is a whole number.
 */
import { RefusedError } from "../errors.ts";
import {
  autoscalerOf,
  type Container,
  type CronJob,
  idOf,
  type LimitRange,
  type Manifest,
  ofKind,
  type PodSpec,
  type Quantities,
  type Quota,
  type Workload,
  workloads,
} from "./manifest.ts";

/** Thousandths of a resource, by the resource's name in a ResourceQuota. */
export type Amounts = Record<string, number>;

const SUFFIX: Record<string, number> = {
  m: 1,
  "": 1000,
  k: 1e6,
  M: 1e9,
  G: 1e12,
  T: 1e15,
  Ki: 1000 * 2 ** 10,
  Mi: 1000 * 2 ** 20,
  Gi: 1000 * 2 ** 30,
  Ti: 1000 * 2 ** 40,
};

/**
 * A Kubernetes quantity in thousandths: `200m` is 200, `1` is 1000, `1Ki` is 1 024 000.
 * @throws RefusedError for anything else; exponents are not used here
 */
export function thousandths(quantity: string | number): number {
  const [, number, suffix] = /^(\d+(?:\.\d+)?)([a-zA-Z]*)$/.exec(String(quantity)) ?? [];
  const factor = SUFFIX[suffix ?? "?"];
  if (number === undefined || factor === undefined) throw new RefusedError(`${quantity} is not a quantity`);
  return Math.round(Number(number) * factor);
}

/** Kinds that make pods, whose number this module cannot tell. */
const UNKNOWN = ["DaemonSet", "Job", "ReplicaSet", "Pod"];

/**
 * What a namespace needs at its peak.
 * @param manifests everything in the environment
 * @param namespace the namespace
 * @returns by the names a ResourceQuota uses; a terminating pod counts until it is gone, which is what headroom is for
 * @throws RefusedError for a kind that makes a number of pods nobody knows, and a CronJob whose Jobs may overlap
 */
export function peakDemand(manifests: readonly Manifest[], namespace: string): Amounts {
  const here = manifests.filter((manifest) => manifest.metadata.namespace === namespace);
  const stranger = here.find(({ kind }) => UNKNOWN.includes(kind));
  if (stranger !== undefined)
    throw new RefusedError(`${idOf(stranger)}: the quota's sum does not know this kind`);
  const ranges = ofKind(here, "LimitRange");
  const total: Amounts = {
    services: 1000 * ofKind(here, "Service").length,
    persistentvolumeclaims: 1000 * ofKind(here, "PersistentVolumeClaim").length,
    pods: 0,
  };
  const addPods = (pods: number, spec: PodSpec) => {
    add(total, "pods", 1000 * pods);
    for (const [resource, amount] of Object.entries(podAmounts(spec, ranges)))
      add(total, resource, amount * pods);
  };
  for (const workload of workloads(here)) {
    const pods = peakPods(workload, here);
    addPods(pods, workload.spec.template.spec);
    add(total, "persistentvolumeclaims", 1000 * pods * (workload.spec.volumeClaimTemplates ?? []).length);
  }
  for (const cronJob of ofKind(here, "CronJob"))
    addPods(runningPods(cronJob), cronJob.spec.jobTemplate.spec.template.spec);
  return total;
}

/**
 * Whether manifests need more of anything than they did, so that a quota which held them may not hold them any more.
 * Where nobody knows how many pods there are, it does.
 * @param ranges the LimitRanges of the namespace
 */
export function demandGrows(
  before: readonly Manifest[],
  after: readonly Manifest[],
  { namespace, ranges }: { namespace: string; ranges: readonly Manifest[] },
): boolean {
  try {
    const [old, now] = [before, after].map((manifests) => peakDemand([...manifests, ...ranges], namespace));
    return Object.entries(now ?? {}).some(([resource, amount]) => amount > (old?.[resource] ?? 0));
  } catch (error) {
    if (error instanceof RefusedError) return true;
    throw error;
  }
}

/** The pods of a CronJob's one Job. A suspended CronJob counts: a person may start a Job of it. */
function runningPods(cronJob: CronJob): number {
  const { concurrencyPolicy = "Allow", jobTemplate } = cronJob.spec;
  if (concurrencyPolicy === "Allow")
    throw new RefusedError(
      `${idOf(cronJob)}: its Jobs may run at the same time, so its pods cannot be counted; set concurrencyPolicy to Forbid or Replace`,
    );
  return jobTemplate.spec.parallelism ?? 1;
}

/** The most pods a workload has at a time: its autoscaler's maximum or its replicas, and the surge of a rollout. */
export function peakPods(workload: Workload, manifests: readonly Manifest[]): number {
  const replicas = autoscalerOf(workload, manifests)?.spec.maxReplicas ?? workload.spec.replicas ?? 1;
  if (workload.kind !== "Deployment" || workload.spec.strategy?.type === "Recreate") return replicas;
  // 25 % is what the API server takes when nothing is said; percentages of surge are rounded up.
  const surge = workload.spec.strategy?.rollingUpdate?.maxSurge ?? "25%";
  return (
    replicas + (typeof surge === "number" ? surge : Math.ceil((replicas * Number.parseFloat(surge)) / 100))
  );
}

function add(amounts: Amounts, resource: string, amount: number): void {
  amounts[resource] = (amounts[resource] ?? 0) + amount;
}

/** A pod counts with the sum of its containers, or with its largest init container if that is more. */
function podAmounts(pod: PodSpec, ranges: readonly LimitRange[]): Amounts {
  const inits = pod.initContainers ?? [];
  const lasting = [...pod.containers, ...inits.filter(({ restartPolicy }) => restartPolicy === "Always")];
  const sum: Amounts = {};
  for (const container of lasting) {
    for (const [resource, amount] of Object.entries(containerAmounts(container, ranges)))
      add(sum, resource, amount);
  }
  for (const container of inits) {
    for (const [resource, amount] of Object.entries(containerAmounts(container, ranges))) {
      sum[resource] = Math.max(sum[resource] ?? 0, amount);
    }
  }
  return sum;
}

/** What a container says how much it may use of. */
export const RESOURCES = ["cpu", "memory", "ephemeral-storage"];

/**
 * What a container counts for, with the defaults of the namespace's limit ranges.
 * @returns `requests.<resource>` and `limits.<resource>`, as far as they are known
 */
export function containerAmounts({ resources }: Container, ranges: readonly LimitRange[]): Amounts {
  const defaults = ranges.flatMap(({ spec }) => spec.limits).filter(({ type }) => type === "Container");
  const amounts: Amounts = {};
  for (const resource of RESOURCES) {
    const first = (field: "default" | "defaultRequest"): string | number | undefined =>
      defaults.map((range) => range[field]?.[resource]).find((value) => value !== undefined);
    const limit = resources?.limits?.[resource] ?? first("default");
    // A limit that is written down is also the request, before any default.
    const request =
      resources?.requests?.[resource] ?? resources?.limits?.[resource] ?? first("defaultRequest") ?? limit;
    if (limit !== undefined) amounts[`limits.${resource}`] = thousandths(limit);
    if (request !== undefined) amounts[`requests.${resource}`] = thousandths(request);
  }
  return amounts;
}

export interface QuotaUse {
  resource: string;
  needed: number;
  hard: number;
  /** What is left above the need, as a share of the need; infinite when nothing is needed. */
  headroom: number;
}

/**
 * Holds a quota against what its namespace needs.
 * @throws RefusedError for a resource whose need this module does not compute
 */
export function quotaUse(quota: Quota, demand: Amounts): QuotaUse[] {
  return Object.entries(quota.spec.hard).map(([resource, value]) => {
    const needed = demand[resource];
    if (needed === undefined)
      throw new RefusedError(`${idOf(quota)}: nobody knows how much ${resource} is needed`);
    const hard = thousandths(value);
    return { resource, needed, hard, headroom: needed === 0 ? Number.POSITIVE_INFINITY : hard / needed - 1 };
  });
}

/** Which of a container's amounts are outside of the limit ranges, in one line each. */
export function rangeFaults(container: Container, ranges: readonly LimitRange[]): string[] {
  const amounts = containerAmounts(container, ranges);
  const faults: string[] = [];
  const compare = (
    bounds: Quantities | undefined,
    outside: (amount: number, bound: number) => boolean,
    word: string,
  ) => {
    for (const [resource, bound] of Object.entries(bounds ?? {})) {
      for (const field of ["requests", "limits"]) {
        const amount = amounts[`${field}.${resource}`];
        if (amount !== undefined && outside(amount, thousandths(bound))) {
          faults.push(`${container.name}: ${field}.${resource} is ${word} ${bound}`);
        }
      }
    }
  };
  for (const range of ranges.flatMap(({ spec }) => spec.limits).filter(({ type }) => type === "Container")) {
    compare(range.max, (amount, bound) => amount > bound, "above");
    compare(range.min, (amount, bound) => amount < bound, "below");
  }
  return faults;
}
