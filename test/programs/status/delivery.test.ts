/** What came to an environment, and what was where at a moment: from the history of a small repository with given dates. */
import { beforeEach, describe, expect, it, vi } from "vitest";
import { tryRun } from "../../../scripts/lib/exec.ts";
import { GitHistory } from "../../../scripts/lib/git/history.ts";
import { formatRelease } from "../../../scripts/lib/release/release.ts";
import { readDeployed } from "../../../scripts/lib/status/behind.ts";
import { deploymentsOf, mondayOf, sumUp } from "../../../scripts/lib/status/delivery.ts";
import { bundledLine } from "../../support/commands.ts";
import { git, SHA, smallRepository, write } from "../../support/tree.ts";

const [B, C] = ["b".repeat(40), "c".repeat(40)];
const PLACE = { environment: "test", app: "web" };
const HOUR = 3600;
let root = "";

/** A commit at a moment of November 2026. */
async function commit(at: string, files: Record<string, string>, message = "change"): Promise<string> {
  vi.stubEnv("GIT_COMMITTER_DATE", `2026-11-${at}:00Z`);
  await write(root, files);
  await git(root, "add", "--all");
  await git(root, "commit", "--quiet", "--allow-empty", "--message", message);
  return (await git(root, "rev-parse", "HEAD")).trim();
}

function release(tag: string, rendered: string): Record<string, string> {
  const body = `kind: ${tag}\n`;
  const text = formatRelease({ app: "web", image: `shop/web:${tag}`, from: "dev", commit: rendered, body });
  return { "overlays/test/web/release.yaml": text };
}

async function deployments(since: string) {
  const history = new GitHistory(root);
  const tip = (await history.commitOf("HEAD")) ?? "";
  const deployed = await readDeployed(history, tip, "dev", [PLACE]);
  return deploymentsOf(history, PLACE, deployed, new Date(since));
}

/** Three releases: the second one is taken back an hour after it came. */
beforeEach(async () => {
  vi.stubEnv("GIT_COMMITTER_DATE", "2026-11-01T00:00:00Z");
  root = await smallRepository();
  const first = await commit("02T10:00", {});
  await commit("02T12:00", release(SHA, first));
  const second = await commit("09T10:00", {});
  await commit("09T14:00", release(B, second));
  await commit("09T15:00", release(SHA, first), `Back\n\nRollback: test web ${SHA}`);
  await commit("10T09:00", release(C, second));
  return () => vi.unstubAllEnvs();
});

describe("the releases of an environment", () => {
  it("are told with their lead time and the time until they were taken back; a rollback is none", async () => {
    expect(await deployments("2026-11-01")).toEqual([
      { app: "web", at: new Date("2026-11-10T09:00Z"), leadSeconds: 23 * HOUR, restoredSeconds: undefined },
      { app: "web", at: new Date("2026-11-09T14:00Z"), leadSeconds: 4 * HOUR, restoredSeconds: HOUR },
      { app: "web", at: new Date("2026-11-02T12:00Z"), leadSeconds: 2 * HOUR, restoredSeconds: undefined },
    ]);
  });

  it("are those since a moment", async () => {
    expect((await deployments("2026-11-09")).map(({ at }) => at.toISOString().slice(0, 10))).toEqual([
      "2026-11-10",
      "2026-11-09",
    ]);
  });

  it("have no lead time when nobody knows the commit that they were rendered from", async () => {
    await commit("11T09:00", release("d".repeat(40), "e".repeat(40)));
    expect((await deployments("2026-11-11"))[0]?.leadSeconds).toBeUndefined();
  });

  it("count as rolled back by what they bring, not by the word alone", async () => {
    await commit("12T09:00", release("d".repeat(40), B), "Another one\n\nRollback: test web x");
    expect((await deployments("2026-11-10")).map(({ restoredSeconds }) => restoredSeconds)).toEqual([
      undefined,
      undefined,
    ]);
  });
});

