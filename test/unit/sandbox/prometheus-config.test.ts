import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import {
  alertmanagerConfig,
  prometheusConfig,
  rulesFile,
} from "../../../scripts/lib/sandbox/prometheus-config.ts";

/** As prometheus-operator 0.93 writes it, with one job. */
const GENERATED = `
global:
  scrape_interval: 30s
  external_labels:
    prometheus_replica: $(POD_NAME)
rule_files:
  - /etc/prometheus/rules/prometheus-prometheus-prometheus-rulefiles-0/*.yaml
scrape_configs:
  - job_name: serviceMonitor/monitoring/order-service/0
    kubernetes_sd_configs:
      - role: endpoints
        namespaces:
          names:
            - microservices
    scrape_interval: 15s
    scrape_timeout: 10s
    relabel_configs:
      - source_labels: [__tmp_hash]
        regex: $(SHARD)
        action: keep
alerting:
  alertmanagers:
    - path_prefix: /
      kubernetes_sd_configs:
        - role: endpoints
          namespaces:
            names:
              - monitoring
`;
const PLACE = {
  pod: "prometheus-prometheus-prometheus-0",
  kubeconfig: "/sandbox/admin.kubeconfig",
  proxy: "http://127.0.0.1:20050",
  rules: "/sandbox/rules",
  jobs: [{ job_name: "argocd-server-metrics" }],
  pace: 1,
};
const discovery = (namespace: string) => [
  { role: "endpoints", namespaces: { names: [namespace] }, kubeconfig_file: PLACE.kubeconfig },
];

describe("the configuration that prometheus-operator generates", () => {
  it("gets a kubeconfig, a proxy, the names of its pod and the directory of its rules, and nothing else", () => {
    expect(parse(prometheusConfig(GENERATED, PLACE))).toEqual({
      global: { scrape_interval: "30s", external_labels: { prometheus_replica: PLACE.pod } },
      rule_files: ["/sandbox/rules/prometheus-prometheus-prometheus-rulefiles-0/*.yaml"],
      scrape_configs: [
        {
          job_name: "serviceMonitor/monitoring/order-service/0",
          kubernetes_sd_configs: discovery("microservices"),
          scrape_interval: "15s",
          scrape_timeout: "10s",
          relabel_configs: [{ source_labels: ["__tmp_hash"], regex: 0, action: "keep" }],
          proxy_url: PLACE.proxy,
          no_proxy: "127.0.0.1",
        },
        { job_name: "argocd-server-metrics" },
      ],
      alerting: {
        alertmanagers: [
          { path_prefix: "/", kubernetes_sd_configs: discovery("monitoring"), proxy_url: PLACE.proxy },
        ],
      },
    });
  });

  it("can scrape more often, but not more often than a busy machine can answer", () => {
    const { global, scrape_configs: jobs } = parse(prometheusConfig(GENERATED, { ...PLACE, pace: 10 }));
    expect(global.scrape_interval).toBe("3000ms");
    expect(jobs[0]).toMatchObject({ scrape_interval: "2000ms", scrape_timeout: "2000ms" });
  });
});

describe("a file of rules", () => {
  const RULES = `
groups:
  - name: slo
    interval: 30s
    rules:
      - alert: Slow
        expr: predict_linear(free[6h], 4 * 86400) < 0 and rate(slow[5m]) > 0.1
        for: 1h30m
        annotations:
          summary: "[5m] are over"
`;

  it("is not evaluated more often than a busy machine can", () => {
    expect(parse(rulesFile(RULES, 100)).groups[0].interval).toBe("1000ms");
  });

  it("stays as it is", () => {
    expect(rulesFile(RULES, 1)).toBe(RULES);
  });

  it("can have shorter times: of alerts, of groups, and the windows of queries", () => {
    expect(parse(rulesFile(RULES, 10)).groups).toEqual([
      {
        name: "slo",
        interval: "3000ms",
        rules: [
          {
            alert: "Slow",
            expr: "predict_linear(free[2160000ms], 4 * 86400) < 0 and rate(slow[30000ms]) > 0.1",
            for: "540000ms",
            annotations: { summary: "[5m] are over" },
          },
        ],
      },
    ]);
  });
});

it("Alertmanager reads its credential where the sandbox has it", () => {
  const generated = `
route:
  group_wait: 10s
  repeat_interval: 1h
receivers:
  - name: chat
    webhook_configs:
      - url_file: /etc/alertmanager/secrets/alertmanager-receiver/url
`;
  expect(parse(alertmanagerConfig(generated, "/sandbox/secrets", 10))).toEqual({
    route: { group_wait: "1000ms", repeat_interval: "360000ms" },
    receivers: [
      { name: "chat", webhook_configs: [{ url_file: "/sandbox/secrets/alertmanager-receiver/url" }] },
    ],
  });
});
