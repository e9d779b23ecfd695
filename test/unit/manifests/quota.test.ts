import { describe, expect, it } from "vitest";
import type {
  Container,
  LimitRange,
  Manifest,
  Quota,
  Workload,
} from "../../../scripts/lib/manifests/manifest.ts";
import {
  containerAmounts,
  demandGrows,
  peakDemand,
  peakPods,
  quotaUse,
  rangeFaults,
  thousandths,
} from "../../../scripts/lib/manifests/quota.ts";

const container = (name: string, cpu: string, memory: string): Container => ({
  name,
  image: "any",
  resources: { requests: { cpu, memory }, limits: { cpu, memory } },
});

function workload(
  kind: "Deployment" | "StatefulSet",
  spec: Partial<Workload["spec"]>,
  containers: Container[],
): Workload {
  return {
    apiVersion: "apps/v1",
    kind,
    metadata: { name: "web", namespace: "shop" },
    spec: {
      selector: { matchLabels: {} },
      template: { metadata: { labels: {} }, spec: { containers } },
      ...spec,
    },
  };
}

function autoscaler(maxReplicas: number): Manifest {
  return {
    apiVersion: "autoscaling/v2",
    kind: "HorizontalPodAutoscaler",
    metadata: { name: "web", namespace: "shop" },
    spec: { minReplicas: 1, maxReplicas, scaleTargetRef: { kind: "Deployment", name: "web" } },
  } as Manifest;
}

function cronJob(spec: object, job: object): Manifest {
  const template = { spec: { containers: [container("dump", "500m", "64Mi")] } };
  return {
    apiVersion: "batch/v1",
    kind: "CronJob",
    metadata: { name: "nightly", namespace: "shop" },
    spec: { ...spec, jobTemplate: { spec: { ...job, template } } },
  } as Manifest;
}

const range: LimitRange = {
  apiVersion: "v1",
  kind: "LimitRange",
  metadata: { name: "limits", namespace: "shop" },
  spec: {
    limits: [
      {
        type: "Container",
        default: { cpu: "500m", memory: "512Mi" },
        defaultRequest: { cpu: "100m", memory: "128Mi" },
        max: { cpu: "2", memory: "2Gi" },
        min: { cpu: "50m", memory: "64Mi" },
      },
    ],
  },
};

describe("a quantity", () => {
  it.each([
    ["200m", 200],
    ["1", 1000],
    [2, 2000],
    ["0.5", 500],
    ["1k", 1_000_000],
    ["1Ki", 1_024_000],
    ["512Mi", 536_870_912_000],
    ["40Gi", 42_949_672_960_000],
  ])("%s is %d thousandths", (text, expected) => {
    expect(thousandths(text)).toBe(expected);
  });

  it.each(["", "1e3", "-1", "1KB", "Mi", "1 Gi", "toString"])("is not %j", (text) => {
    expect(() => thousandths(text)).toThrow("is not a quantity");
  });
});

describe("the most pods of a workload", () => {
  it.each([
    [
      "replicas and surge",
      { replicas: 2, strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1 } } },
      [],
      3,
    ],
    [
      "surge in percent, rounded up",
      { replicas: 3, strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: "50%" } } },
      [],
      5,
    ],
    ["the API server's 25 % when nothing is said", { replicas: 5 }, [], 7],
    ["one replica when nothing is said", { strategy: { type: "Recreate" } }, [], 1],
    [
      "the autoscaler's maximum",
      { replicas: 2, strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1 } } },
      [autoscaler(20)],
      21,
    ],
  ])("counts %s", (_, spec, others, expected) => {
    expect(peakPods(workload("Deployment", spec, []), others)).toBe(expected);
  });

  it("is the replicas of a StatefulSet", () => {
    expect(peakPods(workload("StatefulSet", { replicas: 3 }, []), [])).toBe(3);
  });
});

