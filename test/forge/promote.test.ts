/** Promotions against a real forge: what the pull request is, that it is kept, and that it is exactly one. */
import { symlink } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, inject, it } from "vitest";
import { z } from "zod";
import { parseRelease, releasePath } from "../../scripts/lib/release/release.ts";
import { repositoryRoot } from "../../scripts/lib/repository.ts";
import { resolveTool } from "../../scripts/lib/tools/resolve.ts";
import { waitFor } from "../../scripts/lib/wait.ts";
import { listed, standInForArgocd } from "../support/argocd.ts";
import { git, temporary, write } from "../support/tree.ts";
import {
  callerOf,
  deliver,
  environmentOf,
  FROZEN,
  healthy,
  heldBack,
  labelsOf,
  merge,
  pinned,
  pod,
  promotable,
  promote,
  release,
  report,
  soaking,
  TWO,
} from "./promotion-support.ts";
import {
  ask,
  between,
  commandLine,
  fileAt,
  history,
  makePerson,
  NEW,
  NEWER,
  OLD,
  OWNER,
  personCommits,
  pullRequests,
  push,
  references,
  repository,
  type TestRepository,
  withToken,
} from "./support.ts";

const ALL = "promote/test/live/_all";
const WEB = releasePath("live", "web");

/** Argo CD syncs test by itself. */
const AUTOMATED = { "overlays/test/kustomization.yaml": "components:\n  - ../../argocd/automated\n" };

/** The paths that a branch changes, and how many commits it is ahead. */
async function ahead(repo: TestRepository, branch: string): Promise<{ paths: string[]; commits: number }> {
  const range = `origin/main...origin/${branch}`;
  const paths = (await history(repo.root, "diff", "--name-only", range)).split("\n");
  return { paths, commits: Number(await history(repo.root, "rev-list", "--right-only", "--count", range)) };
}

