/** Files and directories that nobody needs afterwards. */
import { rmSync } from "node:fs";
import { access, constants, mkdtemp, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Where Linux keeps files in memory for everybody. */
export const MEMORY = "/dev/shm";
/** What statfs says of tmpfs and ramfs: linux/magic.h. */
const MEMORY_TYPES = [0x01021994, 0x858458f6];
/** A tree of 300 apps and the clone that it comes from take a fifth of this. */
const ENOUGH_BYTES = 256 * 1024 * 1024;

/** How many bytes are free in a file system in memory; undefined when it is none. */
export async function freeMemory(path: string = MEMORY): Promise<number | undefined> {
  const found = await statfs(path).catch(() => undefined);
  return found !== undefined && MEMORY_TYPES.includes(found.type) ? found.bavail * found.bsize : undefined;
}

/**
 * Makes a directory, readable by its owner only: in memory where there is room, since thousands of small files take seconds on
 * a disk; else, or where TMPDIR says so, in the system's place for temporary files.
 * @param prefix of its name
 */
export async function temporaryDirectory(
  prefix: string,
  env: NodeJS.ProcessEnv = process.env,
  memory: string = MEMORY,
): Promise<string> {
  const hasRoom = env["TMPDIR"] === undefined && ((await freeMemory(memory)) ?? 0) >= ENOUGH_BYTES;
  const mayWrite =
    hasRoom &&
    (await access(memory, constants.W_OK).then(
      () => true,
      () => false,
    ));
  return mkdtemp(join(mayWrite ? memory : tmpdir(), prefix));
}

/** What a process that ends at once, as an interrupted one does, still has to remove. */
const leftovers = new Set<string>();
process.on("exit", () => {
  for (const path of leftovers) rmSync(path, { recursive: true, force: true });
});

/** Calls a function with a path that is removed afterwards, also when the process ends meanwhile. */
export async function untilExit<T>(path: string, use: (path: string) => Promise<T>): Promise<T> {
  leftovers.add(path);
  try {
    return await use(path);
  } finally {
    await rm(path, { recursive: true, force: true });
    leftovers.delete(path);
  }
}