describe("what a namespace needs", () => {
  it("is every pod's sum of containers, with claims and services", () => {
    const claim = { metadata: { name: "data" }, spec: { resources: { requests: { storage: "1Gi" } } } };
    const set = workload("StatefulSet", { replicas: 2, volumeClaimTemplates: [claim] }, [
      container("a", "1", "1Gi"),
      container("b", "500m", "512Mi"),
    ]);
    const service: Manifest = {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "web", namespace: "shop" },
    };
    const elsewhere = { ...set, metadata: { name: "other", namespace: "elsewhere" } };
    expect(peakDemand([set, service, elsewhere], "shop")).toEqual({
      pods: 2000,
      services: 1000,
      persistentvolumeclaims: 2000,
      "limits.cpu": 3000,
      "requests.cpu": 3000,
      "limits.memory": thousandths("3Gi"),
      "requests.memory": thousandths("3Gi"),
    });
  });

  it("takes the largest init container where that is more, and adds sidecars", () => {
    const set = workload("StatefulSet", { replicas: 1 }, [container("a", "100m", "64Mi")]);
    set.spec.template.spec.initContainers = [
      container("init", "1", "32Mi"),
      { ...container("sidecar", "100m", "64Mi"), restartPolicy: "Always" },
    ];
    expect(peakDemand([set], "shop")).toMatchObject({
      "limits.cpu": 1000,
      "limits.memory": thousandths("128Mi"),
    });
  });

  it.each([
    ["one Job with one pod", {}, {}, 1],
    ["one Job with all of its pods", {}, { parallelism: 3 }, 3],
    ["the Job that a person starts of a suspended one", { suspend: true }, {}, 1],
  ])("counts %s for a CronJob", (_, spec, job, pods) => {
    const manifest = cronJob({ concurrencyPolicy: "Forbid", ...spec }, job);
    expect(peakDemand([manifest], "shop")).toMatchObject({
      pods: 1000 * pods,
      "limits.cpu": 500 * pods,
      "requests.memory": thousandths("64Mi") * pods,
    });
  });

  it("is not guessed for a CronJob whose Jobs may run at the same time", () => {
    expect(() => peakDemand([cronJob({}, {})], "shop")).toThrow("set concurrencyPolicy");
  });

  it.each(["DaemonSet", "Job"])("is not guessed for a %s", (kind) => {
    const manifest = { apiVersion: "any/v1", kind, metadata: { name: "x", namespace: "shop" } };
    expect(() => peakDemand([manifest], "shop")).toThrow("does not know this kind");
  });
});

describe("a change needs more of a quota", () => {
  const web = (replicas: number, cpu: string) =>
    workload("Deployment", { replicas }, [container("a", cpu, "64Mi")]);
  const job = cronJob({ concurrencyPolicy: "Allow" }, {});
  it.each<[string, Manifest[], Manifest[], boolean]>([
    ["with another replica", [web(1, "1")], [web(2, "1")], true],
    ["with more of a resource", [web(2, "1")], [web(2, "1100m")], true],
    ["with fewer replicas of more each", [web(3, "100m")], [web(1, "1")], true],
    ["when it is new", [], [web(1, "1")], true],
    ["where nobody knows", [web(1, "1")], [web(1, "1"), job], true],
    ["not with less", [web(2, "1")], [web(1, "900m")], false],
    ["not where it goes", [web(2, "1")], [], false],
  ])("%s", (_, before, after, grows) => {
    expect(demandGrows(before, after, { namespace: "shop", ranges: [range] })).toBe(grows);
  });
});

describe("a container without figures of its own", () => {
  it("counts with the namespace's defaults", () => {
    expect(containerAmounts({ name: "a", image: "any" }, [range])).toEqual({
      "limits.cpu": 500,
      "requests.cpu": 100,
      "limits.memory": thousandths("512Mi"),
      "requests.memory": thousandths("128Mi"),
    });
  });

  it("requests what it states as its limit", () => {
    const amounts = containerAmounts({ name: "a", image: "any", resources: { limits: { cpu: "2" } } }, [
      range,
    ]);
    expect(amounts).toMatchObject({ "limits.cpu": 2000, "requests.cpu": 2000 });
  });
});

describe("a quota", () => {
  const quota = (hard: Record<string, string>): Quota => ({
    apiVersion: "v1",
    kind: "ResourceQuota",
    metadata: { name: "quota", namespace: "shop" },
    spec: { hard },
  });

  it("tells the headroom as a share of the need", () => {
    expect(quotaUse(quota({ pods: "12", services: "5" }), { pods: 10_000, services: 0 })).toEqual([
      { resource: "pods", needed: 10_000, hard: 12_000, headroom: 12 / 10 - 1 },
      { resource: "services", needed: 0, hard: 5000, headroom: Number.POSITIVE_INFINITY },
    ]);
  });

  it("refuses a resource it cannot add up", () => {
    expect(() => quotaUse(quota({ secrets: "1" }), {})).toThrow("nobody knows how much secrets is needed");
  });
});

describe("a limit range", () => {
  it.each([
    ["within", "1", "1Gi", []],
    ["on the edges", "2", "64Mi", []],
    ["above", "3", "1Gi", ["a: requests.cpu is above 2", "a: limits.cpu is above 2"]],
    ["below", "1", "32Mi", ["a: requests.memory is below 64Mi", "a: limits.memory is below 64Mi"]],
  ])("judges what is %s", (_, cpu, memory, faults) => {
    expect(rangeFaults(container("a", cpu, memory), [range])).toEqual(faults);
  });
});
