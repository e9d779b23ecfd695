import { describe, expect, it } from "vitest";
import { parseApplications } from "../../../scripts/lib/argocd/applications.ts";
import type { Manifest } from "../../../scripts/lib/manifests/manifest.ts";
import {
  certificatePlaces,
  checkAlerts,
  checkApplications,
  checkCertificates,
  checkCluster,
} from "../../../scripts/lib/verify/checks.ts";
import { parseLive } from "../../../scripts/lib/verify/cluster.ts";

const NOW = new Date("2026-11-30T12:00:00Z");
const HASHED = "registry.example.com/ecommerce/web:0123456789abcdef0123456789abcdef01234567";

function manifest(kind: string, namespace: string, name: string, more: object = {}): Manifest {
  return { apiVersion: "apps/v1", kind, metadata: { name, namespace }, ...more };
}

const template = { spec: { containers: [{ name: "app", image: HASHED }] } };

/** As Git has the environment. */
const WANTED: Manifest[] = [
  manifest("Deployment", "shop", "web", { spec: { template } }),
  manifest("Service", "shop", "web", { spec: { selector: { app: "web" } } }),
  manifest("Service", "shop", "elsewhere", { spec: { type: "ExternalName" } }),
  manifest("Ingress", "gateway", "web", {
    spec: { tls: [{ hosts: ["api.example.com"], secretName: "gateway-tls" }] },
  }),
  manifest("HorizontalPodAutoscaler", "shop", "web"),
  manifest("PodDisruptionBudget", "shop", "web"),
  manifest("SopsSecret", "shop", "web-database"),
  manifest("CronJob", "data", "backup"),
];

type Live = Record<string, object | undefined>;

/** As a cluster has it in which all is well; each value replaces one object's fields. */
function cluster(change: Live = {}) {
  const objects: Live = {
    "Deployment shop/web": {
      metadata: { generation: 2 },
      spec: { replicas: 3, template },
      status: { observedGeneration: 2, readyReplicas: 3, updatedReplicas: 3 },
    },
    "Pod shop/web-1": {},
    "Service shop/web": {},
    "Service shop/elsewhere": {},
    "EndpointSlice shop/web-x": {
      metadata: { labels: { "kubernetes.io/service-name": "web" } },
      endpoints: [{ conditions: { ready: true } }],
    },
    "Ingress gateway/web": { status: { loadBalancer: { ingress: [{ ip: "192.0.2.1" }] } } },
    "HorizontalPodAutoscaler shop/web": {
      spec: { maxReplicas: 20 },
      status: {
        currentReplicas: 3,
        conditions: [
          { type: "AbleToScale", status: "True" },
          { type: "ScalingActive", status: "True" },
        ],
      },
    },
    "PodDisruptionBudget shop/web": {
      status: { disruptionsAllowed: 1, currentHealthy: 3, desiredHealthy: 2, expectedPods: 3 },
    },
    "PersistentVolumeClaim data/data-postgresql-0": { status: { phase: "Bound" } },
    "SopsSecret shop/web-database": { status: { message: "Healthy" } },
    "CronJob data/backup": {
      status: { lastScheduleTime: "2026-11-30T02:00:00Z", lastSuccessfulTime: "2026-11-30T02:10:00Z" },
    },
    ...change,
  };
  const items = Object.entries(objects).flatMap(([id, object]) => {
    if (object === undefined) return [];
    const [kind, place = ""] = id.split(" ");
    const [namespace, name] = place.split("/");
    const metadata = "metadata" in object ? object.metadata : {};
    return [{ kind, ...object, metadata: { namespace, name, ...Object(metadata) } }];
  });
  return parseLive(JSON.stringify({ items }));
}

function findings(change: Live = {}): string[] {
  const checks = checkCluster({ wanted: WANTED, live: cluster(change), now: NOW });
  return checks.flatMap((check) => check.findings.map((line) => `${check.name}: ${line}`));
}

