/** `npm run check` and its API server: what it finds in a change, and that it leaves nothing behind. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { run, tryRun } from "../../scripts/lib/exec.ts";
import { programLine, repositoryRoot } from "../../scripts/lib/repository.ts";
import { resolveTools } from "../../scripts/lib/tools/resolve.ts";
import { waitFor } from "../../scripts/lib/wait.ts";
import { commit, git, temporary } from "../support/tree.ts";

const ROOT = repositoryRoot();
const TREE = ["apps", "argocd", "base", "overlays", "sandbox", ".gitignore", ".sops.yaml"];

/** A copy of this tree, in Git. */
async function copy(): Promise<string> {
  const root = await temporary();
  for (const name of TREE) await cp(join(ROOT, name), join(root, name), { recursive: true });
  await git(root, "init", "--quiet", "--initial-branch=main");
  await commit(root);
  // As a clone has it.
  await git(root, "update-ref", "refs/remotes/origin/main", "HEAD");
  return root;
}

async function edit(root: string, file: string, from: RegExp | string, to: string): Promise<void> {
  const text = await readFile(join(root, file), "utf8");
  expect(text.search(from), `${file} has ${String(from)}`).toBeGreaterThanOrEqual(0);
  await writeFile(join(root, file), text.replace(from, to));
}

beforeAll(async () => resolveTools(["etcd", "kube-apiserver", "kustomize", "kustomize-render"]));

async function check(root: string, ...options: string[]) {
  return tryRun(...programLine(ROOT, "check", ["--root", root, "--base", "origin/main", ...options]));
}

it("finds what the API server and the policies refuse, each with the object, the rule and what to do", async () => {
  const root = await copy();
  await edit(root, "base/user-service/deployment.yaml", /limits:\n.*\n\s+memory: \S+\n/, "limits: {}\n");
  await edit(root, "base/order-service/service.yaml", "targetPort: http", "targetPort: 8082");
  await edit(
    root,
    "base/payment-service/deployment.yaml",
    "terminationGracePeriodSeconds:",
    "terminationGrace:",
  );
  await edit(root, "base/product-service/deployment.yaml", "memory: 1Gi", "memory: 3Gi");
  await edit(root, "base/apisix/deployment.yaml", "until 2027-11-30: At", "until 2026-01-31: At");
  await edit(root, "base/foundation/namespaces/microservices/quota.yaml", 'pods: "50"', 'pods: "5"');
  const { stdout, exitCode } = await check(root);
  expect(exitCode).toBe(4);
  const lines = stdout.split("\n");
  // Those of dev: behind it the base comes with a release.
  for (const expected of [
    /^API server +6 overlays +\d+ findings$/,
    /^overlays\/dev\/user-service\/\S+: the policy resources refuses apps\/Deployment microservices\/user-service: container app leaves out .*; state both/,
    /^overlays\/dev\/order-service\/\S+: the policy service-ports refuses Service microservices\/order-service: port 8082 .*; set name/,
    /^overlays\/dev\/payment-service\/\S+: the API server refuses apps\/Deployment .*terminationGrace/,
    /^overlays\/dev\/product-service\/\S+: the API server refuses apps\/Deployment .*maximum memory usage per Container is 2Gi/,
    /^overlays\/dev\/apisix\/\S+: .* the exception writable-root, which ended on 2026-01-31; /,
    /^overlays\/dev\/foundation\/\S+: ResourceQuota microservices\/quota has 5 of pods, and \d+ are needed/,
  ])
    expect(lines).toContainEqual(expect.stringMatching(expected));
});

describe("asks the API server to change what is there", () => {
  const CLAIM = "base/postgresql-backup/claim.yaml";
  const STORAGE = "overlays/dev/postgresql/storage.yaml";

  it("and takes a claim that grows, and new labels", async () => {
    const root = await copy();
    await edit(root, CLAIM, "storage: 125Gi", "storage: 130Gi");
    const { stdout, exitCode } = await check(root);
    expect(stdout).toMatch(/^API server +1 overlay +ok$/m);
    expect(exitCode).toBe(0);
  });

  it("and refuses a claim that shrinks and what is immutable, until a commit acknowledges it", async () => {
    const root = await copy();
    await edit(root, CLAIM, "storage: 125Gi", "storage: 100Gi");
    await edit(root, STORAGE, "value: 10Gi", "value: 5Gi");
    const first = await check(root);
    const lines = first.stdout.split("\n");
    for (const expected of [
      /^overlays\/dev\/postgresql-backup\/\S+: the API server refuses the change of PersistentVolumeClaim data\/postgresql-backup: .*Acknowledges: PersistentVolumeClaim data\/postgresql-backup is replaced$/,
      /^overlays\/dev\/postgresql\/\S+: the API server refuses the change of apps\/StatefulSet data\/postgresql: .*Acknowledges: apps\/StatefulSet data\/postgresql is replaced$/,
    ])
      expect(lines).toContainEqual(expect.stringMatching(expected));
    expect(first.exitCode).toBe(4);
    const message = [
      "smaller disks",
      "",
      "Acknowledges: PersistentVolumeClaim data/postgresql-backup is replaced",
      "Acknowledges: apps/StatefulSet data/postgresql is replaced",
    ];
    await git(root, "commit", "--quiet", "--all", "--message", message.join("\n"));
    const second = await check(root);
    expect(second.stdout).toMatch(/^API server +2 overlays +2 notes$/m);
    expect(second.exitCode).toBe(0);
  });
});

