/**
 * The system that this repository is published with, as its specification has it: names, sizes and bounds. All other tests of
 * the tree hold for any system. A fork that deploys its own removes this file.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { type Manifest, ofKind, workloads } from "../../scripts/lib/manifests/manifest.ts";
import { peakDemand } from "../../scripts/lib/manifests/quota.ts";
import { makeSource, readSources } from "../../scripts/lib/sandbox/sources.ts";
import { credentialsOf } from "../../scripts/lib/secrets/credential.ts";
import { temporary } from "../support/tree.ts";
import { render } from "./argocd/support.ts";
import { evictable, replicaCounts } from "./budgets.ts";
import { configurationOf, manifestsOf, ROOT, renderTree } from "./support.ts";

/** Apps that somebody has added are none of this file's business. */
const APPS = [
  "apisix",
  "apisix-ingress-controller",
  "elasticsearch",
  "fluent-bit",
  "foundation",
  "monitoring",
  "order-service",
  "payment-service",
  "policies",
  "postgresql",
  "postgresql-backup",
  "product-service",
  "redis",
  "storage",
  "user-service",
];
const isOurs = ({ app }: { app: string }) => APPS.includes(app);
const whole = await renderTree();
const tree = {
  ...whole,
  catalogue: whole.catalogue.filter(isOurs),
  overlays: whole.overlays.filter(isOurs),
};
const environments = tree.environments.map(({ name }) => name);

it("three environments have every app", () => {
  expect(environments).toEqual(["dev", "staging", "prod"]);
  const pairs = tree.overlays.map(({ env, app }) => `${env}/${app}`);
  expect(pairs).toEqual(environments.flatMap((env) => APPS.map((app) => `${env}/${app}`)).sort());
});

it("the stores' credentials are in the namespace of each service that uses them", () => {
  const copies = credentialsOf(tree.catalogue).map(({ id, places }) => [
    id,
    places.map(({ namespace, name }) => `${namespace}/${name}`),
  ]);
  expect(Object.fromEntries(copies)).toEqual({
    "apisix/gateway-admin": ["gateway/gateway-admin"],
    "apisix/gateway-tls": ["gateway/gateway-tls"],
    "elasticsearch/elasticsearch-lifecycle": ["monitoring/elasticsearch-lifecycle"],
    "elasticsearch/elasticsearch-roles": ["monitoring/elasticsearch-roles"],
    "fluent-bit/elasticsearch": ["logging/elasticsearch", "monitoring/elasticsearch-fluent-bit"],
    "user-service/user-service-token": ["microservices/user-service-token", "gateway/gateway-token"],
    "monitoring/alertmanager-receiver": ["monitoring/alertmanager-receiver"],
    "monitoring/grafana": ["monitoring/grafana"],
    "payment-service/payment-gateway": ["microservices/payment-gateway"],
    "postgresql/database": [
      "data/database",
      "microservices/order-service-database",
      "microservices/payment-service-database",
      "microservices/product-service-database",
      "microservices/user-service-database",
    ],
    "postgresql/database-backup": ["data/database-backup"],
    "redis/redis": [
      "data/redis",
      "gateway/gateway-redis",
      "microservices/order-service-redis",
      "microservices/product-service-redis",
      "microservices/user-service-redis",
    ],
  });
});

it.each(await readSources(ROOT))(
  "dev begins with the newest commit of $app's made-up repository",
  async (source) => {
    const newest = await makeSource(join(await temporary(), "source.git"), source.commits, process.env);
    const file = `overlays/dev/${source.app}/kustomization.yaml`;
    expect(await readFile(join(ROOT, file), "utf8")).toContain(`newTag: "${newest}"`);
  },
);

