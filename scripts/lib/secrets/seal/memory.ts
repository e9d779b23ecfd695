/** Directories in memory for the text in an editor. The next run removes those that a killed run has left. */
import { mkdtemp, statfs } from "node:fs/promises";
import { join } from "node:path";
import { RefusedError } from "../../errors.ts";
import { ownName } from "../../owner.ts";
import { removeLeftovers } from "../../temporary.ts";

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
 * Removes this user's directories whose owner is gone.
 * @returns the paths of those that it has removed
 */
export async function removeTexts(memory: string = MEMORY): Promise<string[]> {
  return removeLeftovers(memory, PREFIX);
}
