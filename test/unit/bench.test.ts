import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, it, onTestFinished } from "vitest";
import { amount, type Figure, figureTable, isWithinLimit, median } from "../../bench/figures.ts";
import { cpuSeconds, memoryBytes, parseStat, processesOf } from "../../bench/processes.ts";

const figure = (measured: readonly number[], aim?: number): Figure => ({
  name: "start",
  unit: "s",
  measured,
  limit: 60,
  ...(aim === undefined ? {} : { aim }),
});

describe("a figure", () => {
  it.each([
    [[59.9], true],
    [[60], true],
    [[60.1], false],
    [[50, 90, 51], true],
    [[], false],
  ])("of %j with the limit 60 is within it: %s", (measured, within) => {
    expect(isWithinLimit(figure(measured))).toBe(within);
  });

  it.each([
    [figure([39]), "start   39 s    60 s        yes"],
    [figure([52.34], 40), "start   52.3 s  60 s   40 s  yes, aim missed"],
    [figure([61, 62.5, 61.5], 40), "start   61.5 s  60 s   40 s  NO  61 62.5 61.5"],
    [figure([]), "start   NaN s   60 s        NO"],
  ])("%o is one line", (one, line) => {
    expect(figureTable([one]).split("\n")[1]?.replaceAll(/ +/g, " ")).toBe(line.replaceAll(/ +/g, " "));
  });

  it.each([
    [2.345, "GB", "2.35 GB"],
    [12.04, "%", "12.0 %"],
    [0, "items", "0"],
  ] as const)("of %d %s reads %s", (value, unit, text) => {
    expect(amount(value, unit)).toBe(text);
  });
});

it.each([
  [[3], 3],
  [[10, 2, 9], 9],
  [[4, 1, 3, 2], 2.5],
  [[], Number.NaN],
])("the median of %j is %d", (numbers, expected) => {
  expect(median(numbers)).toBe(expected);
});

describe.skipIf(process.platform !== "linux")("processes", () => {
  it("are read whatever the program is called, with the time of ended children", () => {
    const rest = "4194560 8120 0 38 0 250 50 30 20 20 0 9 0 61234 2500000 30000";
    const stat = { pid: 4711, parent: 12, group: 4700, session: 4699, ticks: 350 };
    expect(parseStat(`4711 (a) S (b) S 12 4700 4699 0 -1 ${rest}`)).toEqual(stat);
  });

  it("are the leader's, and those of its sessions and descendants", async () => {
    const child = spawn("sh", ["-c", "setsid sleep 600 & echo; wait"], { detached: true });
    await once(child.stdout, "data");
    const pid = Number(child.pid);
    const found = await processesOf(new Set([pid]));
    onTestFinished(() => {
      for (const one of found) process.kill(one.pid);
    });
    expect(found.map(({ parent }) => parent)).toContain(pid);
    expect(found.map((one) => one.pid)).not.toContain(process.pid);
    expect(cpuSeconds(found)).toBeGreaterThanOrEqual(0);
    expect(await memoryBytes(found)).toBeGreaterThan(100_000);
  });
});
