/** Long-running processes as data: what to run, what must be ready first, and how to tell that it is ready itself. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, open, readdir, readFile } from "node:fs/promises";
import { request } from "node:https";
import { connect } from "node:net";
import { join } from "node:path";
import { z } from "zod";
import { codeOf } from "../errors.ts";
import { tryRun } from "../exec.ts";
import { replaceFile } from "../file.ts";
import { stretched } from "../wait.ts";
import type { Layout } from "./layout.ts";

const Probe = z.strictObject({
  port: z.number().int(),
  /** An HTTPS path that answers 200 when ready; without one, an open port is enough. */
  path: z.string().optional(),
});

const ProcessSpec = z.strictObject({
  name: z.string(),
  command: z.string(),
  args: z.array(z.string()),
  env: z.record(z.string(), z.string()),
  /** Names of processes that must be ready before this one is started. */
  after: z.array(z.string()),
  ready: Probe.optional(),
});

export type Probe = z.infer<typeof Probe>;
export type ProcessSpec = z.infer<typeof ProcessSpec>;

const Started = z.strictObject({ pid: z.number().int(), startedAt: z.string().trim(), spec: z.string() });
/**
 * A process that was started: its pid, its start time so that a reused pid is not mistaken for it (empty in the first
 * moment), and the digest of what it was started from.
 */
export type Started = z.infer<typeof Started>;

/** Writes a process's specification for the supervisor to pick up; one that has changed is started anew. */
export async function declareProcess(layout: Layout, spec: ProcessSpec): Promise<void> {
  await mkdir(layout.processes, { recursive: true, mode: 0o700 });
  await replaceFile(join(layout.processes, `${spec.name}.json`), JSON.stringify(spec, null, 2));
}

/** Every process that should run. */
export async function declaredProcesses(layout: Layout): Promise<ProcessSpec[]> {
  return (await readJsonFiles(layout.processes)).map(([, content]) => ProcessSpec.parse(content));
}

/** Every process that was started, by name; some may have ended since. */
export async function startedProcesses(layout: Layout): Promise<Map<string, Started>> {
  const files = await readJsonFiles(layout.pids);
  return new Map(files.map(([name, content]) => [name, Started.parse(content)]));
}

/**
 * A process records itself before it runs: whoever starts it may be killed at any moment, and what nobody knows of would
 * run for ever. With an empty start time first, because `ps` takes a moment.
 */
const RECORD_AND_RUN = `
file=$1 digest=$2; shift 2
record() { printf '{"pid":%d,"startedAt":"%s","spec":"%s"}' $$ "$1" "$digest" > "$file.new" && mv "$file.new" "$file"; }
record "" && record "$(unset TZ; LC_ALL=C ps -o lstart= -p $$)" && exec "$@"`;

/** Starts a process in a group of its own, with its output in `logs/<name>.log`; it records its pid. */
export async function startProcess(layout: Layout, spec: ProcessSpec): Promise<number> {
  await Promise.all(
    [layout.logs, layout.pids].map((directory) => mkdir(directory, { recursive: true, mode: 0o700 })),
  );
  const log = await open(join(layout.logs, `${spec.name}.log`), "a", 0o600);
  try {
    const record = [pidFile(layout, spec), digestOf(spec)];
    const child = spawn("/bin/sh", ["-c", RECORD_AND_RUN, "sh", ...record, spec.command, ...spec.args], {
      cwd: layout.dir,
      detached: true,
      env: spec.env,
      stdio: ["ignore", log.fd, log.fd],
    });
    const pid = await new Promise<number>((resolve, reject) => {
      child.once("error", reject);
      child.once("spawn", () => resolve(child.pid ?? 0));
    });
    child.unref();
    return pid;
  } finally {
    await log.close();
  }
}

/** Records the pid under which a process runs that has become this one by other means than `startProcess`. */
export async function recordProcess(layout: Layout, spec: ProcessSpec, pid: number): Promise<void> {
  const startedAt = (await startTimes([pid])).get(pid) ?? "";
  const started: Started = { pid, startedAt, spec: digestOf(spec) };
  await replaceFile(pidFile(layout, spec), JSON.stringify(started));
}

