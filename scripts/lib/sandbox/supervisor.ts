/**
 * Keeps the sandbox's processes running: starts what is declared, in order, and starts again what has died.
 * A watchdog process does the same for the supervisor. A new supervisor adopts what the old one had started.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { isAlive } from "../pid.ts";
import { programLine, repositoryRoot } from "../repository.ts";
import { Patience } from "../wait.ts";
import type { Layout } from "./layout.ts";
import {
  declaredProcesses,
  declareProcess,
  digestOf,
  isReady,
  killGroup,
  lastLines,
  type ProcessSpec,
  recordProcess,
  running,
  startedProcesses,
  startProcess,
} from "./process.ts";
import { readState } from "./state.ts";

const SUPERVISOR = "supervisor";
const WATCHDOG = "watchdog";
const ROUND_MS = 400;
/** A process that keeps dying is started again after 0.4, 0.8, 1.6, … seconds, 5 at most. */
const LONGEST_PAUSE_MS = 5000;
/** A process that has not answered, and has logged nothing new for so long, will not: it is started again. */
export const ANSWER_MS = 60_000;

/** Starts the supervisor unless it runs already. */
export async function ensureSupervisor(layout: Layout): Promise<void> {
  const started = await startedProcesses(layout);
  if ((await running(started)).has(SUPERVISOR)) return;
  await startProcess(layout, supervisorSpec(layout));
}

/**
 * Whether there is a sandbox that nobody looks after: supervisor and watchdog were killed together, or the machine was off.
 * @param layout the checkout's
 */
export async function isUnwatched(layout: Layout): Promise<boolean> {
  if ((await readState(layout)) === undefined) return false;
  const alive = await running(await startedProcesses(layout));
  return !alive.has(SUPERVISOR) && !alive.has(WATCHDOG);
}

/** The supervisor's work: returns only when another supervisor is at it already. */
export async function supervise(layout: Layout, log: (line: string) => void): Promise<void> {
  const processes = await adopt(layout);
  if (processes === undefined) return log("another supervisor is running");
  for (;;) {
    const ready = new Set([...processes].filter(([, { isReady: answers }]) => answers).map(([name]) => name));
    for (const spec of await declaredProcesses(layout)) {
      const known = processes.get(spec.name) ?? fresh();
      processes.set(spec.name, await attend(layout, spec, known, ready, log));
    }
    await sleep(ROUND_MS);
  }
}

/** What a supervisor knows of a process. */
interface Supervised {
  /** The last pid it had, and the digest of what it was started from. */
  readonly pid?: number;
  readonly spec?: string;
  /** With a process that has not answered yet. */
  readonly patience: Patience;
  readonly isReady: boolean;
  /** How often it has died without ever having answered, and when it may be started again. */
  readonly failures: number;
  readonly notBefore: number;
}

function fresh(): Supervised {
  return { patience: new Patience(ANSWER_MS), isReady: false, failures: 0, notBefore: 0 };
}

/** Looks after one process for one round. */
async function attend(
  layout: Layout,
  spec: ProcessSpec,
  known: Supervised,
  ready: ReadonlySet<string>,
  log: (line: string) => void,
): Promise<Supervised> {
  const { pid } = known;
  if (pid !== undefined && isAlive(pid)) {
    if (known.spec !== digestOf(spec)) {
      log(`${spec.name} is to run differently`);
      killGroup(pid);
      return { ...known, isReady: true };
    }
    if (known.isReady) return known;
    if (await isReady(spec.ready)) return { ...known, isReady: true };
    if (!known.patience.hear(await lastLines(layout, spec.name))) return known;
    log(`${spec.name} does not answer`);
    killGroup(pid);
    return known;
  }
  if (Date.now() < known.notBefore || !spec.after.every((name) => ready.has(name))) return known;
  // Children that it may have left behind are still in its group.
  if (pid !== undefined) killGroup(pid);
  const failures = known.isReady ? 0 : known.failures + 1;
  log(`starting ${spec.name}`);
  return {
    pid: await startProcess(layout, spec),
    spec: digestOf(spec),
    patience: new Patience(ANSWER_MS),
    isReady: false,
    failures,
    notBefore: Date.now() + Math.min(ROUND_MS * 2 ** failures, LONGEST_PAUSE_MS),
  };
}

/** Takes over what an earlier supervisor started; undefined when that one still runs. */
async function adopt(layout: Layout): Promise<Map<string, Supervised> | undefined> {
  const started = await startedProcesses(layout);
  const alive = await running(started);
  if (alive.has(SUPERVISOR) && started.get(SUPERVISOR)?.pid !== process.pid) return undefined;
  // The old watchdog is gone, or has become this supervisor. First of all a new one: from here on one of the two
  // always starts the other.
  const watchdog = watchdogSpec(layout, process.pid);
  await declareProcess(layout, watchdog);
  const processes = new Map<string, Supervised>([
    [WATCHDOG, { ...fresh(), pid: await startProcess(layout, watchdog), spec: digestOf(watchdog) }],
  ]);
  await recordProcess(layout, supervisorSpec(layout), process.pid);
  for (const [name, { pid, spec }] of started) {
    if (alive.has(name) && name !== SUPERVISOR && name !== WATCHDOG)
      processes.set(name, { ...fresh(), pid, spec });
  }
  return processes;
}

function supervisorSpec(layout: Layout): ProcessSpec {
  const [command, args] = supervisorCommand(layout);
  return { name: SUPERVISOR, command, args, env: inheritedEnv(), after: [] };
}

/** A shell that waits for the supervisor's end and then becomes the next supervisor: one megabyte, nothing to go wrong. */
function watchdogSpec(layout: Layout, supervisorPid: number): ProcessSpec {
  // A zombie counts as ended: where no init reaps, it stays for ever.
  const script = 'while :; do case "$(ps -o stat= -p "$0")" in "" | Z*) exec "$@" ;; esac; sleep 1; done';
  return {
    name: WATCHDOG,
    command: "/bin/sh",
    args: ["-c", script, String(supervisorPid), ...supervisorCommand(layout).flat()],
    env: inheritedEnv(),
    after: [],
  };
}

function supervisorCommand({ root }: Layout): [command: string, args: string[]] {
  return programLine(repositoryRoot(), "lib/sandbox/supervisor-process", [root]);
}

function inheritedEnv(): Record<string, string> {
  return { PATH: process.env["PATH"] ?? "" };
}
