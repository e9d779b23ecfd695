/** The monitoring stack beside dev, for real: targets, autoscaling by latency, alerts that a fault causes, and dashboards with data. */
import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { glob } from "tinyglobby";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { layoutOf } from "../../scripts/lib/sandbox/layout.ts";
import { monitoringUrls } from "../../scripts/lib/sandbox/monitoring.ts";
import { startedProcesses } from "../../scripts/lib/sandbox/process.ts";
import { readState } from "../../scripts/lib/sandbox/state.ts";
import {
  edit,
  ensureProd,
  kubectl,
  npm,
  push,
  revert,
  root,
  until,
  untilHealthy,
  work,
} from "../sandbox/support.ts";

const layout = layoutOf(root);
/** Minutes become seconds: with the usual times this file would take hours. */
const PACE = 20;
/** A day becomes two minutes. Windows of five minutes are empty: they are shorter than the time between two scrapes. */
const PACE_FOR_DAYS = 720;

async function startMonitoring(pace: number): Promise<void> {
  const started = await npm("start", "--", "--monitoring", "dev", "--pace", String(pace));
  if (started.exitCode !== 0) throw new Error(started.stderr);
}

await startMonitoring(PACE);
const state = await readState(layout);
if (state === undefined) throw new Error("there is no sandbox");
const urls = monitoringUrls(state, "dev");

const SERVICES = "microservices";

async function get(url: string): Promise<unknown> {
  const response = await fetch(url);
  const text = await response.text();
  if (!response.ok) throw new Error(`${url}: ${text}`);
  return JSON.parse(text);
}

/** Asks Prometheus' API. */
async function ask<T>(path: string, schema: z.ZodType<T>): Promise<T> {
  return z.object({ data: schema }).parse(await get(`${urls.prometheus}/api/v1/${path}`)).data;
}

const Vector = z.object({
  result: z.array(
    z.object({ metric: z.record(z.string(), z.string()), value: z.tuple([z.number(), z.string()]) }),
  ),
});

async function query(expr: string): Promise<z.infer<typeof Vector>["result"]> {
  return (await ask(`query?query=${encodeURIComponent(expr)}`, Vector)).result;
}

const Groups = z.object({
  groups: z.array(
    z.object({
      rules: z.array(
        z.object({
          name: z.string(),
          type: z.string(),
          query: z.string(),
          duration: z.number().default(0),
        }),
      ),
    }),
  ),
});

async function rules(
  type: "alerting" | "recording",
): Promise<{ name: string; query: string; duration: number }[]> {
  return (await ask("rules", Groups)).groups.flatMap((group) =>
    group.rules.filter((rule) => rule.type === type),
  );
}

const Alerts = z.array(
  z.object({
    labels: z.looseObject({ alertname: z.string(), service: z.string().optional() }),
    status: z.object({ inhibitedBy: z.array(z.string()) }),
  }),
);

/** The alerts in Alertmanager that still fire. */
async function alerts(): Promise<z.infer<typeof Alerts>> {
  return Alerts.parse(await get(`${urls.alertmanager}/api/v2/alerts`));
}

/** Waits until each of these was seen in Alertmanager, and returns those that were not. */
async function notFired(names: readonly string[]): Promise<string[]> {
  const left = new Set(names);
  const look = async () => {
    for (const { labels } of await alerts()) left.delete(labels.alertname);
    return left.size === 0 || undefined;
  };
  await until("each alert has reached Alertmanager", look, 300).catch(() => undefined);
  return [...left];
}

/** Waits until none of these is in Alertmanager any more, and returns those that are. */
async function notResolved(names: readonly string[]): Promise<string[]> {
  let left: string[] = [];
  const look = async () => {
    const found = new Set((await alerts()).map(({ labels }) => labels.alertname));
    left = names.filter((name) => found.has(name));
    return left.length === 0 || undefined;
  };
  await until("each alert is resolved", look, 300).catch(() => undefined);
  return left;
}

/** Those that the receiver was not told of, both that they fire and that they are resolved. */
async function notTold(names: readonly string[]): Promise<string[]> {
  const log = await readFile(join(layout.logs, "dev-pods.log"), "utf8");
  const isTold = (status: string, name: string) =>
    new RegExp(`^receiver: ${status} .*"alertname":"${name}"`, "m").test(log);
  return names.filter((name) => !isTold("firing", name) || !isTold("resolved", name));
}

