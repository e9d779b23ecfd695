/** `npm run check` and its API server: what it finds in a change, and that it leaves nothing behind. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
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
  return root;
}

async function edit(root: string, file: string, from: RegExp | string, to: string): Promise<void> {
  const text = await readFile(join(root, file), "utf8");
  expect(text.search(from), `${file} has ${String(from)}`).toBeGreaterThanOrEqual(0);
  await writeFile(join(root, file), text.replace(from, to));
}

beforeAll(async () => resolveTools(["etcd", "kube-apiserver", "kustomize"]));

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
  const [command, args] = programLine(ROOT, "check", ["--root", root, "--base", "HEAD"]);
  const { stdout, exitCode } = await tryRun(command, args);
  expect(exitCode).toBe(4);
  const lines = stdout.split("\n");
  // Those of dev: behind it the base comes with a release.
  for (const expected of [
    /^6 overlays put before an API server$/,
    /^overlays\/dev\/user-service\/\S+: the policy resources refuses apps\/Deployment microservices\/user-service: container app leaves out .*; state both/,
    /^overlays\/dev\/order-service\/\S+: the policy service-ports refuses Service microservices\/order-service: port 8082 .*; set name/,
    /^overlays\/dev\/payment-service\/\S+: the API server refuses apps\/Deployment .*terminationGrace/,
    /^overlays\/dev\/product-service\/\S+: the API server refuses apps\/Deployment .*maximum memory usage per Container is 2Gi/,
    /^overlays\/dev\/apisix\/\S+: .* the exception writable-root, which ended on 2026-01-31; /,
    /^overlays\/dev\/foundation\/\S+: ResourceQuota microservices\/quota has 5 of pods, and \d+ are needed/,
  ])
    expect(lines).toContainEqual(expect.stringMatching(expected));
});

it.each(["SIGINT", "SIGKILL"] as const)("leaves no process behind after %s", async (signal) => {
  const root = await copy();
  await edit(root, "base/user-service/service.yaml", "targetPort: http", "targetPort: 8080");
  const TMPDIR = await temporary();
  const [command, args] = programLine(ROOT, "check", ["--root", root, "--base", "HEAD"]);
  const check = spawn(command, args, { env: { ...process.env, TMPDIR }, stdio: "ignore" });
  const ended = once(check, "exit");
  const servers = async () => {
    const all = (await run("ps", ["-eww", "-o", "args"])).split("\n");
    return all.filter((line) => line.includes(TMPDIR) && /(etcd|kube-apiserver) --/.test(line));
  };
  const isApiServer = (line: string) => line.includes("kube-apiserver");
  await waitFor("an API server runs", async () => (await servers()).some(isApiServer) || undefined);
  check.kill(signal);
  await ended;
  await waitFor("all of them have ended", async () => (await servers()).length === 0 || undefined);
  // After SIGKILL the next run removes the directory.
  const left = (await readdir(TMPDIR)).filter((name) => signal === "SIGINT" || !name.includes("api-server"));
  expect(left).toEqual([]);
});
