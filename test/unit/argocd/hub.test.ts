import { describe, expect, it } from "vitest";
import { credentialFor, describePlan, type Plan, parseCluster } from "../../../scripts/lib/argocd/hub.ts";

const ENVIRONMENTS = ["dev", "staging", "prod"];

describe("a cluster to be registered", () => {
  it.each([
    ["prod=admin@eu-1", { name: "prod", environment: "prod", context: "admin@eu-1" }],
    ["prod-eu=arn:aws:eks:eu=1", { name: "prod-eu", environment: "prod", context: "arn:aws:eks:eu=1" }],
    ["dev-2=kind", { name: "dev-2", environment: "dev", context: "kind" }],
  ])("is named by %s", (argument, request) => {
    expect(parseCluster(argument, ENVIRONMENTS)).toEqual(request);
  });

  it.each(["prod", "prod=", "=context", "Prod=context", "prod eu=context"])(
    "is not named by %s",
    (argument) => {
      expect(() => parseCluster(argument, ENVIRONMENTS)).toThrow("is not <name>=<kubeconfig context>");
    },
  );

  it.each(["production=context", "eu-prod=context", "test=context"])(
    "is of an environment, unlike %s",
    (argument) => {
      expect(() => parseCluster(argument, ENVIRONMENTS)).toThrow("is of no environment");
    },
  );
});

describe("the credential", () => {
  const https = "https://git.acme.dev/shop/gitops.git";
  const ssh = "git@git.acme.dev:shop/gitops.git";
  const env = { FORGE_TOKEN: "t", FORGE_SSH_KEY: "key" };

  it.each([
    ["a token, with any name", https, env, { username: "git", password: "t" }],
    [
      "a token, with the name it belongs to",
      https,
      { ...env, FORGE_USER: "bot" },
      { username: "bot", password: "t" },
    ],
    ["a key over SSH, which ends with a line", ssh, env, { sshPrivateKey: "key\n" }],
    ["none without a token", https, { FORGE_SSH_KEY: "key" }, undefined],
    ["none with an empty one", https, { FORGE_TOKEN: "" }, undefined],
    ["none without a key", ssh, { FORGE_TOKEN: "t" }, undefined],
  ])("is %s", (_, url, variables, credential) => {
    expect(credentialFor(url, variables)).toEqual(credential);
  });
});

describe("the plan", () => {
  const object = (kind: string, name: string) =>
    `apiVersion: v1\nkind: ${kind}\nmetadata:\n  name: ${name}\n`;
  const cluster = { name: "prod-eu", environment: "prod", context: "eu", server: "https://eu:6443" };
  const argocd = {
    version: "v3.6.1",
    installed: undefined,
    install: [object("ConfigMap", "argocd-cm"), object("Service", "argocd-server")].join("---\n"),
    config: object("ConfigMap", "argocd-cm"),
  };
  const plan: Plan = {
    context: "hub",
    server: "https://hub:6443",
    argocd,
    repository: { url: "https://git.acme.dev/shop/gitops.git", branch: "main", credential: true },
    clusters: [{ ...cluster, registered: undefined }],
    account: [object("ServiceAccount", "argocd-manager"), object("ClusterRole", "argocd-addons")].join(
      "---\n",
    ),
    directories: [{ path: "overlays/dev", manifests: object("AppProject", "dev-service") }],
  };

  it("says all that happens, and names every object, and where", () => {
    expect(describePlan(plan)).toEqual([
      "On hub (https://hub:6443):",
      "  install Argo CD v3.6.1 (new), in the namespace argocd",
      "    Namespace argocd",
      "    ConfigMap argocd-cm",
      "    Service argocd-server",
      "  let it read https://git.acme.dev/shop/gitops.git, branch main, with your credential",
      "    Secret repository, argocd-notifications-secret",
      "  register the cluster prod-eu for prod: https://eu:6443 (new)",
      "    Secret cluster-prod-eu",
      "  apply overlays/dev",
      "    AppProject dev-service",
      "On eu (https://eu:6443):",
      "  give Argo CD an account",
      "    ServiceAccount argocd-manager",
      "    ClusterRole argocd-addons",
    ]);
  });

  it.each([
    ["https://eu:6443", "it is there"],
    ["https://old:6443", "now https://old:6443"],
  ])("says what is there already: a cluster at %s", (registered, note) => {
    const lines = describePlan({ ...plan, clusters: [{ ...cluster, registered }] });
    expect(lines).toContain(`  register the cluster prod-eu for prod: https://eu:6443 (${note})`);
  });

  it("says which version is there now", () => {
    const lines = describePlan({ ...plan, argocd: { ...argocd, installed: "v3.5.0" } });
    expect(lines).toContain("  install Argo CD v3.6.1 (now v3.5.0), in the namespace argocd");
  });
});
