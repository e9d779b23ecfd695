/** Waiting, one way for everybody: it says for what, what the other side said last and how long still, and ends when nothing moves. */
import { availableParallelism, loadavg } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { ExternalError } from "./errors.ts";

export interface WaitOptions {
  /** The wait ends when the other side has said nothing new for so long: a minute by default, unless there is a `timeoutMs`. */
  readonly quietMs?: number;
  /** It ends after this time in any case: a limit that a person has set, or a test. */
  readonly timeoutMs?: number;
  /** Between two looks; 200 ms by default. */
  readonly everyMs?: number | (() => number);
  /** The last thing the other side said, such as the end of a log. */
  readonly lastWord?: () => string | Promise<string>;
  /** What to do when the wait has ended without an answer. */
  readonly hint?: string;
  /** Gets a line now and then while it takes long; standard error by default. */
  readonly tell?: (line: string) => void;
}

const QUIET_MS = 60_000;
/** What takes less is not told. */
const FIRST_LINE_MS = 3_000;
const MOST_SAID = 200;
/** A line that says the same again but for the time. */
const SAME_LINE_MS = 30_000;

/**
 * Looks until there is an answer.
 * @param what names the condition, as in "the forge answers"
 * @param look returns the answer, or undefined as long as there is none; throws when no waiting helps
 * @throws ExternalError with the last word when the wait ends without an answer
 */
export async function waitFor<T>(
  what: string,
  look: () => Promise<T | undefined>,
  options: WaitOptions = {},
): Promise<T> {
  const { timeoutMs = Number.POSITIVE_INFINITY, lastWord = () => "", everyMs = 200 } = options;
  const fallback = options.timeoutMs === undefined ? QUIET_MS : Number.POSITIVE_INFINITY;
  const patience = new Patience(options.quietMs ?? fallback);
  const tell = teller(options.tell ?? ((line) => process.stderr.write(`${line}\n`)));
  const began = performance.now();
  for (;;) {
    const answer = await look();
    if (answer !== undefined) return answer;
    const word = await lastWord();
    const said = word === "" ? "" : `: ${word}`;
    const isOver = patience.hear(word);
    const tookMs = performance.now() - began;
    if (isOver || tookMs >= timeoutMs) {
      const why = isOver ? ", and nothing moves any more" : "";
      throw new ExternalError(`waited ${seconds(tookMs)} until ${what}${why}${said}`, options.hint);
    }
    const atMost = Number.isFinite(timeoutMs) ? [`${seconds(timeoutMs - tookMs)} more at most`] : [];
    const unless = Number.isFinite(patience.leftMs)
      ? [`${seconds(patience.leftMs)} more unless something moves`]
      : [];
    tell(
      tookMs,
      said,
      `waiting until ${what}${shortened(said)} (${[seconds(tookMs), ...unless, ...atMost].join(", ")})`,
    );
    await sleep(typeof everyMs === "number" ? everyMs : everyMs());
  }
}

/**
 * Lets some time pass before the next try; a long one is told.
 * @param what is hoped for then
 * @param word what the other side said
 */
export async function pause(what: string, ms: number, word: string): Promise<void> {
  if (ms > FIRST_LINE_MS) process.stderr.write(`waiting ${seconds(ms)} until ${what}: ${word}\n`);
  await sleep(ms);
}

/**
 * How long something may stand still. What has been heard before is nothing new, so that what fails, starts again and fails
 * the same way comes to an end. On a machine that has more to do than it can, time passes slower: everything takes longer there.
 */
export class Patience {
  readonly #quietMs: number;
  readonly #clock: Clock;
  readonly #heard = new Set<string>();
  #before: number;
  #quietSince = 0;

  constructor(quietMs: number, clock: Clock = CLOCK) {
    this.#quietMs = quietMs;
    this.#clock = clock;
    this.#before = clock.now();
  }

  /**
   * Takes notice of the last word.
   * @returns whether patience is at its end
   */
  hear(word: string): boolean {
    const now = this.#clock.now();
    // One look counts for a quarter at most: a machine that slept, or a look that took long, is no silence.
    const passed = Math.min((now - this.#before) / this.#clock.slowness(), this.#quietMs / 4);
    this.#before = now;
    const news = word.replaceAll(NO_NEWS, "");
    this.#quietSince = this.#heard.has(news) ? this.#quietSince + passed : 0;
    this.#heard.add(news);
    return this.leftMs <= 0;
  }

  /** What is left, as long as nothing new is heard. */
  get leftMs(): number {
    return this.#quietMs - this.#quietSince;
  }
}

interface Clock {
  readonly now: () => number;
  readonly slowness: () => number;
}

const CLOCK: Clock = { now: () => performance.now(), slowness };
/** Times, process numbers and digests: what differs in a log from one try to the next. */
const NO_NEWS = /[\d:.,TZ+-]{5,}|[0-9a-f]{7,}/g;

/** A limit for what this machine itself has to do, in whole milliseconds: longer while it has more to do than it can. */
export function stretched(ms: number, factor: number = slowness()): number {
  return Math.round(ms * factor);
}

/** How many times longer than usual a program takes here at the moment: the processes that want to run, for each processor. */
function slowness(): number {
  return Math.max(1, (loadavg()[0] ?? 0) / availableParallelism());
}

/** Passes on a line when there is news, and the same one now and then. */
function teller(tell: (line: string) => void): (tookMs: number, said: string, line: string) => void {
  let toldMs = 0;
  let told = "";
  return (tookMs, said, line) => {
    const after = said === told ? SAME_LINE_MS : FIRST_LINE_MS;
    if (tookMs - toldMs < after) return;
    toldMs = tookMs;
    told = said;
    tell(line);
  };
}

/** Enough for a line of a terminal; an error has the whole. */
function shortened(said: string): string {
  return said.length > MOST_SAID ? `${said.slice(0, MOST_SAID)}…` : said;
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1000)} s`;
}
