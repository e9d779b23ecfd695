/** Times and spans of time: how people read them, and how Go writes them. */

const PARTS = [
  ["d", 86_400],
  ["h", 3600],
  ["min", 60],
  ["s", 1],
] as const;

/** Seconds as people say them, in at most two units, rounded down: `45 s`, `4 min 10 s`, `1 d 2 h`. */
export function inWords(seconds: number): string {
  const first = PARTS.findIndex(([, size]) => seconds >= size);
  const words: string[] = [];
  let rest = Math.max(0, Math.floor(seconds));
  for (const [unit, size] of PARTS.slice(first, first + 2)) {
    if (first === -1) break;
    const count = Math.floor(rest / size);
    if (count > 0) words.push(`${count} ${unit}`);
    rest -= count * size;
  }
  return words.join(" ") || "0 s";
}

/** A moment as `2026-01-31 10:26:05 UTC`. */
export function moment(date: Date): string {
  return `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

const GO_UNITS_MS: Record<string, number> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/**
 * Reads a span as Go's time.ParseDuration does: `8h`, `1h30m`, `1.5h`.
 * @returns milliseconds; undefined for anything else, and for a span with a sign or of no length
 */
export function parseGoDuration(text: string): number | undefined {
  if (!/^(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined;
  let sum = 0;
  for (const [, number, unit] of text.matchAll(/([\d.]+)(ns|us|µs|ms|s|m|h)/g)) {
    sum += Number(number) * (GO_UNITS_MS[unit ?? ""] ?? Number.NaN);
  }
  return sum > 0 ? sum : undefined;
}
