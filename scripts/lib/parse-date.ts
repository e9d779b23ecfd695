/** Points in time as people give them to a command. */
import { UsageError } from "./errors.ts";

const MOMENT = /^(\d{4}-\d\d-\d\d)(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d))?$/;

/**
 * Reads a date, which means its first moment in UTC, or a date and time with its zone.
 * @returns undefined when it is neither
 */
export function parseDate(text: string): Date | undefined {
  const [, day] = MOMENT.exec(text) ?? [];
  // A day that its month does not have would silently become one of the next.
  if (day === undefined || !isDay(day)) return undefined;
  const moment = new Date(text);
  return Number.isNaN(moment.getTime()) ? undefined : moment;
}

function isDay(day: string): boolean {
  const date = new Date(day);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(day);
}

/**
 * The same for the value of an option.
 * @throws UsageError naming the option
 */
export function dateOption(option: string, text: string): Date {
  const moment = parseDate(text);
  if (moment !== undefined) return moment;
  throw new UsageError(
    `${option} ${text} is not a date`,
    "write 2026-11-20, which is its first moment in UTC, or 2026-11-20T14:00Z",
  );
}
