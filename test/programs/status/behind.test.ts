import { beforeEach, describe, expect, it, vi } from "vitest";
import { GitHistory } from "../../../scripts/lib/git/history.ts";
import { formatHolds } from "../../../scripts/lib/release/hold.ts";
import { formatRelease, type Release } from "../../../scripts/lib/release/release.ts";
import { readStatus, type StatusRow } from "../../../scripts/lib/status/status.ts";
import { git, SHA, smallRepository, temporary, write } from "../../support/tree.ts";

const [B, C] = ["b".repeat(40), "c".repeat(40)];
const NOW = new Date("2026-11-20T12:00:00Z");
const PIN = "overlays/dev/web/kustomization.yaml";

let day = 0;
let root = "";

/** A commit a day, from the first of the month. */
async function commit(files: Record<string, string>, message = "change"): Promise<string> {
  day += 1;
  vi.stubEnv("GIT_COMMITTER_DATE", `2026-11-${String(day).padStart(2, "0")}T12:00:00Z`);
  await write(root, files);
  await git(root, "add", "--all");
  await git(root, "commit", "--quiet", "--allow-empty", "--message", message);
  return head();
}

async function head(): Promise<string> {
  return (await git(root, "rev-parse", "HEAD")).trim();
}

/** A release of web; its body is whatever tells it from others. */
function web(
  environment: string,
  tag: string,
  rendered: string,
  body = `kind: ${tag}\n`,
): Record<string, string> {
  const release: Release = { app: "web", image: `shop/web:${tag}`, from: "dev", commit: rendered, body };
  return { [`overlays/${environment}/web/release.yaml`]: formatRelease(release) };
}

function disk(environment: string, rendered: string): Record<string, string> {
  const release: Release = {
    app: "disk",
    image: undefined,
    from: "dev",
    commit: rendered,
    body: "kind: D\n",
  };
  return { [`overlays/${environment}/disk/release.yaml`]: formatRelease(release) };
}

async function pin(tag: string): Promise<string> {
  const before = await git(root, "show", `HEAD:${PIN}`);
  return commit({ [PIN]: before.replace(/newTag: "\w+"/, `newTag: "${tag}"`) });
}

async function status(directory = root): Promise<(key: string) => Partial<StatusRow>> {
  const commitNow = (await git(directory, "rev-parse", "HEAD")).trim();
  const at = new GitHistory(directory);
  const query = { git: at, commit: commitNow, apps: [], changes: [], sources: undefined, now: NOW };
  const { rows } = await readStatus(query);
  return (key) => rows.find(({ app, env }) => `${app} ${env}` === key) ?? {};
}

beforeEach(async () => {
  day = 0;
  vi.stubEnv("GIT_COMMITTER_DATE", "2026-11-01T00:00:00Z");
  root = await smallRepository();
  return () => vi.unstubAllEnvs();
});

describe("the environment after the first", () => {
  it("is behind by the pins and changes of the base since its release was rendered", async () => {
    const rendered = await pin(B);
    const brought = await commit(web("test", B, rendered));
    expect((await status())("web test")).toMatchObject({
      release: "bbbbbbb",
      image: `shop/web:${B}`,
      commit: brought,
      since: "2026-11-02T12:00:00.000Z",
      behind: 0,
    });
    await pin(C);
    await commit({ "base/web/more.yaml": "kind: More\n" });
    await commit({ "base/components/labels/kustomization.yaml": "kind: Component\n" });
    expect((await status())("web test").behind).toBe(3);
  });

  it("is not behind by what makes no release: patches of dev, other apps, the catalogue", async () => {
    await commit(web("test", SHA, await head()));
    const before = await git(root, "show", `HEAD:${PIN}`);
    await commit({ [PIN]: `${before}replicas: []\n` });
    await commit({ "base/disk/more.yaml": "kind: More\n", "README.md": "more\n" });
    expect((await status())("web test").behind).toBe(0);
  });

  it("is behind nobody knows how far when its release names a commit that the history does not have", async () => {
    await commit(web("test", B, "d".repeat(40)));
    expect((await status())("web test")).toMatchObject({ release: "bbbbbbb", behind: null });
  });

  it("has nothing before its first promotion", async () => {
    expect((await status())("web test")).toMatchObject({ release: null, since: null, behind: null });
  });
});

