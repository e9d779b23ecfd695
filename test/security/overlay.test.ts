/** What somebody tries who wants to change what an environment runs without a promotion. */
import { copyFile, mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { describeFinding } from "../../scripts/lib/finding.ts";
import { parseManifests } from "../../scripts/lib/manifests/manifest.ts";
import { overlayFindings } from "../../scripts/lib/release/overlay.ts";
import { OVERLAY_FIELDS, readOverlayFields } from "../../scripts/lib/release/overlay-fields.ts";
import { formatRelease, releasePath } from "../../scripts/lib/release/release.ts";
import { repositoryRoot } from "../../scripts/lib/repository.ts";
import { takenFindings } from "../../scripts/lib/tree/taken.ts";
import { SHA, temporary, write } from "../support/tree.ts";

type Objects = Record<string, Record<string, unknown>>;

const APP = {
  app: "web",
  namespace: "shop",
  kind: "service" as const,
  image: "shop/web",
  source: "shop/web",
  owners: ["web"],
  secrets: [],
};
const ENV = "web-env-2456789bcd";

/** What the release has, by kind; each test changes a copy. */
function release(): Objects {
  const metadata = { name: "web", namespace: "shop" };
  const container = {
    name: "app",
    image: `registry/shop/web:${SHA}`,
    envFrom: [{ configMapRef: { name: "web-config-bcdfghkmt2" } }, { configMapRef: { name: "web-env" } }],
    resources: { requests: { cpu: "1" }, limits: { memory: "1Gi" } },
  };
  const template = { metadata: { labels: { app: "web" } }, spec: { containers: [container] } };
  return {
    Deployment: { apiVersion: "apps/v1", kind: "Deployment", metadata, spec: { replicas: 3, template } },
    StatefulSet: {
      apiVersion: "apps/v1",
      kind: "StatefulSet",
      metadata,
      spec: {
        template,
        volumeClaimTemplates: [
          { metadata: { name: "data" }, spec: { resources: { requests: { storage: "9Gi" } } } },
        ],
      },
    },
    Autoscaler: {
      apiVersion: "autoscaling/v2",
      kind: "HorizontalPodAutoscaler",
      metadata,
      spec: { minReplicas: 3, maxReplicas: 9, scaleTargetRef: { kind: "Deployment", name: "web" } },
    },
    Budget: { apiVersion: "policy/v1", kind: "PodDisruptionBudget", metadata, spec: { minAvailable: 2 } },
    Quota: {
      apiVersion: "v1",
      kind: "ResourceQuota",
      metadata,
      spec: { hard: { pods: "50", "limits.cpu": "9" } },
    },
    Policy: {
      apiVersion: "admissionregistration.k8s.io/v1",
      kind: "ValidatingAdmissionPolicy",
      metadata: { name: "images" },
      spec: { variables: [{ name: "registry", expression: "'registry'" }] },
    },
    Class: {
      apiVersion: "storage.k8s.io/v1",
      kind: "StorageClass",
      metadata: { name: "fast" },
      reclaimPolicy: "Retain",
    },
    Ingress: {
      apiVersion: "networking.k8s.io/v1",
      kind: "Ingress",
      metadata,
      spec: {
        rules: [
          {
            host: "api.example.com",
            http: { paths: [{ path: "/", backend: { service: { name: "web" } } }] },
          },
        ],
        tls: [{ hosts: ["api.example.com"], secretName: "tls" }],
      },
    },
    Config: {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "web-config-bcdfghkmt2", namespace: "shop" },
      data: { LOG_LEVEL: "info" },
    },
    Service: { apiVersion: "v1", kind: "Service", metadata, spec: { selector: { app: "web" } } },
    Gateway: {
      apiVersion: "apisix.apache.org/v1alpha1",
      kind: "GatewayProxy",
      metadata,
      spec: { plugins: [{ name: "cors", config: { allow_origins: "https://shop.domain", max_age: 600 } }] },
    },
  };
}

// biome-ignore lint/suspicious/noExplicitAny: a change reaches deep into objects of many kinds
type Change = (objects: any) => void;

async function root(): Promise<string> {
  const directory = await temporary();
  const list = join(directory, OVERLAY_FIELDS);
  await mkdir(dirname(list), { recursive: true });
  await copyFile(join(repositoryRoot(), OVERLAY_FIELDS), list);
  return directory;
}

