import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Manifest, ofKind, parseManifests, podTemplates } from "../../scripts/lib/manifests/manifest.ts";
import { parseRelease, releasePath } from "../../scripts/lib/release/release.ts";
import { allowed, describePort, type Endpoint, isClosed, readNetwork, strangers } from "./network.ts";
import { manifestsOf, ROOT, renderTree } from "./support.ts";

const tree = await renderTree();

const named = (name: string, namespace: string): Endpoint => ({
  name,
  namespace,
  labels: { "app.kubernetes.io/name": name },
});

const DNS: Endpoint = { name: "kube-dns", namespace: "kube-system", labels: { "k8s-app": "kube-dns" } };

/** One of each range of addresses that nobody on the internet has. */
const PRIVATE = ["10.1.2.3", "172.16.1.2", "192.168.1.2"];

/** What is not in the tree, but at the other end of a flow. */
const OTHERS: Endpoint[] = [
  named("other-in-gateway", "gateway"),
  named("other-in-microservices", "microservices"),
  named("other-in-data", "data"),
  named("other-in-logging", "logging"),
  {
    name: "elasticsearch",
    namespace: "monitoring",
    labels: { "elasticsearch.k8s.elastic.co/cluster-name": "elasticsearch" },
  },
  { name: "elastic-operator", namespace: "elastic-system", labels: { "control-plane": "elastic-operator" } },
  named("prometheus", "monitoring"),
  named("grafana", "monitoring"),
  named("opentelemetry-collector", "monitoring"),
  named("apisix", "default"),
  DNS,
  { name: "other-in-kube-system", namespace: "kube-system", labels: {} },
  { name: "internet", address: "203.0.113.10" },
  ...PRIVATE.map((address) => ({ name: address, address })),
  { name: "metadata", address: "169.254.169.254" },
];

const label = ({ name, namespace }: Endpoint) => (namespace === undefined ? name : `${namespace}/${name}`);

/** What `anywhere` of the catalogue stands for. */
const ANYWHERE = ["internet", ...PRIVATE, "metadata"];

/** Flows with add-ons at both ends, which are no apps of the catalogue. */
const OF_ADDONS = [
  "elastic-system/elastic-operator -> monitoring/elasticsearch: 6443 9200 10250",
  // Metrics of the kubelets.
  ...PRIVATE.map((address) => `monitoring/prometheus -> ${address}: 443 6443 10250`),
];

/** The names that an end of the catalogue has here: those of the pods of an app, in its namespace. */
function namesOf(end: string): string[] {
  if (end === "anywhere") return ANYWHERE;
  if (OTHERS.some((other) => label(other) === end)) return [end];
  const [namespace, app] = end.split("/");
  const manifests = manifestsOf(tree, tree.environments[0]?.name ?? "");
  const own = podTemplates(manifests).filter(
    ({ owner, labels }) => owner.metadata.namespace === namespace && labels["app.kubernetes.io/name"] === app,
  );
  return own.length === 0 ? [end] : own.map(({ owner }) => `${namespace}/${owner.metadata.name}`);
}

/** Every flow there is, besides DNS: those that the catalogue declares, and the traces of all services. */
function declaredFlows(): string[] {
  const declared = tree.catalogue.flatMap(({ app, namespace, kind, flows }) => {
    const self = `${namespace}/${app}`;
    const to = Object.entries(flows?.to ?? {}).map(([end, ports]) => ({ source: self, target: end, ports }));
    const from = Object.entries(flows?.from ?? {}).map(([end, ports]) => ({
      source: end,
      target: self,
      ports,
    }));
    const traces = { source: self, target: "monitoring/opentelemetry-collector", ports: 4317 };
    return [...to, ...from, ...(kind === "service" ? [traces] : [])];
  });
  return declared.flatMap(({ source, target, ports }) =>
    namesOf(source).flatMap((one) =>
      namesOf(target).map((other) => `${one} -> ${other}: ${[ports].flat().join(" ")}`),
    ),
  );
}

/** Anything that is not here is closed. */
const FLOWS = [...declaredFlows(), ...OF_ADDONS];

it("the catalogue declares each flow once", () => {
  const pairs = FLOWS.map((flow) => flow.split(":")[0]);
  expect(pairs.filter((pair, index) => pairs.indexOf(pair) !== index)).toEqual([]);
});

