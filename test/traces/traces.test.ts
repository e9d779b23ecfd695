/**
 * Traces, for real: services send them over OTLP, the collector of each environment chooses, and Jaeger has what is kept. Both
 * programs read the configuration of argocd/addons; `placed` has what is changed in it.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import getPort from "get-port";
import { afterAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { z } from "zod";
import { sha256 } from "../../scripts/lib/digest.ts";
import { repositoryRoot } from "../../scripts/lib/repository.ts";
import { addonValues } from "../../scripts/lib/sandbox/monitoring.ts";
import { resolveTool } from "../../scripts/lib/tools/resolve.ts";
import { waitFor } from "../../scripts/lib/wait.ts";

const Config = z.looseObject({
  receivers: z.object({ otlp: z.object({ protocols: z.record(z.string(), z.looseObject({})) }) }),
  processors: z.looseObject({ memory_limiter: z.looseObject({}) }),
  service: z.looseObject({}),
});
type Config = z.infer<typeof Config>;

const { path: otelcol } = await resolveTool("otelcol");
const { path: jaeger } = await resolveTool("jaeger");
const values = {
  collector: z
    .object({
      extraEnvs: z.array(z.object({ name: z.string(), value: z.string() })),
      alternateConfig: Config,
    })
    .parse(await addonValues(repositoryRoot(), "opentelemetry-collector")),
  jaeger: z.object({ userconfig: Config }).parse(await addonValues(repositoryRoot(), "jaeger")),
};

const directory = await mkdtemp(join(tmpdir(), "traces-"));
const freeAddress = async (): Promise<string> => `127.0.0.1:${await getPort({ host: "127.0.0.1" })}`;
const jaegerOtlp = await freeAddress();
const jaegerQuery = await freeAddress();
const running: ReturnType<typeof spawn>[] = [];

afterAll(async () => {
  for (const child of running) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill();
    await once(child, "exit");
  }
  await rm(directory, { recursive: true, force: true });
});

/** The configuration with addresses of this machine, and with one for the program's own metrics, which has a default of 8888. */
async function placed(config: Config, addresses: Record<string, string>): Promise<Config> {
  const [host, port] = (addresses["metrics"] ?? (await freeAddress())).split(":");
  const reader = { pull: { exporter: { prometheus: { host, port: Number(port) } } } };
  const text = JSON.stringify({
    ...config,
    service: { ...config.service, telemetry: { metrics: { readers: [reader] } } },
  });
  return Config.parse(JSON.parse(text, (_, value: unknown) => addresses[String(value)] ?? value));
}

/** Starts a program with its configuration, and waits until the endpoint that its probes ask answers with 200. */
async function start(
  program: string,
  name: string,
  config: Config,
  probe: string,
  env: Record<string, string>,
): Promise<void> {
  const file = join(directory, `${name}.yaml`);
  await writeFile(file, stringify(config));
  const child = spawn(program, [`--config=${file}`], { env, stdio: ["ignore", "ignore", "pipe"] });
  running.push(child);
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    log += text;
  });
  const isReady = async (): Promise<true | undefined> => {
    if (child.exitCode !== null) throw new Error(`${name} has ended: ${log.slice(-2000)}`);
    const answer = await fetch(`http://${probe}`).catch(() => undefined);
    return answer?.ok === true ? true : undefined;
  };
  await waitFor(`${name} is ready`, isReady, { lastWord: () => log.trimEnd().split("\n").at(-1) ?? "" });
}

interface Collector {
  /** The addresses of OTLP over HTTP and of the collector's own metrics. */
  otlp: string;
  metrics: string;
}

/**
 * The collector of an environment. The tree has OTLP over gRPC only, which Node does not speak by itself: the receiver gets the
 * other protocol, too.
 */
async function startCollector(
  name: string,
  environment: string,
  change: (config: Config) => void = () => undefined,
): Promise<Collector> {
  const [otlp, health, metrics] = [await freeAddress(), await freeAddress(), await freeAddress()];
  const config = await placed(values.collector.alternateConfig, {
    "0.0.0.0:4317": await freeAddress(),
    "0.0.0.0:13133": health,
    "jaeger.monitoring.svc.cluster.local:4317": jaegerOtlp,
    metrics,
  });
  config.receivers.otlp.protocols["http"] = { endpoint: otlp };
  change(config);
  const env = values.collector.extraEnvs.map((entry) => [
    entry.name,
    ofEnvironment(entry.value, environment),
  ]);
  await start(otelcol, name, config, health, Object.fromEntries(env));
  return { otlp, metrics };
}

/** The one kind of template in the values that Argo CD fills in for each environment. */
function ofEnvironment(template: string, environment: string): string {
  const match = /^\{\{if eq \.metadata\.labels\.environment "(\w+)"\}\}(.*)\{\{else\}\}(.*)\{\{end\}\}$/.exec(
    template,
  );
  if (match === null) throw new Error(`the test does not know the template ${template}`);
  const [, name, then = "", otherwise = ""] = match;
  return environment === name ? then : otherwise;
}

interface Trace {
  id: string;
  kind: "failed" | "slow" | "other";
}

/** The same ids in each run, so that the same ones are chosen. */
function tracesOf(environment: string): Trace[] {
  const counts = { failed: 50, slow: 50, other: 1000 };
  return (["failed", "slow", "other"] as const).flatMap((kind) =>
    Array.from({ length: counts[kind] }, (_, n) => ({ id: hex(`${environment} ${kind} ${n}`, 32), kind })),
  );
}

const hex = (text: string, digits: number): string =>
  sha256(text).slice("sha256:".length, "sha256:".length + digits);

