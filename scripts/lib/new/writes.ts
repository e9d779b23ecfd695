/**
 * Many files, written as one: a list of all of them is on the disk before the first one is put into the tree. Whoever is killed in
 * between leaves the list, and the next run writes the rest.
 */
import { mkdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { sha256 } from "../digest.ts";
import { RefusedError } from "../errors.ts";
import { readIfThere, replaceFile } from "../file.ts";
import type { Write } from "./plan.ts";

/** Git ignores its directory. Secrets are sealed in it, as they are in the tree. */
const PENDING = ".cache/new.json";

const Pending = z.strictObject({
  app: z.string(),
  writes: z.array(
    z.strictObject({
      path: z.string(),
      text: z.string(),
      /** Digest of what stands there before; none for a new file. */
      before: z.string().optional(),
    }),
  ),
});
type Pending = z.infer<typeof Pending>;

/**
 * Has everything written. After a kill, `finishWrites` does the rest.
 * @param onWritten is told each file
 */
export async function writeAll(
  root: string,
  app: string,
  writes: readonly Write[],
  onWritten?: (path: string) => void,
): Promise<void> {
  const pending: Pending = { app, writes: [] };
  for (const { path, text } of writes) {
    const before = await readIfThere(join(root, path));
    pending.writes.push({ path, text, ...(before === undefined ? {} : { before: sha256(before) }) });
  }
  await mkdir(dirname(join(root, PENDING)), { recursive: true });
  await replaceFile(join(root, PENDING), JSON.stringify(pending));
  await finishWrites(root, onWritten);
}

/**
 * Writes what a killed run has not written.
 * @returns the app that it was about; undefined when nothing was left
 * @throws RefusedError when somebody has changed one of the files since
 */
export async function finishWrites(
  root: string,
  onWritten?: (path: string) => void,
): Promise<string | undefined> {
  const text = await readIfThere(join(root, PENDING));
  if (text === undefined) return undefined;
  const { app, writes } = Pending.parse(JSON.parse(text));
  const missing: typeof writes = [];
  for (const write of writes) {
    const there = await readIfThere(join(root, write.path));
    if (there === write.text) continue;
    if ((there === undefined ? undefined : sha256(there)) !== write.before)
      throw new RefusedError(
        `${write.path} has changed since \`npm run new ${app}\` was cut short`,
        `remove ${PENDING} to give that app up, and what it has written, or restore the file from Git`,
      );
    missing.push(write);
  }
  for (const { path, text: content } of missing) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await replaceFile(join(root, path), content, 0o644);
    onWritten?.(path);
  }
  await rm(join(root, PENDING));
  return app;
}
