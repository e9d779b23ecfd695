/** Small things about files. */
import { open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { codeOf } from "./errors.ts";
import { isAlive } from "./pid.ts";
import { untilExit } from "./temporary.ts";

/** Whether there is anything at a path. */
export async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    throw error;
  }
}

/** The content of a file, or undefined when there is none. */
export async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    // The second one: what should be its directory is a file.
    if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

/**
 * Replaces a file in one step: no reader, and no loss of power, ever finds half of it. What a killed run has left beside it
 * goes, too.
 */
export async function replaceFile(file: string, content: string, mode = 0o600): Promise<void> {
  await untilExit(`${file}.${process.pid}.tmp`, async (half) => {
    // The content has to be on the disk before the name is.
    await writeFile(half, content, { mode, flush: true });
    await rename(half, file);
    await syncDirectory(dirname(file));
  });
  await removeHalves(file);
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function removeHalves(file: string): Promise<void> {
  const start = `${basename(file)}.`;
  for (const name of await readdir(dirname(file))) {
    const [, pid] = /^(\d+)\.tmp$/.exec(name.startsWith(start) ? name.slice(start.length) : "") ?? [];
    if (pid !== undefined && !isAlive(Number(pid))) await rm(join(dirname(file), name), { force: true });
  }
}
