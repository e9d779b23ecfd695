import { describe, expect, it } from "vitest";
import {
  type Autoscaler,
  type ConfigMap,
  containersOf,
  idOf,
  ofKind,
  podTemplates,
  selects,
  type Workload,
  workloads,
} from "../../scripts/lib/manifests/manifest.ts";
import {
  containerAmounts,
  peakDemand,
  peakPods,
  quotaUse,
  RESOURCES,
  rangeFaults,
  thousandths,
} from "../../scripts/lib/manifests/quota.ts";
import { evictable, replicaCounts } from "./budgets.ts";
import { manifestsOf, renderTree } from "./support.ts";

const tree = await renderTree();
const HEADROOM = 0.2;

describe.each(tree.environments)("the capacity of $name", ({ name: env }) => {
  const manifests = manifestsOf(tree, env);
  const quotas = ofKind(manifests, "ResourceQuota");
  const deployments = ofKind(manifests, "Deployment");

  it.each(quotas.map(({ metadata, spec }) => [metadata.namespace, spec]))(
    "has a quota in %s for all that can be used up",
    (_, { hard }) => {
      expect(Object.keys(hard).sort()).toEqual([
        "limits.cpu",
        "limits.ephemeral-storage",
        "limits.memory",
        "persistentvolumeclaims",
        "pods",
        "requests.cpu",
        "requests.ephemeral-storage",
        "requests.memory",
        "services",
      ]);
    },
  );

  it.each(
    quotas.flatMap((quota) =>
      quotaUse(quota, peakDemand(manifests, quota.metadata.namespace ?? "")).map((use) => ({
        ...use,
        quota: idOf(quota),
      })),
    ),
  )("holds every autoscaling maximum with surge and headroom: $resource of $quota", ({ headroom }) => {
    expect(headroom).toBeGreaterThanOrEqual(HEADROOM);
  });

  it("keeps every container within the limit range, and the defaults too", () => {
    const ranges = ofKind(manifests, "LimitRange");
    const inRange = (namespace: string | undefined) =>
      ranges.filter(({ metadata }) => metadata.namespace === namespace);
    const faults = podTemplates(manifests).flatMap((pod) =>
      containersOf(pod).flatMap((container) => rangeFaults(container, inRange(pod.owner.metadata.namespace))),
    );
    expect(faults).toEqual([]);
    const namespaces = [...new Set(ranges.map(({ metadata }) => metadata.namespace))];
    expect(namespaces).not.toEqual([]);
    const defaults = namespaces.map((namespace) =>
      rangeFaults({ name: "default", image: "any" }, inRange(namespace)),
    );
    expect(defaults.flat()).toEqual([]);
  });

  it("asks for no more than it may use", () => {
    const wrong = podTemplates(manifests).flatMap((pod) =>
      containersOf(pod).filter((container) => {
        const amounts = containerAmounts(container, []);
        return RESOURCES.some(
          (name) => (amounts[`requests.${name}`] ?? 0) > (amounts[`limits.${name}`] ?? 0),
        );
      }),
    );
    expect(wrong).toEqual([]);
  });

  it("shares PostgreSQL's connections among all pods at their maximum", () => {
    const maps = ofKind(manifests, "ConfigMap");
    const pool = (workload: Workload): number => {
      const sources = workload.spec.template.spec.containers.flatMap(({ envFrom = [] }) => envFrom);
      const values = sources.map(({ configMapRef }) => dataOf(maps, configMapRef?.name)["DB_POOL_SIZE"]);
      // One without it does not use PostgreSQL.
      return Number(values.filter((value) => value !== undefined).at(-1) ?? 0);
    };
    const needed = deployments.map((workload) => pool(workload) * peakPods(workload, manifests));
    const conf = maps.map(({ data }) => data?.["postgresql.conf"]).find((text) => text !== undefined) ?? "";
    const most = Number(/^max_connections = (\d+)$/m.exec(conf)?.[1]);
    // Three are kept for the superuser, a few for the exporter and for people.
    expect(needed.reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(most - 10);
  });

  it("leaves Redis room for a fork", () => {
    const conf = ofKind(manifests, "ConfigMap")
      .map(({ data }) => data?.["redis.conf"])
      .find((text) => text !== undefined);
    const maxmemory = Number(/^maxmemory (\d+)mb$/m.exec(conf ?? "")?.[1]);
    const redis = workloads(manifests).find(({ metadata }) => metadata.name === "redis");
    const limit = redis?.spec.template.spec.containers[0]?.resources?.limits?.["memory"] ?? 0;
    expect(maxmemory).toBeGreaterThan(0);
    expect((maxmemory * thousandths("1Mi")) / thousandths(limit)).toBeLessThanOrEqual(0.75);
    expect(conf).toMatch(/^shutdown-on-sigterm save$/m);
    expect(conf).toMatch(/^appendonly yes$/m);
    expect(conf).toMatch(/^maxmemory-policy allkeys-lru$/m);
  });

  it("has autoscalers whose metrics end with cpu, and that have room to move", () => {
    const autoscalers = ofKind(manifests, "HorizontalPodAutoscaler");
    const last = ({ spec }: Autoscaler) => spec.metrics.at(-1)?.resource?.name;
    expect(autoscalers.filter((autoscaler) => last(autoscaler) !== "cpu")).toEqual([]);
    expect(autoscalers.filter(({ spec }) => spec.minReplicas >= spec.maxReplicas)).toEqual([]);
  });

  it("has one disruption budget for each Deployment, and none of them blocks a drain, however many pods run", () => {
    const budgets = ofKind(manifests, "PodDisruptionBudget");
    expect(budgets.map(({ metadata }) => metadata.name).sort()).toEqual(
      deployments.map(({ metadata }) => metadata.name).sort(),
    );
    const blocked = budgets.flatMap((budget) => {
      const { metadata, spec } = budget;
      const targets = workloads(manifests).filter(
        (workload) =>
          workload.metadata.namespace === metadata.namespace &&
          selects(spec.selector.matchLabels, workload.spec.template.metadata.labels),
      );
      expect(targets.map((target) => target.metadata.name)).toEqual([metadata.name]);
      expect(spec.unhealthyPodEvictionPolicy).toBe("AlwaysAllow");
      return targets.flatMap((target) =>
        replicaCounts(target, manifests)
          .filter((pods) => evictable(budget, pods) < 1)
          .map((pods) => `${metadata.name} with ${pods}`),
      );
    });
    expect(blocked).toEqual([]);
  });

  it("gives the stores disks of a class that is there", () => {
    const classes = manifests
      .filter(({ kind }) => kind === "StorageClass")
      .map(({ metadata }) => metadata.name);
    const claims = ofKind(manifests, "StatefulSet").flatMap(({ spec }) => spec.volumeClaimTemplates ?? []);
    expect(claims.filter(({ spec }) => !classes.includes(spec.storageClassName ?? ""))).toEqual([]);
  });
});

function dataOf(maps: readonly ConfigMap[], name: string | undefined): Record<string, string> {
  return maps.find(({ metadata }) => metadata.name === name)?.data ?? {};
}