it("no project admits a kind that none of its apps brings", async () => {
  const Project = z.object({
    clusterResourceWhitelist: z.array(z.object({ kind: z.string() })),
    namespaceResourceWhitelist: z.array(z.object({ kind: z.string() })),
  });
  const projects = (await render("overlays/prod")).filter(({ kind }) => kind === "AppProject");
  for (const { metadata, spec } of projects) {
    const { clusterResourceWhitelist, namespaceResourceWhitelist } = Project.parse(spec);
    const apps = whole.catalogue.filter(({ kind }) => metadata.name === `prod-${kind}`).map(({ app }) => app);
    const brought = whole.overlays
      .filter(({ app }) => apps.includes(app))
      .flatMap(({ manifests }) => manifests.map(({ kind }) => kind));
    const admitted = [...clusterResourceWhitelist, ...namespaceResourceWhitelist].map(({ kind }) => kind);
    const needless = admitted.filter(
      (kind) => !brought.includes(kind) && !["Pod", "ReplicaSet", "Job"].includes(kind),
    );
    expect(needless, metadata.name).toEqual([]);
  }
});

describe.each(environments)("in %s", (env) => {
  const manifests = manifestsOf(tree, env);
  const workload = (app: string) => workloads(manifests).find(({ metadata }) => metadata.name === app);

  it("the namespaces are five, of which one has a quota and a limit range", () => {
    const namesOf = (list: readonly Manifest[]) => list.map(({ metadata }) => metadata.name);
    expect(namesOf(ofKind(manifests, "Namespace"))).toEqual([
      "data",
      "gateway",
      "logging",
      "microservices",
      "monitoring",
    ]);
    const quotas = [...ofKind(manifests, "ResourceQuota"), ...ofKind(manifests, "LimitRange")];
    expect(quotas.map(({ metadata }) => metadata.namespace)).toEqual(["microservices", "microservices"]);
    expect(namesOf(manifests.filter(({ kind }) => kind === "StorageClass"))).toEqual([
      "fast-ssd",
      "standard-hdd",
    ]);
    const claims = ofKind(manifests, "StatefulSet").flatMap(({ spec }) => spec.volumeClaimTemplates ?? []);
    expect(claims.map(({ spec }) => spec.storageClassName)).toEqual(["fast-ssd", "fast-ssd"]);
  });

  it("user-service and order-service have an autoscaler", () => {
    const autoscalers = ofKind(manifests, "HorizontalPodAutoscaler");
    expect(autoscalers.map(({ metadata }) => metadata.name).sort()).toEqual([
      "order-service",
      "user-service",
    ]);
  });

  it.each([
    ["user-service", "200m", "256Mi", "1", "512Mi", "/healthz", "/readyz", 30, 10],
    [
      "product-service",
      "300m",
      "512Mi",
      "2",
      "1Gi",
      "/actuator/health/liveness",
      "/actuator/health/readiness",
      30,
      10,
    ],
    ["order-service", "300m", "384Mi", "1", "768Mi", "/healthz", "/readyz", 60, 15],
    ["payment-service", "200m", "256Mi", "1", "512Mi", "/healthz", "/readyz", 60, 15],
    ["apisix", "250m", "256Mi", "1", "512Mi", "/status", "/status/ready", 60, 15],
    ["fluent-bit", "100m", "128Mi", "500m", "256Mi", "/", "/api/v1/uptime", 30, undefined],
  ])("%s has the sizes and times", (app, cpu, memory, cpuLimit, memoryLimit, live, ready, grace, sleep) => {
    const pod = workload(app)?.spec.template.spec;
    const [main] = pod?.containers ?? [];
    expect(main?.resources).toMatchObject({
      requests: { cpu, memory },
      limits: { cpu: cpuLimit, memory: memoryLimit },
    });
    const paths = [main?.startupProbe, main?.livenessProbe, main?.readinessProbe].map(
      (probe) => probe?.httpGet?.path,
    );
    expect(paths).toEqual([live, live, ready]);
    expect(pod?.terminationGracePeriodSeconds).toBe(grace);
    expect(main?.lifecycle?.preStop?.sleep?.seconds).toBe(sleep);
  });

  // PostgreSQL's is the limit of its preStop command, Redis's its shutdown-timeout and a snapshot of its memory.
  it.each([
    ["user-service", 15],
    ["product-service", 15],
    ["order-service", 40],
    ["payment-service", 40],
    ["apisix", 40],
    ["postgresql", 100],
    ["redis", 50],
  ])("%s has the %d s that it takes at most to finish what it has begun", (app, drain) => {
    const pod = workload(app)?.spec.template.spec;
    const sleep = pod?.containers[0]?.lifecycle?.preStop?.sleep?.seconds ?? 0;
    expect(sleep + drain).toBeLessThan(pod?.terminationGracePeriodSeconds ?? 0);
  });

  it.each(["user-service", "product-service", "order-service", "payment-service"])(
    "%s has the configuration",
    (app) => {
      const found = workload(app);
      const values = found === undefined ? {} : configurationOf(manifests, found);
      const wantsRedis = app !== "payment-service";
      expect(values).toMatchObject({
        DB_HOST: "postgresql.data.svc.cluster.local",
        DB_PORT: "5432",
        DB_NAME: "ecommerce",
        DB_CONNECTION_TIMEOUT: "30",
        LOG_LEVEL: env === "dev" ? "debug" : "info",
        LOG_FORMAT: "json",
        SERVICE_TIMEOUT: "10s",
        SERVICE_RETRY: "3",
        OTEL_EXPORTER_OTLP_ENDPOINT: "http://opentelemetry-collector.monitoring.svc.cluster.local:4317",
        ...(wantsRedis
          ? { REDIS_HOST: "redis.data.svc.cluster.local", REDIS_PORT: "6379", REDIS_DB: "0" }
          : {}),
      });
      expect("REDIS_HOST" in values).toBe(wantsRedis);
      expect(
        Object.keys(values)
          .filter((key) => key.endsWith("_SERVICE_URL"))
          .sort(),
      ).toEqual(
        app === "order-service" ? ["PAYMENT_SERVICE_URL", "PRODUCT_SERVICE_URL", "USER_SERVICE_URL"] : [],
      );
    },
  );
});