const documents = (objects: Objects) =>
  Object.values(objects)
    .map((object) => stringify(object))
    .join("---\n");

/** The lines that the check says about an overlay of the release that renders with a change. */
async function lookAt(change: Change, environment = "live"): Promise<string[]> {
  const directory = await root();
  const head = { app: "web", image: `shop/web:${SHA}`, from: "dev", commit: SHA };
  if (environment === "live")
    await write(directory, {
      [releasePath("live", "web")]: formatRelease({ ...head, body: documents(release()) }),
    });
  const objects = structuredClone(release());
  change(objects);
  const rendering = { overlay: `overlays/${environment}/web`, manifests: parseManifests(documents(objects)) };
  const options = { registry: "registry.shop.test", first: "dev", apps: [APP] };
  return (await overlayFindings(directory, [rendering], options)).map(describeFinding);
}

const container = (objects: any) => objects.Deployment.spec.template.spec.containers[0];
const map = (name: string, data: Record<string, string>, more = {}) => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name, namespace: "shop" },
  data,
  ...more,
});
const sealed = (namespace: string) => ({
  apiVersion: "isindir.github.com/v1alpha3",
  kind: "SopsSecret",
  metadata: { name: "web-database", namespace },
  sops: { mac: "x" },
});
const own =
  (data: Record<string, string>, name = ENV, more = {}): Change =>
  (objects) => {
    objects.Env = map(name, data, more);
    container(objects).envFrom[1].configMapRef.name = name;
  };

/** By the entry of the list: what may differ. */
const ALLOWED: Record<string, Change[]> = {
  replicas: [(o) => (o.Deployment.spec.replicas = 1), (o) => (o.StatefulSet.spec.replicas = 1)],
  "autoscaler bounds": [(o) => Object.assign(o.Autoscaler.spec, { minReplicas: 1, maxReplicas: 2 })],
  resources: [
    (o) => (container(o).resources.requests.cpu = "2"),
    (o) => (container(o).resources.limits["ephemeral-storage"] = "1Gi"),
  ],
  "disruption budget": [(o) => (o.Budget.spec.minAvailable = "50%")],
  quota: [(o) => Object.assign(o.Quota.spec.hard, { pods: "72", "limits.cpu": "76" })],
  "storage driver": [
    (o) => Object.assign(o.Class, { provisioner: "ebs.csi.aws.com", parameters: { type: "gp3" } }),
  ],
  "disk size": [(o) => (o.StatefulSet.spec.volumeClaimTemplates[0].spec.resources.requests.storage = "1Gi")],
  hosts: [
    (o) => {
      o.Ingress.spec.rules[0].host = "api.staging.example.com";
      o.Ingress.spec.tls[0].hosts[0] = "api.staging.example.com";
    },
  ],
  "shop front": [
    (o) => (o.Gateway.spec.plugins[0].config.allow_origins = "https://shop.staging.example.com"),
  ],
  checksums: [
    (o) => (o.Deployment.spec.template.metadata.annotations = { "checksum/web-database": "ENC[x]" }),
  ],
  registry: [
    (o) => (container(o).image = `registry.shop.test/shop/web:${SHA}`),
    (o) => (o.Policy.spec.variables[0].expression = "'registry.shop.test'"),
  ],
  "sealed Secrets": [(o) => (o.Sealed = sealed("shop"))],
  "environment's map": [own({ LOG_LEVEL: "debug" }), own({ LOG_LEVEL: "debug" }, "web-env")],
};

describe("an overlay may differ from its release in", () => {
  it.each(Object.entries(ALLOWED))("%s", async (_, changes) => {
    for (const change of changes) expect(await lookAt(change)).toEqual([]);
  });

  it("what the list of this repository names, each entry with an example above", async () => {
    const { fields, objects } = await readOverlayFields(repositoryRoot());
    const names = [...fields, ...objects].map(({ name }) => name);
    expect([...names, "registry"].toSorted()).toEqual(Object.keys(ALLOWED).toSorted());
  });

  it("nothing, where there is no list", async () => {
    expect(await readOverlayFields(await temporary())).toEqual({ fields: [], objects: [] });
  });
});