/** Annotations by which the stand-in for the pods' network is steered. */
interface Steered {
  readonly namespace: string;
  readonly object: string;
  readonly annotations: Readonly<Record<string, string>>;
}

async function steer(faults: readonly Steered[]): Promise<void> {
  await Promise.all(
    faults.map(async ({ namespace, object, annotations }) => {
      const pairs = Object.entries(annotations).map(([name, value]) => `sandbox/${name}=${value}`);
      await kubectl("dev", "--namespace", namespace, "annotate", "--overwrite", object, ...pairs);
    }),
  );
}

async function unsteer(faults: readonly Steered[]): Promise<void> {
  await Promise.all(
    faults.map(async ({ namespace, object, annotations }) => {
      const names = Object.keys(annotations).map((name) => `sandbox/${name}-`);
      await kubectl("dev", "--namespace", namespace, "annotate", object, ...names);
    }),
  );
}

/** No night has passed in a sandbox: the time of the newest dump is written where Kubernetes keeps it. */
async function backupWasMade(daysAgo: number): Promise<void> {
  const time = new Date(Date.now() - daysAgo * 86_400_000).toISOString().replace(/\.\d+/, "");
  const patch = JSON.stringify({ status: { lastSuccessfulTime: time } });
  const cronJob = ["patch", "cronjob", "postgresql-backup", "--subresource=status", "--type=merge"];
  await kubectl("dev", "--namespace", "data", ...cronJob, "--patch", patch);
}

async function podsOf(app: string): Promise<string[]> {
  const selector = `app.kubernetes.io/name=${app}`;
  const names = await kubectl(
    "dev",
    "--namespace",
    SERVICES,
    "get",
    "pods",
    "--selector",
    selector,
    "--output",
    "name",
  );
  return names.split("\n").filter((name) => name !== "");
}

describe("Prometheus", () => {
  it("scrapes every ServiceMonitor of Git, Argo CD's five ports, and all of them answer", async () => {
    const Monitors = z.object({
      items: z.array(z.object({ metadata: z.object({ name: z.string(), namespace: z.string() }) })),
    });
    const monitors = Monitors.parse(
      JSON.parse(await kubectl("dev", "get", "servicemonitors", "-A", "-o", "json")),
    );
    const argocd = ["server", "repo-server", "application-controller", "applicationset", "notifications"];
    const expected = [
      ...monitors.items.map(({ metadata }) => `serviceMonitor/${metadata.namespace}/${metadata.name}/0`),
      ...argocd.map((name) => `argocd-${name}-metrics`),
      "kubelet",
    ];
    const Targets = z.object({
      activeTargets: z.array(z.object({ scrapePool: z.string(), health: z.string() })),
    });
    const pools = await until("every target is up", async () => {
      const { activeTargets } = await ask("targets?state=active", Targets);
      const found = new Set(activeTargets.map(({ scrapePool }) => scrapePool));
      const isUp = activeTargets.every(({ health }) => health === "up");
      return isUp && found.size >= expected.length ? found : undefined;
    });
    expect([...pools].sort()).toEqual(expected.sort());
  });

  it("has every recorded series, and nothing to say on a good day", async () => {
    // A new cluster has no backup before its first night.
    const [backup] = (await rules("alerting")).filter(({ name }) => name === "BackupTooOld");
    await until("the backup's CronJob is known", async () => {
      return (await query('kube_cronjob_created{cronjob="postgresql-backup"}')).length > 0 || undefined;
    });
    expect(await query("kube_cronjob_status_last_successful_time")).toEqual([]);
    expect(await query(backup?.query ?? "")).toEqual([]);

    await backupWasMade(0);
    const names = [...new Set((await rules("recording")).map(({ name }) => name))];
    expect(names.length).toBeGreaterThan(10);
    let empty: string[] = names;
    await until(`every recorded series is there`, async () => {
      const counts = await Promise.all(names.map(async (name) => (await query(name)).length));
      empty = names.filter((_, index) => counts[index] === 0);
      return empty.length === 0 || undefined;
    });
    expect(empty).toEqual([]);
    expect(await notResolved((await rules("alerting")).map(({ name }) => name))).toEqual([]);
  });
});

