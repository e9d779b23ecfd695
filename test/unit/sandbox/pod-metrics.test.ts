import { describe, expect, it } from "vitest";
import {
  advance,
  cpuShare,
  exporterMetrics,
  exposition,
  loadOf,
  type Steering,
  serviceMetrics,
  volumeMetrics,
} from "../../../scripts/lib/sandbox/pod-metrics.ts";

const sumOf = (counters: Readonly<Record<string, number>>, part: string) =>
  Object.entries(counters)
    .filter(([series]) => series.includes(part))
    .reduce((sum, [, pace]) => sum + pace, 0);

/** As Prometheus reads it: the first bucket that holds 99 of 100 requests. */
function p99(steering: Steering, pods: number): number {
  const { counters } = serviceMetrics(steering, pods);
  const all = sumOf(counters, 'le="+Inf"');
  const limits = [...new Set(Object.keys(counters).flatMap((name) => /le="([\d.]+)"/.exec(name)?.[1] ?? []))];
  return Number(
    limits.find((limit) => sumOf(counters, `le="${limit}"`) >= 0.99 * all) ?? Number.POSITIVE_INFINITY,
  );
}

const errors = (steering: Steering, pods: number) => {
  const { counters } = serviceMetrics(steering, pods);
  return sumOf(counters, 'status="500"') / sumOf(counters, "http_requests_total");
};

describe("a service", () => {
  it("shares its requests among its ready pods", () => {
    const one = sumOf(serviceMetrics({}, 1).counters, "http_requests_total");
    const four = sumOf(serviceMetrics({}, 4).counters, "http_requests_total");
    expect(four).toBeCloseTo(one / 4);
  });

  it("keeps its promises by itself", () => {
    expect(p99({}, 1)).toBeLessThanOrEqual(0.25);
    expect(errors({}, 1)).toBeLessThan(0.001);
  });

  it("gets slow and fails when it has too much to do, and more pods cure it", () => {
    const busy = { "requests-per-second": "60" };
    expect(p99(busy, 1)).toBeGreaterThan(1);
    expect(errors(busy, 1)).toBeGreaterThan(0.05);
    expect(p99(busy, 3)).toBeLessThanOrEqual(0.25);
    expect(errors(busy, 3)).toBeLessThan(0.001);
  });

  it("can be slow for another reason, which more pods do not cure", () => {
    expect(p99({ slowness: "10" }, 3)).toBeGreaterThan(0.5);
    expect(errors({ errors: "0.3" }, 3)).toBeCloseTo(0.3, 2);
  });

  it("uses cpu by its load, but never so much that an autoscaler would act on it alone", () => {
    expect(cpuShare(loadOf({}, 3))).toBeLessThan(cpuShare(loadOf({}, 1)));
    expect(cpuShare(100)).toBeLessThanOrEqual(0.6);
  });

  it.each(["", "soon", "NaN"])("takes the annotation %j for none", (value) => {
    expect(serviceMetrics({ "requests-per-second": "20", errors: value }, 1)).toEqual(serviceMetrics({}, 1));
  });
});

describe("an exporter", () => {
  it.each([
    ["postgresql", {}, "pg_up 1\n"],
    ["postgresql", { pg_up: "0" }, "pg_up 0\n"],
    ["redis", { redis_up: "0" }, "redis_up 0\n"],
  ])("of %s with %j says %j", (app, steering, line) => {
    expect(exposition(Object.entries(exporterMetrics(app, steering).gauges))).toContain(line);
  });

  it("counts by what an annotation says", () => {
    const pace = exporterMetrics("apisix", { "apisix_http_status-500": "7" });
    const counters = new Map<string, number>();
    advance(counters, pace, 2);
    advance(counters, pace, 1);
    expect(counters.get('apisix_http_status{code="500"}')).toBe(21);
  });
});

it("a disk has as much left as is not used", () => {
  const [capacity = 0, available = 0] = Object.values(volumeMetrics("data", "data-redis-0", 0.9));
  expect(available / capacity).toBeCloseTo(0.1);
});
