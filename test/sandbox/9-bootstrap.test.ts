/** `npm run bootstrap` on a hub of its own, a bare API server, with the sandbox's clusters to register. */
import { appendFile, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { type RunResult, run, tryRun } from "../../scripts/lib/exec.ts";
import { clusterPorts, clusterProcesses, prepareCluster } from "../../scripts/lib/sandbox/cluster.ts";
import { type Context, writeKubeconfig } from "../../scripts/lib/sandbox/kubeconfig.ts";
import { layoutOf } from "../../scripts/lib/sandbox/layout.ts";
import { isReady, killGroup, startProcess } from "../../scripts/lib/sandbox/process.ts";
import { ensureState } from "../../scripts/lib/sandbox/state.ts";
import { toolPath } from "../../scripts/lib/tools/path.ts";
import { SETTINGS_FILE, withSettings } from "../../scripts/lib/tree/settings.ts";
import { commit } from "../support/tree.ts";
import { freshClone, newcomer } from "./setup.ts";
import { env as sandbox, until } from "./support.ts";

const OWN = {
  repoURL: "https://git.acme.dev/a/b.git",
  registry: "ghcr.io/acme",
  domain: "acme.dev",
  reporter: "acme-argocd",
};
const TOKEN = "a-token-that-nobody-may-see";

const { root, home } = await freshClone();
const layout = layoutOf(root);
const pids: number[] = [];
const kubeconfig = join(dirname(root), "kubeconfig");
/** A kubeconfig with what the hub knows of dev: Argo CD's token. */
const asArgocd = join(dirname(root), "as-argocd");
const env = {
  ...newcomer(home),
  KUBECONFIG: `${kubeconfig}:${sandbox["KUBECONFIG"]}`,
  FORGE_TOKEN: TOKEN,
};

async function bootstrap(...args: string[]): Promise<RunResult> {
  return tryRun("npm", ["--silent", "run", "bootstrap", "--", "--context", "own", ...args], {
    cwd: root,
    env,
  });
}

async function kubectl(context: string, ...args: string[]): Promise<string> {
  return run("kubectl", ["--context", context, ...args], { env: { ...sandbox, ...env } });
}

const Objects = z.object({
  items: z.array(
    z.object({ kind: z.string(), metadata: z.object({ name: z.string(), resourceVersion: z.string() }) }),
  ),
});

/** Every object that a bootstrap has made or changed on the hub, with its version. */
async function objects(): Promise<string[]> {
  const kinds = "applications,applicationsets,appprojects,configmaps,deployments,secrets,serviceaccounts";
  const there = (await kubectl("own", "get", "namespaces", "-o", "name")).includes("/argocd\n");
  const lists = [
    ...(there ? [await kubectl("own", "-n", "argocd", "get", kinds, "-o", "json")] : []),
    await kubectl("own", "get", "customresourcedefinitions,clusterroles,clusterrolebindings", "-o", "json"),
    await kubectl("dev", "get", "clusterroles,clusterrolebindings", "-o", "json"),
  ];
  return lists.flatMap((list) =>
    Objects.parse(JSON.parse(list)).items.map(
      ({ kind, metadata }) => `${kind} ${metadata.name} ${metadata.resourceVersion}`,
    ),
  );
}

beforeAll(async () => {
  const settings = join(root, SETTINGS_FILE);
  await writeFile(settings, withSettings(await readFile(settings, "utf8"), OWN));
  await commit(root);
  const state = await ensureState(layout, clusterPorts("own"), []);
  const cluster = await prepareCluster(layout, state, "own", 0);
  const [etcd, kubeApiserver] = await Promise.all([toolPath("etcd"), toolPath("kube-apiserver")]);
  const others = {
    kubeControllerManager: "",
    kubeScheduler: "",
    kwok: "",
    kwokAssets: "",
    metricsServer: "",
  };
  const specs = clusterProcesses(layout, state, cluster, { etcd, kubeApiserver, ...others });
  for (const spec of specs.filter(({ name }) => ["own-etcd", "own-apiserver"].includes(name))) {
    pids.push(await startProcess(layout, spec));
    await until(`${spec.name} answers`, async () => ((await isReady(spec.ready)) ? true : undefined));
  }
  const user = cluster.pki.clients["kube-scheduler"];
  if (user === undefined) throw new Error("every cluster has a scheduler's certificate");
  const weak: Context = { ...cluster.admin, name: "weak", user };
  await writeKubeconfig(kubeconfig, [cluster.admin, weak]);
});

afterAll(async () => {
  for (const pid of pids) killGroup(pid);
  await rm(dirname(root), { recursive: true, force: true });
});

describe("npm run bootstrap", () => {
  it.each([
    ["a context that is not there", ["--cluster", "dev=nowhere"], 2, /the kubeconfig has no context nowhere/],
    [
      "an account without rights",
      ["--cluster", "dev=weak"],
      3,
      /^bootstrap: weak: your account may not do everything/,
    ],
    [
      "one cluster under two names",
      ["--cluster", "dev=dev", "--cluster", "prod=dev"],
      3,
      /^bootstrap: the context dev is of the cluster dev, which is registered already; name the context of prod$/m,
    ],
  ])("refuses %s, and changes nothing", async (_, args, exitCode, message) => {
    const result = await bootstrap("--yes", ...args);
    expect(result.stderr).toMatch(message);
    expect(result).toMatchObject({ exitCode, stdout: "" });
    expect(await kubectl("own", "get", "namespaces", "-o", "name")).not.toContain("argocd");
  });

  let plan: string[];
  it("prints with --dry-run what it would do, and does nothing", async () => {
    const { stdout, stderr } = await bootstrap("--dry-run", "--cluster", "dev=dev");
    expect(stderr).toBe("");
    plan = stdout.split("\n");
    expect(plan).toContainEqual(expect.stringMatching(/^ {2}install Argo CD v3\.6\.1 \(new\)/));
    expect(plan).toContainEqual(expect.stringMatching(/^ {2}register the cluster dev for dev: \S+ \(new\)$/));
    expect(await kubectl("own", "get", "namespaces", "-o", "name")).not.toContain("argocd");
    expect(await kubectl("dev", "-n", "kube-system", "get", "secrets", "-o", "name")).not.toContain(
      "bootstrap",
    );
  });

  it("does it, and names no token", async () => {
    const before = new Set(await objects());
    const { exitCode, stdout, stderr } = await bootstrap("--yes", "--cluster", "dev=dev");
    expect(stderr).toBe("");
    expect(exitCode).toBe(0);
    expect(stdout.split("\n").slice(0, plan.length - 1)).toEqual(plan.slice(0, -1));
    expect(stdout).not.toContain(TOKEN);
    const made = (await objects()).filter((line) => !before.has(line)).map((line) => line.split(" "));
    const unnamed = made.filter(
      ([kind, name = ""]) => !plan.some((line) => line.startsWith(`    ${kind} `) && line.includes(name)),
    );
    // Kubernetes' own.
    expect(
      unnamed.map(([kind, name]) => `${kind} ${name}`).filter((one) => !/kube-root-ca|default/.test(one)),
    ).toEqual([]);
    const roots = await kubectl("own", "-n", "argocd", "get", "applications", "-o", "name");
    expect(
      roots
        .trim()
        .split("\n")
        .map((name) => name.split("/")[1]),
    ).toEqual(expect.arrayContaining(["root", "root-dev", "root-prod", "root-staging"]));
  });

  it("registers the cluster with a token that it accepts", async () => {
    const secret = await kubectl("own", "-n", "argocd", "get", "secret", "cluster-dev", "-o", "json");
    const { data, metadata } = z
      .object({
        data: z.record(z.string(), z.string()),
        metadata: z.object({ labels: z.record(z.string(), z.string()) }),
      })
      .parse(JSON.parse(secret));
    expect(metadata.labels["environment"]).toBe("dev");
    const text = (key: string) => Buffer.from(data[key] ?? "", "base64").toString();
    const { bearerToken: token, tlsClientConfig } = z
      .object({ bearerToken: z.string(), tlsClientConfig: z.object({ caData: z.string() }) })
      .parse(JSON.parse(text("config")));
    const cluster = { server: text("server"), "certificate-authority-data": tlsClientConfig.caData };
    const config = {
      clusters: [{ name: "x", cluster }],
      users: [{ name: "x", user: { token } }],
      contexts: [{ name: "x", context: { cluster: "x", user: "x" } }],
      "current-context": "x",
    };
    await writeFile(asArgocd, JSON.stringify(config));
    const args = ["get", "deployments", "--namespace", "microservices", "--output", "name"];
    const found = await run("kubectl", args, { env: { ...sandbox, KUBECONFIG: asArgocd } });
    expect(found).toContain("deployment.apps/user-service");
  });

  it.each([
    ["create", "deployments.apps", "yes"],
    ["patch", "namespaces", "yes"],
    ["delete", "statefulsets.apps", "yes"],
    ["get", "pods/log", "yes"],
    // The add-ons bring them.
    ["escalate", "clusterroles.rbac.authorization.k8s.io", "yes"],
    ["get", "pods/exec", "no"],
    ["create", "pods/exec", "no"],
    ["create", "pods", "no"],
    ["create", "serviceaccounts/token", "no"],
    ["impersonate", "users", "no"],
    ["patch", "nodes", "no"],
    ["approve", "certificatesigningrequests.certificates.k8s.io", "no"],
    ["*", "*", "no"],
  ])("gives Argo CD a token that may %s %s: %s", async (verb, resource, answer) => {
    const args = ["auth", "can-i", verb, ...resource.split("/").slice(0, 1)];
    const [, subresource] = resource.split("/");
    if (subresource !== undefined) args.push("--subresource", subresource);
    const { stdout } = await tryRun("kubectl", [...args, "--all-namespaces"], {
      env: { ...sandbox, KUBECONFIG: asArgocd },
    });
    expect(stdout.trim()).toBe(answer);
  });

  it("changes nothing when it runs again", async () => {
    const before = await objects();
    const { stdout, stderr } = await bootstrap("--yes", "--cluster", "dev=dev");
    expect(stderr).toBe("");
    expect(stdout).toMatch(/install Argo CD v3\.6\.1 \(it is there\)/);
    expect(stdout).toMatch(/register the cluster dev for dev: \S+ \(it is there\)/);
    expect(await objects()).toEqual(before);
  });

  it("makes anew what somebody has deleted of the account, and registers its new token", async () => {
    const token = async () =>
      kubectl("own", "-n", "argocd", "get", "secret", "cluster-dev", "-o", "jsonpath={.data.config}");
    const before = await token();
    await kubectl("dev", "delete", "clusterrolebinding", "argocd-addons");
    await kubectl("dev", "-n", "kube-system", "delete", "secret", "argocd-manager-long-lived-token");
    expect((await bootstrap("--yes", "--cluster", "dev=dev")).exitCode).toBe(0);
    expect(await kubectl("dev", "get", "clusterrolebinding", "-o", "name")).toContain("/argocd-addons\n");
    expect(await token()).not.toBe(before);
  });

  it("takes one cluster more, and leaves the others alone", async () => {
    const before = await objects();
    const { exitCode, stderr } = await bootstrap("--yes", "--cluster", "prod-eu=prod");
    expect(stderr).toBe("");
    expect(exitCode).toBe(0);
    const after = await objects();
    expect(after.filter((line) => !before.includes(line))).toEqual([
      expect.stringMatching(/^Secret cluster-prod-eu /),
    ]);
    expect(before.filter((line) => !after.includes(line))).toEqual([]);
  });

  it("refuses the context of a cluster that is registered under another name", async () => {
    const { exitCode, stderr } = await bootstrap("--yes", "--cluster", "prod=dev");
    expect(stderr).toMatch(/^bootstrap: the context dev is of the cluster dev, which is registered already/);
    expect(exitCode).toBe(3);
  });

  it("refuses what is not committed", async () => {
    await appendFile(join(root, SETTINGS_FILE), "# more\n");
    const { exitCode, stderr } = await bootstrap("--yes");
    expect(stderr).toMatch(
      /^bootstrap: argocd\/settings\/settings\.yaml is not committed; commit and push it/,
    );
    expect(exitCode).toBe(3);
  });
});
