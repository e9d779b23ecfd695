/** Files and directories that nobody needs afterwards. */
import { mkdtempSync, rmSync } from "node:fs";
import { lstat, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isGone, ownName } from "./owner.ts";

const PREFIX = "ecommerce-gitops-";

/**
 * Makes a directory, readable by its owner only, in the system's place for temporary files. What killed runs have left there is
 * removed first.
 * @param prefix of its name, such as `tree-`
 */
export async function temporaryDirectory(prefix: string): Promise<string> {
  await removeLeftovers(tmpdir(), PREFIX);
  // At once: of a directory that is made while the process ends, nobody would know.
  return mkdtempSync(join(tmpdir(), `${PREFIX}${ownName()}-${prefix}`));
}

/** Calls a function with such a directory, which is removed afterwards, also when the process ends meanwhile. */
export async function withTemporaryDirectory<T>(
  prefix: string,
  use: (directory: string) => Promise<T>,
): Promise<T> {
  return untilExit(await temporaryDirectory(prefix), use);
}

/**
 * Removes this user's directories whose process is gone.
 * @param prefix of their names; the name of their process follows it
 * @returns what was removed
 */
export async function removeLeftovers(place: string, prefix: string): Promise<string[]> {
  const removed: string[] = [];
  for (const name of await readdir(place).catch(() => [])) {
    if (!name.startsWith(prefix) || isGone(name.slice(prefix.length)) !== true) continue;
    const directory = join(place, name);
    if (!(await isOurs(directory))) continue;
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    removed.push(directory);
  }
  return removed;
}

/** Everybody may put things into a place for temporary files. */
async function isOurs(path: string): Promise<boolean> {
  const about = await lstat(path).catch(() => undefined);
  return about?.isDirectory() === true && about.uid === process.getuid?.();
}

/** What a process that ends at once, as an interrupted one does, still has to remove. */
const leftovers = new Set<string>();
process.on("exit", () => {
  for (const path of leftovers) rmSync(path, { recursive: true, force: true, maxRetries: 5 });
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
