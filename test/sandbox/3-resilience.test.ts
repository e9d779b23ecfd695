import { readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { run, tryRun } from "../../scripts/lib/exec.ts";
import { layoutOf } from "../../scripts/lib/sandbox/layout.ts";
import {
  declaredProcesses,
  declareProcess,
  isReady,
  running,
  startedProcesses,
} from "../../scripts/lib/sandbox/process.ts";
import { newcomer } from "./setup.ts";
import {
  applications,
  ENVIRONMENTS,
  ensureProd,
  env,
  home,
  hub,
  kubectl,
  npm,
  npmInWork,
  push,
  refresh,
  revert,
  root,
  until,
  untilHealthy,
  untilRuns,
  work,
} from "./support.ts";

const layout = layoutOf(root);
const specs = await declaredProcesses(layout);
const names = [...specs.map(({ name }) => name), "supervisor"];
const READY = '{range .items[*]}{.status.conditions[?(@.type=="Ready")].status} {end}';
const USER_SERVICE = join(work, "overlays/dev/user-service/kustomization.yaml");

/** Kills one process and waits until another one has taken its place and answers. */
async function killAndAwait(name: string): Promise<void> {
  const pid = (await startedProcesses(layout)).get(name)?.pid;
  expect(pid, name).toBeGreaterThan(1);
  process.kill(Number(pid), "SIGKILL");
  await until(
    `${name} is back`,
    async () => {
      const started = await startedProcesses(layout);
      if (started.get(name)?.pid === pid || !(await running(started)).has(name)) return undefined;
      const ready = await isReady(specs.find((spec) => spec.name === name)?.ready);
      return ready ? true : undefined;
    },
    30,
  );
}

describe("a process that is killed", () => {
  it("is one of many", () => {
    expect(names.length).toBeGreaterThan(30);
    expect(names).toContain("watchdog");
  });

  it.each(names)("%s is back within 30 s", async (name) => {
    await killAndAwait(name);
  });

  it("has lost nothing: the loop works, and what was there is there", async () => {
    const before = (await kubectl("dev", "-n", "data", "get", "pvc", "-o", "name")).split("\n").length;
    expect(before).toBeGreaterThan(2);
    const text = await readFile(USER_SERVICE, "utf8");
    const tag = "00112233445566778899aabbccddeeff00112233";
    await writeFile(USER_SERVICE, text.replace(/newTag: .*/, `newTag: "${tag}"`));
    await push("user-service after many deaths");
    await untilRuns("dev-user-service", tag);
    // An ApplicationSet that failed meanwhile would look again after three minutes.
    await refresh(...ENVIRONMENTS);
    const isHealthy = async (name: string) =>
      (await hub("get", "application", name, "--output", "jsonpath={.status.health.status}")) === "Healthy";
    for (const environment of ENVIRONMENTS) {
      const name = `root-${environment}`;
      await until(`${name} is Healthy`, async () => (await isHealthy(name)) || undefined, 300);
    }
    for (const application of await applications()) {
      // A comparison that an end of the API server has cut off is repeated after three minutes at most.
      if (application.env !== "prod") await untilHealthy(application.name, undefined, 300);
    }
  });
});

describe("machines that are silent for longer than Kubernetes waits", () => {
  it("are ready again when they are back, and so are their pods", async () => {
    const words = async () => kubectl("dev", "get", "nodes,pods", "-A", "-o", `jsonpath=${READY}`);
    const kwok = Number((await startedProcesses(layout)).get("dev-kwok")?.pid);
    process.kill(kwok, "SIGSTOP");
    await until("pods are not ready", async () => (await words()).includes("False") || undefined, 120);
    process.kill(kwok, "SIGCONT");
    await until("all are ready", async () => !/False|Unknown/.test(await words()) || undefined, 120);
    const measured = async () => (await kubectl("dev", "top", "nodes", "--no-headers")).split("\n").length;
    await until("their usage is measured", async () => (await measured().catch(() => 0)) >= 6 || undefined);
    for (const { name } of (await applications()).filter((application) => application.env === "dev"))
      await untilHealthy(name);
  });
});

describe("npm run faults", () => {
  it("makes the quick ones, and each ends as expected", async () => {
    await ensureProd();
    const { stdout, stderr, exitCode } = await npm("run", "faults");
    expect(exitCode, stderr).toBe(0);
    const rows = [...stdout.matchAll(/^(\S+) +(ok|failed) /gm)].map(([, fault, verdict]) => [fault, verdict]);
    expect(rows).toEqual(
      ["deleted-pods", "drained-node", "closed-budget", "database-down", "killed-while-syncing"].map(
        (name) => [name, "ok"],
      ),
    );
  });

  it("refuses a fault that it does not know", async () => {
    const { stderr, exitCode } = await npm("run", "faults", "full-moon");
    expect(stderr).toMatch(/^faults: there is no fault full-moon; there are deleted-pods, /);
    expect(exitCode).toBe(2);
  });
});

describe("a sync that cannot succeed", () => {
  it("ends with Argo CD's reason as soon as that is known, and the next one with the commit that fixes it", async () => {
    const text = await readFile(USER_SERVICE, "utf8");
    await writeFile(USER_SERVICE, text.replace(/path: (\S+)\.yaml/, "path: $1-missing.yaml"));
    await push("a typo in an overlay");
    // Longer than this whole test may take: it is not the limit that ends it.
    const { exitCode, stderr } = await npmInWork(["sync", "dev", "user-service", "--", "--timeout", "900"]);
    expect(stderr).toMatch(
      /^sync: dev-user-service: it does not sync: ComparisonError: .*-missing\.yaml.*; no retry fixes that: push a commit that does$/m,
    );
    expect(exitCode).toBe(5);
    await revert();
    const fixed = await npmInWork(["sync", "dev", "user-service"]);
    expect(fixed.stderr).toBe("");
    expect(fixed.exitCode).toBe(0);
  });
});

describe("a sandbox that nobody looks after", () => {
  it("says so, and is looked after again by npm start", async () => {
    const NOTE = "nobody looks after the sandbox: what has ended in it stays ended until `npm start`";
    expect((await npmInWork(["status"])).stdout).not.toContain(NOTE);
    const started = await startedProcesses(layout);
    for (const name of ["watchdog", "supervisor", "dev-scheduler"])
      process.kill(Number(started.get(name)?.pid), "SIGKILL");
    expect((await npmInWork(["status"])).stdout).toContain(NOTE);
    expect((await npm("start")).exitCode).toBe(0);
    expect((await npmInWork(["status"])).stdout).not.toContain(NOTE);
    expect(await running(await startedProcesses(layout))).toContain("dev-scheduler");
  });
});

describe("a clone of the forge", () => {
  it("passes its own check, as does one elsewhere on the machine, where the commands find the sandbox, too", async () => {
    const directory = join(home, "elsewhere");
    const credentials = `store --file='${join(layout.home, ".git-credentials")}'`;
    const url = `${env["FORGE_URL"]}/example/ecommerce-gitops.git`;
    await run("git", ["clone", "--quiet", "-c", `credential.helper=${credentials}`, url, directory]);
    await symlink(join(root, "node_modules"), join(directory, "node_modules"));
    for (const cwd of [work, directory]) {
      const check = await tryRun("npm", ["--silent", "run", "check"], { cwd, env });
      expect(check.stdout + check.stderr).not.toMatch(/placeholder/);
      expect(check.exitCode).toBe(0);
    }
    const status = await tryRun("npm", ["--silent", "run", "status"], { cwd: directory, env });
    expect(status.stdout).toContain(`of ${url}\n`);
    expect(status.stdout).toContain("Synced Healthy");
    await rm(directory, { recursive: true });
  });
});

describe("a second npm start", () => {
  it("repairs: what was deleted from the hub is back, and nothing else has changed", async () => {
    const password = async () =>
      kubectl("dev", "-n", "data", "get", "secret", "database", "-o", "jsonpath={.data.password}");
    const before = await password();
    await kubectl("hub", "-n", "argocd", "delete", "secret", "cluster-staging");
    const { exitCode, stdout } = await npm("start");
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^user-service +[0-9a-f]{7} Synced Healthy/m);
    expect(await kubectl("hub", "-n", "argocd", "get", "secret", "cluster-staging", "-o", "name")).toContain(
      "staging",
    );
    expect(await password()).toBe(before);
  });

  it("waits for a process that it declares differently, and the supervisor starts anew", async () => {
    const spec = specs.find(({ name }) => name === "staging-apiserver");
    if (spec === undefined) throw new Error("staging has an API server");
    const digest = async () => (await startedProcesses(layout)).get(spec.name)?.spec;
    const before = await digest();
    await declareProcess(layout, { ...spec, args: [...spec.args, "--v=1"] });
    await until("it runs differently", async () => (await digest()) !== before || undefined);
    await until("it answers", async () => (await isReady(spec.ready)) || undefined);
    const { exitCode, stderr } = await npm("start");
    expect(exitCode, stderr).toBe(0);
    expect(await digest()).toBe(before);
  });

  it("is refused while another one runs", async () => {
    const both = await Promise.all([npm("start"), npm("start")]);
    expect(new Set(both.map(({ exitCode }) => exitCode))).toEqual(new Set([0, 3]));
    expect(both.map(({ stderr }) => stderr).join("")).toContain(
      "start: another `npm start` or `npm stop` of this checkout is running; wait until it has ended\n",
    );
  });

  it("does nothing to the sandbox when it is called from the work clone", async () => {
    const inside = await tryRun("npm", ["--silent", "start"], { cwd: work, env: newcomer(home) });
    expect(inside.exitCode).toBe(3);
    expect(inside.stderr).toBe(
      "start: this is the work clone of a sandbox; start and stop it from its checkout\n",
    );
  });
});
