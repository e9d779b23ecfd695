/**
 * The tool cache: directories that appear whole or not at all, each with a receipt of what it must contain.
 * Layout: `<cache>/<tool>/<version>-<key>/{receipt.json,…files}`.
 */
import { createHash } from "node:crypto";
import { constants, createReadStream, existsSync, readFileSync, statSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rename, rm, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { glob } from "tinyglobby";
import { z } from "zod";
import { codeOf, messageOf, RefusedError } from "../errors.ts";
import { tryLock } from "../lock.ts";
import { ownName } from "../owner.ts";
import { removeLeftovers } from "../temporary.ts";
import { waitFor } from "../wait.ts";

const RECEIPT = "receipt.json";
const receiptSchema = z.object({
  seconds: z.number(),
  files: z.record(
    z.string(),
    z.object({ size: z.number(), mtimeMs: z.number(), sha256: z.string(), executable: z.boolean() }),
  ),
});
type Receipt = z.infer<typeof receiptSchema>;

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
 * Whether an entry holds exactly what was put there. Size and time of each file are compared; only where the time differs
 * (the cache was copied or restored, or the file was touched) are the bytes hashed, and the receipt is brought up to date.
 */
export async function isIntact(entry: string): Promise<boolean> {
  const receipt = readReceipt(entry);
  if (receipt === undefined) return false;
  let touched = false;
  for (const [file, expected] of Object.entries(receipt.files)) {
    const found = statSync(join(entry, file), { throwIfNoEntry: false });
    if (found === undefined || !found.isFile() || found.size !== expected.size) return false;
    if (expected.executable && (found.mode & constants.S_IXUSR) === 0) return false;
    if (found.mtimeMs === expected.mtimeMs) continue;
    if ((await sha256(join(entry, file))) !== expected.sha256) return false;
    expected.mtimeMs = found.mtimeMs;
    touched = true;
  }
  // A read-only cache is as good; it is hashed again the next time.
  if (touched) await writeReceipt(entry, receipt).catch(() => undefined);
  return true;
}

/** How long it took to make an entry, in seconds. */
export function secondsToMake(entry: string): number {
  return readReceipt(entry)?.seconds ?? 0;
}

/**
 * Moves a finished directory into its place in the cache, with its receipt; what stood there before is replaced.
 * @param made a directory below the cache, which no longer exists afterwards
 * @param seconds how long it took to make
 */
export async function commitEntry(made: string, entry: string, seconds: number): Promise<void> {
  const files: Receipt["files"] = {};
  for (const file of await glob("**", { cwd: made, dot: true })) {
    const { size, mtimeMs, mode } = await stat(join(made, file));
    const executable = (mode & constants.S_IXUSR) !== 0;
    files[file] = { size, mtimeMs, sha256: await sha256(join(made, file)), executable };
  }
  await writeReceipt(made, { seconds, files });
  await mkdir(dirname(entry), { recursive: true });
  if (existsSync(entry)) await rename(entry, `${made}.replaced`);
  await rename(made, entry);
  await rm(`${made}.replaced`, { recursive: true, force: true });
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
  { onWait, signal }: { onWait: () => void; signal?: AbortSignal | undefined },
  action: (scratch: string) => Promise<T>,
): Promise<T> {
  const work = join(cache, ".work", name);
  let scratch: string | undefined;
  const release = await acquire(cache, work, onWait, signal);
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

async function acquire(
  cache: string,
  work: string,
  onWait: () => void,
  signal: AbortSignal | undefined,
): Promise<() => Promise<void>> {
  const look = async () => {
    signal?.throwIfAborted();
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

function readReceipt(entry: string): Receipt | undefined {
  try {
    return receiptSchema.parse(JSON.parse(readFileSync(join(entry, RECEIPT), "utf8")));
  } catch {
    // Missing, half-written or of another shape: all mean that the entry has to be made again.
    return undefined;
  }
}

async function writeReceipt(entry: string, receipt: Receipt): Promise<void> {
  const temporary = join(entry, `.${RECEIPT}.${process.pid}`);
  await writeFile(temporary, `${JSON.stringify(receipt, undefined, 1)}\n`);
  await chmod(temporary, 0o644);
  await rename(temporary, join(entry, RECEIPT));
}

async function sha256(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
}
