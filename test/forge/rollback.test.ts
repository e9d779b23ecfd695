/** Rollbacks and the lifting of their holds, against the real forge. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, inject, it } from "vitest";
import { sha256 } from "../../scripts/lib/digest.ts";
import { run } from "../../scripts/lib/exec.ts";
import { formatHolds, type Hold, parseHolds } from "../../scripts/lib/release/hold.ts";
import { formatRelease, parseRelease } from "../../scripts/lib/release/release.ts";
import { git, SHA, write } from "../support/tree.ts";
import {
  ask,
  between,
  commandLine,
  environment,
  fileAt,
  history,
  opening,
  personCommits,
  pointAt,
  pullRequests,
  push,
  references,
  repository,
  type TestRepository,
} from "./support.ts";

const LIVE = "overlays/live/web/release.yaml";
const HOLD = "overlays/live/web/hold.yaml";
const DEV = "overlays/dev/web/kustomization.yaml";
const BRANCH = "rollback/live/web";
const [A, B, C] = ["a".repeat(40), "b".repeat(40), "c".repeat(40)] as const;
const DIGEST = sha256("");
const SINCE = new Date("2026-01-01T00:00Z");

/** The forge of these tests has no teams. */
const NOTE = "note: web is not asked for a review: Team 'web' not exist";

/** A release of the image; `name` stands for whatever a base may say. */
function release(tag: string, name = "web"): string {
  const image = `shop/web:${tag}`;
  const body = `apiVersion: v1\nkind: Pod\nmetadata:\n  name: ${name}\nspec:\n  containers:\n    - name: app\n      image: registry/${image}\n`;
  return formatRelease({ app: "web", image, from: "dev", commit: SHA, body });
}

type Day = Record<string, string>;

/** A repository whose main got one commit on each of the first days of 2026, at noon. */
async function days(files: readonly (string | Day)[], directory?: string): Promise<TestRepository> {
  const repo = await repository({}, directory);
  for (const [index, day] of files.entries()) {
    await write(repo.root, typeof day === "string" ? { [LIVE]: day } : day);
    await git(repo.root, "add", "--all");
    const date = `2026-01-0${index + 1}T12:00:00Z`;
    const identity = ["-c", `user.name=Day ${index + 1}`, "-c", "user.email=day@shop.test"];
    await run("git", [...identity, "commit", "--quiet", "--message", `Day ${index + 1}`], {
      cwd: repo.root,
      env: environment({ GIT_AUTHOR_DATE: date, GIT_COMMITTER_DATE: date }),
    });
  }
  await push(repo.root, "main");
  return repo;
}

const token = () => ({ FORGE_TOKEN: inject("token") });

async function rollback(repo: TestRepository, ...args: string[]) {
  return commandLine("rollback", repo.root, ["live", "web", ...args]);
}

async function unhold(repo: TestRepository, ...args: string[]) {
  return commandLine("unhold", repo.root, ["live", "web", ...args]);
}

/** Merges a branch into main, as the forge's button does. */
async function merge(repo: TestRepository, branch = BRANCH): Promise<void> {
  await history(repo.root, "checkout", "--quiet", "--force", "--detach", "origin/main");
  await git(repo.root, "merge", "--quiet", "--no-ff", "--message", "Merge", `origin/${branch}`);
  await push(repo.root, "main");
}

async function commitOf(repo: TestRepository, day: number): Promise<string> {
  return history(repo.root, "log", "--format=%H", `--grep=^Day ${day}$`, "origin/main");
}

async function holdsAt(repo: TestRepository, branch = BRANCH): Promise<Hold[]> {
  return parseHolds(await fileAt(repo.root, branch, HOLD), HOLD);
}

function hold(tag: string, more: Partial<Hold> = {}): Hold {
  const { body, image } = parseRelease(release(tag), LIVE);
  const facts = { digest: sha256(body), image, reason: "slow", by: "Ada", since: SINCE, until: undefined };
  return { ...facts, ...more };
}

function holdFile(...holds: Hold[]): Day {
  return { [HOLD]: formatHolds({ environment: "live", app: "web" }, holds) };
}