describe("a later environment", () => {
  it("is behind by the different releases that the one before has had since", async () => {
    const rendered = await head();
    await commit({ ...web("test", SHA, rendered), ...web("live", SHA, rendered) });
    await commit(web("test", B, rendered));
    await commit(web("test", C, rendered));
    await commit(web("test", B, rendered));
    expect((await status())("web live").behind).toBe(2);
    await commit(web("live", C, rendered));
    expect((await status())("web live").behind).toBe(1);
  });

  it("is not behind, nor new, when only the head of a release has changed", async () => {
    const brought = await commit({ ...web("test", B, await head()), ...web("live", B, await head()) });
    await commit(web("test", B, await head()));
    expect((await status())("web live")).toMatchObject({ behind: 0, commit: brought });
    expect((await status())("web test")).toMatchObject({ behind: 0, commit: brought });
  });

  it("is behind nobody knows how far when the one before never had its release", async () => {
    await commit({ ...web("test", B, await head()), ...web("live", C, await head()) });
    expect((await status())("web live").behind).toBeNull();
  });
});

describe("an app without an image", () => {
  it("is named after the commit that changed its base last, in every environment", async () => {
    const changed = await commit({ "base/disk/more.yaml": "kind: More\n" });
    const later = await commit({ "README.md": "more\n" });
    await commit(disk("test", later));
    const name = `base ${changed.slice(0, 7)}`;
    expect((await status())("disk dev")).toMatchObject({ release: name, image: null, commit: changed });
    expect((await status())("disk test")).toMatchObject({ release: name, behind: 0 });
    await commit(disk("live", changed));
    expect((await status())("disk live").release).toBe(name);
    const newer = await commit({ "base/disk/more.yaml": "kind: Other\n" });
    expect((await status())("disk dev").release).toBe(`base ${newer.slice(0, 7)}`);
    expect((await status())("disk test")).toMatchObject({ release: name, behind: 1 });
  });
});

describe("a merge", () => {
  it("is what brings a release, whenever its commits were made", async () => {
    const rendered = await head();
    await git(root, "checkout", "--quiet", "-b", "promote/dev/test/_all");
    await commit(web("test", B, rendered));
    await git(root, "checkout", "--quiet", "main");
    await pin(C);
    day += 1;
    vi.stubEnv("GIT_COMMITTER_DATE", "2026-11-05T12:00:00Z");
    await git(root, "merge", "--quiet", "--no-ff", "-m", "Merge", "promote/dev/test/_all");
    expect((await status())("web test")).toMatchObject({
      commit: await head(),
      since: "2026-11-05T12:00:00.000Z",
      behind: 1,
    });
  });
});

