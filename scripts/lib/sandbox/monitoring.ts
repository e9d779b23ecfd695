/**
 * The real prometheus-operator, Prometheus, Alertmanager, kube-state-metrics and prometheus-adapter beside one cluster, as the add-ons
 * would run them in it: their settings are those of the charts' values in argocd/addons.
 */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { z } from "zod";
import { sha256 } from "../digest.ts";
import { replaceFile } from "../file.ts";
import { programLine, repositoryRoot } from "../repository.ts";
import type { Cluster } from "./cluster.ts";
import type { Layout } from "./layout.ts";
import type { MonitoringWork } from "./monitoring-process.ts";
import type { ProcessSpec } from "./process.ts";
import { shortenQuery } from "./prometheus-config.ts";
import { portOf, type State } from "./state.ts";

export const MONITORING_TOOLS = [
  "prometheus-operator",
  "prometheus",
  "alertmanager",
  "kube-state-metrics",
  "prometheus-adapter",
] as const;

/** Where the add-ons are installed. */
export const MONITORING_NAMESPACE = "monitoring";
/** The chart's names with `fullnameOverride: prometheus`; the operator puts the kind in front. */
const PROMETHEUS = "prometheus-prometheus";
const ALERTMANAGER = "prometheus-alertmanager";
const STATE_METRICS = "kube-state-metrics";

const COMPONENTS = [
  "prometheus-operator",
  "prometheus",
  "alertmanager",
  "kube-state-metrics",
  "kube-state-metrics-telemetry",
  "prometheus-adapter",
  "pods",
];
const LOOPBACK = "127.0.0.1";
/** Those that alerts and dashboards ask about; the default list has one that Kubernetes 1.34 does not serve. */
const RESOURCES = [
  "cronjobs",
  "deployments",
  "horizontalpodautoscalers",
  "jobs",
  "namespaces",
  "nodes",
  "persistentvolumeclaims",
  "poddisruptionbudgets",
  "pods",
  "resourcequotas",
  "services",
  "statefulsets",
];

/** The names of the ports that the stack of an environment needs. */
export function monitoringPorts(environment: string): string[] {
  return COMPONENTS.map((component) => `${environment}-${component}`);
}

/** Whether an environment was given the stack, now or by an earlier start. */
export function isMonitored(state: State, environment: string): boolean {
  return state.ports[`${environment}-prometheus`] !== undefined;
}

/** The addresses of an environment's Prometheus and Alertmanager. */
export function monitoringUrls(
  state: State,
  environment: string,
): { prometheus: string; alertmanager: string } {
  const url = (component: string) => `http://${LOOPBACK}:${portOf(state, `${environment}-${component}`)}`;
  return { prometheus: url("prometheus"), alertmanager: url("alertmanager") };
}

const Addon = z.object({
  spec: z.object({
    template: z.object({
      spec: z.object({ source: z.object({ helm: z.object({ valuesObject: z.unknown() }) }) }),
    }),
  }),
});
const StackValues = z.object({
  prometheus: z.object({
    prometheusSpec: z.object({
      retention: z.string(),
      retentionSize: z.string(),
      storageSpec: z.looseObject({}),
    }),
  }),
  alertmanager: z.object({
    config: z.looseObject({}),
    alertmanagerSpec: z.object({ secrets: z.array(z.string()), storage: z.looseObject({}) }),
  }),
});
const Rules = z.looseObject({ metadata: z.looseObject({}) });
const AdapterValues = z.object({
  rules: z.object({ custom: z.array(z.looseObject({ metricsQuery: z.string() })) }),
});

/** The values that an add-on of argocd/addons gives to its chart. */
export async function addonValues(tree: string, addon: string): Promise<unknown> {
  const text = await readFile(join(tree, `argocd/addons/${addon}.yaml`), "utf8");
  return Addon.parse(parse(text)).spec.template.spec.source.helm.valuesObject;
}

/** The values in argocd/addons for the chart of Prometheus and Alertmanager. */
export async function stackValues(tree: string): Promise<z.infer<typeof StackValues>> {
  return StackValues.parse(await addonValues(tree, "kube-prometheus-stack"));
}

/**
 * The objects that the charts would put into the cluster, as far as these programs read them.
 * @param tree the directory with the delivered tree
 */
