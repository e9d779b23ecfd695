/** The sandbox's figures, measured on a whole life of it: start, memory, idle, merges, stop, and what is left. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { ExternalError, RefusedError } from "../errors.ts";
import { exists } from "../file.ts";
import { forgeAddress } from "../forge/address.ts";
import { connectForge } from "../forge/forge.ts";
import { type Layout, layoutOf } from "../sandbox/layout.ts";
import { sandboxExists } from "../sandbox/lifetime.ts";
import { isPortOpen, running, startedProcesses } from "../sandbox/process.ts";
import { readState } from "../sandbox/state.ts";
import { findSandbox } from "../sandbox/variables.ts";
import { readCatalogue } from "../tree/catalogue.ts";
import { readEnvironments } from "../tree/environment.ts";
import { readSettings } from "../tree/settings.ts";
import { type Figure, median } from "./figures.ts";
import { type Merge, measureMerge } from "./merge.ts";
import {
  belongingTo,
  cpuSecondsBetween,
  ENDED_CHILDREN_COUNTED,
  listProcesses,
  type Memory,
  memoryOf,
  type Process,
  processesOf,
} from "./processes.ts";

/** After a start or a merge, controllers and autoscalers have work left for some seconds. */
const SETTLE_MS = 20_000;
const IDLE_MS = 30_000;
/** The figures are for a machine of two cores, however many this one has. */
const CORES = 2;
const GB = 1e9;

/** Memory of all processes at one moment. */
export interface MemoryLook extends Memory {
  readonly when: string;
  readonly processes: number;
}

export interface SandboxReport {
  readonly figures: readonly Figure[];
  readonly memory: readonly MemoryLook[];
  readonly merges: readonly Merge[];
  /** What `npm stop` has left behind, a line each. */
  readonly left: readonly string[];
}

/**
 * Starts a sandbox, measures it and stops it. It is stopped too when a step fails or the command is interrupted.
 * @param root a checkout without a sandbox, with every tool built
 * @param options.runs how many merges are measured
 * @param options.say called with what is being measured
 * @throws RefusedError when the checkout has a sandbox, or dev has no services
 * @throws ExternalError when the sandbox does not start, deliver or stop
 */
export async function benchSandbox(
  root: string,
  options: { runs: number; say: (line: string) => void },
): Promise<SandboxReport> {
  const { runs, say } = options;
  const layout = layoutOf(root);
  await refuseSandbox(layout);
  const strangers = new Set((await processesOf(layout.dir)).keys());
  const life = new Life(root);
  try {
    say("npm start");
    const start = await life.start();
    const memory = [await lookAtMemory(layout, "after the start")];
    say(`${SETTLE_MS / 1000} s to settle, then ${IDLE_MS / 1000} s idle`);
    const idle = await measureIdle(layout);
    memory.push(await lookAtMemory(layout, "idle"));
    const merges = await measureMerges(layout, runs, say);
    memory.push(await lookAtMemory(layout, "after the merges"));
    say("npm stop");
    const traces = await tracesOf(layout);
    const stop = await life.stop();
    const left = await leftOf(layout, traces, strangers);
    return { figures: figuresOf({ start, memory, idle, merges, stop, left }), memory, merges, left };
  } finally {
    await life.end();
  }
}

/** The figures with their limits and aims. */
export function figuresOf(measured: {
  start: number;
  memory: readonly MemoryLook[];
  idle: number;
  merges: readonly Merge[];
  stop: number;
  left: readonly string[];
}): Figure[] {
  const { start, idle, stop, left } = measured;
  const memory = Math.max(...measured.memory.map(({ pssBytes, rssBytes }) => pssBytes ?? rssBytes)) / GB;
  const merges = measured.merges.map(({ seconds }) => seconds);
  const merge = "merge to Synced and Healthy in dev";
  return [
    {
      name: "npm start to dev and staging Synced and Healthy",
      unit: "s",
      measured: start,
      limit: 60,
      aim: 40,
    },
    { name: "memory of all processes", unit: "GB", measured: memory, limit: 3.5 },
    { name: "idle, of two cores", unit: "%", measured: idle, limit: 25 },
    { name: `${merge}: median of ${merges.length}`, unit: "s", measured: median(merges), limit: 10, aim: 4 },
    { name: `${merge}: slowest of ${merges.length}`, unit: "s", measured: Math.max(...merges), limit: 10 },
    { name: "npm stop", unit: "s", measured: stop, limit: 15 },
    { name: "processes, ports and files left", unit: "items", measured: left.length, limit: 0 },
  ];
}

async function refuseSandbox(layout: Layout): Promise<void> {
  const alive = await running(await startedProcesses(layout));
  if (alive.size === 0 && !(await sandboxExists(layout))) return;
  throw new RefusedError(
    `${layout.root} has a sandbox, and the figures are those of a new one`,
    "end it with `npm stop`",
  );
}

/** `npm start` and `npm stop` as their user calls them, and the certainty that one is followed by the other. */
class Life {
  readonly #root: string;
  #state: "none" | "starting" | "started" = "none";
  #child: ChildProcess | undefined;
  /** The only thing that still runs when the command is interrupted. */
  readonly #onExit = () => this.#endAtOnce();

  constructor(root: string) {
    this.#root = root;
  }

