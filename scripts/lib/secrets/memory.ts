/** Directories in memory for the text in an editor. What a killed run has left of them is removed by the next one. */
import { mkdtemp, readdir, readFile, statfs } from "node:fs/promises";
import { join } from "node:path";
import { RefusedError } from "../errors.ts";
import { ownName } from "../owner.ts";
import { removeLeftovers } from "../temporary.ts";

/** Where Linux keeps files in memory for everybody. */
export const MEMORY = "/dev/shm";
/** What statfs says of tmpfs and ramfs: linux/magic.h. */
const MEMORY_TYPES = [0x01021994, 0x858458f6];
const PREFIX = "seal-";

/**
 * Makes a directory in memory that nobody else can read. Its name says whose it is.
 * @throws RefusedError where the system has no such place
 */
export async function memoryDirectory(memory: string = MEMORY): Promise<string> {
  const found = await statfs(memory).catch(() => undefined);
  if (found !== undefined && MEMORY_TYPES.includes(found.type))
    return mkdtemp(join(memory, `${PREFIX}${ownName()}-`));
  throw new RefusedError(
    `${memory} is not in memory, and an editor's file must not be on a disk`,
    "give the values without --edit: at the prompt, on standard input or by --from-file",
  );
}

/**
 * Removes this user's directories whose owner is gone. One that sops or the editor still works in stays.
 * @returns what was removed
 */
export async function removeTexts(memory: string = MEMORY): Promise<string[]> {
  return removeLeftovers(memory, PREFIX, isUsed);
}

/** Whether a program runs that was started to put its temporary files there: sops, the editor, what that has started. */
async function isUsed(directory: string): Promise<boolean> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const environments = pids.map(async (pid) => readFile(`/proc/${pid}/environ`, "utf8").catch(() => ""));
  return (await Promise.all(environments)).some((text) => text.includes(directory));
}
