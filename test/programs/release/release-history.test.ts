import { describe, expect, it } from "vitest";
import { run } from "../../../scripts/lib/exec.ts";
import { Remote } from "../../../scripts/lib/git/remote.ts";
import { formatRelease, type Release } from "../../../scripts/lib/release/release.ts";
import { readVersions, type Version } from "../../../scripts/lib/release/release-history.ts";
import { findVersion, keptImage, keptRelease, parseTarget } from "../../../scripts/lib/rollback/target.ts";
import { git, SHA, temporary } from "../../support/tree.ts";

const PLACE = { environment: "live", app: "web" };
const KEPT = keptRelease(PLACE);
const PATH = "overlays/live/web/release.yaml";
/** Tags of images; the last two begin alike. */
const A = "a".padEnd(40, "0");
const B = "b".padEnd(40, "0");
const C = "cafe000".padEnd(40, "0");
const D = "cafe000d".padEnd(40, "0");
const DAY = (day: number) => `2026-11-${String(day).padStart(2, "0")}T12:00:00Z`;

function release(tag = A, body = "kind: Pod\n", commit = SHA): string {
  const image = tag === "" ? undefined : `shop/web:${tag}`;
  return formatRelease({ app: "web", image, from: "dev", commit, body: `${body}# ${tag}\n` });
}

/** A commit for `git fast-import`. */
function entry(day: number, text: string | undefined, path = PATH, more = "", branch = "main"): string {
  const who = `Day ${day} <day@shop.test> ${Date.parse(DAY(day)) / 1000} +0000`;
  const data = (content: string) => `data ${Buffer.byteLength(content)}\n${content}\n`;
  return [
    `commit refs/heads/${branch}\nauthor ${who}\ncommitter ${who}\n${data(`Day ${day}`)}${more}`,
    text === undefined ? `D ${path}\n` : `M 100644 inline ${path}\n${data(text)}`,
    `M 100644 inline day\n${data(String(day))}\n`,
  ].join("");
}

/** A repository in which each day something has changed; `undefined` is a day without the file. */
async function history(days: readonly (string | undefined)[], path = PATH): Promise<Remote> {
  const directory = await temporary();
  await git(directory, "init", "--quiet", "--bare", "--initial-branch=main");
  return grow(directory, days.map((text, index) => entry(index + 1, text, path)).join(""));
}

/** Imports commits, and leaves the repository as `Remote.fetch` does, without a forge. */
async function grow(directory: string, commits: string): Promise<Remote> {
  await run("git", ["fast-import", "--quiet"], { cwd: directory, input: commits });
  await git(directory, "update-ref", "refs/remotes/origin/main", "main");
  const url = "http://127.0.0.1:1/x.git";
  const options = { root: directory, url, token: "none", branch: "main", env: process.env };
  return new Remote(directory, options);
}

function brief({ date, author, ...version }: Version<Release>): string {
  const what = version.kind === "bad" ? version.fault : version.content.image?.slice(9, 16);
  return `${author}: ${what}${date.toISOString() === new Date(DAY(Number(author.slice(4)))).toISOString() ? "" : " at another time"}`;
}

async function commitOf(remote: Remote, day: number): Promise<string> {
  const log = await git(remote.directory, "log", "--format=%H", `--grep=^Day ${day}$`, "main");
  return log.trim();
}

