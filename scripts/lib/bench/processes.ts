/** What a set of processes costs: memory and processor time, from /proc on Linux and from `ps` elsewhere. */
import { readdir, readFile, readlink } from "node:fs/promises";
import { codeOf, ExternalError } from "../errors.ts";
import { run } from "../exec.ts";

export interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
  /** On Linux only; elsewhere the process group again. */
  readonly session: number;
  /** Ended, but not yet noticed by its parent: uses nothing. */
  readonly defunct: boolean;
  /** Processor time until now; on Linux with that of its ended children. */
  readonly cpuSeconds: number;
}

export interface Memory {
  readonly rssBytes: number;
  /** Each shared page divided by the number of its users; undefined where the system does not tell. */
  readonly pssBytes: number | undefined;
}

const LINUX = process.platform === "linux";
/** Whether `listProcesses` counts the time of ended children with their parent's. */
export const ENDED_CHILDREN_COUNTED = LINUX;
/** USER_HZ, the unit of times in /proc/<pid>/stat: 100 on every architecture that Node.js runs on. */
const TICKS_PER_SECOND = 100;

/** Every process of the machine that can be seen. */
export async function listProcesses(): Promise<Process[]> {
  if (!LINUX) return parsePs(await run("ps", ["-axo", "pid=,ppid=,pgid=,stat=,time="], { env: psEnv() }));
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const stats = await Promise.all(pids.map((pid) => unlessEnded(readFile(`/proc/${pid}/stat`, "utf8"))));
  return stats.flatMap((text) => (text === undefined ? [] : [parseStat(text)]));
}

/** Reads `/proc/<pid>/stat`; proc_pid_stat(5) numbers its fields. */
export function parseStat(text: string): Process {
  // The second field is the program's name in brackets, in which anything may stand, blanks and brackets too.
  const pid = Number.parseInt(text, 10);
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const number = (field: number) => Number(fields[field - 3]);
  const ticks = number(14) + number(15) + number(16) + number(17);
  if (!Number.isFinite(pid) || !Number.isFinite(ticks)) {
    throw new ExternalError(`/proc/<pid>/stat has an unknown shape: ${text.trim()}`);
  }
  return {
    pid,
    parent: number(4),
    group: number(5),
    session: number(6),
    defunct: fields[0] === "Z" || fields[0] === "X",
    cpuSeconds: ticks / TICKS_PER_SECOND,
  };
}

/** Reads what `ps -o pid=,ppid=,pgid=,stat=,time=` prints; the time is [[days-]hours:]minutes:seconds[.hundredths]. */
export function parsePs(text: string): Process[] {
  return text
    .split("\n")
    .map((line) => /^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\S+)\s+(?:(\d+)-)?([\d:.]+)\s*$/.exec(line))
    .flatMap((match) => {
      const [, pid, parent, group, state, days, time] = match ?? [];
      if (pid === undefined || time === undefined) return [];
      const clock = time.split(":").reduce((total, part) => total * 60 + Number(part), 0);
      return [
        {
          pid: Number(pid),
          parent: Number(parent),
          group: Number(group),
          session: Number(group),
          defunct: state?.startsWith("Z") === true,
          cpuSeconds: Number(days ?? 0) * 86_400 + clock,
        },
      ];
    });
}

/**
 * The processes that belong to some leaders: themselves, their process groups and sessions, and all descendants.
 * A program may put its children in groups of their own, as Gitea does with git.
 */
export function belongingTo(leaders: ReadonlySet<number>, processes: readonly Process[]): Process[] {
  const belong = new Set(leaders);
  for (let before = -1; before !== belong.size; ) {
    before = belong.size;
    for (const { pid, parent, group, session } of processes) {
      if (belong.has(parent) || leaders.has(group) || leaders.has(session)) belong.add(pid);
    }
  }
  return processes.filter(({ pid, defunct }) => belong.has(pid) && !defunct);
}

/**
 * Processor seconds used between two looks at a set of processes.
 * @param endedChildrenCounted whether a process's time includes that of its ended children. If so, the time that an ended
 * process had used before the first look is taken off again, because its parent got all of it since.
 */
export function cpuSecondsBetween(
  before: readonly Process[],
  after: readonly Process[],
  endedChildrenCounted: boolean,
): number {
  const first = new Map(before.map((process) => [process.pid, process]));
  const last = new Map(after.map((process) => [process.pid, process]));
  const used = after.map(({ pid, cpuSeconds }) => cpuSeconds - (first.get(pid)?.cpuSeconds ?? 0));
  const inherited = before
    .filter(({ pid, parent }) => endedChildrenCounted && !last.has(pid) && last.has(parent))
    .map(({ cpuSeconds }) => -cpuSeconds);
  return sum([...used, ...inherited]);
}

/** Memory of some processes together; those that have ended use none. */
export async function memoryOf(pids: readonly number[]): Promise<Memory> {
  if (LINUX) {
    const parts = await Promise.all(
      pids.map(async (pid) => unlessEnded(readFile(`/proc/${pid}/smaps_rollup`, "utf8"))),
    );
    const known = parts.flatMap((text) => (text === undefined ? [] : [parseSmapsRollup(text)]));
    return {
      rssBytes: sum(known.map(({ rssBytes }) => rssBytes)),
      pssBytes: sum(known.map(({ pssBytes }) => pssBytes)),
    };
  }
  const text = await run("ps", ["-o", "rss=", "-p", pids.join(",")], { env: psEnv() });
  return { rssBytes: sum(text.split("\n").map(Number)) * 1024, pssBytes: undefined };
}

/** Reads `/proc/<pid>/smaps_rollup`. */
export function parseSmapsRollup(text: string): { rssBytes: number; pssBytes: number } {
  const bytes = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(text)?.[1]) * 1024;
  const memory = { rssBytes: bytes("Rss"), pssBytes: bytes("Pss") };
  if (Number.isFinite(memory.rssBytes + memory.pssBytes)) return memory;
  throw new ExternalError("/proc/<pid>/smaps_rollup has no Rss or no Pss");
}

/**
 * The processes that work in a directory or name it in their arguments: those that came out of it and lost their leader.
 * @returns pid and command line, by which a person finds them
 */
export async function processesOf(directory: string): Promise<Map<number, string>> {
  const text = await run("ps", ["-axo", "pid=,stat=,args="], { env: psEnv() });
  const found = text.split("\n").map(async (line): Promise<[number, string][]> => {
    const [, pid, state, args] = /^\s*(\d+)\s+(\S+)\s+(.+)$/.exec(line) ?? [];
    if (pid === undefined || args === undefined || state?.startsWith("Z")) return [];
    const cwd = LINUX ? await unlessEnded(readlink(`/proc/${pid}/cwd`)) : undefined;
    // Linux adds " (deleted)" to a directory that is gone.
    const inside = cwd !== undefined && `${cwd}/`.replace(/ \(deleted\)\/$/, "/").startsWith(`${directory}/`);
    return inside || args.includes(`${directory}/`) ? [[Number(pid), args]] : [];
  });
  return new Map((await Promise.all(found)).flat());
}

function psEnv(): NodeJS.ProcessEnv {
  return { PATH: process.env["PATH"], LC_ALL: "C", COLUMNS: "1000" };
}

/** What was read of a process, or undefined when it has ended meanwhile or belongs to somebody else. */
async function unlessEnded<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read;
  } catch (error) {
    if (["ENOENT", "ESRCH", "EACCES", "EPERM"].includes(codeOf(error) ?? "")) return undefined;
    throw error;
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
