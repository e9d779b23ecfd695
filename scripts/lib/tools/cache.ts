/** The tool cache: directories that are made elsewhere and renamed into place. Layout: `<cache>/<tool>/<version>-<key>/…files`. */
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { codeOf, messageOf, RefusedError } from "../errors.ts";
import { tryLock } from "../lock.ts";
import { ownName } from "../owner.ts";
import { removeLeftovers } from "../temporary.ts";
import { waitFor } from "../wait.ts";

/**
 * Where the cache is: `TOOLS_CACHE` (relative to `root`), else below `XDG_CACHE_HOME`, else below `~/.cache`.
 */
export function cacheDir(env: NodeJS.ProcessEnv, root: string): string {
  if (env["TOOLS_CACHE"]) return resolve(root, env["TOOLS_CACHE"]);
  const xdg = env["XDG_CACHE_HOME"];
  // The XDG specification has relative paths ignored.
  const base = xdg && isAbsolute(xdg) ? xdg : join(env["HOME"] || homedir(), ".cache");
  return join(base, "ecommerce-gitops", "tools");
}

/**
 * Moves a finished directory into its place in the cache: an entry is there whole or not at all. Its name has the key of all
 * that it is made from. One that somebody has damaged is replaced.
 * @param made a directory below the cache, which no longer exists afterwards
 */
export async function commitEntry(made: string, entry: string): Promise<void> {
  await mkdir(dirname(entry), { recursive: true });
  await rm(entry, { recursive: true, force: true });
  await rename(made, entry);
}

/**
 * Runs `action` while no other process runs one with the same name on the same cache.
 * @param action gets a fresh directory inside the cache, which is removed afterwards
 * @param onWait called when another process holds the lock, and now and then while it does
 * @throws RefusedError when the cache cannot be written
 */
export async function withLock<T>(
  cache: string,
  name: string,
  onWait: () => void,
  action: (scratch: string) => Promise<T>,
): Promise<T> {
  const work = join(cache, ".work", name);
  let scratch: string | undefined;
  const release = await acquire(cache, work, onWait);
  try {
    await removeLeftovers(work, "");
    scratch = await mkdtemp(join(work, `${ownName()}-`));
    return await action(scratch);
  } catch (error) {
    throw cacheError(error, cache) ?? error;
  } finally {
    if (scratch !== undefined) await rm(scratch, { recursive: true, force: true });
    await release();
  }
}

async function acquire(cache: string, work: string, onWait: () => void): Promise<() => Promise<void>> {
  const look = async () => {
    try {
      await mkdir(work, { recursive: true });
      return await tryLock(`${work}.lock`);
    } catch (error) {
      throw cacheError(error, cache) ?? error;
    }
  };
  const release = await look();
  if (release !== undefined) return release;
  onWait();
  // However long it takes: it runs.
  return waitFor("another process has built it", look, { quietMs: Number.POSITIVE_INFINITY, tell: onWait });
}

function cacheError(error: unknown, cache: string): RefusedError | undefined {
  const reasons: Record<string, string> = {
    EACCES: "may not be written",
    EPERM: "may not be written",
    EROFS: "is on a read-only file system",
    ENOSPC: "is on a full disk",
    EDQUOT: "is over its disk quota",
    ENOTDIR: "is not a directory",
  };
  const reason = reasons[codeOf(error) ?? ""];
  if (reason === undefined) return undefined;
  return new RefusedError(
    `the tool cache ${cache} ${reason} (${messageOf(error)})`,
    "put that right, or set TOOLS_CACHE to another directory",
    { cause: error },
  );
}
