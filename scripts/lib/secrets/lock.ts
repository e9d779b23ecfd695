/** The lock of a checkout: of the commands that read sealed files and write them, one runs at a time. */
import { access, constants, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { RefusedError } from "../errors.ts";
import { tryLock } from "../lock.ts";
import { waitFor } from "../wait.ts";

/** Sealing takes a second; nobody waits for a person at a prompt. */
const LOOKS = 20;
const LOOK_MS = 500;

/**
 * Runs an action while no other process changes the sealed files of a checkout.
 * @throws RefusedError when another one still holds the lock after ten seconds
 */
export async function withLock<T>(root: string, action: () => Promise<T>): Promise<T> {
  const directory = join(root, ".cache");
  await mkdir(directory).catch(() => {});
  // A checkout that cannot be written needs no lock, and the action says what is wrong.
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
