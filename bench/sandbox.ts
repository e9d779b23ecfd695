/** A whole life of a sandbox: start, memory, idle, merges, stop. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseApplications } from "../scripts/lib/argocd/applications.ts";
import { ExternalError, RefusedError } from "../scripts/lib/errors.ts";
import { run } from "../scripts/lib/exec.ts";
import { forgeAddress } from "../scripts/lib/forge/address.ts";
import { connectForge, type Forge } from "../scripts/lib/forge/forge.ts";
import { gitEnv } from "../scripts/lib/sandbox/clone.ts";
import { type Layout, layoutOf } from "../scripts/lib/sandbox/layout.ts";
import { sandboxExists } from "../scripts/lib/sandbox/lifetime.ts";
import { startedProcesses } from "../scripts/lib/sandbox/process.ts";
import { findSandbox } from "../scripts/lib/sandbox/variables.ts";
import { readCatalogue } from "../scripts/lib/tree/catalogue.ts";
import { readEnvironments } from "../scripts/lib/tree/environment.ts";
import { pinnedImage } from "../scripts/lib/tree/kustomize.ts";
import { readSettings } from "../scripts/lib/tree/settings.ts";
import { waitFor } from "../scripts/lib/wait.ts";
import type { BenchOptions, Figure } from "./figures.ts";
import { cpuSeconds, memoryBytes, processesOf } from "./processes.ts";

/** After a start or a merge, controllers and autoscalers have work left for some seconds. */
const SETTLE_MS = 20_000;
const IDLE_MS = 30_000;
/** The figures are for a machine of two cores, however many this one has. */
const CORES = 2;
const LOOK_MS = 100;

/**
 * Starts a sandbox, measures it and stops it, also when a step fails or the command is interrupted.
 * @throws RefusedError when the checkout has a sandbox, or the system has no /proc
 * @throws ExternalError when the sandbox does not start, deliver or stop
 */
export async function benchSandbox(root: string, options: BenchOptions): Promise<Figure[]> {
  const { runs, say } = options;
  const layout = layoutOf(root);
  return withSandbox(root, options, async (start, stop) => {
    const memory = [await memoryBytes(await sandboxProcesses(layout))];
    say(`${SETTLE_MS / 1000} s to settle, then ${IDLE_MS / 1000} s idle`);
    const idle = await measureIdle(layout);
    memory.push(await memoryBytes(await sandboxProcesses(layout)));
    const merges = await measureMerges(layout, runs, say);
    memory.push(await memoryBytes(await sandboxProcesses(layout)));
    say("npm stop");
    const stopped = await stop();
    const [deployed, highest] = ["merge to Synced and Healthy in dev", Math.max(...memory) / 1e9];
    return [
      { name: "npm start to all Synced and Healthy", unit: "s", measured: [start], limit: 75, aim: 40 },
      { name: "memory of all processes", unit: "GB", measured: [highest], limit: 4 },
      { name: "idle, of two cores", unit: "%", measured: [idle], limit: 25 },
      { name: deployed, unit: "s", measured: merges, limit: 10, aim: 4 },
      { name: `${deployed}: slowest`, unit: "s", measured: [Math.max(...merges)], limit: 10 },
      { name: "npm stop", unit: "s", measured: [stopped], limit: 15 },
    ];
  });
}

/**
 * Starts a sandbox for a function, and stops it, also when that fails or is interrupted.
 * @param use gets the seconds of the start, and what stops it earlier and tells how long that takes
 * @throws RefusedError when the checkout has a sandbox, or the system has no /proc
 */
export async function withSandbox<T>(
  root: string,
  { say, onInterrupt }: BenchOptions,
  use: (startSeconds: number, stop: () => Promise<number>) => Promise<T>,
): Promise<T> {
  if (process.platform !== "linux") throw new RefusedError("the bench of the sandbox needs Linux's /proc");
  if (await sandboxExists(layoutOf(root)))
    throw new RefusedError(`${root} has a sandbox: its figures would be those of an old one`, "run npm stop");
  const stop = async () => npm(root, "stop");
  onInterrupt(stop);
  try {
    say("npm start");
    return await use(await npm(root, "start"), stop);
  } finally {
    await stop();
  }
}

/** @returns seconds */
async function npm(root: string, script: "start" | "stop"): Promise<number> {
  const began = performance.now();
  // Standard output belongs to the figures.
  const child = spawn("npm", [script], { cwd: root, stdio: ["ignore", 2, 2] });
  const [code]: unknown[] = await once(child, "exit");
  if (code !== 0)
    throw new ExternalError(`npm ${script} failed with exit code ${String(code)}`, "read its reason above");
  return (performance.now() - began) / 1000;
}