it("weeks begin on Mondays, and the sums are medians and rates", async () => {
  expect(mondayOf(new Date("2026-11-15T23:59:59Z")).toISOString()).toBe("2026-11-09T00:00:00.000Z");
  expect(mondayOf(new Date("2026-11-16T00:00:00Z")).toISOString()).toBe("2026-11-16T00:00:00.000Z");
  const { weeks, all } = sumUp(await deployments("2026-11-02"), {
    since: new Date("2026-11-02"),
    now: new Date("2026-11-17"),
  });
  expect(weeks).toEqual([
    { week: "2026-11-16", deployments: 0, rolledBack: 0, leadSeconds: null, restoreSeconds: null },
    { week: "2026-11-09", deployments: 2, rolledBack: 1, leadSeconds: 13.5 * HOUR, restoreSeconds: HOUR },
    { week: "2026-11-02", deployments: 1, rolledBack: 0, leadSeconds: 2 * HOUR, restoreSeconds: null },
  ]);
  expect(all).toEqual({
    week: undefined,
    deployments: 3,
    rolledBack: 1,
    leadSeconds: 4 * HOUR,
    restoreSeconds: HOUR,
  });
});

async function run(verb: string, ...args: string[]) {
  return tryRun(...bundledLine(verb, ["--root", root, ...args]));
}

describe("npm run report", () => {
  it("tells the same in words", async () => {
    // Weeks until today: the test does not depend on the date.
    const { stdout, exitCode } = await run("report", "test", "--weeks", "999");
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^test, 999 weeks, from HEAD at \w{7}\n/);
    expect(stdout).toMatch(/^lead time +4 h /m);
    expect(stdout).toMatch(/^change failure rate +33 % +1 of 3 were rolled back$/m);
    expect(stdout).toMatch(/^time to restore +1 h /m);
    expect(stdout).toMatch(/^2026-11-09 +2 +1 +13 h 30 min$/m);
    const { all } = JSON.parse((await run("report", "test", "--weeks", "999", "--json")).stdout);
    expect(all).toMatchObject({ deployments: 3, rolledBack: 1, restoreSeconds: HOUR });
    expect((await run("report", "test", "--weeks", "999", "--markdown")).stdout).toContain(
      "\n| 2026-11-09 | 2 | 1 | 13 h 30 min |\n",
    );
  });

  it.each([
    [["dev"], "dev builds the live base and gets no releases; name a later environment"],
    [["moon"], "there is no environment moon"],
    [["test", "--weeks", "0"], "--weeks 0 is not a number from 1 to 999"],
    [["test", "--json", "--markdown"], "--json and --markdown are two things"],
  ])("refuses %j", async (args, line) => {
    const { exitCode, stderr } = await run("report", ...args);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(line);
  });
});

describe("npm run status -- --at", () => {
  it.each([
    ["2026-11-02T13:00Z", SHA],
    ["2026-11-09T14:30Z", B],
    ["2026-11-09T15:30Z", SHA],
  ])("tells what was there at %s", async (at, tag) => {
    const { stdout, exitCode } = await run("status", "web", "--json", "--at", at);
    expect(exitCode).toBe(0);
    const rows: { env: string; release: string }[] = JSON.parse(stdout);
    expect(rows.find(({ env }) => env === "test")?.release).toBe(tag.slice(0, 7));
  });

  it.each([
    [["--at", "soon"], 2, "--at soon is not a date"],
    [["--at", "2199-01-01"], 2, "--at 2199-01-01 is not over yet"],
    [["--at", "2026-11-02", "--commits"], 2, "--commits asks the forge, which knows today only"],
    [["--at", "2026-10-01"], 3, "HEAD has no commit of before 2026-10-01 00:00:00 UTC"],
  ])("refuses %j", async (args, code, line) => {
    const { exitCode, stderr } = await run("status", ...args);
    expect(stderr).toContain(line);
    expect(exitCode).toBe(code);
  });
});