describe("prod", () => {
  const manifests = manifestsOf(tree, "prod");

  it("has the replicas and bounds", () => {
    const bounds = ofKind(manifests, "HorizontalPodAutoscaler").map(({ metadata, spec }) => [
      metadata.name,
      [spec.minReplicas, spec.maxReplicas],
    ]);
    expect(Object.fromEntries(bounds)).toEqual({ "order-service": [3, 30], "user-service": [3, 20] });
    const replicas = ofKind(manifests, "Deployment").map(({ metadata, spec }) => [
      metadata.name,
      spec.replicas,
    ]);
    expect(Object.fromEntries(replicas)).toEqual({
      apisix: 3,
      "apisix-ingress-controller": 2,
      "payment-service": 2,
      "product-service": 3,
    });
  });

  it.each<[string, (pods: number, gone: number) => boolean]>([
    ["user-service", (pods, gone) => pods - gone >= 2],
    // Of an odd number the disruption controller rounds up.
    ["order-service", (pods, gone) => gone <= Math.ceil(pods / 2)],
    ["payment-service", (pods, gone) => pods - gone >= 1],
  ])("keeps as many pods of %s as it has to during a drain, however many run", (app, isEnough) => {
    const budget = ofKind(manifests, "PodDisruptionBudget").find(({ metadata }) => metadata.name === app);
    const workload = workloads(manifests).find(({ metadata }) => metadata.name === app);
    if (budget === undefined || workload === undefined) throw new Error(`prod has no ${app}`);
    const counts = replicaCounts(workload, manifests);
    expect(counts.filter((pods) => !isEnough(pods, evictable(budget, pods)))).toEqual([]);
  });

  it("adds up to 58 CPU and 55 pods, 63 and 59 with a surge pod each", () => {
    const demand = peakDemand(manifests, "microservices");
    expect([demand["limits.cpu"], demand["pods"]]).toEqual([63_000, 59_000]);
  });

  it("has the disks", () => {
    const claims = ofKind(manifests, "StatefulSet").map(({ metadata, spec }) => [
      metadata.name,
      spec.volumeClaimTemplates?.[0]?.spec.resources.requests["storage"],
    ]);
    expect(Object.fromEntries(claims)).toEqual({ postgresql: "100Gi", redis: "20Gi" });
  });
});