describe("an environment on a cluster", () => {
  it("in which all is well has no finding, and says how much there is", () => {
    const checks = checkCluster({ wanted: WANTED, live: cluster(), now: NOW });
    expect(checks.map(({ name, seen, verdict }) => `${name}: ${seen}: ${verdict}`)).toEqual([
      "pods: 3 of 3 ready: ok",
      "endpoints: 1 of 1 Services have a ready pod: ok",
      "ingress: 1 of 1 have an address: ok",
      "autoscalers: web 3 of 20: ok",
      "budgets: 1 of 1 let a pod go: ok",
      "claims: 1 of 1 bound: ok",
      "secrets: 1 of 1 decrypted: ok",
      "jobs: backup 9 h 50 min ago: ok",
    ]);
  });

  it.each([
    "Deployment",
    "Service",
    "Ingress",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    "SopsSecret",
  ])("without one of its objects, a %s, names it", (kind) => {
    const place = WANTED.find((wanted) => wanted.kind === kind)?.metadata;
    const id = `${kind} ${place?.namespace}/${place?.name}`;
    expect(findings({ [id]: undefined }).join("\n")).toContain(
      `${id}: the cluster does not have it; npm run sync brings it`,
    );
  });

  it("that was never synced has a line for each kind of fault, not for each object", () => {
    const checks = checkCluster({
      wanted: [...WANTED, manifest("Deployment", "shop", "other")],
      live: [],
      now: NOW,
    });
    expect(checks.find(({ name }) => name === "pods")?.findings).toEqual([
      "Deployment shop/web and 1 more: the cluster does not have them; npm run sync brings them",
    ]);
  });

  const deployment = { metadata: { generation: 2 }, spec: { replicas: 3, template } };
  it.each<[string, Live, RegExp]>([
    [
      "a pod that is not ready, with its reason",
      {
        "Deployment shop/web": {
          ...deployment,
          status: { observedGeneration: 2, readyReplicas: 2, updatedReplicas: 3 },
        },
        "Pod shop/web-1": {
          status: { containerStatuses: [{ state: { waiting: { reason: "ImagePullBackOff" } } }] },
        },
      },
      /^pods: Deployment shop\/web: 2 of 3 pods are ready \(ImagePullBackOff\); kubectl -n shop describe pods$/,
    ],
    [
      "a rollout that is under way",
      {
        "Deployment shop/web": {
          ...deployment,
          status: { observedGeneration: 2, readyReplicas: 3, updatedReplicas: 1 },
        },
      },
      /^pods: Deployment shop\/web: a rollout has not ended; /,
    ],
    [
      "a change that the controller has not looked at",
      {
        "Deployment shop/web": {
          ...deployment,
          status: { observedGeneration: 1, readyReplicas: 3, updatedReplicas: 3 },
        },
      },
      /^pods: Deployment shop\/web: a rollout has not ended; /,
    ],
    [
      "an image that Git does not have",
      {
        "Deployment shop/web": {
          metadata: { generation: 2 },
          spec: { replicas: 3, template: { spec: { containers: [{ name: "app", image: "web:other" }] } } },
          status: { observedGeneration: 2, readyReplicas: 3, updatedReplicas: 3 },
        },
      },
      /^pods: Deployment shop\/web: runs web:other, which Git does not have; /,
    ],
    [
      "a Service whose pods are not ready",
      {
        "EndpointSlice shop/web-x": {
          metadata: { labels: { "kubernetes.io/service-name": "web" } },
          endpoints: [{ conditions: { ready: false } }],
        },
      },
      /^endpoints: Service shop\/web: no pod behind it is ready; /,
    ],
    [
      "a Service without any endpoint",
      { "EndpointSlice shop/web-x": undefined },
      /^endpoints: Service shop\/web: no pod behind it is ready; /,
    ],
    [
      "an Ingress without an address",
      { "Ingress gateway/web": { status: { loadBalancer: {} } } },
      /^ingress: Ingress gateway\/web: it has no address; /,
    ],
    [
      "an autoscaler without its metric",
      {
        "HorizontalPodAutoscaler shop/web": {
          spec: { maxReplicas: 20 },
          status: {
            currentReplicas: 3,
            conditions: [{ type: "ScalingActive", status: "False", message: "unable to get metric p99" }],
          },
        },
      },
      /^autoscalers: HorizontalPodAutoscaler shop\/web: it cannot scale: unable to get metric p99; /,
    ],
    [
      "an autoscaler at its maximum",
      { "HorizontalPodAutoscaler shop/web": { spec: { maxReplicas: 20 }, status: { currentReplicas: 20 } } },
      /^autoscalers: HorizontalPodAutoscaler shop\/web: it is at its maximum of 20; /,
    ],
    [
      "a budget that blocks every drain",
      {
        "PodDisruptionBudget shop/web": {
          status: { disruptionsAllowed: 0, currentHealthy: 2, desiredHealthy: 2, expectedPods: 3 },
        },
      },
      /^budgets: PodDisruptionBudget shop\/web: no pod may be evicted, 2 healthy and 2 needed; /,
    ],
    [
      "a claim that waits for a disk",
      { "PersistentVolumeClaim data/data-postgresql-0": { status: { phase: "Pending" } } },
      /^claims: PersistentVolumeClaim data\/data-postgresql-0: Pending; /,
    ],
    [
      "a Secret that nobody could open",
      { "SopsSecret shop/web-database": { status: { message: "Decryption error" } } },
      /^secrets: SopsSecret shop\/web-database: Decryption error; /,
    ],
    [
      "a backup that is too old",
      {
        "CronJob data/backup": {
          status: { lastScheduleTime: "2026-11-30T02:00:00Z", lastSuccessfulTime: "2026-11-29T02:10:00Z" },
        },
      },
      /^jobs: CronJob data\/backup: it succeeded last 1 d 9 h ago; /,
    ],
    [
      "a backup that never succeeded",
      { "CronJob data/backup": { status: { lastScheduleTime: "2026-11-30T02:00:00Z" } } },
      /^jobs: CronJob data\/backup: it never succeeded; /,
    ],
  ])("with %s says so", (_, change, finding) => {
    expect(findings(change)).toEqual([expect.stringMatching(finding)]);
  });

  it("of a budget without pods, and of a job that is new, says nothing", () => {
    expect(
      findings({
        "PodDisruptionBudget shop/web": { status: { disruptionsAllowed: 0, expectedPods: 0 } },
        "CronJob data/backup": {},
      }),
    ).toEqual([]);
  });
});