describe("order-service", () => {
  const load = [
    { namespace: SERVICES, object: "service/order-service", annotations: { "requests-per-second": "60" } },
  ];

  it("gets more pods when its latency rises, which cures it, and fewer when the load is over", async () => {
    // In Git it is five minutes.
    await appendFile(
      join(work, "overlays/dev/order-service/hpa.yaml"),
      "  behavior:\n    scaleDown:\n      stabilizationWindowSeconds: 10\n      policies:\n        - type: Pods\n          value: 2\n          periodSeconds: 15\n",
    );
    await untilHealthy("dev-order-service", await push("order-service shrinks sooner"));
    const before = (await podsOf("order-service")).length;
    const p99 = `/apis/custom.metrics.k8s.io/v1beta1/namespaces/${SERVICES}/pods/*/http_request_duration_seconds_p99`;
    await until("the adapter has the latency", async () => {
      const list = await kubectl("dev", "get", "--raw", p99).catch(() => "");
      return list.includes("order-service") || undefined;
    });

    await steer(load);
    const grown = async () => (await podsOf("order-service")).length > before || undefined;
    await until("order-service has more pods", grown, 180);
    const events = ["get", "events", "--namespace", SERVICES, "--output", "jsonpath={.items[*].message}"];
    expect(await kubectl("dev", ...events)).toMatch(
      /New size: \d; reason: pods metric http_request_duration_seconds_p99 above target/,
    );
    await until("its latency is well again", async () => {
      const [found] = await query('service:http_request_duration_seconds:p99_5m{service="order-service"}');
      return (found !== undefined && Number(found.value[1]) < 0.5) || undefined;
    });

    await unsteer(load);
    const shrunk = async () => (await podsOf("order-service")).length === before || undefined;
    await until("order-service is as small as before", shrunk, 180);
  });
});

/** Their windows are hours: at this file's pace they would resolve after another 18 minutes. */
const BUDGETS_BURN = ["AvailabilityBudgetBurns", "LatencyBudgetBurns"];
/** It waits for a day, which is 72 minutes at this file's pace. */
const RELEASE_WAITS = "ReleaseWaits";