/** Those who use the API server from a closed namespace; it has no selector, so each reaches its ports everywhere. */
const API_CLIENTS = [
  "gateway/apisix-ingress-controller",
  "logging/fluent-bit",
  "monitoring/elasticsearch",
  "monitoring/elasticsearch-lifecycle",
  "monitoring/grafana",
  "monitoring/opentelemetry-collector",
  "monitoring/prometheus",
];
const WATCHED = API_CLIENTS.filter((name) => name.startsWith("monitoring/"));
const OPEN = [
  "default/apisix",
  "elastic-system/elastic-operator",
  "internet",
  "kube-system/kube-dns",
  "kube-system/other-in-kube-system",
  "metadata",
];

/** What they and the API server may say to each other: it calls the webhooks of the namespace monitoring. */
const API_SERVER = API_CLIENTS.flatMap((client) => {
  return [
    ...OPEN.map((target) => `${client} -> ${target}: 443 6443`),
    ...PRIVATE.map((address) => `${client} -> ${address}: 443 6443`),
    ...(WATCHED.includes(client)
      ? [...OPEN, ...PRIVATE].map((source) => `${source} -> ${client}: 6443 10250`)
      : WATCHED.map((name) => `${client} -> ${name}: 6443`)),
  ];
})
  // Between two that have a flow of their own, that one names these ports, too.
  .filter((flow) => !FLOWS.some((own) => own.split(":")[0] === flow.split(":")[0]));

/** The other ends, and the pods of some manifests. */
function endpointsOf(manifests: readonly Manifest[]): Endpoint[] {
  const pods = podTemplates(manifests).map(({ owner: { metadata }, labels }) => ({
    name: metadata.name,
    namespace: metadata.namespace ?? "",
    labels,
  }));
  return [...pods, ...OTHERS];
}

/**
 * Every flow that manifests allow to or from a namespace that is closed, besides DNS.
 * @throws Error for a policy about somebody who is at no end of a flow here
 */
function flowsOf(manifests: readonly Manifest[]): string[] {
  const endpoints = endpointsOf(manifests);
  const network = readNetwork(manifests);
  const unknown = strangers(network, endpoints);
  if (unknown.length > 0) throw new Error(`about nobody that is known here: ${unknown.join(", ")}`);
  return endpoints.flatMap((source) =>
    endpoints
      .filter((target) => source !== target && (isClosed(network, source) || isClosed(network, target)))
      .flatMap((target) => {
        const ports = network.ports
          .filter((port) => allowed(network, source, target, port))
          .map(describePort)
          .filter((port) => !(target === DNS && ["53", "UDP/53"].includes(port)));
        return ports.length === 0 ? [] : [`${label(source)} -> ${label(target)}: ${ports.join(" ")}`];
      }),
  );
}

describe.each(tree.environments)("the network of $name", ({ name: env }) => {
  const manifests = manifestsOf(tree, env);
  const namespaces = ofKind(manifests, "Namespace").map(({ metadata }) => metadata.name);

  it.each(namespaces)("denies everything in %s that no flow allows", (namespace) => {
    const policy = manifests.find(
      ({ kind, metadata }) =>
        kind === "NetworkPolicy" && metadata.namespace === namespace && metadata.name === "default-deny",
    );
    expect(policy).toMatchObject({ spec: { podSelector: {}, policyTypes: ["Ingress", "Egress"] } });
    expect(policy).not.toHaveProperty("spec.ingress");
    expect(policy).not.toHaveProperty("spec.egress");
  });

  it("lets DNS through from everywhere, and nothing else to kube-system but the API", () => {
    const network = readNetwork(manifests);
    const own = endpointsOf(manifests).filter(({ namespace = "" }) => namespaces.includes(namespace));
    expect(own.filter((endpoint) => !isClosed(network, endpoint))).toEqual([]);
    for (const protocol of ["TCP", "UDP"]) {
      const port = { protocol, port: 53 };
      expect(own.filter((endpoint) => !allowed(network, endpoint, DNS, port))).toEqual([]);
    }
  });
});

const [first] = tree.environments;
const receiving = tree.environments.filter(({ promotesFrom }) => promotesFrom !== undefined);