export async function monitoringObjects(state: State, cluster: Cluster, tree: string): Promise<object[]> {
  const { prometheus, alertmanager } = await stackValues(tree);
  // Argo CD is watched from here, too: the hub has no stack of its own.
  const hubRules = Rules.parse(parse(await readFile(join(tree, "argocd/monitoring/rules.yaml"), "utf8")));
  const { retention, retentionSize, storageSpec } = prometheus.prometheusSpec;
  const namespace = MONITORING_NAMESPACE;
  const released = { matchLabels: { release: "prometheus" } };
  const everywhere = {};
  const securityContext = {
    runAsUser: 1000,
    runAsGroup: 2000,
    runAsNonRoot: true,
    fsGroup: 2000,
    seccompProfile: { type: "RuntimeDefault" },
  };
  const adapterPort = portOf(state, `${cluster.name}-prometheus-adapter`);
  const adapter = { name: "prometheus-adapter", namespace };
  const labels = { "app.kubernetes.io/name": STATE_METRICS };
  return [
    { ...hubRules, metadata: { ...hubRules.metadata, namespace } },
    {
      apiVersion: "monitoring.coreos.com/v1",
      kind: "Prometheus",
      metadata: { name: PROMETHEUS, namespace },
      spec: {
        replicas: 1,
        retention,
        retentionSize,
        storage: storageSpec,
        securityContext,
        serviceMonitorSelector: released,
        serviceMonitorNamespaceSelector: everywhere,
        podMonitorSelector: released,
        podMonitorNamespaceSelector: everywhere,
        probeSelector: released,
        probeNamespaceSelector: everywhere,
        ruleSelector: released,
        ruleNamespaceSelector: everywhere,
        scrapeInterval: "30s",
        evaluationInterval: "30s",
        alerting: {
          alertmanagers: [
            { namespace, name: ALERTMANAGER, port: "http-web", pathPrefix: "/", apiVersion: "v2" },
          ],
        },
      },
    },
    {
      apiVersion: "monitoring.coreos.com/v1",
      kind: "Alertmanager",
      metadata: { name: ALERTMANAGER, namespace },
      spec: { replicas: 1, securityContext, ...alertmanager.alertmanagerSpec },
    },
    {
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: `alertmanager-${ALERTMANAGER}`, namespace },
      stringData: { "alertmanager.yaml": stringify(alertmanager.config) },
    },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: ALERTMANAGER, namespace },
      spec: {
        selector: { "app.kubernetes.io/name": "alertmanager", alertmanager: ALERTMANAGER },
        ports: [{ name: "http-web", port: 9093, targetPort: "web" }],
      },
    },
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: `prometheus-${STATE_METRICS}`, namespace, labels },
      spec: {
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            automountServiceAccountToken: false,
            securityContext,
            containers: [
              {
                name: STATE_METRICS,
                image: `registry.k8s.io/kube-state-metrics/${STATE_METRICS}:v2.20.0`,
                ports: [{ name: "http", containerPort: 8080 }],
                securityContext: {
                  allowPrivilegeEscalation: false,
                  readOnlyRootFilesystem: true,
                  capabilities: { drop: ["ALL"] },
                },
              },
            ],
          },
        },
      },
    },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: `prometheus-${STATE_METRICS}`, namespace, labels },
      spec: { selector: labels, ports: [{ name: "http", port: 8080, targetPort: "http" }] },
    },
    {
      apiVersion: "monitoring.coreos.com/v1",
      kind: "ServiceMonitor",
      metadata: { name: `prometheus-${STATE_METRICS}`, namespace, labels: { release: "prometheus" } },
      spec: { selector: { matchLabels: labels }, endpoints: [{ port: "http", honorLabels: true }] },
    },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: adapter,
      spec: {
        type: "ExternalName",
        externalName: "localhost",
        ports: [{ name: "https", port: adapterPort, protocol: "TCP" }],
      },
    },
    {
      apiVersion: "apiregistration.k8s.io/v1",
      kind: "APIService",
      metadata: { name: "v1beta1.custom.metrics.k8s.io" },
      spec: {
        group: "custom.metrics.k8s.io",
        version: "v1beta1",
        groupPriorityMinimum: 100,
        versionPriority: 100,
        insecureSkipTLSVerify: true,
        service: { ...adapter, port: adapterPort },
      },
    },
  ];
}

/** The paths of the stack's programs. */
export interface MonitoringPrograms {
  readonly operator: string;
  readonly prometheus: string;
  readonly alertmanager: string;
  readonly stateMetrics: string;
  readonly adapter: string;
}

/**
 * The processes of an environment's stack, which need `monitoringObjects`.
 * @param argocdPorts the ports of Argo CD's own metrics, by component
 * @param pace by how much scrapes and times of alerts are shorter
 */