describe("nobody gets past a promotion with", () => {
  it.each<[string, Change, RegExp]>([
    [
      "a command",
      (o) => (container(o).command = ["sh"]),
      /Deployment shop\/web has \S+\.command: \["sh"\], and its/,
    ],
    [
      "an image",
      (o) => (container(o).image = "registry.shop.test/shop/evil:1"),
      /\.image: registry\.shop\.test/,
    ],
    ["another registry", (o) => (container(o).image = `evil.test/shop/web:${SHA}`), /\.image: evil\.test/],
    [
      "a policy for images of another registry",
      (o) => (o.Policy.spec.variables[0].expression = "'evil.test'"),
      /\.expression: 'evil\.test'/,
    ],
    ["a variable", (o) => (container(o).env = [{ name: "X", value: "1" }]), /\.env/],
    [
      "a container",
      (o) => o.Deployment.spec.template.spec.containers.push({ name: "x", resources: {} }),
      /\[x\]/,
    ],
    [
      "an init container",
      (o) => (o.Deployment.spec.template.spec.initContainers = [{ name: "x", image: "x" }]),
      /\[x\]/,
    ],
    [
      "a host path",
      (o) => (o.Deployment.spec.template.spec.volumes = [{ name: "x", hostPath: {} }]),
      /volumes/,
    ],
    [
      "another account",
      (o) => (o.Deployment.spec.template.spec.serviceAccountName = "admin"),
      /serviceAccountName: admin/,
    ],
    ["a device", (o) => (container(o).resources.limits["x.test/gpu"] = 1), /x\.test\/gpu/],
    ["no limit", (o) => delete container(o).resources.limits.memory, /memory: nothing/],
    ["no quota", (o) => delete o.Quota.spec.hard.pods, /pods: nothing/],
    ["a map in place of a figure", (o) => (o.Deployment.spec.replicas = { a: 1 }), /replicas/],
    ["a scope of the quota", (o) => (o.Quota.spec.scopes = ["Terminating"]), /scopes/],
    [
      "a Secret for the storage driver",
      (o) => (o.Class.parameters = { "csi.storage.k8s.io/provisioner-secret-name": "x" }),
      /provisioner-secret-name/,
    ],
    ["another reclaim policy", (o) => (o.Class.reclaimPolicy = "Delete"), /reclaimPolicy: Delete/],
    [
      "another target of the autoscaler",
      (o) => (o.Autoscaler.spec.scaleTargetRef.name = "x"),
      /scaleTargetRef/,
    ],
    [
      "a path behind a host",
      (o) => (o.Ingress.spec.rules[0].http.paths[0].backend.service.name = "x"),
      /backend/,
    ],
    ["one more host", (o) => o.Ingress.spec.rules.push({ host: "x.test" }), /rules/],
    [
      "an annotation that is no checksum",
      (o) => (o.Deployment.spec.template.metadata.annotations = { "checksum/a/b": "x" }),
      /annotations/,
    ],
    [
      "a field that looks like an allowed path",
      (o) => (o.Deployment["spec.replicas"] = 1),
      /\[spec\.replicas\]: 1/,
    ],
    [
      "another version of the same object",
      (o) => (o.Autoscaler.apiVersion = "autoscaling/v1"),
      /apiVersion: autoscaling\/v1/,
    ],
    [
      "an object more",
      (o) => (o.More = { ...o.Service, metadata: { name: "x", namespace: "shop" } }),
      /adds Service shop\/x/,
    ],
    ["an object less", (o) => delete o.Service, /leaves out Service shop\/web/],
    [
      "another namespace",
      (o) => (o.Service.metadata.namespace = "kube-system"),
      /adds Service kube-system\/web/,
    ],
    [
      "a sealed Secret of another namespace",
      (o) => (o.Sealed = sealed("kube-system")),
      /adds isindir\.github\.com\/SopsSecret kube-system\/web-database/,
    ],
    [
      "a variable that the service does not have",
      own({ NODE_OPTIONS: "--import=data:x" }),
      /adds ConfigMap shop\/web-env/,
    ],
    ["a map of another name", own({ LOG_LEVEL: "debug" }, "web-other"), /web-other/],
    ["bytes in the map", own({}, ENV, { binaryData: { LOG_LEVEL: "eA==" } }), /adds ConfigMap shop\/web-env/],
    ["an immutable map", own({}, ENV, { immutable: true }), /adds ConfigMap shop\/web-env/],
    [
      "an annotation of the map, by which Argo CD treats it otherwise",
      own({}, ENV, {
        metadata: { name: ENV, namespace: "shop", annotations: { "argocd.argoproj.io/hook": "Skip" } },
      }),
      /adds ConfigMap shop\/web-env/,
    ],
    [
      "a label of the map, by which another program takes it",
      own({}, ENV, { metadata: { name: ENV, namespace: "shop", labels: { grafana_dashboard: "1" } } }),
      /adds ConfigMap shop\/web-env/,
    ],
    [
      "a label or an annotation of what the release has",
      (o) =>
        (o.Deployment.metadata = {
          ...o.Deployment.metadata,
          annotations: { "argocd.argoproj.io/sync-options": "Replace=true" },
        }),
      /annotations/,
    ],
    [
      "a map of another version of the API",
      own({}, ENV, { apiVersion: "v2" }),
      /adds ConfigMap shop\/web-env/,
    ],
    ["the change of a cluster-wide object's name", (o) => (o.Class.metadata.name = "faster"), /faster/],
    ["a change of the release's own map", (o) => (o.Config.data.LOG_LEVEL = "debug"), /LOG_LEVEL: debug/],
    [
      "a command that is called as a sealed Secret of its own",
      (o) => {
        o.Sealed = { ...sealed("shop"), metadata: { name: "web-2456789bcd", namespace: "shop" } };
        o.Autoscaler.spec.scaleTargetRef.name = "web-2456789bcd";
      },
      /scaleTargetRef\.name: web-2456789bcd/,
    ],
  ])("%s", async (_, change, line) => {
    const found = await lookAt(change);
    expect(found.length).toBeGreaterThan(0);
    expect(found.join("\n")).toMatch(line);
    for (const one of found)
      expect(one).toMatch(
        /^overlays\/live\/web\/kustomization\.yaml:1: .*; leave it to a promotion, or have argocd\/settings\/overlay-fields\.yaml allow it$/,
      );
  });
});

