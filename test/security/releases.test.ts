/** What somebody tries who wants a release to run that nobody has looked at, or one back that was taken out. */
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { sha256 } from "../../scripts/lib/digest.ts";
import { GitHistory } from "../../scripts/lib/git/history.ts";
import { checkoutHistory, planPromotion } from "../../scripts/lib/promotion/plan.ts";
import { heldReleases } from "../../scripts/lib/release/held-releases.ts";
import { formatHolds, holdPath } from "../../scripts/lib/release/hold.ts";
import { allReleases, changedReleases, checkProvenance } from "../../scripts/lib/release/provenance.ts";
import { formatRelease, parseRelease, releasePath } from "../../scripts/lib/release/release.ts";
import { commit, git, smallRepository, write } from "../support/tree.ts";
import { kustomize } from "../tree/support.ts";

const TEST = releasePath("test", "web");
const LIVE = releasePath("live", "web");
const HOLD = holdPath({ environment: "live", app: "web" });
const BASE = "base/web/pod.yaml";

async function edit(root: string, path: string, change: (text: string) => string): Promise<void> {
  await writeFile(join(root, path), change(await readFile(join(root, path), "utf8")));
}

/** What `npm run promote -- --local dev test` would write. */
async function rendered(root: string, name = "web"): Promise<string> {
  const history = await checkoutHistory(root);
  const plan = await planPromotion({ root, history, from: "dev", to: "test", apps: [name], kustomize });
  const [step] = plan.steps;
  if (step === undefined) throw new Error("nothing to promote");
  return formatRelease(step.after);
}

async function mergeInto(root: string, branch: string): Promise<string> {
  await git(root, "checkout", "--quiet", "main");
  await git(root, "merge", "--quiet", "--no-ff", "-m", `Merge ${branch}`, branch);
  return (await git(root, "rev-parse", "HEAD")).trim();
}

describe("a base that nobody saw, from a commit and its revert in one merged pull request,", () => {
  async function smuggled() {
    const root = await smallRepository();
    await git(root, "checkout", "--quiet", "-b", "harmless");
    await edit(root, BASE, (text) => text.replace("name: app", "name: mine"));
    await commit(root);
    const release = await rendered(root);
    await edit(root, BASE, (text) => text.replace("name: mine", "name: app"));
    await write(root, { "docs/x.md": "what the pull request shows\n" });
    await commit(root);
    await mergeInto(root, "harmless");
    return { root, release };
  }

  it("makes no release, though the commit is an ancestor of main", async () => {
    const { root, release } = await smuggled();
    await git(root, "checkout", "--quiet", "-b", "change");
    await write(root, { [TEST]: release });
    await commit(root);
    const { commit: source } = parseRelease(release, TEST);
    const what = `its commit ${source.slice(0, 7)} is none that the deployed branch has stood at`;
    for (const scope of [await changedReleases(root, "main"), await allReleases(root)])
      expect(await checkProvenance(root, scope, kustomize)).toMatchObject([
        { path: TEST, origin: { kind: "unknown", difference: { what } } },
      ]);
  });

  it("is not what a promotion names: that is the merge", async () => {
    const { root } = await smuggled();
    const merge = (await git(root, "rev-parse", "HEAD")).trim();
    await git(root, "checkout", "--quiet", "-b", "more");
    await edit(root, BASE, (text) => `${text}# more\n`);
    const own = await commit(root);
    const newest = await mergeInto(root, "more");
    expect(parseRelease(await rendered(root), TEST).commit).toBe(newest);
    expect(await new GitHistory(root).stoodAt("main")).toContain(merge);
    expect(await new GitHistory(root).stoodAt("main")).not.toContain(own);
  });
});

describe("a held release", () => {
  /** Live has the older one again, and main holds the newer. */
  async function rolledBack() {
    const root = await smallRepository();
    const older = await rendered(root);
    await write(root, { [TEST]: older, [LIVE]: older });
    await commit(root);
    await edit(root, BASE, (text) => text.replace("name: app", "name: slow"));
    await commit(root);
    const newer = await rendered(root);
    await write(root, { [TEST]: newer });
    await commit(root);
    await git(root, "branch", "stale");
    await write(root, { [LIVE]: newer });
    await commit(root);
    const { body } = parseRelease(newer, LIVE);
    const since = new Date("2026-11-20T12:00Z");
    const hold = {
      digest: sha256(body),
      image: undefined,
      reason: "slow",
      by: "Ada",
      since,
      until: undefined,
    };
    await write(root, { [LIVE]: older, [HOLD]: formatHolds({ environment: "live", app: "web" }, [hold]) });
    await commit(root);
    return { root, newer };
  }
  const now = new Date("2026-11-21T12:00Z");
  const look = async (root: string, base = "main") =>
    heldReleases(root, await changedReleases(root, base), { now, revision: "main" });

  it("that comes back by a stale green is found by the check of the push, with the way back", async () => {
    const { root, newer } = await rolledBack();
    await git(root, "checkout", "--quiet", "stale");
    // With a file of its own: the same content in the same second would be main's own commit.
    await write(root, { [LIVE]: newer, "docs/stale.md": "opened before the rollback\n" });
    await commit(root);
    // Green when it was checked: main did not hold anything yet.
    expect(await look(root, "main~1")).toEqual([]);
    const before = (await git(root, "rev-parse", "main")).trim();
    await mergeInto(root, "stale");
    await git(root, "update-ref", "refs/remotes/origin/main", "main");
    expect(await look(root, before)).toMatchObject([
      {
        path: LIVE,
        way: "take it out again: npm run rollback live web, and merge that; or lift the hold: npm run unhold live web",
      },
    ]);
  });

  it.each<[string, (root: string) => Promise<void>]>([
    ["removes the hold", async (root) => rm(join(root, HOLD))],
    ["lets it end in the past", async (root) => edit(root, HOLD, (text) => `${text}    until: 2020-01-01\n`)],
    [
      "holds something else instead",
      async (root) => edit(root, HOLD, (text) => text.replace(/sha256:\w+/, sha256("x"))),
    ],
  ])("does not come back in the midst of a change that %s", async (_, lift) => {
    const { root, newer } = await rolledBack();
    await git(root, "checkout", "--quiet", "-b", "change");
    await lift(root);
    await write(root, { [LIVE]: newer, "docs/x.md": "among much else\n" });
    await commit(root);
    expect(await look(root)).toMatchObject([{ path: LIVE }]);
    // Alone it is what `npm run rollback` writes when the release is named, and plain to see.
    await rm(join(root, "docs/x.md"));
    await commit(root);
    expect(await look(root)).toEqual([]);
  });
});
