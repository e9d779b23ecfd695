/** What Linux tells of running processes. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readlink } from "node:fs/promises";
import { ownName } from "../../scripts/lib/owner.ts";
import { startOf } from "../../scripts/lib/pid.ts";

/** What a process has open: paths of files, and names such as `socket:[4711]`; nothing once it has ended. */
export async function openFiles(pid: number): Promise<string[]> {
  const directory = `/proc/${pid}/fd`;
  const numbers = await readdir(directory).catch(() => []);
  return Promise.all(numbers.map(async (number) => readlink(`${directory}/${number}`).catch(() => "")));
}

/** A process that was killed, and the name that its files have. */
export async function endedProcess(): Promise<{ pid: number; name: string }> {
  const child = spawn("sleep", ["600"]);
  const pid = child.pid ?? 0;
  const start = startOf(pid) ?? 0;
  child.kill("SIGKILL");
  await once(child, "exit");
  return { pid, name: `${ownName().split("-")[0]}-${pid}-${start}` };
}
