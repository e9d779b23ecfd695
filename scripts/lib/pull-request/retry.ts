/** Trying again while others write to the same place. The pauses are random, so that not all come back at the same moment. */
import { ExternalError } from "../errors.ts";
import { waitFor } from "../wait.ts";

/** What came of one try; `moved` when somebody else was faster. */
export type Try<T> = { kind: "done"; result: T } | { kind: "moved"; reason: string };

export interface Patience {
  attempts: number;
  /** The pauses double up to this. */
  longestPauseMs: number;
}

const FIRST_PAUSE_MS = 200;

/**
 * Tries until nobody else is faster.
 * @param branch what the others push to
 * @param attempt gets the number of the try, from 1; looks anew at what is there from the second on
 * @throws ExternalError when others are faster each time
 */
export async function retry<T>(
  branch: string,
  { attempts, longestPauseMs }: Patience,
  attempt: (count: number) => Promise<Try<T>>,
): Promise<T> {
  let reason = "";
  let count = 0;
  const look = async () => {
    const step = await attempt((count += 1));
    if (step.kind === "done") return step;
    ({ reason } = step);
    if (count < attempts) return undefined;
    throw new ExternalError(
      `others pushed to ${branch} ${attempts} times while this tried to (${reason})`,
      "run it again",
    );
  };
  const { result } = await waitFor(`nobody else is faster on ${branch}`, look, {
    quietMs: Number.POSITIVE_INFINITY,
    everyMs: () => Math.random() * Math.min(longestPauseMs, FIRST_PAUSE_MS * 2 ** count),
    lastWord: () => `${reason}, try ${count} of ${attempts}`,
  });
  return result;
}