it(`the network of ${first?.name} allows the declared flows and not one more`, () => {
  const found = flowsOf(manifestsOf(tree, first?.name ?? ""));
  const within = found.filter((flow) => /^monitoring\/\S+ -> monitoring\//.test(flow));
  const pairs = WATCHED.flatMap((one) => WATCHED.map((other) => [one, other]).filter(([a, b]) => a !== b));
  expect(within.map((flow) => flow.replace(/:.*/, "")).sort()).toEqual(
    pairs.map((pair) => pair.join(" -> ")).sort(),
  );
  expect(found.filter((flow) => !within.includes(flow)).sort()).toEqual([...FLOWS, ...API_SERVER].sort());
});

describe(`in ${first?.name}`, () => {
  const manifests = manifestsOf(tree, first?.name ?? "");
  const policy = (namespace: string, spec: object): Manifest => {
    const metadata = { name: "more", namespace };
    return Object.assign({ apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata }, { spec });
  };
  /** Lets redis be reached in another way, too. */
  const toRedis = (rule: object) => [
    policy("data", {
      podSelector: { matchLabels: { "app.kubernetes.io/name": "redis" } },
      policyTypes: ["Ingress"],
      ingress: [rule],
    }),
    policy("microservices", { podSelector: {}, policyTypes: ["Egress"], egress: [{}] }),
  ];
  const from = [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "microservices" } } }];
  const agent = (kind: string, path: (template: object) => object): Manifest[] => {
    const metadata = { name: "agent", namespace: "data", labels: {} };
    const template = {
      metadata: { labels: { "app.kubernetes.io/name": "redis" } },
      spec: { containers: [{ name: "app", image: "x" }] },
    };
    return [Object.assign({ apiVersion: "apps/v1", kind, metadata }, path(template))];
  };

  it.each<[string, Manifest[]]>([
    ["a port that no other flow has", toRedis({ from, ports: [{ port: 4711 }] })],
    ["another protocol", toRedis({ from, ports: [{ protocol: "UDP", port: 6379 }] })],
    ["a range of ports", toRedis({ from, ports: [{ port: 6000, endPort: 7000 }] })],
    ["every port", toRedis({ from })],
    ["every port of a list that is empty", toRedis({ from, ports: [] })],
    ["everybody", toRedis({ ports: [{ port: 6379 }] })],
    [
      "namespaces by another label",
      toRedis({
        from: [{ namespaceSelector: { matchLabels: { "app.kubernetes.io/part-of": "ecommerce" } } }],
        ports: [{ port: 6379 }],
      }),
    ],
    ["the pods of a DaemonSet", agent("DaemonSet", (template) => ({ spec: { template } }))],
    [
      "the pods of a CronJob",
      agent("CronJob", (template) => ({ spec: { jobTemplate: { spec: { template } } } })),
    ],
  ])("a flow that is too wide shows: %s", (_, more) => {
    expect(flowsOf([...manifests, ...more])).not.toEqual(flowsOf(manifests));
  });

  it.each<[string, RegExp, Manifest[]]>([
    ["a port by its name", /port/, toRedis({ from, ports: [{ port: "redis" }] })],
    [
      "pods that are not there",
      /data\/more$/,
      toRedis({ from: [{ podSelector: { matchLabels: { a: "b" } } }] }),
    ],
    [
      "another operator",
      /operator/,
      toRedis({ from: [{ podSelector: { matchExpressions: [{ key: "a", operator: "Exists" }] } }] }),
    ],
    ["an address of IPv6", /cidr/, toRedis({ from: [{ ipBlock: { cidr: "::/0" } }] })],
    ["a kind of workload", /Rollout data\/agent/, agent("Rollout", (template) => ({ spec: { template } }))],
  ])("what this test does not know is an error: %s", (_, message, more) => {
    expect(() => flowsOf([...manifests, ...more])).toThrow(message);
  });
});

// Those may be older than the list; they were compared with it when they were new.
it.each(receiving)(
  "the network of $name allows the flows of its releases and not one more",
  async ({ name: env }) => {
    const bodies = tree.overlays
      .filter((overlay) => overlay.env === env)
      .map(async ({ app }) => {
        const path = releasePath(env, app);
        return parseManifests(parseRelease(await readFile(join(ROOT, path), "utf8"), path).body);
      });
    const released = (await Promise.all(bodies)).flat();
    expect(flowsOf(manifestsOf(tree, env)).sort()).toEqual(flowsOf(released).sort());
  },
);

describe.each(tree.environments)("the namespaces of $name", ({ name: env }) => {
  const namespaces = ofKind(manifestsOf(tree, env), "Namespace").map(({ metadata }) => metadata);

  it.each(namespaces)("$name says which Pod Security Standard holds", ({ name, labels = {} }) => {
    const level = name === "logging" ? "privileged" : "restricted";
    expect(labels["pod-security.kubernetes.io/enforce"]).toBe(level);
    expect(labels["pod-security.kubernetes.io/enforce-version"]).toBe("v1.34");
  });
});
