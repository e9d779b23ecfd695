/** Memory and processor time of a set of processes, from Linux's /proc. */
import { readdir, readFile } from "node:fs/promises";
import { codeOf } from "../scripts/lib/errors.ts";

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  readonly ticks: number;
}

/** USER_HZ, the unit of times in /proc/<pid>/stat: 100 on every architecture that Node.js runs on. */
const TICKS_PER_SECOND = 100;

/** The processes of some leaders: themselves, their process groups and sessions, and all descendants. */
export async function processesOf(leaders: ReadonlySet<number>): Promise<Process[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const stats = await Promise.all(pids.map(async (pid) => unlessEnded(`/proc/${pid}/stat`)));
  const all = stats.filter((text) => text !== "").map(parseStat);
  const belong = new Set(leaders);
  for (let before = -1; before !== belong.size; ) {
    before = belong.size;
    for (const { pid, parent, group, session } of all)
      if (belong.has(parent) || leaders.has(group) || leaders.has(session)) belong.add(pid);
  }
  return all.filter(({ pid }) => belong.has(pid));
}

/** Processor time until now, in seconds. That of ended children is in their parents'. */
export function cpuSeconds(processes: readonly Process[]): number {
  return processes.reduce((total, { ticks }) => total + ticks, 0) / TICKS_PER_SECOND;
}

/** Memory in bytes (Pss): a page that several processes share counts once. */
export async function memoryBytes(processes: readonly Process[]): Promise<number> {
  const texts = await Promise.all(processes.map(async ({ pid }) => unlessEnded(`/proc/${pid}/smaps_rollup`)));
  return texts.reduce((total, text) => total + Number(/^Pss:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0) * 1024, 0);
}

/** Reads `/proc/<pid>/stat`; proc_pid_stat(5) numbers its fields. The second one is a name that may have blanks and brackets. */
export function parseStat(text: string): Process {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const field = (number: number) => Number(fields[number - 3]);
  const ticks = field(14) + field(15) + field(16) + field(17);
  return { pid: Number.parseInt(text, 10), parent: field(4), group: field(5), session: field(6), ticks };
}

/** The text of a file, or none when its process has ended meanwhile or belongs to somebody else. */
async function unlessEnded(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (["ENOENT", "ESRCH", "EACCES", "EPERM"].includes(codeOf(error) ?? "")) return "";
    throw error;
  }
}
