/** Waiting for a condition: never a fixed sleep, always with a limit and a reason. */
import { setTimeout as sleep } from "node:timers/promises";
import { ExternalError } from "./errors.ts";

export interface WaitOptions {
  readonly timeoutMs: number;
  /** Between two looks; 200 ms by default. */
  readonly everyMs?: number;
  /** What to tell when time is up, such as the last lines of a log. */
  readonly explain?: () => Promise<string>;
}

/**
 * Looks until there is an answer.
 * @param what names the condition, as in "the forge answers"
 * @param look returns the answer, or undefined as long as there is none
 * @throws ExternalError when the time is up
 */
export async function waitFor<T>(
  what: string,
  look: () => Promise<T | undefined>,
  options: WaitOptions,
): Promise<T> {
  const deadline = Date.now() + options.timeoutMs;
  for (;;) {
    const answer = await look();
    if (answer !== undefined) return answer;
    if (Date.now() >= deadline) {
      const seconds = Math.round(options.timeoutMs / 1000);
      const reason = await options.explain?.();
      throw new ExternalError(`waited ${seconds} s in vain until ${what}${reason ? `: ${reason}` : ""}`);
    }
    await sleep(options.everyMs ?? 200);
  }
}
