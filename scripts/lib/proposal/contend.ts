/** Trying again while others write to the same place. The pauses are random, so that not all come back at the same moment. */
import { setTimeout as sleep } from "node:timers/promises";
import { ExternalError } from "../errors.ts";

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
export async function contend<T>(
  branch: string,
  { attempts, longestPauseMs }: Patience,
  attempt: (count: number) => Promise<Try<T>>,
): Promise<T> {
  let reason = "";
  for (let count = 1; count <= attempts; count += 1) {
    const step = await attempt(count);
    if (step.kind === "done") return step.result;
    ({ reason } = step);
    if (count < attempts) await sleep(Math.random() * Math.min(longestPauseMs, FIRST_PAUSE_MS * 2 ** count));
  }
  throw new ExternalError(
    `others pushed to ${branch} ${attempts} times while this tried to (${reason})`,
    "run it again",
  );
}
