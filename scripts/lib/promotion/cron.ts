/**
 * Schedules as Argo CD reads them (github.com/robfig/cron, five fields, no `@daily`): minute, hour, day of the month, month,
 * day of the week (0 to 6). Where both days are restricted, either may match. What that library takes but nobody means is
 * refused here: an empty field, and a day that never comes, which would make a window that is always active.
 */

export interface Schedule {
  /** Minutes of the day, ascending. */
  minutesOfDay: readonly number[];
  isDay: (day: Date) => boolean;
}

const DAY_MS = 86_400_000;
const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const LONGEST = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

interface Unit {
  name: string;
  min: number;
  max: number;
  /** Names of the values, from `min` on. */
  names?: readonly string[];
}

const UNITS: readonly Unit[] = [
  { name: "minute", min: 0, max: 59 },
  { name: "hour", min: 0, max: 23 },
  { name: "day of the month", min: 1, max: 31 },
  { name: "month", min: 1, max: 12, names: MONTHS },
  { name: "day of the week", min: 0, max: 6, names: WEEKDAYS },
];

interface Field {
  values: Set<number>;
  /** Whether it says nothing about its unit. */
  isStar: boolean;
}

/**
 * Reads a schedule.
 * @returns the schedule, or what is wrong with the text
 */
export function parseSchedule(text: string): Schedule | string {
  const fields = text.trim().split(/\s+/);
  if (fields.length !== 5) return `${fields[0] === "" ? 0 : fields.length} fields instead of 5`;
  const read = UNITS.map((unit, index) => readField(fields[index] ?? "", unit));
  const fault = read.find((field) => typeof field === "string");
  if (fault !== undefined) return fault;
  const [minute, hour, day, month, weekday] = read.filter((field) => typeof field !== "string");
  if (!minute || !hour || !day || !month || !weekday) return "not a schedule";
  const firstDay = Math.min(...day.values);
  if (weekday.isStar && ![...month.values].some((number) => firstDay <= (LONGEST[number - 1] ?? 0)))
    return "no month of it has such a day";
  const minutesOfDay = [...hour.values].flatMap((h) => [...minute.values].map((m) => 60 * h + m));
  return {
    minutesOfDay: minutesOfDay.sort((a, b) => a - b),
    isDay: (date) => {
      if (!month.values.has(date.getUTCMonth() + 1)) return false;
      const isDay = day.values.has(date.getUTCDate());
      const isWeekday = weekday.values.has(date.getUTCDay());
      return day.isStar || weekday.isStar ? isDay && isWeekday : isDay || isWeekday;
    },
  };
}

function readField(text: string, { name, min, max, names = [] }: Unit): Field | string {
  const values = new Set<number>();
  let isStar = false;
  const number = (word: string): number => {
    const index = names.indexOf(word.toLowerCase());
    if (index !== -1) return index + min;
    return /^\d+$/.test(word) ? Number(word) : Number.NaN;
  };
  for (const part of text.split(",")) {
    const [, range = "", , step = "1"] = /^([^/]+)(\/(\d+))?$/.exec(part) ?? [];
    const [low = "", high, ...more] = range.split("-");
    const isAll = range === "*" || range === "?";
    const start = isAll ? min : number(low);
    // `5/10` is every tenth from 5 on.
    const end = isAll || (high === undefined && part.includes("/")) ? max : number(high ?? low);
    const stride = Number(step);
    const isGood = more.length === 0 && start >= min && end <= max && start <= end && stride > 0;
    if (!isGood) return `"${part}" is no ${name}`;
    for (let value = start; value <= end; value += stride) values.add(value);
    if (isAll && stride === 1) isStar = true;
  }
  return { values, isStar };
}

/**
 * The last time that a schedule comes.
 * @param after the time must be later than this; all times are milliseconds of a clock without time zones
 * @param until and not later than this
 */
export function lastTime(schedule: Schedule, after: number, until: number): number | undefined {
  for (let day = Math.floor(until / DAY_MS) * DAY_MS; day > after - DAY_MS; day -= DAY_MS) {
    if (!schedule.isDay(new Date(day))) continue;
    const minute = schedule.minutesOfDay.findLast((candidate) => day + candidate * 60_000 <= until);
    if (minute === undefined) continue;
    const time = day + minute * 60_000;
    return time > after ? time : undefined;
  }
  return undefined;
}
