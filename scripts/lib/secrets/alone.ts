/** One at a time: who reads what is sealed, makes new values and writes them is not overtaken by another. */
import { access, constants, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { lock } from "proper-lockfile";
import { codeOf, messageOf, RefusedError } from "../errors.ts";

/** The lock of a process that was killed is taken over after this. */
const STALE_MS = 5_000;
/** Sealing takes a second; who waits at a prompt is not waited for. */
const RETRIES = { retries: 20, minTimeout: 500, maxTimeout: 500 };

/**
 * Does something to a repository's sealed files while no other process does.
 * @throws RefusedError when another one still does after ten seconds
 */
export async function whileAlone<T>(root: string, action: () => Promise<T>): Promise<T> {
  const directory = join(root, ".cache");
  await mkdir(directory).catch(() => {});
  // Where nothing can be written there is nothing to take turns for, and the action says what is wrong.
  const isWritable = await access(directory, constants.W_OK).then(
    () => true,
    () => false,
  );
  if (!isWritable) return action();
  const release = await lock(directory, {
    lockfilePath: join(directory, "secrets.lock"),
    stale: STALE_MS,
    retries: RETRIES,
    // After a long sleep of the machine; going on is better than dying in the middle.
    onCompromised: (error) => process.stderr.write(`${messageOf(error)}\n`),
  }).catch((error: unknown) => {
    if (codeOf(error) !== "ELOCKED") throw error;
    throw new RefusedError(
      "another `npm run seal`, `keys` or `init` of this checkout is running",
      "wait until it has ended; it may be one that waits for a value",
    );
  });
  try {
    return await action();
  } finally {
    await release();
  }
}