describe("the pull request", () => {
  it("carries a release byte for byte; the same call twice is once; a newer release updates it", async () => {
    const repo = await promotable();
    await release(repo, { web: NEW });
    const first = await promote(repo, "test", "live");
    expect(first).toMatchObject({ exitCode: 0, stderr: "" });
    expect(first.stdout).toMatch(/^test -> live at [0-9a-f]{7}: 1 of 2 apps change\n/);
    expect(first.stdout).toMatch(/^web +0123456 +89abcde +unreadable +image +for \d+ s$/m);
    expect(first.stdout).toContain("note: web is not asked for a review: ");
    expect(first.stdout).toMatch(/\nopened: #1 http\S+\/pulls\/1\nmerge it, then: npm run sync live\n$/);
    expect(await ahead(repo, ALL)).toEqual({ paths: [WEB], commits: 1 });
    const carried = await fileAt(repo.root, "main", releasePath("test", "web"));
    expect(await fileAt(repo.root, ALL, WEB)).toBe(carried);
    expect(carried).toContain(NEW);
    expect(await history(repo.root, "log", "-1", "--format=%an%n%B", `origin/${ALL}`)).toMatch(
      /^ecommerce-gitops bot\nPromote web 89abcde from test to live\n\nPromote: test live web\nContent: sha256:/,
    );
    const [pull] = await pullRequests(repo);
    expect(pull).toMatchObject({ number: 1, state: "open", title: "Promote web 89abcde from test to live" });
    expect(await labelsOf(repo, 1)).toEqual(["env/live", "promotion"]);
    const web = `${inject("forge")}/shop/web`;
    for (const part of [
      `| web | [\`0123456\`](${web}/commit/${OLD}) | [\`89abcde\`](${web}/commit/${NEW}) | [compare](${web}/compare/${OLD}...${NEW}) |`,
      "**image**\n- `Pod web` `containers[app].image`: `registry/shop/web:0123456789ab` → `registry/shop/web:89abcdef0123`",
      "shop/web cannot be read: ",
      "- web: healthy in test (test) since 20",
      "`npm run sync live web`",
      "`npm run rollback live web`",
    ]) {
      expect(pull?.body).toContain(part);
    }

    const refs = await references(repo.root);
    expect((await promote(repo, "test", "live")).stdout).toMatch(/\nunchanged: #1 /);
    expect(await references(repo.root)).toBe(refs);
    expect(await pullRequests(repo)).toEqual([pull]);

    await release(repo, { web: NEWER });
    expect((await promote(repo, "test", "live")).stdout).toMatch(/\nupdated: #1 /);
    expect(await ahead(repo, ALL)).toEqual({ paths: [WEB], commits: 1 });
    expect(await pullRequests(repo)).toMatchObject([
      { number: 1, state: "open", title: "Promote web fedcba9 from test to live" },
    ]);
    expect(await labelsOf(repo, 1)).toEqual(["env/live", "promotion"]);
  });

  it("renders what main has for the first step, and carries nothing but the named apps", async () => {
    const repo = await promotable(TWO);
    const base = await deliver(
      repo,
      "dev",
      { web: NEW, api: NEW },
      { "base/web/pod.yaml": pod("web", "      command: [run]\n") },
    );
    await healthy(repo, base, "dev", ["web", "api", "disk"]);
    const named = await promote(repo, "dev", "test", "web");
    expect(named).toMatchObject({ exitCode: 0, stderr: "" });
    const file = releasePath("test", "web");
    const branch = "promote/dev/test/web";
    expect(await ahead(repo, branch)).toEqual({ paths: [file], commits: 1 });
    const rendered = parseRelease(await fileAt(repo.root, branch, file), file);
    expect(rendered).toMatchObject({ app: "web", image: `shop/web:${NEW}`, from: "dev", commit: base });
    expect(rendered.body).toContain("- run\n");

    expect(await promote(repo, "dev", "test", "web", "api", "web")).toMatchObject({ exitCode: 0 });
    expect(await promote(repo, "dev", "test")).toMatchObject({ exitCode: 0 });
    const both = [releasePath("test", "api"), file];
    expect(await ahead(repo, "promote/dev/test/api+web")).toEqual({ paths: both, commits: 1 });
    expect(await ahead(repo, "promote/dev/test/_all")).toEqual({ paths: both, commits: 1 });
    expect((await pullRequests(repo)).map(({ title }) => title)).toEqual([
      "Promote 2 apps from dev to test",
      "Promote 2 apps from dev to test",
      "Promote web 89abcde from dev to test",
    ]);
  });

  it("lists the commits of a source that can be read, as text; merged, the next one starts anew", async () => {
    const repo = await promotable();
    const catalogue = (await fileAt(repo.root, "main", "apps/web.yaml")).replace(
      "source: shop/web",
      `source: shop/${repo.name}`,
    );
    const old = await history(repo.root, "rev-parse", "origin/main");
    await release(repo, { web: old }, { "apps/web.yaml": catalogue });
    expect((await promote(repo, "test", "live")).stdout).toMatch(/\nopened: #1 /);
    await merge(repo, 1);
    await history(repo.root, "checkout", "--quiet", "--force", "--detach", "origin/main");
    const subject = "Ask @ada about #7 | [x](http://y) <b>";
    await git(repo.root, "commit", "--quiet", "--allow-empty", "--message", subject);
    await push(repo.root, "main");
    const tag = (await git(repo.root, "rev-parse", "HEAD")).trim();
    await release(repo, { web: tag });
    // The branch of the merged one is still there.
    const next = await promote(repo, "test", "live");
    expect(next.stdout).toMatch(/\nopened: #2 /);
    expect(next.stdout).toMatch(new RegExp(`^web +${old.slice(0, 7)} +${tag.slice(0, 7)} +\\d `, "m"));
    expect(await ahead(repo, ALL)).toEqual({ paths: [WEB], commits: 1 });
    const [pull, merged] = await pullRequests(repo);
    expect([pull?.state, merged?.state]).toEqual(["open", "closed"]);
    expect(pull?.body).toContain(
      `- \`${tag.slice(0, 7)}\` \`Ask @\u200Bada about #\u200B7 | [x](http:\u200B//y) <b>\`\n`,
    );
    expect(pull?.body).toContain(`/compare/${old}...${tag}) |`);
  });

  it("does nothing with what a commit of a service says, and its merge does not either", async () => {
    const [repo, service] = [await promotable(), await repository()];
    const { user } = await makePerson(repo, "write");
    const asPerson = `sudo=${user}`;
    const catalogue = await fileAt(repo.root, "main", "apps/web.yaml");
    const old = await history(service.root, "rev-parse", "origin/main");
    const issue = async (number: number, title: string) => {
      expect(await ask(`${repo.api}/issues`, "POST", { title })).toMatchObject({ number });
    };
    // The service's repository is read when the issue is not there yet: what a push of it does is that repository's own.
    const [url, path] = [`${inject("forge")}/${OWNER}/${repo.name}/issues/1`, `${OWNER}/${repo.name}`];
    const subject = `Fixes #1, closes ${path}#1, resolves ${url} and !1; thanks, @${user} (@${user})`;
    await git(service.root, "commit", "--quiet", "--allow-empty", "--message", subject);
    await push(service.root, "main");
    const tag = (await git(service.root, "rev-parse", "HEAD")).trim();
    await release(
      repo,
      { web: old },
      { "apps/web.yaml": catalogue.replace("source: shop/web", `source: ${OWNER}/${service.name}`) },
    );
    await issue(1, "The one that is meant");
    await promote(repo, "test", "live");
    await merge(repo, 2);
    await release(repo, { web: tag });
    // From now on there are notifications of mentions only.
    await ask(`${repo.api}/subscription?${asPerson}`, "DELETE");
    await ask(`${inject("forge")}/api/v1/notifications?${asPerson}`, "PUT");
    await promote(repo, "test", "live", "--override", subject);
    const [pull] = await pullRequests(repo);
    expect(pull).toMatchObject({ number: 3, body: expect.stringContaining("`Fixes #\u200B1, closes ") });
    await merge(repo, 3, "merge", `${pull?.title}\n\n${pull?.body}`);

    // What is done after it shows that the forge has come that far.
    await issue(4, "The control");
    await ask(`${repo.api}/issues/4/comments`, "POST", { body: `@${user}` });
    await history(repo.root, "checkout", "--quiet", "--force", "--detach", "origin/main");
    await git(repo.root, "commit", "--quiet", "--allow-empty", "--message", "Fixes #4");
    await push(repo.root, "main");
    const Issue = z.object({ state: z.string() });
    const stateOf = async (number: number) => Issue.parse(await ask(`${repo.api}/issues/${number}`)).state;
    const isDone = async () => (await stateOf(4)) === "closed" || undefined;
    await waitFor("the control is closed", isDone, { timeoutMs: 60_000 });
    const Threads = z.array(z.object({ subject: z.object({ title: z.string() }) }));
    const notified = async () => {
      const threads = Threads.parse(await ask(`${inject("forge")}/api/v1/notifications?${asPerson}`));
      return threads.map((thread) => thread.subject.title);
    };
    const isNotified = async () => ((await notified()).includes("The control") ? true : undefined);
    await waitFor("the control has notified", isNotified, { timeoutMs: 60_000 });

    expect(await notified()).toEqual(["The control"]);
    expect(await stateOf(1)).toBe("open");
    // Gitea writes an empty list as null.
    expect(await ask(`${repo.api}/issues/4/timeline`)).not.toBeNull();
    expect(await ask(`${repo.api}/issues/1/timeline`)).toBeNull();
  });

  it("is a new one after a squash merge, too", async () => {
    const repo = await promotable();
    await release(repo, { web: NEW });
    await promote(repo, "test", "live");
    await merge(repo, 1, "squash");
    // The branch of the merged one goes, since nothing is left to promote.
    expect((await promote(repo, "test", "live")).stdout).toMatch(/\nnothing to promote\n$/);
    expect(await references(repo.root)).not.toContain(ALL);
    await release(repo, { web: NEWER });
    expect((await promote(repo, "test", "live")).stdout).toMatch(/\nopened: #2 /);
    await merge(repo, 2, "squash");
    await release(repo, { web: OLD });
    expect((await promote(repo, "test", "live")).stdout).toMatch(/\nopened: #3 /);
    expect(await ahead(repo, ALL)).toEqual({ paths: [WEB], commits: 1 });
  });

  it("does not matter for other apps: in any order the target gets the same", async () => {
    const repo = await promotable(TWO);
    await release(repo, { web: NEW, api: NEW });
    for (const apps of [["web"], ["api"], []]) {
      expect(await promote(repo, "test", "live", ...apps)).toMatchObject({ exitCode: 0 });
    }
    const main = await history(repo.root, "rev-parse", "origin/main");
    const merged = async (...branches: string[]): Promise<string> => {
      await git(repo.root, "checkout", "--quiet", "--force", "--detach", main);
      for (const branch of branches)
        await git(repo.root, "merge", "--quiet", `origin/promote/test/live/${branch}`);
      return git(repo.root, "rev-parse", "HEAD^{tree}");
    };
    const all = await merged("_all");
    expect(await merged("web", "api")).toBe(all);
    expect(await merged("api", "web")).toBe(all);
    expect(await merged()).not.toBe(all);

    await merge(repo, 1);
    // The other one's branch is as it should be, and what all of them would be is only the other one now.
    const api = await history(repo.root, "rev-parse", "origin/promote/test/live/api");
    expect(await promote(repo, "test", "live", "api")).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await history(repo.root, "rev-parse", "origin/promote/test/live/api")).toBe(api);
    expect((await promote(repo, "test", "live")).stdout).toMatch(/\nupdated: #3 /);
    expect((await ahead(repo, ALL)).paths).toEqual([releasePath("live", "api")]);
    await merge(repo, 2);
    expect(await history(repo.root, "rev-parse", "origin/main^{tree}")).toBe(all.trim());
  });

  it("is not opened for nothing, and is closed when nothing is left", async () => {
    const repo = await promotable();
    const refs = await references(repo.root);
    expect(await promote(repo, "test", "live")).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/0 of 2 apps change\n\nnothing to promote\n$/),
      stderr: "",
    });
    expect(await references(repo.root)).toBe(refs);
    await release(repo, { web: NEW });
    await promote(repo, "test", "live");
    const carried = await fileAt(repo.root, "main", releasePath("test", "web"));
    await personCommits(repo.root, "main", { [WEB]: carried });
    expect((await promote(repo, "test", "live")).stdout).toMatch(/\nnothing to promote; #1 is closed\n$/);
    expect(await references(repo.root)).not.toContain(`refs/heads/${ALL}`);
    expect(await pullRequests(repo)).toMatchObject([{ number: 1, state: "closed" }]);
    const after = await references(repo.root);
    expect((await promote(repo, "test", "live")).stdout).toMatch(/\nnothing to promote\n$/);
    expect(await references(repo.root)).toBe(after);
  });

  it("takes no request more than it needs", async () => {
    const repo = await promotable();
    await release(repo, { web: NEW });
    const proxy = await between(async () => undefined);
    const root = await callerOf(repo, { url: proxy.url });
    const result = await commandLine("promote", root, ["test", "live"], environmentOf());
    expect(result.stdout).toMatch(/\nopened: #1 /);
    const requests = proxy.requests.map((line) => line.replace(/\?.*/, "").replace(/\S*\/shop\/[^/]*/, ""));
    const pushed = requests.indexOf("POST /git-receive-pack");
    // The labels that there are were asked for while git was at work.
    expect(requests.slice(0, pushed + 1).filter((line) => line === "GET /labels")).toHaveLength(1);
    expect(requests.slice(pushed + 1)).toEqual([
      "POST /pulls",
      // Gitea may have opened two at once.
      "GET /pulls",
      "POST /pulls/1/requested_reviewers",
      "POST /labels",
      "POST /labels",
      "GET /labels",
      "POST /issues/1/labels",
      "GET /branches/main",
    ]);
  });

  it("is left alone by a run that would close it when another one has just brought it up to date", async () => {
    const repo = await promotable();
    await release(repo, { web: NEW });
    await promote(repo, "test", "live");
    await personCommits(repo.root, "main", {
      [WEB]: await fileAt(repo.root, "main", releasePath("test", "web")),
    });
    // Proven already, so that nothing is in the way once main has it.
    const next = await release(repo, { web: NEWER }, {}, "next");
    let isFirst = true;
    const proxy = await between(async (method, path) => {
      if (!isFirst || method !== "POST" || !path.endsWith("/git-receive-pack")) return undefined;
      isFirst = false;
      await git(repo.root, "checkout", "--quiet", "--force", "--detach", next);
      await push(repo.root, "main");
      expect((await promote(repo, "test", "live")).stdout).toMatch(/\nupdated: #1 /);
      return undefined;
    });
    const root = await callerOf(repo, { url: proxy.url });
    const result = await commandLine("promote", root, ["test", "live"], environmentOf());
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
    // In its text the forge has the proxy's address.
    expect(result.stdout).toMatch(/\nupdated: #1 /);
    expect(isFirst).toBe(false);
    expect(await pullRequests(repo)).toMatchObject([
      { number: 1, state: "open", title: "Promote web fedcba9 from test to live" },
    ]);
    expect(await ask(`${repo.api}/issues/1/comments`)).toEqual([]);
  });

  it("is exactly one when two runs make it at the same moment", async () => {
    const repo = await promotable();
    await release(repo, { web: NEW });
    const runs = await Promise.all([promote(repo, "test", "live"), promote(repo, "test", "live")]);
    for (const run of runs) expect(run).toMatchObject({ exitCode: 0, stderr: "" });
    const open = (await pullRequests(repo)).filter(({ state }) => state === "open");
    expect(open).toMatchObject([{ number: 1 }]);
    expect(await ahead(repo, ALL)).toEqual({ paths: [WEB], commits: 1 });
    expect(await labelsOf(repo, 1)).toEqual(["env/live", "promotion"]);
  });
});

describe("a person's work", () => {
  it("on the branch is not overwritten, and the refusal names the commit", async () => {
    const repo = await promotable();
    await release(repo, { web: NEW });
    await promote(repo, "test", "live");
    await personCommits(repo.root, ALL, { "base/web/more.yaml": "kind: More\n" });
    await release(repo, { web: NEWER });
    const refs = await references(repo.root);
    const person = (await history(repo.root, "rev-parse", `origin/${ALL}`)).slice(0, 7);
    const refused = {
      exitCode: 3,
      stderr: `promote: ${ALL} holds a commit that no command made: ${person}; merge or close its pull request and delete the branch, then run it again\n`,
    };
    expect(await promote(repo, "test", "live")).toMatchObject(refused);
    expect(await references(repo.root)).toBe(refs);
    // Nor is it deleted when nothing is left to promote.
    const carried = await fileAt(repo.root, "main", releasePath("test", "web"));
    await personCommits(repo.root, "main", { [WEB]: carried });
    expect(await promote(repo, "test", "live")).toMatchObject(refused);
    expect(await pullRequests(repo)).toMatchObject([{ state: "open" }]);
  });

  it("is not the forge's own merge of main into the branch, but what is changed in such a merge", async () => {
    const repo = await promotable();
    await release(repo, { web: NEW });
    await promote(repo, "test", "live");
    await personCommits(repo.root, "main", { "note.yaml": "a: 1\n" });
    await ask(`${repo.api}/pulls/1/update?style=merge`, "POST");
    expect(await history(repo.root, "log", "-1", "--format=%P", `origin/${ALL}`)).toContain(" ");
    expect((await promote(repo, "test", "live")).stdout).toMatch(/\nupdated: #1 /);
    expect(await ahead(repo, ALL)).toEqual({ paths: [WEB], commits: 1 });

    await personCommits(repo.root, "main", { "note.yaml": "a: 2\n" });
    await history(repo.root, "checkout", "--quiet", "--force", "--detach", `origin/${ALL}`);
    await git(repo.root, "merge", "--quiet", "--no-ff", "--no-commit", "origin/main");
    await write(repo.root, { "mine.yaml": "a: 1\n" });
    await git(repo.root, "add", "--all");
    await git(repo.root, "commit", "--quiet", "--message", "Merge main");
    await push(repo.root, ALL);
    expect(await promote(repo, "test", "live")).toMatchObject({
      exitCode: 3,
      stderr: expect.stringContaining("holds a commit that no command made"),
    });
  });

  it("amended into the command's commit is theirs", async () => {
    const repo = await promotable();
    await release(repo, { web: NEW });
    await promote(repo, "test", "live");
    await history(repo.root, "checkout", "--quiet", "--force", "--detach", `origin/${ALL}`);
    await write(repo.root, { [WEB]: `${await fileAt(repo.root, ALL, WEB)}# mine\n` });
    await git(repo.root, "commit", "--quiet", "--all", "--amend", "--no-edit");
    await git(repo.root, ...withToken(), "push", "--quiet", "--force", "origin", `HEAD:${ALL}`);
    const refs = await references(repo.root);
    expect(await promote(repo, "test", "live")).toMatchObject({
      exitCode: 3,
      stderr: expect.stringContaining("holds a commit that no command made"),
    });
    expect(await references(repo.root)).toBe(refs);
  });

  it("in the checkout neither counts nor is lost: what main has is promoted", async () => {
    const repo = await promotable();
    const shallow = await temporary();
    await git(shallow, "clone", "--quiet", "--depth=1", `file://${repo.root}`, ".");
    const stale = await temporary();
    await git(stale, "clone", "--quiet", `file://${repo.root}`, ".");
    await release(repo, { web: NEW });
    const detached = await temporary();
    await git(detached, "clone", "--quiet", "--no-checkout", `file://${repo.root}`, ".");
    await git(detached, "checkout", "--quiet", "--detach", "HEAD~1");
    await write(stale, { [WEB]: "dirty\n", [releasePath("test", "web")]: "dirty\n", "new.yaml": "a: 1\n" });
    await git(stale, "checkout", "--quiet", "-b", "mine");
    for (const [root, change] of [
      [stale, "opened"],
      [shallow, "unchanged"],
      [detached, "unchanged"],
    ] as const) {
      const state = async () =>
        (await git(root, "status", "--porcelain", "--branch")) + (await git(root, "rev-parse", "HEAD"));
      const before = await state();
      const result = await promote({ ...repo, root }, "test", "live");
      expect(result).toMatchObject({ exitCode: 0, stderr: "" });
      expect(result.stdout).toContain(`\n${change}: #1 `);
      expect(await state()).toBe(before);
    }
    expect(await git(stale, "cat-file", "-e", "HEAD")).toBe("");
    expect(await fileAt(repo.root, ALL, WEB)).toContain(NEW);
  });
});

describe("main that moves while the promotion is made", () => {
  it.each([
    ["the branch is pushed", "POST", /git-receive-pack$/],
    ["the pull request is opened", "POST", /\/pulls$/],
    ["labels are put on", "POST", /\/issues\/1\/labels$/],
  ])("when %s: the newer one is promoted", async (_, method, path) => {
    const repo = await promotable();
    await release(repo, { web: NEW });
    // A commit that is proven already, so that nothing is in the way once main has it.
    const next = await release(repo, { web: NEWER }, {}, "next");
    let moved = false;
    const proxy = await between(async (used, asked) => {
      if (moved || used !== method || !path.test(asked)) return undefined;
      moved = true;
      await git(repo.root, "checkout", "--quiet", "--force", "--detach", next);
      await push(repo.root, "main");
      return undefined;
    });
    const root = await callerOf(repo, { url: proxy.url });
    const result = await commandLine("promote", root, ["test", "live"], environmentOf());
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
    expect(moved).toBe(true);
    expect(await pullRequests(repo)).toMatchObject([
      { number: 1, title: "Promote web fedcba9 from test to live", body: expect.stringContaining(NEWER) },
    ]);
    expect(await fileAt(repo.root, ALL, WEB)).toBe(
      await fileAt(repo.root, "main", releasePath("test", "web")),
    );
    expect(await history(repo.root, "rev-parse", `origin/${ALL}~1`)).toBe(
      await history(repo.root, "rev-parse", "origin/main"),
    );
  });

  it("again and again: it gives up after the fifth time, and says so", async () => {
    const repo = await promotable();
    await release(repo, { web: NEW });
    let moves = 0;
    let answers = 0;
    const isQuestion = (method: string, path: string) => method === "GET" && path.endsWith("/branches/main");
    const proxy = await between(
      async (method, path) => {
        if (!isQuestion(method, path)) return undefined;
        moves += 1;
        await personCommits(repo.root, "main", { "argocd/moved.yaml": `moves: ${moves}\n` });
        return undefined;
      },
      // A question whose answer is lost is asked again.
      (method, path) => (answers += isQuestion(method, path) ? 1 : 0),
    );
    const root = await callerOf(repo, { url: proxy.url });
    expect(await commandLine("promote", root, ["test", "live"], environmentOf())).toMatchObject({
      exitCode: 5,
      stderr: `promote: others pushed to main or ${ALL} 5 times while this tried to (it has another argocd/moved.yaml); run it again\n`,
    });
    // The first is asked before anything is written, and one after each try.
    expect(answers).toBe(1 + 5);
  });
});

describe("a gate", () => {
  it("health: opens once every cluster has reported a success", async () => {
    const repo = await promotable();
    const commit = await deliver(repo, "test", { web: NEW });
    const refs = await references(repo.root);
    await healthy(repo, commit, "dev", ["web"]);
    const refused = async (line: RegExp) => {
      const { exitCode, stdout, stderr } = await promote(repo, "test", "live");
      expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: expect.stringContaining("not proven") });
      expect(stderr).toMatch(line);
      expect(stderr).toMatch(/; .*, promote other apps by name, or give a reason: --override "…"\n$/);
    };
    await refused(
      /^promote: web: no cluster of test has reported on it yet; .* with `npm run sync test web`,/,
    );
    await report(repo, commit, "argocd/test/web", "pending", "syncing");
    await refused(
      /^promote: web: is being deployed on test \(pending since .*\); wait until the sync is over/,
    );
    await report(repo, commit, "argocd/test/web", "failure", "CrashLoopBackOff");
    await refused(/^promote: web: failed on test since .*: CrashLoopBackOff; fix it there/);
    await report(repo, commit, "argocd/test-2/disk", "success");
    await report(repo, commit, "argocd/test/web", "success");
    await refused(/^promote: web: 1 of 2 clusters has not reported: test-2; .* `npm run sync test web`,/);
    expect(await references(repo.root)).toBe(refs);
    await report(repo, commit, "argocd/test-2/web", "success");
    expect(await promote(repo, "test", "live")).toMatchObject({ exitCode: 0, stderr: "" });
    expect((await pullRequests(repo))[0]?.body).toMatch(/web: healthy in test \(test, test-2\) since/);
  });

  it("health: stays open after an edit of the base that the environment's own patch hides: Argo CD reports nothing on it", async () => {
    const hidden = (seconds: number) => pod("web").replace("spec:\n", `spec:\n  priority: ${seconds}\n`);
    const repo = await promotable({
      "base/web/pod.yaml": hidden(1),
      "overlays/dev/web/kustomization.yaml": `${pinned("web")}patches:\n  - path: own.yaml\n`,
      "overlays/dev/web/own.yaml":
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  priority: 7\n",
    });
    const deployed = await deliver(
      repo,
      "dev",
      { web: NEW },
      {
        "overlays/dev/web/kustomization.yaml": `${pinned("web", NEW)}patches:\n  - path: own.yaml\n`,
      },
    );
    await healthy(repo, deployed, "dev", ["web"]);
    await personCommits(repo.root, "main", { "base/web/pod.yaml": hidden(2) });
    const carried = await promote(repo, "dev", "test", "web");
    expect(carried).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await fileAt(repo.root, "promote/dev/test/web", releasePath("test", "web"))).toContain(
      "priority: 2",
    );
    // Where the edit shows, the report is of something else.
    await personCommits(repo.root, "main", {
      "overlays/dev/web/own.yaml":
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  priority: 8\n",
    });
    expect((await promote(repo, "dev", "test", "web")).stderr).toMatch(
      /^promote: web: no cluster of dev has reported on it yet \(dev\); /,
    );
  });

  it("health: a cluster that has reported before, and is silent now, keeps it closed, for a few calls of the forge", async () => {
    const repo = await promotable();
    const first = await release(repo, { web: NEW });
    await report(repo, first, "argocd/test-2/disk", "success");
    for (const day of ["one", "two", "three"]) await personCommits(repo.root, "main", { "docs/day.md": day });
    await release(repo, { web: NEWER });
    const proxy = await between(async () => undefined);
    const root = await callerOf(repo, { url: proxy.url });
    expect(await commandLine("promote", root, ["test", "live"], environmentOf())).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(/^promote: web: 1 of 2 clusters has not reported: test-2; /),
    });
    const asked = proxy.requests.filter((line) => line.includes("/statuses"));
    // The commit that brought it, five changes before, and what lies between them; each once.
    expect(new Set(asked).size).toBe(asked.length);
    expect(asked.length).toBeLessThanOrEqual(9);
  });

  it("--if-ready: what time opens is no failure; anything else is", async () => {
    const repo = await promotable({ ...soaking("test", "dev", "2h"), ...AUTOMATED });
    const commit = await deliver(repo, "test", { web: NEW });
    const refs = await references(repo.root);
    const waits = async (line: RegExp) => {
      const ended = await promote(repo, "test", "live", "--if-ready");
      expect(ended).toMatchObject({ exitCode: 0, stderr: "" });
      expect(ended.stdout.trimEnd().split("\n").at(-1)).toMatch(line);
    };
    await waits(/^not now: web: no cluster of test has reported on it yet; wait until Argo CD has synced/);
    await report(repo, commit, "argocd/test/web", "pending");
    await waits(/^not now: web: is being deployed on test /);
    await report(repo, commit, "argocd/test/web", "success");
    await waits(/^not now: web: healthy on test since .*, and has to soak for 2 h /);
    await report(repo, commit, "argocd/test/web", "failure", "CrashLoopBackOff");
    expect(await promote(repo, "test", "live", "--if-ready")).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(/^promote: web: failed on test since /),
    });
    expect(await references(repo.root)).toBe(refs);
    await personCommits(repo.root, "main", { [releasePath("test", "web")]: "damaged\n" });
    expect(await promote(repo, "test", "live", "--if-ready")).toMatchObject({ exitCode: 3 });
  });

  it("--if-ready: where a person starts each sync, silence is a failure, and told before what soaks", async () => {
    const repo = await promotable({ ...soaking("test", "dev", "2h"), ...TWO });
    const commit = await deliver(repo, "test", { api: NEW, web: NEW });
    await report(repo, commit, "argocd/test/api", "success");
    expect(await promote(repo, "test", "live", "--if-ready")).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(
        /^promote: web: no cluster of test has reported on it yet.* \(and 1 more, above\); start a sync that reports with `npm run sync test web`, /,
      ),
    });
  });

  it("soak: stays closed for that long; a reason opens it, and stands in the pull request", async () => {
    const repo = await promotable(soaking("test", "dev", "2h"));
    await release(repo, { web: NEW });
    const refs = await references(repo.root);
    expect(await promote(repo, "test", "live")).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(
        /^promote: web: healthy on test since .* UTC, and has to soak for 2 h \(ready at .*\); wait until .*, promote other apps by name, or give a reason: --override "…"\n$/,
      ),
    });
    expect(await references(repo.root)).toBe(refs);
    const reason = "Orders fail, @ada agrees: <b>now</b>";
    expect(await promote(repo, "test", "live", "--override", reason)).toMatchObject({
      exitCode: 0,
      stderr: "",
    });
    const [pull] = await pullRequests(repo);
    expect(pull?.body).toMatch(
      /## Overridden\n\n> `Orders fail, @\u200Bada agrees: <b>now<\/b>`\n\n- `web: healthy on test since /,
    );
    expect(pull?.body).toMatch(/## Evidence\n\n- web: \*\*not proven\*\*: `healthy on test since/);
    expect(await labelsOf(repo, 1)).toEqual(["env/live", "override", "promotion"]);
    expect((await promote(repo, "test", "live", "--override", reason)).stdout).toMatch(/\nunchanged: #1 /);

    // Once the gate is open nothing is overridden any more, and the label goes; a person's stays.
    await ask(`${repo.api}/labels`, "POST", { name: "urgent", color: "#aabbcc" });
    await ask(`${repo.api}/issues/1/labels`, "POST", { labels: ["urgent"] });
    await personCommits(repo.root, "main", soaking("test", "dev", "0s"));
    expect((await promote(repo, "test", "live")).stdout).toMatch(/\nupdated: #1 /);
    expect(await labelsOf(repo, 1)).toEqual(["env/live", "promotion", "urgent"]);
    // Also where it is all that is wrong.
    await ask(`${repo.api}/issues/1/labels`, "POST", { labels: ["override"] });
    expect((await promote(repo, "test", "live")).stdout).toMatch(/\nunchanged: #1 /);
    expect(await labelsOf(repo, 1)).toEqual(["env/live", "promotion", "urgent"]);
  });

  it("freeze: closed while a window denies syncs; a reason opens it", async () => {
    const repo = await promotable();
    await release(repo, { web: NEW }, FROZEN);
    expect(await promote(repo, "test", "live")).toMatchObject({
      exitCode: 3,
      stderr:
        'promote: live: frozen (deny * * * * * for 1h); remove the window, or give a reason: --override "…"\n',
    });
    expect(await promote(repo, "test", "live", "--override", "it burns")).toMatchObject({ exitCode: 0 });
    const [pull] = await pullRequests(repo);
    expect(pull?.body).toContain("> `it burns`\n\n- `live: frozen (deny * * * * * for 1h)`\n");
    expect(await labelsOf(repo, 1)).toContain("override");
  });

  it("hold: a whole environment leaves the release out, a named one is refused, until the hold is over", async () => {
    const repo = await promotable(TWO);
    await release(repo, { web: NEW, api: NEW }, heldBack("live", "web", NEW));
    const all = await promote(repo, "test", "live");
    expect(all).toMatchObject({ exitCode: 0, stderr: "" });
    expect(all.stdout).toContain("\nHeld back\n  web: it loses orders (Ada); npm run unhold live web\n");
    expect(await ahead(repo, ALL)).toEqual({ paths: [releasePath("live", "api")], commits: 1 });
    expect((await pullRequests(repo))[0]?.body).toContain(
      "## Held back\n\n- web: `it loses orders (Ada)`; `npm run unhold live web` lifts it\n",
    );
    const refs = await references(repo.root);
    for (const more of [[], ["--override", "I know better"]]) {
      expect(await promote(repo, "test", "live", "web", ...more)).toMatchObject({
        exitCode: 3,
        stderr:
          "promote: web: this release is held back from live: it loses orders (Ada); promote another one, or lift the hold: npm run unhold live web\n",
      });
    }
    expect(await references(repo.root)).toBe(refs);
    await personCommits(repo.root, "main", heldBack("live", "web", NEW, new Date(Date.now() - 60_000)));
    expect((await promote(repo, "test", "live", "web")).stdout).toMatch(/\nopened: #2 /);
  });
});

describe("a rollback", () => {
  const held =
    "promote: web: this release is held back from live: it loses orders (Ada); #1 is closed; promote another one, or lift the hold: npm run unhold live web\n";
  it.each<[string[], number, RegExp, string]>([
    [[], 0, /\nnothing to promote; #1 is closed\n$/, ""],
    [["web"], 3, /0 of 1 apps change\n\n$/, held],
  ])(
    "takes the promotion of %j back that would bring the release again",
    async (apps, exitCode, end, stderr) => {
      const repo = await promotable();
      await release(repo, { web: NEW });
      expect(await promote(repo, "test", "live", ...apps)).toMatchObject({ exitCode: 0, stderr: "" });
      await personCommits(repo.root, "main", heldBack("live", "web", NEW));
      const ended = await promote(repo, "test", "live", ...apps);
      expect(ended).toEqual({ exitCode, stdout: expect.stringMatching(end), stderr });
      expect(await pullRequests(repo)).toMatchObject([{ number: 1, state: "closed" }]);
      expect(await references(repo.root)).not.toContain("refs/heads/promote/");
    },
  );
});

describe("a hold leaves no door open:", () => {
  it("the next promotion closes every open one that carries the release, and names the one that is not its own", async () => {
    const repo = await promotable(TWO);
    await release(repo, { web: NEW, api: NEW });
    for (const apps of [[], ["web"], ["web", "api"]])
      expect(await promote(repo, "test", "live", ...apps)).toMatchObject({ exitCode: 0 });
    await personCommits(repo.root, "promote/test/live/api+web", { "mine.yaml": "kind: Mine\n" });
    await personCommits(repo.root, "main", heldBack("live", "web", NEW));
    const refs = await references(repo.root);
    const dry = await promote(repo, "test", "live", "api", "--dry-run");
    expect(dry.stdout).toContain(
      ["Overtaken by a hold", ...[1, 2, 3].map((number) => `  #${number} carries web 89abcde`), ""].join(
        "\n",
      ),
    );
    expect(await references(repo.root)).toBe(refs);
    const { exitCode, stdout } = await promote(repo, "test", "live", "api");
    expect(exitCode).toBe(0);
    for (const line of [
      /^closed: #1 carries web 89abcde, which is held back: http/m,
      /^closed: #2 carries web 89abcde, which is held back: http/m,
      /^note: #3 stays open: promote\/test\/live\/api\+web holds a commit that no command made: \w{7}$/m,
      /^opened: #4 /m,
    ])
      expect(stdout).toMatch(line);
    const states = (await pullRequests(repo)).map(({ number, state }) => `${number} ${state}`);
    expect(states).toEqual(["4 open", "3 open", "2 closed", "1 closed"]);
  });

  it("a promotion that a gate stops closes its own", async () => {
    const repo = await promotable(TWO);
    await release(repo, { web: NEW, api: NEW });
    expect(await promote(repo, "test", "live")).toMatchObject({ exitCode: 0 });
    await deliver(repo, "test", { api: NEWER }, heldBack("live", "web", NEW));
    expect(await promote(repo, "test", "live")).toMatchObject({
      exitCode: 3,
      stdout: expect.stringMatching(/^closed: #1 carries web 89abcde/m),
      stderr: expect.stringMatching(/^promote: api: /),
    });
    expect(await pullRequests(repo)).toMatchObject([{ number: 1, state: "closed" }]);
  });
});

describe("a history", () => {
  it.each<[string, (good: string) => string | Buffer]>([
    ["edited by hand", (good) => good.replace("name: web", "name: wed")],
    ["that is no text", () => Buffer.from([0xfc, 0x0a])],
  ])("with a release %s, and put back since, is not in the way", async (_, damage) => {
    const repo = await promotable();
    await release(repo, { web: NEW });
    const path = releasePath("test", "web");
    const good = await fileAt(repo.root, "main", path);
    await personCommits(repo.root, "main", { [path]: damage(good) });
    await personCommits(repo.root, "main", { [path]: good });
    await healthy(repo, await history(repo.root, "rev-parse", "origin/main"), "test", ["web"]);
    expect(await promote(repo, "test", "live")).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await fileAt(repo.root, ALL, WEB)).toBe(good);
  });
});

describe("the machine of whoever calls", () => {
  it.each<[string, (root: string) => Record<string, string>]>([
    [
      "sets other line ends",
      () => ({ GIT_CONFIG_COUNT: "1", GIT_CONFIG_KEY_0: "core.autocrlf", GIT_CONFIG_VALUE_0: "true" }),
    ],
    ["calls from a hook", (root) => ({ GIT_DIR: `${root}/.git`, GIT_INDEX_FILE: `${root}/.git/index` })],
  ])("%s, and the same is promoted", async (_, more) => {
    const repo = await promotable();
    const commit = await deliver(repo, "dev", { web: NEW });
    await healthy(repo, commit, "dev", ["web", "disk"]);
    const env = environmentOf(more(repo.root));
    expect(await commandLine("promote", repo.root, ["dev", "test"], env)).toMatchObject({
      exitCode: 0,
      stderr: "",
    });
    const path = releasePath("test", "web");
    const rendered = await fileAt(repo.root, "promote/dev/test/_all", path);
    expect(parseRelease(rendered, path)).toMatchObject({ image: `shop/web:${NEW}`, commit });
    expect(rendered).not.toContain("\r");
    await merge(repo, 1);
    await healthy(repo, await history(repo.root, "rev-parse", "origin/main"), "test", ["web", "disk"]);
    expect(await commandLine("promote", repo.root, ["test", "live"], env)).toMatchObject({
      exitCode: 0,
      stderr: "",
    });
    expect(await fileAt(repo.root, ALL, WEB)).toBe(rendered);
  });
});

describe("--server", () => {
  it("asks Argo CD what became of the releases, and no commit for its statuses", async () => {
    const repo = await promotable();
    const before = await history(repo.root, "rev-parse", "origin/main");
    const commit = await deliver(repo, "test", { web: NEW });
    const { version } = await resolveTool("argocd", { withoutEdits: true });
    const { directory, answer } = await standInForArgocd(version);
    const proxy = await between(async () => undefined);
    const root = await callerOf(repo, { url: proxy.url });
    // They pin the client.
    await symlink(join(repositoryRoot(), "tools"), join(root, "tools"));
    const env = environmentOf({
      PATH: `${directory}:${process.env["PATH"]}`,
      ARGOCD_SERVER: "argocd.shop.test",
      ARGOCD_AUTH_TOKEN: "t",
    });
    const place = { app: "web", environment: "test", cluster: "test" };
    const deployed = [
      { revision: before, deployedAt: "2026-11-01T12:00:00Z" },
      { revision: commit, deployedAt: "2026-11-02T12:00:00Z" },
    ];
    const again = async () => commandLine("promote", root, ["test", "live", "--server"], env);
    await answer([listed(place, { revision: before }, deployed.slice(0, 1))]);
    expect(await again()).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(/^promote: web: is being deployed on test /),
    });
    await answer([listed(place, { revision: commit, health: "Degraded" }, deployed)]);
    expect(await again()).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(
        /^promote: web: failed on test since 2026-11-02 12:00:00 UTC: Synced Degraded/,
      ),
    });
    await answer([listed(place, { revision: commit }, deployed)]);
    expect(await again()).toMatchObject({ exitCode: 0, stderr: "" });
    expect((await pullRequests(repo))[0]?.body).toContain(
      "- web: healthy in test (test) since 2026-11-02T12:00:00.000Z\n",
    );
    expect(proxy.requests.filter((line) => line.includes("/statuses"))).toEqual([]);
  });
});