describe("Argo CD's identity of an object", () => {
  it("is without its version, and with the app's namespace where it names none", async () => {
    expect(await lookAt((o) => delete o.Service.metadata.namespace)).toEqual([]);
  });

  it.each(["live", "dev"])("is there once, in %s too", async (environment) => {
    const again: Change = (o) => {
      o.Again = { ...o.Autoscaler, apiVersion: "autoscaling/v1", metadata: { name: "web" } };
    };
    expect(await lookAt(again, environment)).toContain(
      `overlays/${environment}/web/kustomization.yaml:1: has autoscaling/HorizontalPodAutoscaler shop/web twice, and Argo CD would apply one of the two; leave one of them out`,
    );
  });
});

describe("the checksums that every environment takes from base without a promotion", () => {
  const FILE = "base/user-service/checksums/kustomization.yaml";

  it("are fine in this repository", async () => {
    expect(await takenFindings(repositoryRoot())).toEqual([]);
  });

  it.each<[string, string, (text: string) => string]>([
    ["a patch", FILE, (text) => `${text}patches:\n  - path: x.yaml\n`],
    ["a patch in capitals", FILE, (text) => `${text}Patches: []\n`],
    ["an image", FILE, (text) => `${text}images: []\n`],
    ["another source", FILE, (text) => text.replace("kind: SopsSecret", "kind: ConfigMap")],
    ["another value", FILE, (text) => text.replace("sops.mac", "spec.x")],
    [
      "another target",
      FILE,
      (text) => text.replace(/spec\.template\S+/, "spec.template.spec.containers.0.command.0"),
    ],
    ["a file beside them", "base/user-service/checksums/x.yaml", () => "kind: X\n"],
  ])("carry no more: %s", async (_, path, change) => {
    const directory = await temporary();
    const text = await readFile(join(repositoryRoot(), FILE), "utf8");
    await write(directory, { [FILE]: text, [path]: change(text) });
    expect(await takenFindings(directory)).toMatchObject([{ path }]);
  });
});
