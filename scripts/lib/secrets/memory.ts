/** Directories in memory for the text in an editor. */
import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { RefusedError } from "../errors.ts";
import { freeMemory, MEMORY } from "../temporary.ts";

/**
 * Makes a directory in memory that nobody else can read.
 * @throws RefusedError where the system has no such place
 */
export async function memoryDirectory(memory: string = MEMORY): Promise<string> {
  if ((await freeMemory(memory)) !== undefined) return mkdtemp(join(memory, "seal-"));
  throw new RefusedError(
    `${memory} is not in memory, and an editor's file must not be on a disk`,
    "give the values without --edit: at the prompt, on standard input or by --from-file",
  );
}