describe("applications", () => {
  const listed = (sync: string, health: string) =>
    parseApplications(
      JSON.stringify([
        {
          metadata: { name: "prod-web", labels: { app: "web", environment: "prod", cluster: "prod" } },
          status: { sync: { status: sync }, health: { status: health } },
        },
      ]),
    );

  it.each([
    ["Synced", "Healthy", []],
    ["OutOfSync", "Healthy", ["Application prod-web: OutOfSync Healthy; npm run sync prod web"]],
    ["Synced", "Degraded", ["Application prod-web: Synced Degraded; npm run sync prod web"]],
  ])("that are %s and %s", (sync, health, expected) => {
    expect(checkApplications(listed(sync, health)).findings).toEqual(expected);
  });

  it("that are not there are a finding", () => {
    expect(checkApplications([])).toMatchObject({ verdict: "failed" });
  });
});

describe("alerts", () => {
  const alert = (severity: string) => ({
    env: "dev",
    labels: { alertname: "ServiceDown", severity },
    summary: "user-service has no pod that answers",
  });

  it.each<[string, string[], string, string[]]>([
    ["none", [], "ok", []],
    ["one that only informs", ["info"], "ok", []],
    [
      "two of the same",
      ["critical", "critical"],
      "failed",
      ["alert ServiceDown (critical): user-service has no pod that answers; docs/runbooks/alerts.md"],
    ],
  ])("%s", (_, severities, verdict, expected) => {
    expect(checkAlerts(severities.map(alert))).toMatchObject({ verdict, findings: expected });
  });
});

describe("certificates", () => {
  it("are looked for where an Ingress names them", () => {
    expect(certificatePlaces(WANTED)).toEqual([
      { namespace: "gateway", name: "gateway-tls", host: "api.example.com" },
    ]);
  });

  const certificate = (validTo: string) => ({
    validTo,
    checkHost: (host: string) => (host === "api.example.com" ? host : undefined),
  });
  it.each([
    ["that last are well", "api.example.com", certificate("Dec 30 12:00:00 2027 GMT"), []],
    [
      "for another host",
      "api.dev.example.com",
      certificate("Dec 30 12:00:00 2027 GMT"),
      [expect.stringContaining("is not for api.dev.example.com")],
    ],
    [
      "near their end",
      "api.example.com",
      certificate("Dec 10 12:00:00 2026 GMT"),
      [expect.stringContaining("ends in 10 days")],
    ],
    [
      "that have ended",
      "api.example.com",
      certificate("Nov 29 12:00:00 2026 GMT"),
      [expect.stringContaining("has ended")],
    ],
    [
      "that are not there",
      "api.example.com",
      undefined,
      [expect.stringContaining("has no certificate for api.example.com")],
    ],
  ])("%s", (_, host, found, expected) => {
    const { findings: lines } = checkCertificates(
      [{ secret: "gateway/gateway-tls", host, certificate: found }],
      NOW,
    );
    expect(lines).toEqual(expected);
  });
});