  /** @returns seconds; a start that fails has cleaned up itself, and its logs are to be read */
  async start(): Promise<number> {
    process.once("exit", this.#onExit);
    this.#state = "starting";
    try {
      const seconds = await this.#npm("start");
      this.#state = "started";
      return seconds;
    } catch (error) {
      this.#state = "none";
      throw error;
    }
  }

  /** @returns seconds */
  async stop(): Promise<number> {
    const seconds = await this.#npm("stop");
    this.#state = "none";
    return seconds;
  }

  /** Stops what was started and not stopped. */
  async end(): Promise<void> {
    if (this.#state !== "none") await this.stop();
    process.off("exit", this.#onExit);
  }

  async #npm(script: "start" | "stop"): Promise<number> {
    const began = performance.now();
    // What it prints is for whoever waits; standard output belongs to the figures. A group of its own can be ended whole.
    const child = spawn("npm", [script], { cwd: this.#root, detached: true, stdio: ["ignore", 2, 2] });
    this.#child = child;
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", resolve);
    });
    this.#child = undefined;
    if (code !== 0)
      throw new ExternalError(`npm ${script} failed with exit code ${code}`, "its reason is above");
    return (performance.now() - began) / 1000;
  }

  #endAtOnce(): void {
    const pid = this.#child?.pid;
    if (pid !== undefined) process.kill(-pid, "SIGINT");
    // `npm stop` refuses as long as the interrupted command has not let go.
    for (let tries = 0; this.#state !== "none" && tries < 10; tries += 1) {
      const { status } = spawnSync("npm", ["stop"], { cwd: this.#root, stdio: "ignore" });
      if (status === 0) this.#state = "none";
    }
  }
}

async function lookAtMemory(layout: Layout, when: string): Promise<MemoryLook> {
  const processes = await sandboxProcesses(layout);
  return { when, processes: processes.length, ...(await memoryOf(processes.map(({ pid }) => pid))) };
}

/** @returns percent of two cores */
async function measureIdle(layout: Layout): Promise<number> {
  await sleep(SETTLE_MS);
  const began = performance.now();
  const before = await sandboxProcesses(layout);
  await sleep(IDLE_MS);
  const after = await sandboxProcesses(layout);
  const seconds = (performance.now() - began) / 1000;
  return (cpuSecondsBetween(before, after, ENDED_CHILDREN_COUNTED) / (seconds * CORES)) * 100;
}

async function measureMerges(layout: Layout, runs: number, say: (line: string) => void): Promise<Merge[]> {
  const [environment] = await readEnvironments(layout.root);
  const services = (await readCatalogue(layout.root)).filter((app) => app.kind === "service");
  const sandbox = await findSandbox(layout.root, {});
  const { FORGE_TOKEN, ARGOCD_SERVER: server, ARGOCD_AUTH_TOKEN } = sandbox?.variables ?? {};
  if (!environment || !FORGE_TOKEN || !server || !ARGOCD_AUTH_TOKEN) {
    throw new ExternalError(".sandbox/env does not say where the forge and Argo CD are");
  }
  const settings = await readSettings(layout.work);
  const forge = connectForge(forgeAddress(settings), FORGE_TOKEN);
  const merges: Merge[] = [];
  for (let index = 0; index < runs; index += 1) {
    // One service after the other, so that no merge waits for the roll-out of the one before.
    const service = services[index % services.length];
    if (service === undefined)
      throw new RefusedError("apps/*.yaml has no service whose image could be changed");
    say(`merge ${index + 1} of ${runs}: ${service.app}`);
    const merge = await measureMerge({
      layout,
      forge,
      branch: settings.revision,
      argocd: { server, token: ARGOCD_AUTH_TOKEN },
      environment: environment.name,
      // In the sandbox an environment has one cluster, of the same name.
      application: `${environment.name}-${service.app}`,
      service,
    });
    merges.push(merge);
  }
  return merges;
}

/** By what to find out what is left. */
interface Traces {
  readonly leaders: ReadonlySet<number>;
  readonly ports: Readonly<Record<string, number>>;
}

async function tracesOf(layout: Layout): Promise<Traces> {
  const ports = (await readState(layout))?.ports ?? {};
  return { leaders: await leadersOf(layout), ports };
}

/** @param strangers processes that had to do with the directory before the sandbox was there */
async function leftOf(layout: Layout, traces: Traces, strangers: ReadonlySet<number>): Promise<string[]> {
  const named = await processesOf(layout.dir);
  const grouped = belongingTo(traces.leaders, await listProcesses()).map(({ pid }) => pid);
  const pids = new Set([...grouped, ...[...named.keys()].filter((pid) => !strangers.has(pid))]);
  const ports = await Promise.all(
    Object.entries(traces.ports).map(async ([name, port]) =>
      (await isPortOpen(port)) ? [`port ${port}: ${name}`] : [],
    ),
  );
  return [
    ...[...pids].map(
      (pid) => `process ${pid}: ${named.get(pid)?.slice(0, 150) ?? "of a group of the sandbox"}`,
    ),
    ...ports.flat(),
    ...((await exists(layout.dir)) ? [`directory ${layout.dir}`] : []),
  ];
}

async function sandboxProcesses(layout: Layout): Promise<Process[]> {
  return belongingTo(await leadersOf(layout), await listProcesses());
}

async function leadersOf(layout: Layout): Promise<Set<number>> {
  const started = await startedProcesses(layout);
  const alive = await running(started);
  return new Set([...started].filter(([name]) => alive.has(name)).map(([, { pid }]) => pid));
}
