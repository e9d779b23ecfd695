import { describe, expect, it } from "vitest";
import { inWords, moment, parseGoDuration } from "../../scripts/lib/duration.ts";

describe("seconds in words", () => {
  it.each([
    [0, "0 s"],
    [-5, "0 s"],
    [0.9, "0 s"],
    [59.9, "59 s"],
    [60, "1 min"],
    [250, "4 min 10 s"],
    [3600, "1 h"],
    [5399, "1 h 29 min"],
    [86_400, "1 d"],
    [86_430, "1 d"],
    [93_600, "1 d 2 h"],
  ])("%d s: %s", (seconds, words) => {
    expect(inWords(seconds)).toBe(words);
  });
});

it("a moment has its seconds and its zone", () => {
  expect(moment(new Date("2026-01-31T10:26:05.999Z"))).toBe("2026-01-31 10:26:05 UTC");
});

describe("a duration as Go writes it", () => {
  it.each([
    ["8h", 28_800_000],
    ["30m", 1_800_000],
    ["1h30m", 5_400_000],
    ["1.5h", 5_400_000],
    [".5h", 1_800_000],
    ["90s", 90_000],
    ["250ms", 250],
  ])("%s is %d ms", (text, milliseconds) => {
    expect(parseGoDuration(text)).toBe(milliseconds);
  });

  it.each(["", "8", "8 h", "1d", "h", "1h-5m", "-1h", "+1h", "0", "0h", "1h30", "1,5h", "1H"])(
    "%s is none that a window could have",
    (text) => {
      expect(parseGoDuration(text)).toBeUndefined();
    },
  );
});
