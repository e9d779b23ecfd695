import { describe, expect, it } from "vitest";
import { idOf, type Manifest } from "../../scripts/lib/manifests/manifest.ts";
import { operatorDefinitions, readDefinitions } from "../../scripts/lib/sandbox/definitions.ts";
import { build } from "../../scripts/lib/tree/kustomize.ts";
import { shapeFindings } from "../../scripts/lib/tree/shape.ts";
import { validator, vendorDefinitions } from "../support/definitions.ts";
import { kustomize, manifestsOf, ROOT, renderTree } from "./support.ts";

/** What is GA in Kubernetes 1.34, and the custom resources this repository may use. */
const ALLOWED = [
  /^(apps|batch|networking\.k8s\.io|policy|rbac\.authorization\.k8s\.io|storage\.k8s\.io|admissionregistration\.k8s\.io)\/v1$/,
  /^v1$/,
  /^autoscaling\/v2$/,
  /^monitoring\.coreos\.com\/v1$/,
  /^argoproj\.io\/v1alpha1$/,
  /^apisix\.apache\.org\//,
  /^isindir\.github\.com\/v1alpha3$/,
];
const CLUSTER_SCOPED = [
  "Namespace",
  "StorageClass",
  "IngressClass",
  "ClusterRole",
  "ClusterRoleBinding",
  "ValidatingAdmissionPolicy",
  "ValidatingAdmissionPolicyBinding",
];

const tree = await renderTree();
const environments = tree.environments.map(({ name }) => name);

describe("the tree", () => {
  it("has the shape that the commands and Argo CD read it by", async () => {
    expect(await shapeFindings(ROOT)).toEqual([]);
  });

  it("has no app in an environment that the one before it has not", () => {
    const has = (env: string, app: string) =>
      tree.overlays.some((overlay) => overlay.env === env && overlay.app === app);
    const early = tree.environments.flatMap(({ name, promotesFrom: from }) =>
      tree.overlays.filter(({ env, app }) => env === name && from !== undefined && !has(from, app)),
    );
    expect(early.map(({ directory }) => directory)).toEqual([]);
  });
});

describe.each(environments)("%s", (env) => {
  it("has no object twice: exactly one Application owns it", () => {
    const ids = manifestsOf(tree, env).map(idOf);
    expect(ids.filter((id, index) => ids.indexOf(id) !== index)).toEqual([]);
  });
});

describe.each(tree.overlays)("$directory", ({ directory, app, text, manifests }) => {
  const fails = (broken: (manifest: Manifest) => boolean): string[] => manifests.filter(broken).map(idOf);

  it("renders to the same bytes again", async () => {
    expect(await build(await kustomize(), `${ROOT}/${directory}`)).toBe(text);
  });

  it("uses API versions that are GA in Kubernetes 1.34", () => {
    expect(fails(({ apiVersion }) => !ALLOWED.some((allowed) => allowed.test(apiVersion)))).toEqual([]);
  });

  it("labels everything with what it is and what it is part of", () => {
    const wrong = fails(
      ({ kind, metadata: { labels = {} } }) =>
        labels["app.kubernetes.io/name"] !== app ||
        labels["app.kubernetes.io/part-of"] !== "ecommerce" ||
        labels["app.kubernetes.io/managed-by"] !== "argocd" ||
        // A sealed file says whose it is, and no more.
        (kind !== "SopsSecret" &&
          !["platform", "store", "service"].includes(labels["app.kubernetes.io/component"] ?? "")),
    );
    expect(wrong).toEqual([]);
  });

  it("states the namespace of everything that has one", () => {
    const fact = tree.catalogue.find((entry) => entry.app === app);
    const expected = ["foundation", "platform"].includes(fact?.kind ?? "")
      ? /^[a-z]+$/
      : new RegExp(`^${fact?.namespace}$`);
    expect(
      fails(({ kind, metadata }) =>
        CLUSTER_SCOPED.includes(kind)
          ? metadata.namespace !== undefined
          : !expected.test(metadata.namespace ?? ""),
      ),
    ).toEqual([]);
  });

  it("holds none of the placeholders of base", () => {
    expect(text).not.toMatch(/image: registry\/|config\.kubernetes\.io\/local-config/);
  });
});

describe.each([
  ["this repository's", undefined],
  ["the vendors'", await vendorDefinitions()],
])("%s definitions", async (whose, directory) => {
  const isThere = whose === "this repository's" || directory !== undefined;
  const definitions = (await readDefinitions(ROOT, directory, await operatorDefinitions())).flatMap(
    ({ spec: { group, names, versions } }) => {
      return versions.map(({ name, schema }) => ({
        type: `${group}/${name} ${names.kind}`,
        faults: validator(schema.openAPIV3Schema),
      }));
    },
  );

  it.runIf(isThere).each(environments)("take every custom resource of %s whole", (env) => {
    const found = manifestsOf(tree, env).flatMap((manifest) => {
      const definition = definitions.find(({ type }) => type === `${manifest.apiVersion} ${manifest.kind}`);
      return (definition?.faults(manifest) ?? []).map((fault) => `${idOf(manifest)}: ${fault}`);
    });
    expect(found).toEqual([]);
  });
});

it("every custom resource has a definition in the sandbox", async () => {
  const known = (await readDefinitions(ROOT, undefined, await operatorDefinitions())).map(
    ({ spec: { group, names } }) => `${group} ${names.kind}`,
  );
  const used = environments.flatMap((env) =>
    manifestsOf(tree, env)
      .filter(({ apiVersion }) => /\.\w+\.(com|org)\//.test(apiVersion))
      .map(({ apiVersion, kind }) => `${apiVersion.split("/")[0]} ${kind}`),
  );
  expect(used.filter((type) => !known.includes(type))).toEqual([]);
});