export async function sandboxProcesses(layout: Layout): ReturnType<typeof processesOf> {
  return processesOf(new Set([...(await startedProcesses(layout)).values()].map(({ pid }) => pid)));
}

/** @returns percent of two cores */
async function measureIdle(layout: Layout): Promise<number> {
  await sleep(SETTLE_MS);
  const began = performance.now();
  const before = cpuSeconds(await sandboxProcesses(layout));
  await sleep(IDLE_MS);
  const used = cpuSeconds(await sandboxProcesses(layout)) - before;
  return ((used * 1000) / (performance.now() - began) / CORES) * 100;
}

/** Asks Argo CD's API about applications. @param path the rest of the address: an application's, or a query */
export type AskApplications = (path: string) => Promise<string>;

/** The command line client takes half a second to start: the benches measure shorter times. */
export async function connectApplications(layout: Layout): Promise<AskApplications> {
  const { ARGOCD_SERVER = "", ARGOCD_AUTH_TOKEN = "" } =
    (await findSandbox(layout.root, {}))?.variables ?? {};
  const headers = { authorization: `Bearer ${ARGOCD_AUTH_TOKEN}` };
  return async (path) =>
    (await fetch(`http://${ARGOCD_SERVER}/api/v1/applications${path}`, { headers })).text();
}

/** Merges a new image, one service after the other, so that no merge waits for the rollout of the one before. */
async function measureMerges(layout: Layout, runs: number, say: (line: string) => void): Promise<number[]> {
  const [environment] = await readEnvironments(layout.root);
  const services = (await readCatalogue(layout.root)).filter((app) => app.kind === "service");
  const { FORGE_TOKEN = "" } = (await findSandbox(layout.root, {}))?.variables ?? {};
  const ask = await connectApplications(layout);
  const settings = await readSettings(layout.work);
  const forge = connectForge(forgeAddress(settings), FORGE_TOKEN);
  const seconds: number[] = [];
  for (let index = 0; index < runs; index += 1) {
    const service = services[index % services.length];
    if (service === undefined || environment === undefined)
      throw new RefusedError("apps/*.yaml has no service whose image could be changed");
    say(`merge ${index + 1} of ${runs}: ${service.app}`);
    const isDelivered = async (tag: string) => {
      const [seen] = parseApplications(`[${await ask(`/${environment.name}-${service.app}`)}]`);
      const isRunning = seen?.images.some((image) => image.includes(tag)) === true;
      return (seen?.sync === "Synced" && seen.health === "Healthy" && isRunning) || undefined;
    };
    await waitFor(`${service.app} is Healthy`, async () => isDelivered(""), { everyMs: LOOK_MS });
    const merged = await merge(layout, forge, { base: settings.revision, dir: environment.name, service });
    const began = performance.now();
    await waitFor(`${service.app} runs ${merged}`, async () => isDelivered(merged), { everyMs: LOOK_MS });
    seconds.push((performance.now() - began) / 1000);
  }
  return seconds;
}

/** Pushes a new tag from the work clone, opens a pull request and merges it. @returns the tag */
async function merge(
  layout: Layout,
  forge: Forge,
  { base, dir, service }: { base: string; dir: string; service: { app: string; image: string } },
): Promise<string> {
  const tag = randomBytes(20).toString("hex");
  const head = `bench-${service.app}-${tag.slice(0, 7)}`;
  const git = async (...args: string[]) => run("git", args, { cwd: layout.work, env: gitEnv(layout) });
  await git("fetch", "--quiet", "origin", base);
  await git("checkout", "--quiet", "-B", head, "FETCH_HEAD");
  const path = `overlays/${dir}/${service.app}/kustomization.yaml`;
  const text = await readFile(join(layout.work, path), "utf8");
  const pinned = pinnedImage(text, path, `registry/${service.image}`).tag;
  await writeFile(join(layout.work, path), text.replace(pinned, tag));
  await git("commit", "--quiet", "--all", "-m", `${service.app}: ${tag.slice(0, 7)} for ${dir}`);
  await git("push", "--quiet", "origin", head);
  const pull = await forge.createPullRequest({ head, base }, { title: head, body: "" });
  if (pull === undefined) throw new ExternalError(`the forge has a pull request of ${head} already`);
  await forge.mergePullRequest(pull.number, (await git("rev-parse", "HEAD")).trim());
  return tag;
}