export async function monitoringProcesses(
  layout: Layout,
  state: State,
  cluster: Cluster,
  programs: MonitoringPrograms,
  { tree, argocdPorts, pace }: { tree: string; argocdPorts: Readonly<Record<string, number>>; pace: number },
): Promise<ProcessSpec[]> {
  const { name, adminKubeconfig: kubeconfig, pki } = cluster;
  const directory = join(layout.data, `${name}-monitoring`);
  const port = (component: string) => portOf(state, `${name}-${component}`);
  const address = (component: string) => `${LOOPBACK}:${port(component)}`;
  const env = { HOME: layout.home };
  const apiserver = `${name}-apiserver`;
  const pods = `${name}-pods`;

  const { rules } = AdapterValues.parse(await addonValues(tree, "prometheus-adapter"));
  const custom = rules.custom.map((rule) => ({
    ...rule,
    metricsQuery: shortenQuery(rule.metricsQuery, pace),
  }));
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const adapterConfig = join(directory, "prometheus-adapter.yaml");
  const adapterRules = stringify({ rules: custom });
  await replaceFile(adapterConfig, adapterRules);

  const work: MonitoringWork = {
    kubeconfig,
    namespace: MONITORING_NAMESPACE,
    prometheus: `prometheus-${PROMETHEUS}`,
    alertmanager: `alertmanager-${ALERTMANAGER}`,
    directory,
    port: port("pods"),
    processes: {
      prometheus: port("prometheus"),
      alertmanager: port("alertmanager"),
      [STATE_METRICS]: port(STATE_METRICS),
    },
    jobs: [
      ...Object.entries(argocdPorts).map(([component, metricsPort]) => ({
        job_name: component,
        static_configs: [
          { targets: [`${LOOPBACK}:${metricsPort}`], labels: { namespace: "argocd", service: component } },
        ],
      })),
      // The proxy answers for the kubelets, too: nothing else is asked over HTTPS.
      { job_name: "kubelet", honor_labels: true, static_configs: [{ targets: [address("pods")] }] },
    ],
    pace,
  };
  const [command, args] = programLine(repositoryRoot(), "lib/sandbox/monitoring-process", [
    JSON.stringify(work),
  ]);
  return [
    {
      name: `${name}-prometheus-operator`,
      command: programs.operator,
      args: [`--web.listen-address=${address("prometheus-operator")}`, "--log-level=warn"],
      env: { ...env, KUBECONFIG: kubeconfig },
      after: [apiserver],
      ready: { port: port("prometheus-operator") },
    },
    {
      name: pods,
      command,
      args,
      env: { PATH: process.env["PATH"] ?? "", ...env },
      after: [apiserver],
      ready: { port: port("pods") },
    },
    {
      name: `${name}-prometheus`,
      command: programs.prometheus,
      args: [
        `--config.file=${join(directory, "prometheus.yaml")}`,
        `--storage.tsdb.path=${join(directory, "series")}`,
        `--web.listen-address=${address("prometheus")}`,
        "--web.enable-lifecycle",
        "--log.level=warn",
      ],
      env,
      after: [pods],
      ready: { port: port("prometheus") },
    },
    {
      name: `${name}-alertmanager`,
      command: programs.alertmanager,
      args: [
        `--config.file=${join(directory, "alertmanager.yaml")}`,
        `--storage.path=${join(directory, "notifications")}`,
        `--web.listen-address=${address("alertmanager")}`,
        // One of them: nothing to gossip with, and no port open to others.
        "--cluster.listen-address=",
        "--log.level=warn",
      ],
      env,
      after: [pods],
      ready: { port: port("alertmanager") },
    },
    {
      name: `${name}-${STATE_METRICS}`,
      command: programs.stateMetrics,
      args: [
        `--kubeconfig=${kubeconfig}`,
        `--host=${LOOPBACK}`,
        `--port=${port(STATE_METRICS)}`,
        `--telemetry-host=${LOOPBACK}`,
        `--telemetry-port=${port("kube-state-metrics-telemetry")}`,
        `--resources=${RESOURCES.join(",")}`,
      ],
      env,
      after: [apiserver],
      ready: { port: port(STATE_METRICS) },
    },
    {
      name: `${name}-prometheus-adapter`,
      command: programs.adapter,
      args: [
        `--config=${adapterConfig}`,
        `--prometheus-url=http://${address("prometheus")}`,
        `--lister-kubeconfig=${kubeconfig}`,
        `--authentication-kubeconfig=${kubeconfig}`,
        `--authorization-kubeconfig=${kubeconfig}`,
        `--bind-address=${LOOPBACK}`,
        `--secure-port=${port("prometheus-adapter")}`,
        `--tls-cert-file=${pki.server.certificateFile}`,
        `--tls-private-key-file=${pki.server.keyFile}`,
        // Its default of ten minutes is how long a new metric would be unknown.
        "--metrics-relist-interval=10s",
        "--metrics-max-age=1m",
      ],
      // It reads its file once: with other rules it is started anew.
      env: { ...env, RULES: sha256(adapterRules) },
      after: [`${name}-prometheus`],
      ready: { port: port("prometheus-adapter"), path: "/livez" },
    },
  ];
}
