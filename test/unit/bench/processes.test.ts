import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import {
  belongingTo,
  cpuSecondsBetween,
  listProcesses,
  memoryOf,
  type Process,
  parsePs,
  parseSmapsRollup,
  parseStat,
  processesOf,
} from "../../../scripts/lib/bench/processes.ts";

const processOf = (pid: number, more: Partial<Process> = {}): Process => ({
  pid,
  parent: 1,
  group: pid,
  session: pid,
  defunct: false,
  cpuSeconds: 0,
  ...more,
});

describe("/proc/<pid>/stat", () => {
  const rest = "4194560 8120 0 38 0 250 50 30 20 20 0 9 0 61234 2500000 30000 18446744073709551615";

  it("counts the time of the process and of its ended children", () => {
    expect(parseStat(`4711 (etcd) S 12 4700 4699 0 -1 ${rest}`)).toEqual({
      pid: 4711,
      parent: 12,
      group: 4700,
      session: 4699,
      defunct: false,
      cpuSeconds: 3.5,
    });
  });

  it.each(["a b", "x) S 1 1 1 (y", "kube-(proxy))"])("reads past a program called %j", (name) => {
    expect(parseStat(`4711 (${name}) S 12 4700 4699 0 -1 ${rest}`)).toMatchObject({
      parent: 12,
      cpuSeconds: 3.5,
    });
  });

  it("knows a process that has ended", () => {
    expect(parseStat(`4711 (git) Z 12 4700 4699 0 -1 ${rest}`).defunct).toBe(true);
  });

  it("refuses a shape it does not know", () => {
    expect(() => parseStat("4711 (etcd) S 12")).toThrow("unknown shape");
  });
});

describe("/proc/<pid>/smaps_rollup", () => {
  it("reads Rss and Pss, and not Pss_Anon", () => {
    const text =
      "00400000-7fff [rollup]\nRss:       2048 kB\nPss:        512 kB\nPss_Anon:   100 kB\nPss_File: 412 kB\n";
    expect(parseSmapsRollup(text)).toEqual({ rssBytes: 2048 * 1024, pssBytes: 512 * 1024 });
  });

  it("refuses a file without Pss", () => {
    expect(() => parseSmapsRollup("Rss:  2048 kB\n")).toThrow("no Pss");
  });
});

describe("ps", () => {
  it.each([
    ["0:01.25", 1.25],
    ["12:34", 754],
    ["01:00:05", 3605],
    ["2-01:00:00", 176_400],
  ])("reads the time %s", (time, cpuSeconds) => {
    expect(parsePs(`  4711    12  4700 Ss   ${time}\n`)).toEqual([
      processOf(4711, { parent: 12, group: 4700, session: 4700, cpuSeconds }),
    ]);
  });

  it("knows a process that has ended, and skips what is no process", () => {
    expect(parsePs("\n 5 1 5 Z+ 0:00.00\nnonsense\n")).toEqual([processOf(5, { defunct: true })]);
  });
});

describe("the processes of some leaders", () => {
  const all = [
    processOf(10),
    processOf(11, { parent: 10, group: 10, session: 10 }),
    // Listed before its parent, in a group of its own, as Gitea's git is.
    processOf(13, { parent: 14, group: 13, session: 10 }),
    processOf(14, { parent: 10, group: 14, session: 14 }),
    // Lost its parent, and is still in the group.
    processOf(15, { parent: 1, group: 10, session: 10 }),
    processOf(16, { parent: 10, group: 10, session: 10, defunct: true }),
    processOf(20),
    processOf(21, { parent: 20 }),
  ];

  it("are they, their groups, their sessions and all descendants, without those that have ended", () => {
    expect(belongingTo(new Set([10]), all).map(({ pid }) => pid)).toEqual([10, 11, 13, 14, 15]);
  });

  it("are what is left of a group whose leader has ended", () => {
    const others = all.filter(({ pid }) => pid !== 10 && pid !== 14);
    expect(belongingTo(new Set([10]), others).map(({ pid }) => pid)).toEqual([11, 13, 15]);
  });

  it("are none when there are no leaders", () => {
    expect(belongingTo(new Set(), all)).toEqual([]);
  });
});

describe("processor time between two looks", () => {
  const parent = (cpuSeconds: number) => processOf(10, { cpuSeconds });
  const child = (cpuSeconds: number) => processOf(11, { parent: 10, cpuSeconds });

  it("is what each has used since, and all that a new one has used", () => {
    expect(cpuSecondsBetween([parent(100)], [parent(102), child(3)], true)).toBe(5);
  });

  it("does not count again what an ended child had used before the first look", () => {
    // The child used 40 s before and 1 s after the first look; all 41 are the parent's when it has ended.
    expect(cpuSecondsBetween([parent(100), child(40)], [parent(143)], true)).toBe(3);
  });

  it("takes nothing off where ended children are not counted with their parent", () => {
    expect(cpuSecondsBetween([parent(100), child(40)], [parent(102)], false)).toBe(2);
  });

  it("takes nothing off for one whose parent got nothing of it, being no process of the set", () => {
    const orphan = processOf(30, { cpuSeconds: 40 });
    expect(cpuSecondsBetween([parent(100), orphan], [parent(102)], true)).toBe(2);
  });
});

describe("a process of this machine", () => {
  it("is found by its directory, listed, and has memory, until it ends", async () => {
    const directory = await realpath(await mkdtemp(join(tmpdir(), "bench-")));
    onTestFinished(async () => rm(directory, { recursive: true, force: true }));
    // The directory is an argument too, for systems that do not tell where a process works.
    const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)", `${directory}/any`], {
      cwd: directory,
      detached: true,
      stdio: "ignore",
    });
    onTestFinished(() => void child.kill("SIGKILL"));
    await once(child, "spawn");
    const pid = child.pid ?? 0;

    expect([...(await processesOf(directory)).keys()]).toEqual([pid]);
    expect(belongingTo(new Set([pid]), await listProcesses())).toMatchObject([
      { pid, parent: process.pid, group: pid },
    ]);
    const { rssBytes, pssBytes } = await memoryOf([pid]);
    expect(rssBytes).toBeGreaterThan(1e6);
    expect(pssBytes ?? 0).toBeLessThanOrEqual(rssBytes);

    child.kill("SIGKILL");
    await once(child, "exit");
    expect((await processesOf(directory)).size).toBe(0);
    expect(belongingTo(new Set([pid]), await listProcesses())).toEqual([]);
  });
});