describe("a rollback", () => {
  it("is a pull request with the earlier release, byte for byte, and a hold; twice it is once", async () => {
    const repo = await days([release(A), release(B)]);
    await git(repo.root, "config", "user.name", "Ada");
    await git(repo.root, "config", "user.email", "ada@shop.test");
    const args = ["--reason", "checkout fails\nsince noon ", "--until", "2999-01-01"];
    const begun = Date.now();
    const first = await rollback(repo, ...args);
    expect(first).toMatchObject({ exitCode: 0, stderr: "" });
    const at = async (day: number) => (await commitOf(repo, day)).slice(0, 7);
    expect(
      first.stdout
        .replaceAll(/\(\d+ d[^)]*\)/g, "(AGE)")
        .replaceAll(/ {2,}/g, "  ")
        .replaceAll(/http:\S+?\/shop\//g, "FORGE/"),
    ).toBe(
      [
        "live: web  RELEASE  IN live SINCE  COMMIT  BY",
        `from  bbbbbbb  2026-01-02 12:00:00 UTC (AGE)  ${await at(2)}  Day 2`,
        `to  aaaaaaa  2026-01-01 12:00:00 UTC (AGE)  ${await at(1)}  Day 1`,
        "",
        "image",
        `  Pod web containers[app].image: registry/shop/web:${B.slice(0, 12)} → registry/shop/web:${A.slice(0, 12)}`,
        "",
        `takes back: FORGE/web/compare/${A}...${B}`,
        "why: checkout fails since noon",
        "hold: bbbbbbb until 2999-01-01 00:00:00 UTC, npm run unhold live web lifts it",
        NOTE,
        `opened: #1 FORGE/${repo.name}/pulls/1`,
        "after the merge: npm run sync live web",
        "",
      ].join("\n"),
    );
    expect(await fileAt(repo.root, BRANCH, LIVE)).toBe(release(A));
    expect(await history(repo.root, "diff", "--name-only", `origin/main...origin/${BRANCH}`)).toBe(
      `${HOLD}\n${LIVE}`,
    );
    const [made] = await holdsAt(repo);
    expect(made).toEqual({
      ...hold(B),
      reason: "checkout fails since noon",
      since: expect.any(Date),
      until: new Date("2999-01-01T00:00Z"),
    });
    expect(made?.since.getTime()).toBeGreaterThanOrEqual(begun);
    const [pull] = await pullRequests(repo);
    expect(pull).toMatchObject({ number: 1, state: "open", title: "live: web back to aaaaaaa" });
    for (const text of [
      `back as commit ${await commitOf(repo, 1)} brought it, byte for byte`,
      "Why: `checkout fails since noon`",
      `/shop/web/compare/${A}...${B}`,
      "bbbbbbb does not come back to live until 2999-01-01 00:00:00 UTC",
      "`npm run unhold live web` lifts it",
      "## After the merge\n\n`npm run sync live web`",
    ]) {
      expect(pull?.body).toContain(text);
    }

    const refs = await references(repo.root);
    expect((await rollback(repo, ...args)).stdout).toMatch(/\nunchanged: #1 /);
    expect(await references(repo.root)).toBe(refs);
    expect((await rollback(repo, ...args, "--reason", "other")).stdout).toMatch(/\nupdated: #1 /);
    expect(await holdsAt(repo)).toMatchObject([{ reason: "other" }]);
  });

  it("after a rollback goes one further back, and both stay held", async () => {
    const repo = await days([release(A), release(B), release(C)]);
    await rollback(repo);
    await merge(repo);
    expect(await fileAt(repo.root, "main", LIVE)).toBe(release(B));
    expect(await rollback(repo)).toMatchObject({ exitCode: 0 });
    expect(await fileAt(repo.root, BRANCH, LIVE)).toBe(release(A));
    expect(await holdsAt(repo)).toMatchObject([
      { image: `shop/web:${C}`, reason: "no reason given", by: "ecommerce-gitops bot" },
      { image: `shop/web:${B}` },
    ]);
    await merge(repo);
    expect(await rollback(repo)).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(
        /^rollback: live has had no other release of web to go back to; npm run /,
      ),
    });
  });

  it("that a promotion was faster than asks where to: the same words would bring back what was to go", async () => {
    const repo = await days([release(A), release(B)]);
    expect(await rollback(repo, "--reason", "slow")).toMatchObject({ exitCode: 0 });
    await personCommits(repo.root, "main", { [LIVE]: release(C) });
    const refs = await references(repo.root);
    for (const args of [[], ["--to", "1"], ["--to", "2"]]) {
      expect(await rollback(repo, ...args)).toEqual({
        exitCode: 3,
        stdout: "",
        stderr:
          "rollback: live has ccccccc of web now, and #1 is there to take bbbbbbb out; say which release to go back to: npm run rollback live web -- --to aaaaaaa\n",
      });
    }
    expect(await references(repo.root)).toBe(refs);
    const result = await rollback(repo, "--to", "aaaaaaa");
    expect(result.stdout).toMatch(/\nhold: ccccccc until somebody[^\n]+\nhold: bbbbbbb as well: slow\n/);
    expect(await fileAt(repo.root, BRANCH, LIVE)).toBe(release(A));
    expect(await holdsAt(repo)).toMatchObject([{ image: `shop/web:${B}` }, { image: `shop/web:${C}` }]);
  });

  it("names each open promotion that would bring the release again", async () => {
    const repo = await days([release(A), release(B)]);
    const promotion = "promote/test/live/web";
    await git(repo.root, "checkout", "--quiet", "--detach", "HEAD~1");
    await write(repo.root, { [LIVE]: release(B) });
    await git(repo.root, "commit", "--quiet", "--all", "--message", "Promote");
    await push(repo.root, promotion);
    await ask(`${repo.api}/pulls`, "POST", { head: promotion, base: "main", title: "Promote" });
    const named = "#1 is open and would bring bbbbbbb back";
    expect((await rollback(repo)).stdout).toContain(
      `\nnote: ${named}; close it, or the next promotion to live does: http`,
    );
    expect((await pullRequests(repo))[0]?.body).toContain(
      `- ${named}: close it, or the next promotion to live does`,
    );
    expect((await rollback(repo, "--no-hold")).stdout).not.toContain("would bring");
  });

  it.each<[string, (repo: TestRepository) => Promise<string>]>([
    ["a number", async () => "2"],
    ["a date", async () => "2026-01-02"],
    ["a time", async () => "2026-01-01T14:00+02:00"],
    ["a commit", async (repo) => commitOf(repo, 1)],
    ["an image", async () => A.slice(0, 7)],
  ])("goes back to %s", async (_, to) => {
    const repo = await days([release(A), release(B), release(C)]);
    expect(await rollback(repo, "--to", await to(repo))).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await fileAt(repo.root, BRANCH, LIVE)).toBe(release(A));
    expect(await holdsAt(repo)).toMatchObject([{ image: `shop/web:${C}` }]);
  });

  it("with --no-hold is the release and nothing else", async () => {
    const repo = await days([release(A), release(B)]);
    const result = await rollback(repo, "--no-hold");
    expect(result.stdout).toContain("\nhold: none\n");
    expect(await history(repo.root, "diff", "--name-only", `origin/main...origin/${BRANCH}`)).toBe(LIVE);
  });

  it("of the manifests alone does not hold the image: it is the one that is gone back to", async () => {
    const repo = await days([release(A), release(A, "web-2")]);
    await rollback(repo);
    expect(await fileAt(repo.root, BRANCH, LIVE)).toBe(release(A));
    expect(await holdsAt(repo)).toMatchObject([
      { digest: sha256(parseRelease(release(A, "web-2"), LIVE).body), image: undefined },
    ]);
    expect((await pullRequests(repo))[0]?.body).not.toContain("/compare/");
  });

  it("to a release that is held lifts its hold, and says so", async () => {
    const repo = await days([release(A), release(B), { [LIVE]: release(A), ...holdFile(hold(B)) }]);
    const result = await rollback(repo, "--to", "bbbbbbb");
    expect(result.stdout).toContain("\nlifts the hold on bbbbbbb: slow\n");
    expect(await holdsAt(repo)).toMatchObject([{ image: `shop/web:${A}` }]);
    expect((await pullRequests(repo))[0]?.body).toContain("bbbbbbb is not held any more; it was: `slow`");
    // And with nothing else to hold, the file goes.
    expect(await rollback(repo, "--to", "bbbbbbb", "--no-hold")).toMatchObject({ exitCode: 0 });
    await expect(fileAt(repo.root, BRANCH, HOLD)).rejects.toThrow("hold.yaml");
  });

  it("does not mind a hold that is over, and tidies it away", async () => {
    const over = hold(B, { until: new Date("2026-01-05T00:00Z") });
    const repo = await days([release(A), release(B), { [LIVE]: release(C), ...holdFile(over) }]);
    await rollback(repo);
    expect(await fileAt(repo.root, BRANCH, LIVE)).toBe(release(B));
    expect(await holdsAt(repo)).toMatchObject([{ image: `shop/web:${C}` }]);
  });

  it.each<[string, Day, string]>([
    [
      "a release that somebody has edited",
      { [LIVE]: release(B).replace("name: app", "name: api") },
      `${LIVE}:6: the content`,
    ],
    [
      "a release with the markers of a merge conflict",
      { [LIVE]: `<<<<<<< x\n${release(B)}` },
      `${LIVE}:1: not`,
    ],
  ])("goes back from %s, without a hold", async (_, damaged, fault) => {
    const repo = await days([release(A), damaged]);
    const result = await rollback(repo);
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
    expect(result.stdout).toContain(
      `\nhold: none\nnote: what live has now cannot be named in a hold: ${fault}`,
    );
    expect(await history(repo.root, "diff", "--name-only", `origin/main...origin/${BRANCH}`)).toBe(LIVE);
    expect(await fileAt(repo.root, BRANCH, LIVE)).toBe(release(A));
  });

  it("replaces a hold file that is damaged, and says so", async () => {
    const repo = await days([release(A), { [LIVE]: release(B), [HOLD]: "app: web\n" }]);
    const result = await rollback(repo);
    expect(result.stdout).toMatch(/\nnote: unreadable: \S+hold\.yaml:1: environment: /);
    expect(await holdsAt(repo)).toMatchObject([{ image: `shop/web:${B}` }]);
  });

  it("is not in the way of what a person has put on the branch", async () => {
    const repo = await days([release(A), release(B)]);
    await rollback(repo);
    await personCommits(repo.root, BRANCH, { "mine.yaml": "kind: Mine\n" });
    const refs = await references(repo.root);
    expect(await rollback(repo, "--reason", "other")).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(
        /^rollback: rollback\/live\/web holds a commit that no command made: \w{7}; merge or close its pull request/,
      ),
    });
    expect(await references(repo.root)).toBe(refs);
  });

  it("at the same time as another one is one of the two, in its text as in its content", async () => {
    const repo = await days([release(A), release(B), release(C)]);
    await rollback(repo, "--to", "2");
    let isFirst = true;
    const proxy = await between(async (method, path) => {
      if (!isFirst || method !== "PATCH" || !path.endsWith("/pulls/1")) return undefined;
      isFirst = false;
      expect((await rollback(repo, "--to", "2")).stdout).toContain("\nupdated: #1 ");
      return undefined;
    });
    await pointAt(repo, proxy.url);
    expect((await rollback(repo, "--to", "1")).stdout).toContain("\nupdated: #1 ");
    expect(await pullRequests(repo)).toMatchObject([{ title: "live: web back to bbbbbbb" }]);
    expect(await fileAt(repo.root, BRANCH, LIVE)).toBe(release(B));
  });

  it("does not mind that something else is broken", async () => {
    const repo = await days([
      release(A),
      {
        [LIVE]: release(B),
        "apps/disk.yaml": "<<<<<<<\n",
        "base/web/pod.yaml": "[",
      },
    ]);
    expect(await rollback(repo)).toMatchObject({ exitCode: 0, stderr: "" });
  });

  it("that was broken off before its pull request is made whole by the same call", async () => {
    const repo = await days([release(A), release(B)]);
    let broken = true;
    const opens = opening();
    const proxy = await between(async (method, path) => (broken && opens(method, path) ? 500 : undefined));
    await pointAt(repo, proxy.url);
    expect(await rollback(repo)).toMatchObject({ exitCode: 5 });
    broken = false;
    expect((await rollback(repo)).stdout).toMatch(/\nopened: #1 /);
    expect(await pullRequests(repo)).toHaveLength(1);
    expect(await fileAt(repo.root, BRANCH, LIVE)).toBe(release(A));
  });
});