describe("the last rollback", () => {
  const gone = async (message: string) => {
    const rendered = await head();
    await commit(web("live", B, rendered));
    await commit(web("live", C, rendered));
    return commit(web("live", B, rendered), message);
  };

  it("is known by the trailer of its commit, and stays known", async () => {
    const back = await gone("Roll web back in live\n\nRollback: live web 0123456\n");
    await commit(web("live", C, await head()));
    expect((await status())("web live").lastRollback).toEqual({
      commit: back,
      at: "2026-11-03T12:00:00.000Z",
    });
  });

  it("is known by what it merged, also when that was brought up to date", async () => {
    await commit(web("live", B, await head()));
    await commit(web("live", C, await head()));
    await git(root, "checkout", "--quiet", "-b", "rollback/live/web");
    await commit(web("live", B, await head()), "Back\n\nRollback: live web 0123456\n");
    await git(root, "checkout", "--quiet", "main");
    await commit({ "README.md": "more\n" });
    await git(root, "checkout", "--quiet", "rollback/live/web");
    await git(root, "merge", "--quiet", "--no-ff", "-m", "Merge main", "main");
    await git(root, "checkout", "--quiet", "main");
    await git(root, "merge", "--quiet", "--no-ff", "-m", "Merge", "rollback/live/web");
    expect((await status())("web live").lastRollback).toMatchObject({ commit: await head() });
  });

  it.each([
    ["Merge pull request 'Back' (#3) from rollback/live/web into main", "By hand"],
    ["Merge", "Promote\n\nMind the Rollback: live web 0123456"],
    ["Merge", "Back\n\nRollback: test web 0123456\n"],
  ])("is not seen in %j of %j", async (merge, message) => {
    await git(root, "checkout", "--quiet", "-b", "other");
    await gone(message);
    await git(root, "checkout", "--quiet", "main");
    await git(root, "merge", "--quiet", "--no-ff", "-m", merge, "other");
    expect((await status())("web live")).toMatchObject({ commit: await head(), lastRollback: null });
  });

  it("is not what only says so, and brings what was never there", async () => {
    await commit(web("live", B, await head()));
    const brought = await commit(web("live", C, await head()), "New\n\nRollback: live web 0123456\n");
    expect((await status())("web live")).toMatchObject({ commit: brought, lastRollback: null });
  });
});

describe("holds", () => {
  it("are those in force", async () => {
    const place = { environment: "live", app: "web" };
    const hold = { digest: `sha256:${"0".repeat(64)}`, reason: "leaks", by: "Ann", since: new Date(0) };
    const until = new Date(NOW.getTime() - 1);
    const text = formatHolds(place, [
      { ...hold, image: `shop/web:${B}`, until: undefined },
      { ...hold, image: undefined, until },
    ]);
    await commit({ ...web("live", B, await head()), "overlays/live/web/hold.yaml": text });
    expect((await status())("web live").holds).toEqual([
      {
        digest: hold.digest,
        image: `shop/web:${B}`,
        reason: "leaks",
        by: "Ann",
        since: "1970-01-01T00:00:00.000Z",
        until: null,
      },
    ]);
    expect((await status())("web test").holds).toEqual([]);
  });
});

describe("a shallow clone", () => {
  it("does not take its oldest commit for the one that brought everything", async () => {
    const rendered = await commit(web("test", B, await head()));
    const later = await commit(web("live", B, rendered));
    const clone = await temporary();
    await git(clone, "clone", "--quiet", "--depth=2", `file://${root}`, ".");
    const shallow = await status(clone);
    expect(shallow("web live")).toMatchObject({ release: "bbbbbbb", commit: later, behind: null });
    expect(shallow("web test")).toMatchObject({
      release: "bbbbbbb",
      commit: null,
      since: null,
      behind: null,
    });
  });
});

it("refuses an app that the catalogue does not have", async () => {
  const query = {
    git: new GitHistory(root),
    commit: await head(),
    changes: [],
    sources: undefined,
    now: NOW,
  };
  await expect(readStatus({ ...query, apps: ["users"] })).rejects.toMatchObject({
    exitCode: 2,
    message: "there is no app users",
    hint: "there are disk, web",
  });
});

it("says how many commits of its own repository an app is behind, or why not", async () => {
  await commit({ ...web("test", B, await head()), ...web("live", C, await head()) });
  const asked: string[][] = [];
  const sources: NonNullable<Parameters<typeof readStatus>[0]["sources"]> = {
    compare: async (...way) => {
      asked.push(way);
      return way[1] === B
        ? { kind: "commits", commits: [], total: 14 }
        : { kind: "unreadable", reason: "no such commit" };
    },
  };
  const query = { git: new GitHistory(root), commit: await head(), apps: [], changes: [], now: NOW };
  const { rows, notes } = await readStatus({ ...query, sources });
  expect(asked).toEqual([
    ["shop/web", B, SHA],
    ["shop/web", C, B],
  ]);
  expect(rows.filter(({ app }) => app === "web").map(({ commitsBehind }) => commitsBehind)).toEqual([
    null,
    14,
    null,
  ]);
  expect(notes).toEqual(["commits of shop/web: no such commit"]);
});
