/** What Prometheus scrapes, what it says of it, and what people see of it. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { glob } from "tinyglobby";
import { afterAll, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { z } from "zod";
import { run } from "../../scripts/lib/exec.ts";
import {
  idOf,
  type Manifest,
  ofKind,
  parseManifests,
  selects,
  workloads,
} from "../../scripts/lib/manifests/manifest.ts";
import { resolveTool } from "../../scripts/lib/tools/resolve.ts";
import { build } from "../../scripts/lib/tree/kustomize.ts";
import { temporary } from "../support/tree.ts";
import { allowed, readNetwork } from "./network.ts";
import { kustomize, manifestsOf, ROOT, renderTree } from "./support.ts";

const tree = await renderTree();
const RUNBOOK = "docs/runbooks/alerts.md";

const Rule = z.looseObject({
  record: z.string().optional(),
  alert: z.string().optional(),
  expr: z.string(),
  labels: z.record(z.string(), z.string()).default({}),
  annotations: z.record(z.string(), z.string()).default({}),
});
const RuleSpec = z.object({ groups: z.array(z.looseObject({ name: z.string(), rules: z.array(Rule) })) });
const Monitor = z.object({
  metadata: z.object({ labels: z.record(z.string(), z.string()) }),
  spec: z.object({
    namespaceSelector: z.object({ matchNames: z.array(z.string()).length(1) }),
    selector: z.object({ matchLabels: z.record(z.string(), z.string()) }),
    endpoints: z
      .array(
        z.object({ port: z.string(), path: z.string(), interval: z.string(), scrapeTimeout: z.string() }),
      )
      .length(1),
  }),
});
const RuleTests = z.object({
  tests: z.array(
    z.object({
      name: z.string(),
      alert_rule_test: z.array(z.object({ alertname: z.string(), exp_alerts: z.array(z.unknown()) })),
    }),
  ),
});
const Dashboard = z.object({
  uid: z.string(),
  links: z.array(z.object({ url: z.string() })),
  templating: z.object({ list: z.array(z.looseObject({ name: z.string() })) }),
  panels: z.array(
    z.object({
      id: z.int(),
      title: z.string(),
      links: z.array(z.object({ url: z.string() })).default([]),
      targets: z.array(z.object({ expr: z.string() })),
    }),
  ),
});

const all = (manifests: readonly Manifest[], kind: string) =>
  manifests.filter((manifest) => manifest.kind === kind);
const specOf = (manifest: Manifest) => RuleSpec.parse(z.object({ spec: z.unknown() }).parse(manifest).spec);

describe.each(tree.environments)("the monitors of $name", ({ name: env }) => {
  const manifests = manifestsOf(tree, env);
  const monitors = all(manifests, "ServiceMonitor").map((manifest) => ({
    id: idOf(manifest),
    ...Monitor.parse(manifest),
  }));

  /** `<namespace>/<service>:<port>` of everything that a monitor scrapes. */
  const scraped = monitors.flatMap(({ id, spec }) => {
    const [namespace] = spec.namespaceSelector.matchNames;
    const [endpoint] = spec.endpoints;
    const ports = ofKind(manifests, "Service")
      .filter(
        ({ metadata }) =>
          metadata.namespace === namespace && selects(spec.selector.matchLabels, metadata.labels),
      )
      .filter((service) => service.spec.ports.some(({ name }) => name === endpoint?.port));
    return ports.map((service) => ({ id, service, port: endpoint?.port ?? "" }));
  });

  it.each(monitors)(
    "$id selects one Service that is there, and is one of Prometheus's",
    ({ id, metadata }) => {
      expect(scraped.filter((found) => found.id === id)).toHaveLength(1);
      expect(metadata.labels["release"]).toBe("prometheus");
    },
  );

  it("scrape every metrics port exactly once", () => {
    const kinds = new Map(tree.catalogue.map(({ app, kind }) => [app, kind]));
    const ports = ofKind(manifests, "Service").flatMap((service) =>
      service.spec.ports
        .filter(
          ({ name }) =>
            name === "metrics" || (name === "http" && kinds.get(service.metadata.name) === "service"),
        )
        .map(({ name }) => `${service.metadata.namespace}/${service.metadata.name}:${name}`),
    );
    const found = scraped.map(
      ({ service, port }) => `${service.metadata.namespace}/${service.metadata.name}:${port}`,
    );
    expect(found.sort()).toEqual(ports.sort());
  });

  it("ask services and gateway every 15 s, stores every 30 s, and wait 10 s", () => {
    const times = monitors.map(({ spec }) => {
      const [endpoint] = spec.endpoints;
      return [spec.namespaceSelector.matchNames[0] === "data", endpoint?.interval, endpoint?.scrapeTimeout];
    });
    expect(times).toEqual(times.map(([isStore]) => [isStore, isStore === true ? "30s" : "15s", "10s"]));
  });

  it("reach what they scrape", () => {
    const prometheus = {
      name: "prometheus",
      namespace: "monitoring",
      labels: { "app.kubernetes.io/name": "prometheus" },
    };
    const network = readNetwork(manifests);
    const blocked = scraped.filter(({ service, port }) => {
      const pod = workloads(manifests).find(
        ({ metadata, spec }) =>
          metadata.namespace === service.metadata.namespace &&
          selects(service.spec.selector, spec.template.metadata.labels),
      );
      const target = service.spec.ports.find(({ name }) => name === port)?.targetPort;
      const ports = pod?.spec.template.spec.containers.flatMap((container) => container.ports ?? []) ?? [];
      const number = ports.find(({ name }) => name === target)?.containerPort ?? 0;
      const endpoint = {
        name: pod?.metadata.name ?? "",
        namespace: pod?.metadata.namespace ?? "",
        labels: pod?.spec.template.metadata.labels ?? {},
      };
      return !allowed(network, prometheus, endpoint, { protocol: "TCP", port: number });
    });
    expect(blocked.map(({ id }) => id)).toEqual([]);
  });
});