describe("what is printed without a trace", () => {
  it("--list: what there is, how to get there, and why not", async () => {
    const repo = await days([
      release(A),
      release(B).replace("name: app", "name: api"),
      release(B),
      release(C),
      {
        [LIVE]: release(B),
        ...holdFile(hold(C)),
      },
    ]);
    const refs = await references(repo.root);
    const { stdout, exitCode } = await rollback(repo, "--list");
    expect(exitCode).toBe(0);
    const commits = await Promise.all(
      [5, 4, 3, 2, 1].map(async (day) => (await commitOf(repo, day)).slice(0, 7)),
    );
    const lines = stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.replaceAll(/ +/g, " ").replace(/UTC \d+ d( \d+ h)?/, "UTC AGE"));
    expect(lines).toEqual([
      "--to live: web SINCE AGE COMMIT BY",
      `- bbbbbbb 2026-01-05 12:00:00 UTC AGE ${commits[0]} Day 5 now`,
      `- ccccccc 2026-01-04 12:00:00 UTC AGE ${commits[1]} Day 4 held: slow`,
      `- bbbbbbb 2026-01-03 12:00:00 UTC AGE ${commits[2]} Day 3 as now`,
      `- - 2026-01-02 12:00:00 UTC AGE ${commits[3]} Day 2 ${LIVE}:6: the content is not the one this digest names`,
      `1 aaaaaaa 2026-01-01 12:00:00 UTC AGE ${commits[4]} Day 1`,
    ]);
    expect(await references(repo.root)).toBe(refs);
  });

  it("--dry-run: the plan", async () => {
    const repo = await days([release(A), release(B)]);
    const refs = await references(repo.root);
    const result = await rollback(repo, "--dry-run");
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
    expect(result.stdout).toMatch(
      /\nhold: bbbbbbb until somebody lifts it, npm run unhold live web lifts it\n$/,
    );
    expect(await references(repo.root)).toBe(refs);
  });
});