/** A span that begins and ends so many milliseconds after the trace. */
function span({ id, kind }: Trace, service: string, fromMs: number, toMs: number): object {
  const at = (ms: number): string => `${BEGIN + BigInt(ms) * 1_000_000n}`;
  const isRoot = service === "order-service";
  return {
    traceId: id,
    spanId: hex(`${id} ${service}`, 16),
    ...(isRoot ? {} : { parentSpanId: hex(`${id} order-service`, 16) }),
    name: isRoot ? "POST /api/v1/orders" : "POST /payments",
    kind: isRoot ? 2 : 3,
    startTimeUnixNano: at(fromMs),
    endTimeUnixNano: at(toMs),
    // As large as a span with a URL, headers and a statement.
    attributes: [{ key: "db.query.text", value: { stringValue: "x".repeat(2000) } }],
    status: { code: kind === "failed" && !isRoot ? 2 : 0 },
  };
}
const BEGIN = BigInt(Date.now() - 60_000) * 1_000_000n;

/** Sends spans of a service as its SDK does: many at a time. */
async function send({ otlp }: Collector, service: string, spans: readonly object[]): Promise<number[]> {
  const answers: number[] = [];
  for (let n = 0; n < spans.length; n += 100) {
    const resource = { attributes: [{ key: "service.name", value: { stringValue: service } }] };
    const body = { resourceSpans: [{ resource, scopeSpans: [{ spans: spans.slice(n, n + 100) }] }] };
    const { status } = await fetch(`http://${otlp}/v1/traces`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    answers.push(status);
  }
  return answers;
}

/** The sum of a metric of the collector over all its series that have these labels. */
async function metric({ metrics }: Collector, name: string, labels = ""): Promise<number> {
  const text = await (await fetch(`http://${metrics}/metrics`)).text();
  return text
    .split("\n")
    .filter((line) => line.startsWith(`${name}{`) && line.includes(labels))
    .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

const Answer = z.object({
  data: z.array(z.object({ traceID: z.string(), spans: z.array(z.looseObject({})) })),
});

/** How many spans of each trace Jaeger has, by the trace's id. */
async function inJaeger(): Promise<Map<string, number>> {
  const answer = await fetch(`http://${jaegerQuery}/api/traces?service=order-service&limit=10000`);
  const { data } = Answer.parse(await answer.json());
  return new Map(data.map(({ traceID, spans }) => [traceID, spans.length]));
}

describe("a service's trace", async () => {
  const health = await freeAddress();
  const config = await placed(values.jaeger.userconfig, {
    "0.0.0.0:4317": jaegerOtlp,
    "0.0.0.0:13133": health,
    "0.0.0.0:16685": await freeAddress(),
    "0.0.0.0:16686": jaegerQuery,
  });
  // It would send traces of itself to localhost:4317.
  await start(jaeger, "jaeger", config, `${health}/status`, { OTEL_TRACES_SAMPLER: "always_off" });

  it.concurrent.each([
    ["dev", 1000, 1000],
    ["staging", 1000, 1000],
    // 10 % of 1000: five standard deviations of 9.5 to both sides. The ids are fixed, so a run is as the one before.
    ["prod", 52, 148],
  ])(
    "in %s is kept if it failed or was slow; of 1000 others %i to %i are",
    async (environment, least, most) => {
      const collector = await startCollector(`collector of ${environment}`, environment);
      const traces = tracesOf(environment);
      // Nothing in the first half of a trace says that it is slow, or that it has failed.
      const roots = traces.map((trace) => span(trace, "order-service", 0, trace.kind === "slow" ? 300 : 490));
      const calls = traces.map((trace) =>
        span(trace, "payment-service", 100, trace.kind === "slow" ? 510 : 480),
      );
      const answers = [
        ...(await send(collector, "order-service", roots)),
        ...(await send(collector, "payment-service", calls)),
      ];
      expect(new Set(answers)).toEqual(new Set([200]));

      const decided = "otelcol_processor_tail_sampling_global_count_traces_sampled";
      await waitFor("every trace is decided", async () =>
        (await metric(collector, decided)) === traces.length ? true : undefined,
      );
      const kept = await metric(collector, decided, 'sampled="true"');
      let found: Trace[] = [];
      const arrived = async (): Promise<true | undefined> => {
        const all = await inJaeger();
        found = traces.filter(({ id }) => all.get(id) === 2);
        return found.length === kept ? true : undefined;
      };
      const lastWord = () => `${found.length} of ${kept} traces`;
      await waitFor("Jaeger has what is kept", arrived, { everyMs: 1000, lastWord });
      const count = (kind: Trace["kind"]): number => found.filter((trace) => trace.kind === kind).length;
      expect([count("failed"), count("slow")]).toEqual([50, 50]);
      expect(count("other")).toBeGreaterThanOrEqual(least);
      expect(count("other")).toBeLessThanOrEqual(most);
    },
  );
});

it("A collector short of memory refuses spans, so that SDKs send them again", async () => {
  const collector = await startCollector("small collector", "dev", (config) => {
    // Less than it has taken by then, in place of 80 % of the container's limit.
    const { check_interval } = config.processors.memory_limiter;
    config.processors.memory_limiter = { check_interval, limit_mib: 2, spike_limit_mib: 1 };
  });
  const trace: Trace = { id: hex("refused", 32), kind: "failed" };
  const answer = await waitFor("the collector refuses spans", async () => {
    const [status] = await send(collector, "order-service", [span(trace, "order-service", 0, 100)]);
    return status === 200 ? undefined : status;
  });
  expect(answer).toBe(503);
});
