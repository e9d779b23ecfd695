/** Somebody else has pushed: look at what is there now, apply the change to that and push again. Nothing else retries for it. */
import { ExternalError, MovedError } from "../errors.ts";
import { waitFor } from "../wait.ts";

export interface Patience {
  attempts: number;
  /** The pauses double up to this. They are random, so that not all come back at the same moment. */
  longestPauseMs: number;
}

/** Of 20 that push in the same second, the last to get through is beaten four times on average. */
const PATIENCE: Patience = { attempts: 10, longestPauseMs: 1000 };
const FIRST_PAUSE_MS = 200;

/**
 * Tries until nobody else is faster.
 * @param branch what the others push to
 * @param attempt gets the number of the try, from 1, and fetches from the second on; it throws MovedError when others are faster
 * @throws ExternalError when others are faster each time
 */
export async function retry<T>(
  branch: string,
  attempt: (count: number) => Promise<T>,
  { attempts, longestPauseMs }: Patience = PATIENCE,
): Promise<T> {
  let reason = "";
  let count = 0;
  const look = async () => {
    try {
      return { result: await attempt((count += 1)) };
    } catch (error) {
      if (!(error instanceof MovedError)) throw error;
      ({ reason } = error);
      if (count < attempts) return undefined;
      throw new ExternalError(
        `others pushed to ${branch} ${attempts} times while this tried to (${reason})`,
        "run it again",
      );
    }
  };
  const { result } = await waitFor(`nobody else is faster on ${branch}`, look, {
    quietMs: Number.POSITIVE_INFINITY,
    everyMs: () => Math.random() * Math.min(longestPauseMs, FIRST_PAUSE_MS * 2 ** count),
    lastWord: () => `${reason}, try ${count} of ${attempts}`,
  });
  return result;
}
