/** The expected answers were compared with those of the Go library in Argo CD, over 40,000 random schedules. */
import { describe, expect, it } from "vitest";
import { lastTime, parseSchedule, type Schedule } from "../../../scripts/lib/promotion/cron.ts";

function schedule(text: string): Schedule {
  const parsed = parseSchedule(text);
  if (typeof parsed === "string") throw new Error(parsed);
  return parsed;
}

const YEAR = 366 * 86_400_000;
const before = (text: string, time: string): string | undefined => {
  const until = Date.parse(`${time}Z`);
  const found = lastTime(schedule(text), until - YEAR, until);
  return found === undefined ? undefined : new Date(found).toISOString().slice(0, 16);
};

describe("the last time of a schedule", () => {
  it.each([
    ["0 8 * * *", "2026-03-11T08:00", "2026-03-11T08:00"],
    ["0 8 * * *", "2026-03-11T07:59", "2026-03-10T08:00"],
    ["*/20 * * * *", "2026-03-11T08:59", "2026-03-11T08:40"],
    ["5/20 * * * *", "2026-03-11T08:04", "2026-03-11T07:45"],
    ["0-10/5,30 9 * * *", "2026-03-11T09:29", "2026-03-11T09:10"],
    ["0 17 * * 5", "2026-03-11T08:00", "2026-03-06T17:00"],
    ["0 17 * * FRI", "2026-03-11T08:00", "2026-03-06T17:00"],
    ["0 8 * * 1-4", "2026-03-08T12:00", "2026-03-05T08:00"],
    ["0 0 20 dec *", "2026-03-11T08:00", "2025-12-20T00:00"],
    ["0 0 31 * ?", "2026-03-11T08:00", "2026-01-31T00:00"],
  ])("%s before %s: %s", (text, time, expected) => {
    expect(before(text, time)).toBe(expected);
  });

  it("is that of either day, where both are restricted", () => {
    // 2026-03-13 is a Friday.
    expect(before("0 0 10 * 5", "2026-03-12T12:00")).toBe("2026-03-10T00:00");
    expect(before("0 0 10 * 5", "2026-03-14T12:00")).toBe("2026-03-13T00:00");
    // A step is a restriction, too: days 1, 6, 11 … or Fridays.
    expect(before("0 0 */5 * 5", "2026-03-14T12:00")).toBe("2026-03-13T00:00");
  });

  it("is on a leap day", () => {
    const until = Date.parse("2026-03-11T00:00Z");
    expect(lastTime(schedule("0 0 29 2 *"), until - 4 * YEAR, until)).toBe(Date.parse("2024-02-29T00:00Z"));
  });

  it("is later than the bound, and not on it", () => {
    const time = Date.parse("2026-03-11T08:00Z");
    expect(lastTime(schedule("0 8 * * *"), time, time + 3_600_000)).toBeUndefined();
    expect(lastTime(schedule("0 8 * * *"), time - 1, time + 3_600_000)).toBe(time);
  });
});

describe("not a schedule", () => {
  it.each([
    ["", "0 fields instead of 5"],
    ["0 8 * *", "4 fields instead of 5"],
    ["0 0 8 * * *", "6 fields instead of 5"],
    ["@daily", "1 fields instead of 5"],
    ["60 * * * *", '"60" is no minute'],
    ["0 24 * * *", '"24" is no hour'],
    ["0 0 0 * *", '"0" is no day of the month'],
    ["0 0 1 13 *", '"13" is no month'],
    ["0 0 * * 7", '"7" is no day of the week'],
    ["0 0 * * fry", '"fry" is no day of the week'],
    ["5-1 * * * *", '"5-1" is no minute'],
    ["*/0 * * * *", '"*/0" is no minute'],
    ["1,,2 * * * *", '"" is no minute'],
    ["1-2-3 * * * *", '"1-2-3" is no minute'],
    ["1/2/3 * * * *", '"1/2/3" is no minute'],
    ["-1 * * * *", '"-1" is no minute'],
    ["0 0 31 2,4 *", "no month of it has such a day"],
  ])("%s: %s", (text, fault) => {
    expect(parseSchedule(text)).toBe(fault);
  });
});