describe("alerts", () => {
  const BUSY: Steered = {
    namespace: SERVICES,
    object: "service/order-service",
    annotations: { "requests-per-second": "400" },
  };
  const FIRST: readonly Steered[] = [
    { namespace: SERVICES, object: "service/product-service", annotations: { down: "true" } },
    {
      namespace: SERVICES,
      object: "service/payment-service",
      annotations: { errors: "0.3", slowness: "20" },
    },
    {
      namespace: "data",
      object: "service/postgresql",
      annotations: { pg_up: "0", pg_stat_activity_count: "380" },
    },
    {
      namespace: "data",
      object: "service/redis",
      annotations: { redis_up: "0", redis_evicted_keys_total: "5" },
    },
    {
      namespace: "gateway",
      object: "service/apisix-metrics",
      annotations: {
        "apisix_http_status-500": "30",
        "apisix_http_status-429": "30",
        "certificate-days": "2",
      },
    },
    { namespace: "data", object: "pvc/data-postgresql-0", annotations: { used: "0.95" } },
  ];
  const SECOND: readonly Steered[] = [
    { namespace: "gateway", object: "service/apisix-metrics", annotations: { down: "true" } },
    { namespace: "data", object: "service/redis", annotations: { down: "true" } },
  ];
  const CAUSED_FIRST = [
    "ServiceDown",
    "ServiceErrors",
    "ServiceSlow",
    "AvailabilityBudgetBurnsFast",
    "LatencyBudgetBurnsFast",
    "PostgresqlDown",
    "PostgresqlConnections",
    "BackupTooOld",
    "RedisDown",
    "RedisEvicts",
    "GatewayErrors",
    "GatewayLimits",
    "CertificateEnds",
    "VolumeFilling",
    "AutoscalerStarved",
    "AutoscalerAtMaximum",
    "QuotaNearlyUsed",
    "PodRestarts",
    "ApplicationOutOfSync",
    "ApplicationDegraded",
  ];
  const CAUSED_SECOND = ["GatewayDown", "ExporterDown", "ArgocdDown"];
  const RESOLVES = [...CAUSED_FIRST, ...CAUSED_SECOND];

  it("are these", async () => {
    const names = new Set((await rules("alerting")).map(({ name }) => name));
    expect([...names].sort()).toEqual([...RESOLVES, ...BUDGETS_BURN, RELEASE_WAITS].sort());
  });

  it("fire for the fault that they are about, and reach Alertmanager", async () => {
    await steer(FIRST);
    await backupWasMade(2);
    // The API server refuses the new object.
    await writeFile(
      join(work, "overlays/dev/product-service/refused.yaml"),
      `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: refused\n  namespace: ${SERVICES}\ndata:\n  not a key: ""\n`,
    );
    await edit("overlays/dev/product-service/kustomization.yaml", (text) =>
      text.replace("resources:\n", "resources:\n  - refused.yaml\n"),
    );
    // It crashes, and the rollout is given up after 10 seconds instead of ten minutes.
    await edit("overlays/dev/user-service/kustomization.yaml", (text) => {
      const crashing = text.replace(/newTag: .*/, `newTag: "bad0bad${"0".repeat(33)}"`);
      const patch = "- op: add\n        path: /spec/progressDeadlineSeconds\n        value: 10";
      return `${crashing}  - target:\n      kind: Deployment\n    patch: |-\n      ${patch}\n`;
    });
    const before = await podsOf("user-service");
    await push("Two faulty releases");
    const crashing = await until("a pod of user-service crashes", async () =>
      (await podsOf("user-service")).find((name) => !before.includes(name)),
    );
    const restarted = [{ op: "replace", path: "/status/containerStatuses/0/restartCount", value: 12 }];
    await until("it was scraped", async () => {
      const name = crashing.replace("pod/", "");
      return (await query(`kube_pod_container_status_restarts_total{pod="${name}"}`)).length > 0 || undefined;
    });
    const patch = [
      "patch",
      crashing,
      "--subresource=status",
      "--type=json",
      "--patch",
      JSON.stringify(restarted),
    ];
    await kubectl("dev", "--namespace", SERVICES, ...patch);

    // Nothing fits any more, so that order-service does not get the pods that it needs.
    const pods = await kubectl("dev", "--namespace", SERVICES, "get", "pods", "--output", "name");
    const hard = `--hard=pods=${pods.trim().split("\n").length}`;
    await kubectl("dev", "--namespace", SERVICES, "create", "quota", "full", hard);
    await steer([BUSY]);
    expect(await notFired([...CAUSED_FIRST, ...BUDGETS_BURN])).toEqual([]);
  });

  it("silence what follows from them: who fails fast is not told to fail for days", async () => {
    const followers = (await alerts()).filter(
      ({ labels }) => labels.alertname === "AvailabilityBudgetBurns" && labels.service === "payment-service",
    );
    expect(followers.map(({ status }) => status.inhibitedBy.length)).toEqual([1]);
  });

  it("stand beside the app in npm run status", async () => {
    const Rows = z.array(
      z.looseObject({
        app: z.string(),
        env: z.string(),
        alerts: z.array(z.object({ name: z.string() })).nullable(),
      }),
    );
    const rows = Rows.parse(JSON.parse((await npm("run", "status", "--", "--json")).stdout));
    const of = (app: string) =>
      rows.find((row) => row.app === app && row.env === "dev")?.alerts?.map(({ name }) => name) ?? [];
    expect(of("payment-service")).toContain("ServiceErrors");
    expect(of("postgresql")).toContain("PostgresqlDown");
    expect((await npm("run", "status")).stdout).toMatch(
      /^! {2}payment-service in dev: ServiceErrors \(critical\): payment-service fails$/m,
    );
  });

  it("fire for the faults that cannot be there together with the first ones", async () => {
    await unsteer(FIRST);
    await backupWasMade(0);
    await revert();
    // Now order-service gets all the pods that it may have, and needs more.
    await kubectl("dev", "--namespace", SERVICES, "delete", "quota", "full");
    await steer(SECOND);
    const notifications = (await startedProcesses(layout)).get("argocd-notifications-controller");
    if (notifications === undefined) throw new Error("Argo CD's notifications do not run");
    // The supervisor starts what does not answer anew, but not before a minute is over.
    process.kill(notifications.pid, "SIGSTOP");
    const left = await notFired(CAUSED_SECOND);
    process.kill(notifications.pid, "SIGCONT");
    expect(left).toEqual([]);
  });

  it("resolve when the fault is gone, and the receiver gets both", async () => {
    await unsteer([...SECOND, BUSY]);
    expect(await notResolved(RESOLVES)).toEqual([]);
    const pending = await query('count by (alertname) (max_over_time(ALERTS{alertstate="pending"}[1h]))');
    const seen = pending.map(({ metric }) => metric["alertname"]);
    const waiting = (await rules("alerting")).filter(({ duration }) => duration > 0).map(({ name }) => name);
    expect(RESOLVES.filter((name) => waiting.includes(name) && !seen.includes(name))).toEqual([]);

    let missing: string[] = [];
    await until("the receiver was told of all but those for information", async () => {
      missing = await notTold(RESOLVES);
      return missing.join() === "GatewayLimits" || undefined;
    }).catch(() => undefined);
    expect(missing).toEqual(["GatewayLimits"]);
  });
});

