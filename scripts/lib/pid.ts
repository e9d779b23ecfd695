/** Whether a process still runs. One that has ended and that nobody has waited for does not. */
import { readFileSync } from "node:fs";
import { codeOf } from "./errors.ts";

/** Whether a process has this number; it may be another one than the one that is meant. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // Where no init reaps, a killed process stays as a zombie for ever.
    return process.platform !== "linux" || readStat(pid)[0] !== "Z";
  } catch (error) {
    return codeOf(error) === "EPERM";
  }
}

/**
 * When a process was started, in ticks since the machine was: with its number, a name that no other process gets. Linux only.
 * @returns undefined when it has ended
 */
export function startOf(pid: number): string | undefined {
  try {
    const fields = readStat(pid);
    // Field 22, starttime; the first one here is field 3.
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** The fields of /proc/<pid>/stat behind "<pid> (<name>) ", where a name may hold anything; proc_pid_stat(5). */
function readStat(pid: number): string[] {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}
