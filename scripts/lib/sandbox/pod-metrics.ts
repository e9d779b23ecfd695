/**
 * The metrics of a simulated pod. A service has a rate of requests, which its ready pods share. The latency and the errors of a pod
 * rise with its load, so that more pods cure them. Annotations of the Service steer it; docs/monitoring.md lists them.
 */

/** Series that grow, each with its pace a second, and series that have a value; both by name with labels. */
export interface Exported {
  readonly counters: Readonly<Record<string, number>>;
  readonly gauges: Readonly<Record<string, number>>;
}

/** The annotations of the pod's Service, without their prefix. */
export type Steering = Readonly<Record<string, string>>;

/** Annotations that steer begin with it. */
export const STEERING = "sandbox/";

/** Requests a second: of a whole service, and those with which one pod is well. */
const USUAL_REQUESTS = 20;
const COMFORTABLE_REQUESTS = 20;
const ROUTES = [
  { labels: 'method="GET",route="/items/:id"', share: 0.75 },
  { labels: 'method="POST",route="/items"', share: 0.25 },
];
/** The usual ones of Prometheus' client libraries. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
/** Of a log-normal law; its 99th percentile is 2.326 of them above the median. */
const SIGMA = 0.5;
const SIGMAS_TO_P99 = 2.326;

/** How much a pod has to do: 1 is comfortable. */
export function loadOf(steering: Steering, readyPods: number): number {
  return requestsOf(steering) / Math.max(1, readyPods) / COMFORTABLE_REQUESTS;
}

/** The share of the requested cpu that a pod uses: below what autoscalers act on, so that the latency is what scales. */
export function cpuShare(load: number): number {
  return Math.min(0.6, 0.15 + 0.15 * load);
}

/** The metrics of a service's pod. */
export function serviceMetrics(steering: Steering, readyPods: number): Exported {
  const load = loadOf(steering, readyPods);
  const requests = requestsOf(steering) / Math.max(1, readyPods);
  const p99 = Math.min(8, 0.1 + 0.1 * load ** 3) * numberOf(steering, "slowness", 1);
  const errors = Math.min(1, 0.0002 + 0.05 * Math.max(0, load - 2) + numberOf(steering, "errors", 0));
  const median = Math.log(p99) - SIGMAS_TO_P99 * SIGMA;
  const counters: Record<string, number> = {};
  for (const { labels, share } of ROUTES) {
    const pace = requests * share;
    counters[`http_requests_total{${labels},status="200"}`] = pace * (1 - errors);
    counters[`http_requests_total{${labels},status="500"}`] = pace * errors;
    const name = "http_request_duration_seconds";
    for (const limit of BUCKETS) {
      const below = normal((Math.log(limit) - median) / SIGMA);
      counters[`${name}_bucket{${labels},le="${limit}"}`] = pace * below;
    }
    counters[`${name}_bucket{${labels},le="+Inf"}`] = pace;
    counters[`${name}_count{${labels}}`] = pace;
    counters[`${name}_sum{${labels}}`] = pace * Math.exp(median + SIGMA ** 2 / 2);
  }
  return { counters, gauges: {} };
}

/** The metrics of other apps' exporters on a good day; an annotation of the name in front gives another value. */
const GAUGES: Readonly<Record<string, readonly [name: string, series: string, value: number][]>> = {
  postgresql: [
    ["pg_up", "pg_up", 1],
    ["pg_settings_max_connections", "pg_settings_max_connections", 400],
    ["pg_stat_activity_count", 'pg_stat_activity_count{datname="ecommerce",state="active"}', 20],
  ],
  redis: [["redis_up", "redis_up", 1]],
};
const COUNTERS: typeof GAUGES = {
  redis: [["redis_evicted_keys_total", "redis_evicted_keys_total", 0]],
  apisix: ["200", "429", "500"].map((code) => [
    `apisix_http_status-${code}`,
    `apisix_http_status{code="${code}"}`,
    code === "200" ? 2 * USUAL_REQUESTS : 0,
  ]),
};

/** The metrics of another app's pod. */
export function exporterMetrics(app: string, steering: Steering): Exported {
  const read = (table: typeof GAUGES) =>
    Object.fromEntries(
      (table[app] ?? []).map(([name, series, value]) => [series, numberOf(steering, name, value)]),
    );
  return { counters: read(COUNTERS), gauges: read(GAUGES) };
}

/** The metric of x509-certificate-exporter about the gateway's certificate. */
export function certificateMetrics(steering: Steering, now: Date): Exported["gauges"] {
  const days = numberOf(steering, "certificate-days", 90);
  const labels = 'secret_namespace="gateway",secret_name="gateway-tls"';
  return { [`x509_cert_not_after{${labels}}`]: now.getTime() / 1000 + days * 86_400 };
}

/** A kubelet's metrics of a disk that is used to this share. */
export function volumeMetrics(namespace: string, claim: string, used: number): Exported["gauges"] {
  const labels = `namespace="${namespace}",persistentvolumeclaim="${claim}"`;
  const capacity = 20 * 1024 ** 3;
  return {
    [`kubelet_volume_stats_capacity_bytes{${labels}}`]: capacity,
    [`kubelet_volume_stats_available_bytes{${labels}}`]: capacity * (1 - used),
  };
}

/** Lets time pass for counters. */
export function advance(counters: Map<string, number>, { counters: paces }: Exported, seconds: number): void {
  for (const [series, pace] of Object.entries(paces))
    counters.set(series, (counters.get(series) ?? 0) + pace * seconds);
}

/** The text that Prometheus reads. */
export function exposition(series: Iterable<readonly [string, number]>): string {
  return [...series].map(([name, value]) => `${name} ${value}\n`).join("");
}

/** A number that an annotation gives, or the usual one. */
export function numberOf(steering: Steering, name: string, usual: number): number {
  const value = Number(steering[name] ?? usual);
  return Number.isFinite(value) ? value : usual;
}

function requestsOf(steering: Steering): number {
  return numberOf(steering, "requests-per-second", USUAL_REQUESTS);
}

/** The normal distribution, to four digits (Abramowitz and Stegun, 26.2.17). */
function normal(x: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(x));
  const tail =
    (Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI)) *
    t *
    (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return x >= 0 ? 1 - tail : tail;
}