const [first] = tree.environments;
/** What is said of an environment, and of Argo CD on the hub. */
const manifests = [
  ...manifestsOf(tree, first?.name ?? ""),
  ...parseManifests(await build(await kustomize(), join(ROOT, "argocd/monitoring"))),
];
const rules = all(manifests, "PrometheusRule").flatMap((manifest) =>
  specOf(manifest).groups.flatMap((group) => group.rules),
);
const alerts = rules.filter(({ alert }) => alert !== undefined);
const dashboards = ofKind(manifests, "ConfigMap")
  .filter(({ metadata }) => metadata.labels?.["grafana_dashboard"] === "1")
  .flatMap(({ data }) => Object.entries(data ?? {}))
  .map(([file, text]) => ({ file, ...Dashboard.parse(JSON.parse(text)) }));

/** A directory with each PrometheusRule as a file that Prometheus itself reads, and the tests beside them. */
async function ruleFiles(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "rules-"));
  for (const manifest of all(manifests, "PrometheusRule"))
    await writeFile(join(directory, `${manifest.metadata.name}.yaml`), stringify(specOf(manifest)));
  for (const file of await glob("test/tree/rules/*.yaml", { cwd: ROOT }))
    await writeFile(join(directory, `${file.split("/").at(-1)}.test`), await readFile(join(ROOT, file)));
  return directory;
}

/** Of a link to a dashboard that names none. */
const NO_VARIABLE = "";