describe("in the first environment", () => {
  const pinned = (tag: string) =>
    `resources:\n  - ../../../base/web\nimages:\n  - name: registry/shop/web\n    newTag: "${tag}"\n`;

  it.each([
    [[], `npm run bump web ${B}\n`],
    [["--to", "2"], `npm run bump web ${A} -- --digest ${DIGEST}\n`],
  ])("%j is refused with the bump that does it", async (args, command) => {
    const repo = await days([
      { [DEV]: pinned(`${A}@${DIGEST}`) },
      { [DEV]: pinned(B) },
      { [DEV]: pinned(C) },
    ]);
    const refs = await references(repo.root);
    const result = await commandLine("rollback", repo.root, ["dev", "web", ...args]);
    expect(result).toMatchObject({ exitCode: 3, stdout: "" });
    expect(result.stderr).toMatch(
      /^rollback: dev has no releases, it builds base\/web as it is on main; to put back the image it got on 2026-01-0\d 12:00:00 UTC: /,
    );
    expect(result.stderr.endsWith(`: ${command}`)).toBe(true);
    expect(await references(repo.root)).toBe(refs);
  });

  it("is a matter of the base for an app without an image", async () => {
    const repo = await days([release(A)]);
    expect(await commandLine("rollback", repo.root, ["dev", "disk"])).toMatchObject({
      exitCode: 3,
      stderr:
        "rollback: dev has no releases, and disk has no image of its own; revert the commit that changed base/disk\n",
    });
  });
});

