import { describe, expect, it } from "vitest";
import { z } from "zod";
import { readSettings } from "../../../scripts/lib/tree/settings.ts";
import { ROOT } from "../support.ts";
import { only, render } from "./support.ts";

const ADDONS = [
  "apisix-crds",
  "eck-elasticsearch",
  "eck-operator",
  "jaeger",
  "kube-prometheus-stack",
  "metrics-server",
  "opentelemetry-collector",
  "prometheus-adapter",
  "sops-secrets-operator",
  "x509-certificate-exporter",
];
const Addon = z.object({
  template: z.object({
    spec: z.object({ source: z.object({ repoURL: z.string(), chart: z.string().optional() }) }),
  }),
});
const Project = z.object({ sourceRepos: z.array(z.string()) });
const root = await render("argocd/root");
const settings = await readSettings(ROOT);

describe("the root", () => {
  it("holds all that the hub runs on, in Argo CD's namespace", () => {
    const all = root.map(({ kind, metadata }) => `${metadata.namespace} ${kind} ${metadata.name}`);
    expect(all.toSorted()).toEqual([
      "argocd AppProject addons",
      "argocd AppProject hub",
      "argocd AppProject platform",
      "argocd Application hub-kube-prometheus-stack",
      "argocd Application hub-monitoring",
      "argocd Application root",
      ...ADDONS.map((name) => `argocd ApplicationSet ${name}`),
      "argocd ConfigMap argocd-cm",
      "argocd ConfigMap argocd-cmd-params-cm",
      "argocd ConfigMap argocd-notifications-cm",
      "argocd ConfigMap argocd-rbac-cm",
    ]);
  });

  it("brings itself from Git, heals, and takes nothing away", () => {
    const { metadata, spec } = only(root, "Application", "root");
    expect(spec).toMatchObject({
      project: "platform",
      source: { repoURL: settings.repoURL, targetRevision: settings.revision, path: "argocd/root" },
      destination: { name: "in-cluster", namespace: "argocd" },
      syncPolicy: { automated: { prune: false, selfHeal: true, allowEmpty: false } },
    });
    expect(metadata.finalizers).toBeUndefined();
  });

  it("is of a project that may touch nothing but what the roots hold", async () => {
    const { spec } = only(root, "AppProject", "platform");
    expect(spec).toMatchObject({
      sourceRepos: [settings.repoURL],
      destinations: [{ name: "in-cluster", namespace: "argocd" }],
      clusterResourceWhitelist: [],
    });
    const everything = [
      root,
      ...(await Promise.all(["dev", "staging", "prod"].map((env) => render(`overlays/${env}`)))),
    ];
    const kinds = [...new Set(everything.flat().map(({ kind }) => kind))].toSorted();
    expect(kinds).toEqual(["AppProject", "Application", "ApplicationSet", "ConfigMap"]);
    expect(spec).toHaveProperty(
      "namespaceResourceWhitelist",
      ["Application", "ApplicationSet", "AppProject", "ConfigMap"].map((kind) => ({
        group: kind === "ConfigMap" ? "" : "argoproj.io",
        kind,
      })),
    );
  });

  it("renders the same configuration as argocd/config alone, which needs no addons", async () => {
    const config = await render("argocd/config");
    const names = new Set(config.map(({ metadata }) => metadata.name));
    expect(root.filter(({ metadata }) => names.has(metadata.name)).toSorted(byName)).toEqual(
      config.toSorted(byName),
    );
  });

  it("labels its ConfigMaps so that Argo CD reads them", () => {
    for (const { metadata } of root.filter(({ kind }) => kind === "ConfigMap")) {
      expect(metadata).toHaveProperty(["labels", "app.kubernetes.io/part-of"], "argocd");
    }
  });
});

describe("the hub's own monitoring", () => {
  const Source = z.object({
    source: z.object({
      targetRevision: z.string(),
      helm: z.object({
        valuesObject: z.object({
          grafana: z.unknown(),
          alertmanager: z.object({
            config: z.unknown(),
            alertmanagerSpec: z.looseObject({ secrets: z.array(z.string()) }),
          }),
        }),
      }),
    }),
  });
  const stack = Source.parse(only(root, "Application", "hub-kube-prometheus-stack").spec).source;

  it("is the chart of the environments, with the same routes, receiver and password", () => {
    const { template } = z
      .object({ template: z.object({ spec: Source }) })
      .parse(only(root, "ApplicationSet", "kube-prometheus-stack").spec);
    const { targetRevision, helm } = template.spec.source;
    expect(stack.targetRevision).toBe(targetRevision);
    expect(stack.helm.valuesObject.grafana).toEqual(helm.valuesObject.grafana);
    const { config, alertmanagerSpec } = helm.valuesObject.alertmanager;
    expect(stack.helm.valuesObject.alertmanager).toEqual({
      config,
      alertmanagerSpec: { secrets: alertmanagerSpec.secrets },
    });
  });

  it("comes from this repository and the charts', and goes nowhere but to the hub", () => {
    expect(only(root, "Application", "hub-monitoring").spec).toMatchObject({
      project: "hub",
      source: { repoURL: settings.repoURL, targetRevision: settings.revision, path: "argocd/monitoring" },
      destination: { name: "in-cluster", namespace: "argocd" },
    });
    expect(only(root, "AppProject", "hub").spec).toMatchObject({
      sourceRepos: ["https://prometheus-community.github.io/helm-charts", settings.repoURL],
      destinations: [
        { name: "in-cluster", namespace: "monitoring" },
        { name: "in-cluster", namespace: "argocd" },
      ],
    });
  });
});

describe.each(ADDONS)("the addon %s", (name) => {
  const { spec } = only(root, "ApplicationSet", name);

  it("is one exact version of one chart, or a commit, from a repository that its project admits", () => {
    const { chart } = Addon.parse(spec).template.spec.source;
    expect(spec).toHaveProperty(
      "template.spec.source.targetRevision",
      expect.stringMatching(chart === undefined ? /^[0-9a-f]{40}$/ : /^\d+\.\d+\.\d+$/),
    );
    expect([name, undefined]).toContain(chart);
    expect(spec).toHaveProperty("template.spec.project", "addons");
    const { repoURL } = Addon.parse(spec).template.spec.source;
    const { sourceRepos } = Project.parse(only(root, "AppProject", "addons").spec);
    expect(sourceRepos).toContain(repoURL);
  });

  it("goes to every registered cluster, applied server-side, and outlives its file", () => {
    expect(spec).toMatchObject({
      generators: [
        { clusters: { selector: { matchExpressions: [{ key: "environment", operator: "Exists" }] } } },
      ],
      syncPolicy: { applicationsSync: "create-update", preserveResourcesOnDeletion: true },
      template: { spec: { destination: { name: "{{.name}}" } } },
    });
    expect(spec).toHaveProperty(
      "template.spec.syncPolicy.syncOptions",
      expect.arrayContaining(["ServerSideApply=true"]),
    );
  });

  it("waits for a human in prod", () => {
    expect(spec).not.toHaveProperty("template.spec.syncPolicy.automated");
    expect(spec).toHaveProperty(
      "templatePatch",
      expect.stringMatching(/^\{\{- if has .*\(list "dev" "staging"\)\}\}/),
    );
  });
});

function byName(a: { metadata: { name: string } }, b: { metadata: { name: string } }): number {
  return a.metadata.name.localeCompare(b.metadata.name);
}
