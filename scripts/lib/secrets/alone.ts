/** One at a time: who reads what is sealed, makes new values and writes them is not overtaken by another. */
import { access, constants, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { RefusedError } from "../errors.ts";
import { tryLock } from "../lock.ts";
import { waitFor } from "../wait.ts";

/** Sealing takes a second; who waits at a prompt is not waited for. */
const LOOKS = 20;
const LOOK_MS = 500;

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
  let looks = 0;
  const look = async () => {
    const release = await tryLock(join(directory, "secrets.lock"));
    if (release !== undefined || (looks += 1) <= LOOKS) return release;
    throw new RefusedError(
      "another `npm run seal`, `keys` or `init` of this checkout is running",
      "wait until it has ended; it may be one that waits for a value",
    );
  };
  const release = await waitFor("another `npm run seal`, `keys` or `init` has ended", look, {
    everyMs: LOOK_MS,
  });
  try {
    return await action();
  } finally {
    await release();
  }
}