it("asks nobody about what renders the same bytes: a moved patch is a refactor", async () => {
  const root = await copy();
  // Its exception is over, which an overlay that differs would be refused for.
  await edit(root, "base/apisix/deployment.yaml", "until 2027-11-30: At", "until 2026-01-31: At");
  await commit(root);
  await git(root, "update-ref", "refs/remotes/origin/main", "HEAD");
  const directory = join(root, "overlays/dev/postgresql");
  await rename(join(directory, "storage.yaml"), join(directory, "disk.yaml"));
  await edit(root, "overlays/dev/postgresql/kustomization.yaml", "storage.yaml", "disk.yaml");
  await rename(join(root, "base/apisix/deployment.yaml"), join(root, "base/apisix/gateway.yaml"));
  await edit(root, "base/apisix/kustomization.yaml", "deployment.yaml", "gateway.yaml");
  const { stdout, exitCode } = await check(root);
  expect(stdout).toContain("no environment changes: refactor\n");
  expect(stdout).toMatch(/^overlays +2 overlays, 2 as before +ok$/m);
  expect(stdout).not.toContain("API server");
  expect(exitCode).toBe(0);
});

it("tells which Applications a change deletes, and asks for a word about those whose objects go", async () => {
  const root = await copy();
  for (const environment of ["dev", "prod"])
    await rm(join(root, `overlays/${environment}/fluent-bit`), { recursive: true });
  await edit(root, "apps/storage.yaml", "app: storage", "app: disks");
  await git(root, "mv", "apps/storage.yaml", "apps/disks.yaml");
  const { stdout } = await check(root, "--no-server");
  const lines = stdout.split("\n");
  for (const expected of [
    /^overlays\/dev\/fluent-bit:1: nothing makes dev-fluent-bit any more; Argo CD deletes dev-fluent-bit with its objects; .*: Acknowledges: dev-fluent-bit is deleted$/,
    /^overlays\/prod\/fluent-bit:1: note: nothing makes prod-fluent-bit any more; Argo CD leaves prod-fluent-bit and its objects; delete it yourself/,
    /Acknowledges: dev-storage is deleted$/,
    /Acknowledges: staging-storage is deleted$/,
  ])
    expect(lines).toContainEqual(expect.stringMatching(expected));
});

it("writes what it found for people, for GitHub, and for programs", async () => {
  const root = await copy();
  await edit(root, "base/order-service/service.yaml", "targetPort: http", "targetPort: 8082");
  const file = join(await temporary(), "found.sarif");
  const { stdout } = await check(root, "--annotations", "--sarif", file);
  expect(stdout).toMatch(
    /^::error file=overlays\/dev\/order-service\/kustomization\.yaml,line=1,title=API server::the policy service-ports refuses /m,
  );
  const sarif = JSON.parse(await readFile(file, "utf8"));
  expect(sarif).toMatchObject({
    version: "2.1.0",
    runs: [{ results: [{ ruleId: "api-server", level: "error" }] }],
  });
  const json = JSON.parse((await check(root, "--json", "--no-server")).stdout);
  expect(json).toMatchObject({ verdicts: [{ environment: "dev" }] });
});

it.each(["SIGINT", "SIGKILL"] as const)("leaves no process behind after %s", async (signal) => {
  const root = await copy();
  await edit(root, "base/user-service/service.yaml", "targetPort: http", "targetPort: 8080");
  const TMPDIR = await temporary();
  const [command, args] = programLine(ROOT, "check", ["--root", root, "--base", "HEAD"]);
  const running = spawn(command, args, { env: { ...process.env, TMPDIR }, stdio: "ignore" });
  const ended = once(running, "exit");
  const servers = async () => {
    const all = (await run("ps", ["-eww", "-o", "args"])).split("\n");
    return all.filter((line) => line.includes(TMPDIR) && /(etcd|kube-apiserver) --/.test(line));
  };
  const isApiServer = (line: string) => line.includes("kube-apiserver");
  await waitFor("an API server runs", async () => (await servers()).some(isApiServer) || undefined);
  running.kill(signal);
  await ended;
  await waitFor("all of them have ended", async () => (await servers()).length === 0 || undefined);
  // After SIGKILL the next run removes the directories.
  const left = (await readdir(TMPDIR)).filter(
    (name) => signal === "SIGINT" || !name.startsWith("ecommerce-gitops-"),
  );
  expect(left).toEqual([]);
});
