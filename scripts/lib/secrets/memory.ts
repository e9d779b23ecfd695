/** Directories in memory for the text in an editor. What a killed run has left of them is removed by the next one. */
import { lstat, mkdtemp, readdir, readFile, readlink, rm } from "node:fs/promises";
import { join } from "node:path";
import { startOf } from "../alive.ts";
import { RefusedError } from "../errors.ts";
import { freeMemory, MEMORY } from "../temporary.ts";

/**
 * Makes a directory in memory that nobody else can read. Its name says whose it is.
 * @throws RefusedError where the system has no such place
 */
export async function memoryDirectory(memory: string = MEMORY): Promise<string> {
  if ((await freeMemory(memory)) !== undefined)
    return mkdtemp(join(memory, `seal-${await namespace()}-${process.pid}-${startOf(process.pid)}-`));
  throw new RefusedError(
    `${memory} is not in memory, and an editor's file must not be on a disk`,
    "give the values without --edit: at the prompt, on standard input or by --from-file",
  );
}

/**
 * Removes this user's directories whose owner is gone. One that sops or the editor still works in stays.
 * @returns what was removed
 */
export async function removeLeftovers(memory: string = MEMORY): Promise<string[]> {
  const names = await readdir(memory).catch(() => []);
  const removed: string[] = [];
  for (const name of names) {
    const [, space, pid, start] = /^seal-(\d+)-(\d+)-(\d+)-/.exec(name) ?? [];
    if (space === undefined || space !== (await namespace()) || startOf(Number(pid)) === start) continue;
    const directory = join(memory, name);
    if (!(await isOurs(directory)) || (await isUsed(directory))) continue;
    await rm(directory, { recursive: true, force: true });
    removed.push(directory);
  }
  return removed;
}

/** Which processes the numbers are of: containers may have others, and the same memory. */
async function namespace(): Promise<string | undefined> {
  return /\d+/.exec(await readlink("/proc/self/ns/pid"))?.[0];
}

/** Everybody may put things there. */
async function isOurs(path: string): Promise<boolean> {
  const about = await lstat(path).catch(() => undefined);
  return about?.isDirectory() === true && about.uid === process.getuid?.();
}

/** Whether a program runs that was started to put its temporary files there: sops, the editor, what that has started. */
async function isUsed(directory: string): Promise<boolean> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const environments = pids.map(async (pid) => readFile(`/proc/${pid}/environ`, "utf8").catch(() => ""));
  return (await Promise.all(environments)).some((text) => text.includes(directory));
}