describe("what else is said", () => {
  it("--dry-run prints the rendered difference and the closed gates, and changes nothing", async () => {
    const repo = await promotable();
    await deliver(repo, "test", { web: NEW });
    const refs = await references(repo.root);
    const { exitCode, stdout, stderr } = await promote(repo, "test", "live", "--dry-run");
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout).toContain("\nClosed gates\n  web: no cluster of test has reported on it yet");
    expect(stdout).toContain("--- a/live/web\n+++ b/live/web\n");
    expect(stdout).toContain(`\n-  - image: registry/shop/web:${OLD}\n`);
    expect(stdout).toContain(`\n+  - image: registry/shop/web:${NEW}\n`);
    expect(stdout).toMatch(/\nnothing was changed: a dry run\n$/);
    expect(await references(repo.root)).toBe(refs);
    expect(await pullRequests(repo)).toEqual([]);
  });

  it("a combination that the source has never run is mentioned", async () => {
    const repo = await promotable(TWO);
    await release(repo, { web: NEW });
    await release(repo, { api: NEW });
    const WARNING = "what live will then run has never run together in test: 3 apps, of which 1 change";
    expect((await promote(repo, "test", "live", "api")).stdout).toContain(`\nMind\n  ${WARNING}\n`);
    expect((await pullRequests(repo))[0]?.body).toContain(`## Mind\n\n- \`${WARNING}\`\n`);
    for (const apps of [["web"], []]) {
      const { exitCode, stdout } = await promote(repo, "test", "live", ...apps);
      expect(exitCode).toBe(0);
      expect(stdout).not.toContain("Mind");
    }
  });

  it("--local writes the checkout and asks nobody", async () => {
    const repo = await promotable();
    await history(repo.root, "checkout", "--quiet", "--force", "-B", "mine");
    await write(repo.root, { "overlays/dev/web/kustomization.yaml": pinned("web", NEW) });
    const env = { TOOLS_CACHE: environmentOf()["TOOLS_CACHE"] ?? "" };
    const local = async (...more: string[]) =>
      commandLine("promote", repo.root, ["dev", "test", "--local", ...more], env);
    expect(await local()).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(/^promote: overlays\/dev\/web\/kustomization\.yaml: not committed; /),
    });
    await git(repo.root, "commit", "--quiet", "--all", "--message", "x");
    const refs = await references(repo.root);
    const clean = async () => git(repo.root, "status", "--porcelain");
    expect(await local("--dry-run")).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await clean()).toBe("");
    expect((await local()).stdout).toMatch(/\nweb +changed +0123456 +89abcde\n[^]*1 differ; review them/);
    expect(await clean()).toBe(` M ${releasePath("test", "web")}\n`);
    expect(await references(repo.root)).toBe(refs);
  });
});