function pidFile(layout: Layout, { name }: ProcessSpec): string {
  return join(layout.pids, `${name}.json`);
}

/** Tells two specifications apart, in whatever order they were written. */
export function digestOf(spec: ProcessSpec): string {
  return createHash("sha256")
    .update(JSON.stringify(ProcessSpec.parse(spec)))
    .digest("hex")
    .slice(0, 16);
}

/** Which of these processes still run. */
export async function running(started: ReadonlyMap<string, Started>): Promise<Set<string>> {
  const times = await startTimes([...started.values()].map(({ pid }) => pid));
  const same = ([, { pid, startedAt }]: [string, Started]) =>
    startedAt === "" ? times.has(pid) : times.get(pid) === startedAt;
  return new Set([...started].filter(same).map(([name]) => name));
}

/** Whether a process is ready to be used; false as long as it does not answer. */
export async function isReady(probe: Probe | undefined): Promise<boolean> {
  if (probe === undefined) return true;
  return probe.path === undefined ? isPortOpen(probe.port) : answersOk(probe.port, probe.path);
}

/** Whether something listens on a loopback port. */
export async function isPortOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port, timeout: stretched(1000) });
    const answer = (isOpen: boolean) => () => {
      socket.destroy();
      resolve(isOpen);
    };
    socket.once("connect", answer(true));
    socket.once("error", answer(false));
    socket.once("timeout", answer(false));
  });
}

async function answersOk(port: number, path: string): Promise<boolean> {
  return new Promise((resolve) => {
    // Only "does it answer" is asked, on loopback and without credentials; no certificate needs to be trusted for that.
    const call = request(
      { host: "127.0.0.1", port, path, rejectUnauthorized: false, timeout: stretched(2000) },
      (response) => {
        response.resume();
        resolve(response.statusCode === 200);
      },
    );
    call.once("timeout", () => call.destroy());
    call.once("error", () => resolve(false));
    call.end();
  });
}

/** Start times of the processes among these that run, as `ps` prints them; defunct ones count as ended. */
async function startTimes(pids: readonly number[]): Promise<Map<number, string>> {
  if (pids.length === 0) return new Map();
  const { stdout } = await tryRun("ps", ["-o", "pid=,stat=,lstart=", "-p", pids.join(",")], {
    env: { PATH: process.env["PATH"], LC_ALL: "C" },
  });
  const lines = stdout.split("\n").map((line) => /^\s*(\d+)\s+(\S+)\s+(.+)$/.exec(line));
  return new Map(
    lines.flatMap((match) => {
      const [, pid, state, time] = match ?? [];
      return pid === undefined || time === undefined || state?.startsWith("Z")
        ? []
        : [[Number(pid), time.trim()]];
    }),
  );
}

/** Ends a process and its children at once. */
export function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if (codeOf(error) !== "ESRCH") throw error;
  }
}

/** The last lines of a process's log, on one line. */
export async function lastLines(layout: Layout, name: string): Promise<string> {
  const text = await endOf(join(layout.logs, `${name}.log`)).catch(() => "");
  const lines = text.trim().split("\n").slice(-3).join(" / ");
  return `${lines.slice(-500)} (.sandbox/logs/${name}.log)`;
}

async function endOf(file: string): Promise<string> {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    const { buffer, bytesRead } = await handle.read({ position: Math.max(0, size - 2000), length: 2000 });
    return buffer.subarray(0, bytesRead).toString();
  } finally {
    await handle.close();
  }
}

async function readJsonFiles(directory: string): Promise<[name: string, content: unknown][]> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (codeOf(error) === "ENOENT") return [];
    throw error;
  });
  const files = names.filter((name) => name.endsWith(".json")).sort();
  return Promise.all(
    files.map(async (file): Promise<[string, unknown]> => {
      return [file.slice(0, -".json".length), JSON.parse(await readFile(join(directory, file), "utf8"))];
    }),
  );
}
