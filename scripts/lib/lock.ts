/**
 * One at a time, between processes. A lock is a directory with one file in it, named after its owner: whoever finds the owner
 * gone takes that file out, and only one of those who do can put a directory in the place of the empty one.
 */
import { mkdtemp, readdir, rename, rm, rmdir, stat, utimes, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { codeOf } from "./errors.ts";
import { isGone, ownName } from "./owner.ts";
import { removeLeftovers } from "./temporary.ts";

/** How often an owner shows to other containers and machines, which cannot see its process, that it runs. */
const SIGN_MS = 10_000;
const SILENT_MS = 60_000;
/** What was started before locks had names holds an empty directory, and touches it more often than that. */
const UNNAMED_MS = 15_000;

/**
 * Takes a lock, at once also that of a process that was killed.
 * @param path of the lock; its directory must exist
 * @returns releases it; undefined when another process holds it
 */
export async function tryLock(path: string): Promise<(() => Promise<void>) | undefined> {
  const owner = await ownerOf(path);
  if (owner === undefined) {
    if (!(await isSilent(path, UNNAMED_MS))) return undefined;
  } else {
    if (!(isGone(owner) ?? (await isSilent(join(path, owner), SILENT_MS)))) return undefined;
    await rm(join(path, owner), { force: true });
  }
  const directory = dirname(path);
  const prefix = `${basename(path)}.`;
  await removeLeftovers(directory, prefix);
  const made = await mkdtemp(join(directory, `${prefix}${ownName()}-`));
  const own = basename(made).slice(prefix.length);
  try {
    await writeFile(join(made, own), "");
    // Succeeds where there is nothing, or an empty directory.
    await rename(made, path);
  } catch (error) {
    await rm(made, { recursive: true, force: true });
    if (codeOf(error) === "ENOTEMPTY" || codeOf(error) === "EEXIST") return undefined;
    throw error;
  }
  const sign = setInterval(
    () => void utimes(join(path, own), new Date(), new Date()).catch(() => {}),
    SIGN_MS,
  );
  sign.unref();
  return async () => {
    clearInterval(sign);
    await rm(join(path, own), { force: true });
    // Somebody else may have it by now.
    await rmdir(path).catch(() => {});
  };
}

async function ownerOf(path: string): Promise<string | undefined> {
  const [owner] = await readdir(path).catch((error: unknown) => {
    if (codeOf(error) === "ENOENT") return [];
    throw error;
  });
  return owner;
}

/** Whether nobody has touched a path for so long; nobody has what is not there. */
async function isSilent(path: string, ms: number): Promise<boolean> {
  const seen = await stat(path).catch(() => undefined);
  return seen === undefined || Date.now() - seen.mtimeMs > ms;
}