describe("the dashboards", async () => {
  const Dashboard = z.object({
    panels: z.array(z.object({ title: z.string(), targets: z.array(z.object({ expr: z.string() })) })),
    templating: z.object({
      list: z.array(
        z.object({ name: z.string(), query: z.union([z.string(), z.object({ query: z.string() })]) }),
      ),
    }),
  });
  const files = await glob(["base/monitoring/dashboards/*.json", "argocd/monitoring/*.json"], { cwd: root });
  const dashboards = await Promise.all(
    files.map(async (file) => ({
      file,
      ...Dashboard.parse(JSON.parse(await readFile(join(root, file), "utf8"))),
    })),
  );
  const fill = (text: string, values: ReadonlyMap<string, string>) =>
    [...values].reduce((filled, [name, value]) => filled.replaceAll(`$${name}`, value), text);

  it.each(dashboards)(
    "$file: every variable has values, and every panel data",
    async ({ panels, templating }) => {
      const values = new Map<string, string>();
      for (const { name, query: source } of templating.list) {
        if (typeof source === "string") continue;
        const [, series = "", label = ""] = /^label_values\((.+), (\w+)\)$/.exec(source.query) ?? [];
        const found = await query(`group by (${label}) (${fill(series, values)})`);
        const first = found.map(({ metric }) => metric[label] ?? "").sort()[0] ?? "";
        expect(first, name).not.toBe("");
        values.set(name, first);
      }
      const counts = await Promise.all(
        panels.flatMap(({ title, targets }) =>
          targets.map(async ({ expr }) => ({ title, count: (await query(fill(expr, values))).length })),
        ),
      );
      expect(counts.filter(({ count }) => count === 0)).toEqual([]);
    },
  );
});

describe("alerts about hours and days, at a faster pace", () => {
  /** Three times what is promised, and two and a half times: a fast burn begins at six. */
  const LEAK: readonly Steered[] = [
    { namespace: SERVICES, object: "service/payment-service", annotations: { errors: "0.003" } },
    { namespace: SERVICES, object: "service/product-service", annotations: { slowness: "3" } },
  ];

  it("are over soon after their cause is", async () => {
    await startMonitoring(PACE_FOR_DAYS);
    expect(await notResolved(BUDGETS_BURN)).toEqual([]);
  });

  it("fire for a small leak that no faster alert is about, resolve, and the receiver gets both", async () => {
    await steer(LEAK);
    expect(await notFired(BUDGETS_BURN)).toEqual([]);
    const names = new Set((await alerts()).map(({ labels }) => labels.alertname));
    expect([...names].filter((name) => name.endsWith("BurnsFast"))).toEqual([]);
    await unsteer(LEAK);
    expect(await notResolved(BUDGETS_BURN)).toEqual([]);
    await until("the receiver was told", async () => (await notTold(BUDGETS_BURN)).length === 0 || undefined);
  });

  it("fire for a release that prod was not given for a day, until somebody syncs it", async () => {
    expect(await notFired([RELEASE_WAITS])).toEqual([]);
    await ensureProd();
    expect(await notResolved([RELEASE_WAITS])).toEqual([]);
    expect(
      await query('max_over_time(ALERTS{alertname="ReleaseWaits",alertstate="pending"}[1h])'),
    ).not.toEqual([]);
    expect(await notTold([RELEASE_WAITS])).toEqual([RELEASE_WAITS]);
  });
});