describe("the history of a release", () => {
  it("is what the environment had, the newest first; neighbours that are the same are one", async () => {
    const remote = await history([
      release(A),
      release(B),
      // Only the head differs: what runs is the same.
      release(B, undefined, "f".repeat(40)),
      release(A),
      undefined,
      release(A),
      release(A, "kind: Job\n"),
    ]);
    const all = await readVersions(remote, KEPT);
    expect(all.map(brief)).toEqual([
      "Day 7: a000000",
      "Day 6: a000000",
      `Day 5: there was no ${PATH}`,
      "Day 4: a000000",
      "Day 2: b000000",
      "Day 1: a000000",
    ]);
    // The head of the newest names a commit that is more likely to be in the history.
    expect(all[4]).toMatchObject({ content: { commit: "f".repeat(40) } });
  });

  it("names a damaged file, and goes on behind it", async () => {
    const remote = await history([release(A), release(B).replace("Pod", "Job"), release(C)]);
    expect((await readVersions(remote, KEPT)).map(brief)).toEqual([
      "Day 3: cafe000",
      `Day 2: ${PATH}:6: the content is not the one this digest names`,
      "Day 1: a000000",
    ]);
  });

  it("of a merge is the merge, not the commits of its branch", async () => {
    const { directory } = await history([release(A)]);
    const main = "from refs/heads/main^0\n";
    const merged = await grow(
      directory,
      [
        entry(2, release(B), PATH, main, "side"),
        entry(3, release(C), PATH, "", "side"),
        entry(4, release(C), PATH, `${main}merge refs/heads/side\n`),
      ].join(""),
    );
    const all = await readVersions(merged, KEPT);
    expect(all.map(({ author }) => author)).toEqual(["Day 4", "Day 1"]);
    // main has never stood at a commit of the branch.
    const side = await commitOf(merged, 2);
    await expect(find(merged, side)).rejects.toThrow(
      `main has no commit ${side}, and live has had no release of web with that image`,
    );
  });

  it("of many changes is read whole", async () => {
    const days = Array.from({ length: 20 }, (_, day) => release(String(day).padStart(40, "0")));
    const remote = await history(days);
    expect((await readVersions(remote, KEPT)).map(({ author }) => author)).toEqual(
      days.map((_, index) => `Day ${20 - index}`),
    );
  });
});

async function find(remote: Remote, to?: string, isOut: (content: Release) => boolean = () => false) {
  const { found } = await findVersion(remote, KEPT, parseTarget(to), isOut);
  return brief(found);
}

/** Five days; what the fourth brought is damaged. */
async function week(): Promise<Remote> {
  return history([release(A), release(B), release(C), release(A).replace("Pod", "Job"), release(D)]);
}

type Spelling = string | undefined | ((remote: Remote) => Promise<string>);

async function spell(remote: Remote, to: Spelling): Promise<string | undefined> {
  return typeof to === "function" ? to(remote) : to;
}