describe("the rules", async () => {
  const { path: promtool } = await resolveTool("promtool");
  const directory = await ruleFiles();
  const tests = await glob("*.test", { cwd: directory });
  afterAll(async () => rm(directory, { recursive: true }));

  it.each(tests)("do what %s says", async (file) => {
    expect(await run(promtool, ["test", "rules", file], { cwd: directory })).toContain("SUCCESS");
  });

  it("are tested: each alert fires at least once, and none on a good day", async () => {
    const cases = await Promise.all(
      tests.map(async (file) => ({
        file,
        checks: RuleTests.parse(parse(await readFile(join(directory, file), "utf8"))).tests.flatMap(
          ({ alert_rule_test: checks }) => checks,
        ),
      })),
    );
    const names = [...new Set(alerts.map(({ alert = "" }) => alert))].sort();
    const fired = cases.flatMap(({ checks }) => checks.filter((check) => check.exp_alerts.length > 0));
    expect([...new Set(fired.map(({ alertname }) => alertname))].sort()).toEqual(names);
    const quiet = cases.find(({ file }) => file.startsWith("quiet-day"));
    expect(quiet?.checks.map(({ alertname }) => alertname).sort()).toEqual(names);
  });

  it.each(alerts)(
    "$alert says how bad it is, what it saw, and where to read on",
    async ({ labels, annotations }) => {
      expect(["critical", "warning", "info"]).toContain(labels["severity"]);
      expect(annotations["summary"]).not.toBe("");
      expect(annotations["description"]).not.toBe("");
      const [file, anchor] = (annotations["runbook"] ?? "").split("#");
      expect(file).toBe(RUNBOOK);
      const headings = [...(await readFile(join(ROOT, RUNBOOK), "utf8")).matchAll(/^## (.+)$/gm)];
      expect(headings.map(([, text = ""]) => text.toLowerCase())).toContain(anchor);
      const [, uid, variable = NO_VARIABLE] =
        /^\/d\/([\w-]+)(?:\?var-(\w+)=.+)?$/.exec(annotations["dashboard"] ?? "") ?? [];
      const [variables] = dashboards
        .filter((dashboard) => dashboard.uid === uid)
        .map(({ templating }) => [NO_VARIABLE, ...templating.list.map(({ name }) => name)]);
      expect(variables).toContain(variable);
    },
  );
});

describe("the dashboards", async () => {
  const { path: promtool } = await resolveTool("promtool");

  it("are three layers with names of their own, and lead to each other", () => {
    const names = dashboards.map(({ uid }) => uid).filter((uid) => uid !== "argocd");
    expect(names.sort()).toEqual(["shop-overview", "shop-pod", "shop-service"]);
    const links = dashboards.flatMap(({ links: top, panels }) => [
      ...top,
      ...panels.flatMap((panel) => panel.links),
    ]);
    const targets = links.map(({ url }) => /^\/d\/([a-z-]+)/.exec(url)?.[1] ?? url);
    expect([...new Set(targets)].sort()).toEqual(names);
  });

  it("ask nothing that Prometheus does not understand, and use no recorded series that no rule makes", async () => {
    const directory = await temporary();
    const queries = dashboards.flatMap(({ panels, templating }) =>
      panels.flatMap(({ targets }) =>
        targets.map(({ expr }) =>
          templating.list.reduce((text, { name }) => text.replaceAll(`$${name}`, "x"), expr),
        ),
      ),
    );
    const file = join(directory, "queries.yaml");
    const group = {
      name: "queries",
      rules: queries.map((expr, index) => ({ record: `panel:${index}`, expr })),
    };
    await writeFile(file, stringify({ groups: [group] }));
    expect(await run(promtool, ["check", "rules", "--lint=none", file])).toContain("SUCCESS");
    expect(queries.filter((text) => text.includes("$"))).toEqual([]);
    const recorded = rules.flatMap(({ record }) => record ?? []);
    const used = [...queries, ...alerts.map(({ expr }) => expr)].flatMap(
      (expr) => expr.match(/\b[a-z]+:[a-z_0-9:]+/g) ?? [],
    );
    expect(used.filter((name) => !recorded.includes(name))).toEqual([]);
  });
});