describe("what is refused, without a trace", () => {
  let repo: TestRepository;
  let side = "";
  let damaged = "";
  beforeAll(async () => {
    const directory = await mkdtemp(join(tmpdir(), "forge-"));
    repo = await days([release(A), release(B).replace("name: app", "name: api"), release(C)], directory);
    side = (await git(repo.root, "commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "x")).trim();
    damaged = await commitOf(repo, 2);
    return async () => rm(directory, { recursive: true });
  });

  it.each<[string[], number, RegExp]>([
    [["prod", "web"], 2, /^rollback: there is no environment prod; there are dev, test, live$/m],
    [["live", "webb"], 2, /^rollback: there is no app webb; there are disk, web$/m],
    [["../x", "web"], 2, /^rollback: "\.\.\/x" is not the name of an environment$/m],
    [["live", "*"], 2, /^rollback: "\*" is not the name of an app$/m],
    [["live"], 2, /^rollback: missing required argument 'app'/m],
    [["live", "web", "2"], 2, /^rollback: too many arguments/m],
    [["live", "web", "--too", "2"], 2, /^rollback: unknown option '--too'/m],
    [["live", "web", "--to", "0"], 2, /^rollback: --to "0" is no release; give a number/m],
    [["live", "web", "--to", "main"], 2, /^rollback: --to "main" is no release/m],
    [
      ["live", "web", "--until", "tomorrow"],
      2,
      /^rollback: --until tomorrow is not a date; write 2026-11-20/m,
    ],
    [["live", "web", "--until", "2026-01-01"], 2, /^rollback: --until 2026-01-01 is over already$/m],
    [["live", "web", "--no-hold", "--until", "2999-01-01"], 2, /^rollback: --until is about the hold/m],
    [["test", "web"], 3, /^rollback: test has never had a release of web; there is no \S+ in the history$/m],
    [
      ["live", "web", "--to", "2"],
      3,
      /^rollback: live can go 1 back with web, not 2; npm run rollback live/m,
    ],
    [
      ["live", "web", "--to", "2026-01-01"],
      3,
      /^rollback: live had no release of web yet at 2026-01-01 00:/m,
    ],
    [
      ["live", "web", "--to", "2026-01-04"],
      3,
      /^rollback: live has ccccccc of web now: there is nothing to/m,
    ],
    [
      ["live", "web", "--to", "DAMAGED"],
      3,
      /^rollback: live cannot go back to \w{7}: \S+:6: the content is/m,
    ],
    [
      ["live", "web", "--to", "SIDE"],
      3,
      /^rollback: main has no commit \w{40}, and live has had no release/m,
    ],
    [
      ["live", "web", "--to", B],
      3,
      /^rollback: main has no commit b{40}, and live has had no release of web/m,
    ],
  ])("%j: exit code %i", async (args, exitCode, line) => {
    const refs = await references(repo.root);
    const words = args.map((word) => (word === "SIDE" ? side : word === "DAMAGED" ? damaged : word));
    const result = await commandLine("rollback", repo.root, words);
    expect(result).toMatchObject({ exitCode, stdout: "", stderr: expect.stringMatching(line) });
    // Beside it there may be a hint of the argument parser, in brackets.
    const lines = result.stderr.split("\n").filter((text) => text !== "" && !text.startsWith("("));
    expect(lines).toHaveLength(1);
    expect(await references(repo.root)).toBe(refs);
  });

  it("for an app that the environment has no longer: a release alone would be applied without its overlay", async () => {
    const removed = await days([release(A), release(B)]);
    await git(removed.root, "rm", "-r", "--quiet", "overlays/live/web");
    await git(removed.root, "commit", "--quiet", "--message", "No web in live");
    await push(removed.root, "main");
    expect(await rollback(removed)).toEqual({
      exitCode: 3,
      stdout: "",
      stderr:
        "rollback: live has no web: there is no overlays/live/web/kustomization.yaml on main; put the overlay back by reverting the commit that removed it\n",
    });
  });

  it.each([
    ["npm_config_to", "…"],
    ["npm_config_token_description", "2 <env> <app>"],
  ])("when npm has kept --to, as %s: it would go back somewhere else", async (name, way) => {
    const refs = await references(repo.root);
    const env = { ...token(), [name]: "2" };
    expect(await commandLine("rollback", repo.root, ["live", "web"], env)).toEqual({
      exitCode: 2,
      stdout: "",
      stderr: `rollback: npm has kept --to for itself; put options behind --: npm run rollback -- --to ${way}\n`,
    });
    expect(await references(repo.root)).toBe(refs);
  });

  it("without a token, or with a wrong one", async () => {
    for (const [env, line] of [
      [{}, "there is no token for the forge; set FORGE_TOKEN or GITHUB_TOKEN"],
      [{ FORGE_TOKEN: "f".repeat(40) }, "does not accept the token"],
    ] as const) {
      for (const verb of ["rollback", "unhold"]) {
        expect(await commandLine(verb, repo.root, ["live", "web"], { ...env })).toMatchObject({
          exitCode: 3,
          stdout: "",
          stderr: expect.stringContaining(line),
        });
      }
    }
  });
});

describe("lifting", () => {
  it("is a pull request that removes the hold; twice it is once; when there is nothing to lift, it is closed", async () => {
    const until = new Date("2026-01-09T00:00Z");
    const repo = await days([release(A), holdFile(hold(B), hold(C, { image: undefined, until }))]);
    const first = await unhold(repo);
    expect(first).toMatchObject({ exitCode: 0, stderr: "" });
    expect(first.stdout.replace(/http\S+/, "URL")).toBe(
      [
        "live: web       SINCE                    UNTIL                           BY   REASON",
        "bbbbbbb         2026-01-01 00:00:00 UTC  -                               Ada  slow",
        `${hold(C).digest.slice(0, 14)}  2026-01-01 00:00:00 UTC  2026-01-09 00:00:00 UTC (over)  Ada  slow`,
        NOTE,
        "opened: #1 URL",
        "",
      ].join("\n"),
    );
    expect(await history(repo.root, "diff", "--name-status", "origin/main...origin/unhold/live/web")).toBe(
      `D\t${HOLD}`,
    );
    const [pull] = await pullRequests(repo);
    expect(pull).toMatchObject({ title: "live: nothing of web is held any more" });
    expect(pull?.body).toContain("- bbbbbbb: `slow` (`Ada`, 2026-01-01 00:00:00 UTC)");
    const refs = await references(repo.root);
    expect((await unhold(repo)).stdout).toMatch(/\nunchanged: #1 /);
    expect(await references(repo.root)).toBe(refs);

    // As when somebody else has lifted it: of what is pushed to main the forge does not know that it was a merge.
    await merge(repo, "unhold/live/web");
    const last = await unhold(repo);
    expect(last).toMatchObject({ exitCode: 0, stderr: "" });
    expect(last.stdout).toMatch(
      /^nothing to lift: no release of web is held in live\nclosed: #1 http\S+\/pulls\/1\n$/,
    );
    expect(await ask(`${repo.api}/issues/1/comments`)).toMatchObject([
      { body: "`main` holds no release of web in live any more." },
    ]);
    expect(await references(repo.root)).not.toContain("refs/heads/unhold/");
    expect((await unhold(repo)).stdout).toBe("nothing to lift: no release of web is held in live\n");
  });

  it("--dry-run changes nothing", async () => {
    const repo = await days([release(A), holdFile(hold(B))]);
    const refs = await references(repo.root);
    expect((await unhold(repo, "--dry-run")).stdout).toContain("bbbbbbb");
    expect(await references(repo.root)).toBe(refs);
  });

  it("removes a hold that cannot be read", async () => {
    const repo = await days([release(A), { [HOLD]: "app: [\n" }]);
    const result = await unhold(repo);
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
    expect(result.stdout).toMatch(/^note: unreadable: \S+hold\.yaml:\d+: /);
    expect((await pullRequests(repo))[0]?.body).toContain("hold.yaml");
  });

  it("refuses an unknown environment or app", async () => {
    const repo = await days([release(A)]);
    for (const [args, line] of [
      [["prod", "web"], "unhold: there is no environment prod; there are dev, test, live\n"],
      [["live", "webb"], "unhold: there is no app webb; there are disk, web\n"],
    ] as const) {
      expect(await commandLine("unhold", repo.root, args, token())).toEqual({
        exitCode: 2,
        stdout: "",
        stderr: line,
      });
    }
  });
});