describe("pointing into it", () => {
  it.each<[string, Spelling, string]>([
    ["nothing: one back, past what is damaged", undefined, "Day 3: cafe000"],
    ["a number", "2", "Day 2: b000000"],
    ["a date: its first moment", "2026-11-03", "Day 2: b000000"],
    ["a time", "2026-11-03T12:00Z", "Day 3: cafe000"],
    ["a time of another zone", "2026-11-03T12:59:59+01:00", "Day 2: b000000"],
    ["a commit", async (remote) => commitOf(remote, 2), "Day 2: b000000"],
    [
      "the first digits of a commit",
      async (remote) => (await commitOf(remote, 2)).slice(0, 8),
      "Day 2: b000000",
    ],
    ["an image", B, "Day 2: b000000"],
    ["the first digits of an image", "b000000", "Day 2: b000000"],
  ])("with %s", async (_, to, expected) => {
    const remote = await week();
    expect(await find(remote, await spell(remote, to))).toBe(expected);
  });

  it("counts back past what is out, but finds it by name", async () => {
    const remote = await week();
    const isOut = ({ image }: Release) => image === `shop/web:${C}`;
    expect(await find(remote, undefined, isOut)).toBe("Day 2: b000000");
    expect(await find(remote, C, isOut)).toBe("Day 3: cafe000");
  });

  it("takes the newest of the releases with an image", async () => {
    const remote = await history([release(A), release(A, "kind: Job\n"), release(B)]);
    expect(await find(remote, A)).toBe("Day 2: a000000");
  });

  it("goes back from what is damaged or missing", async () => {
    expect(await find(await history([release(A), "damaged"]))).toBe("Day 1: a000000");
    expect(await find(await history([release(A), undefined]))).toBe("Day 1: a000000");
  });

  it.each<[string, Spelling, RegExp]>([
    ["more than there is", "4", /^live can go 3 back with web, not 4$/],
    ["a date before the first", "2026-11-01", /^live had no release of web yet at 2026-11-01 00:00:00 UTC$/],
    [
      "a date of a damaged one",
      "2026-11-04T20:00Z",
      /^live cannot go back to \w{7}: \S+:6: the content is not/,
    ],
    [
      "the commit of a damaged one",
      async (remote) => commitOf(remote, 4),
      /^live cannot go back to \w{7}: \S+:6: the content is not/,
    ],
    ["what is there now", D, /^live has cafe000 of web now: there is nothing to roll back$/],
    [
      "an unknown commit",
      "deadbee",
      /^main has no commit deadbee, and live has had no release of web with that image$/,
    ],
    ["the first digits of two images", "cafe000", /^live has had several images cafe000… of web: give more/],
    [
      "a commit that is not on main",
      async ({ directory }) => {
        const side = ["commit-tree", "main^{tree}", "-p", "main", "-m", "x"];
        return (await git(directory, ...side)).trim();
      },
      /^main has no commit \w{40}, and/,
    ],
    [
      "a commit that is no commit",
      async ({ directory }) => (await git(directory, "rev-parse", "main^{tree}")).trim(),
      /^main has no commit \w{40}, and/,
    ],
  ])("refuses %s", async (_, to, message) => {
    const remote = await week();
    const refused = find(remote, await spell(remote, to));
    await expect(refused).rejects.toThrow(message);
    await expect(refused).rejects.toMatchObject({
      exitCode: 3,
      hint: "npm run rollback live web -- --list shows what there is: cafe000 of 2026-11-05 12:00:00 UTC, cafe000 of 2026-11-03 12:00:00 UTC, b000000 of 2026-11-02 12:00:00 UTC, …",
    });
  });

  it("refuses the first digits of two commits", async () => {
    const remote = await history([release(A), release(B)]);
    // Of 1500 commits some have the first four digits in common.
    const commits = Array.from(
      { length: 1500 },
      (_, count) =>
        `commit refs/heads/main\ncommitter x <x> ${count} +0000\ndata 0\n${count === 0 ? "from refs/heads/main^0\n" : ""}\n`,
    );
    await grow(remote.directory, commits.join(""));
    const all = (await git(remote.directory, "rev-list", "main")).trim().split("\n");
    const starts = all.map((commit) => commit.slice(0, 4)).sort();
    const digits = starts.find((start, index) => start === starts[index + 1]) ?? "";
    await expect(findVersion(remote, KEPT, { kind: "named", digits }, () => false)).rejects.toThrow(
      `main has several commits ${digits}…: give more digits`,
    );
  });

  it.each([
    ["0", '--to "0" is no release'],
    ["-1", '--to "-1" is no release'],
    ["main", '--to "main" is no release'],
    ["", '--to "" is no release'],
    ["abcdef", '--to "abcdef" is no release'],
    ["ABCDEF0", "--to ABCDEF0 has upper-case digits"],
    ["2026-11-31", '--to "2026-11-31" is no release'],
    ["2026-11-20T14:00", '--to "2026-11-20T14:00" is no release'],
    ["HEAD~2", '--to "HEAD~2" is no release'],
  ])("does not understand %j", (to, message) => {
    expect(() => parseTarget(to)).toThrow(message);
  });

  it("refuses an app with one release, or with none", async () => {
    const remote = await history([release(A), release(A)]);
    await expect(find(remote)).rejects.toThrow("live has had no other release of web to go back to");
    const other = keptRelease({ environment: "live", app: "disk" });
    await expect(findVersion(remote, other, parseTarget(), () => false)).rejects.toThrow(
      "live has never had a release of disk",
    );
  });
});

describe("the images of an environment without releases", () => {
  it("are found in its kustomization", async () => {
    const path = "overlays/dev/web/kustomization.yaml";
    const pinned = (tag: string) => `images:\n  - name: registry/shop/web\n    newTag: "${tag}"\n`;
    const days = [pinned(A), pinned(B), `# by hand\n${pinned(B)}`, pinned("main"), pinned(C)];
    const remote = await history(days, path);
    const kept = keptImage({ environment: "dev", app: "web" }, "shop/web");
    const { found } = await findVersion(remote, kept, parseTarget(), () => false);
    expect(found).toMatchObject({ content: { tag: B }, author: "Day 2" });
  });
});
