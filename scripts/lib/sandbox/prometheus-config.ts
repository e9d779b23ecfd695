/**
 * From the configuration that prometheus-operator generates for pods to the one of processes on this machine. The edits are
 * mechanical: none depends on what a ServiceMonitor or a rule says.
 */
import { parse, stringify } from "yaml";
import { z } from "zod";

/** Where the processes are. */
export interface Place {
  /** The name of the simulated pod that Prometheus would run in. */
  readonly pod: string;
  /** The cluster whose objects are the targets. */
  readonly kubeconfig: string;
  /** The proxy that answers for the pods. */
  readonly proxy: string;
  /** The directory with the rules. */
  readonly rules: string;
  /** Jobs beside those of the operator. */
  readonly jobs: readonly object[];
  /** By how much all times are shorter: 1 leaves them as they are. */
  readonly pace: number;
}

const Discovered = z.looseObject({ kubernetes_sd_configs: z.array(z.looseObject({})).default([]) });
const Generated = z.looseObject({
  rule_files: z.array(z.string()).default([]),
  scrape_configs: z.array(Discovered).default([]),
  alerting: z.looseObject({ alertmanagers: z.array(Discovered).default([]) }).optional(),
});

/** Keys of Prometheus' and Alertmanager's files whose values are durations that a test may shorten. */
const TIMES = new Set([
  "scrape_interval",
  "scrape_timeout",
  "evaluation_interval",
  "interval",
  "for",
  "keep_firing_for",
  "group_wait",
  "group_interval",
  "repeat_interval",
]);
/** No scrape or evaluation is more frequent, and no scrape is given less time: the machine does not get faster by the pace. */
const SHORTEST_MS: Readonly<Record<string, number>> = {
  scrape_interval: 2000,
  scrape_timeout: 2000,
  evaluation_interval: 1000,
  interval: 1000,
};

/** Prometheus' file. */
export function prometheusConfig(generated: string, place: Place): string {
  const text = generated.replaceAll("$(POD_NAME)", place.pod).replaceAll("$(SHARD)", "0");
  const config = Generated.parse(parse(text));
  const discover = <T extends z.infer<typeof Discovered>>(entry: T) => ({
    ...entry,
    kubernetes_sd_configs: entry.kubernetes_sd_configs.map((discovery) => ({
      ...discovery,
      kubeconfig_file: place.kubeconfig,
    })),
    proxy_url: place.proxy,
  });
  const edited = {
    ...config,
    rule_files: config.rule_files.map((path) => path.replace(/^\/etc\/prometheus\/rules/, place.rules)),
    scrape_configs: [
      // Processes of the sandbox itself are asked without the proxy.
      ...config.scrape_configs.map((job) => ({ ...discover(job), no_proxy: "127.0.0.1" })),
      ...place.jobs,
    ],
    ...(config.alerting === undefined
      ? {}
      : { alerting: { ...config.alerting, alertmanagers: config.alerting.alertmanagers.map(discover) } }),
  };
  return stringify(shorten(edited, place.pace));
}

/** A file of rules: the times of an alert, and the windows of its query. */
export function rulesFile(generated: string, pace: number): string {
  return pace === 1 ? generated : stringify(shorten(parse(generated), pace));
}

/** Alertmanager's file: a credential is a file, and stands in another directory. */
export function alertmanagerConfig(generated: string, secrets: string, pace: number): string {
  const text = generated.replaceAll("/etc/alertmanager/secrets", secrets);
  return stringify(shorten(parse(text), pace));
}

/** Divides the windows of a query, such as `[5m]`. */
export function shortenQuery(query: string, pace: number): string {
  return query.replaceAll(/\[(\w+)\]/g, (_, window: string) => `[${shorter(window, pace)}]`);
}

function shorten(value: unknown, pace: number, key = ""): unknown {
  if (pace === 1) return value;
  if (Array.isArray(value)) return value.map((item) => shorten(item, pace));
  if (typeof value === "string") {
    if (TIMES.has(key)) return shorter(value, pace, SHORTEST_MS[key]);
    return key === "expr" ? shortenQuery(value, pace) : value;
  }
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, shorten(inner, pace, name)]));
}

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  y: 31_536_000_000,
};

/** A duration as Prometheus writes it, divided. */
function shorter(duration: string, pace: number, shortestMs = 1): string {
  const parts = [...duration.matchAll(/(\d+)(ms|[smhdwy])/g)];
  const ms = parts.reduce((sum, [, count, unit = ""]) => sum + Number(count) * (UNITS[unit] ?? 0), 0);
  return `${Math.max(shortestMs, Math.round(ms / pace))}ms`;
}
