/** The forge's API where forges differ, or fail for a moment; a stand-in answers as their sources and descriptions say. */
import { describe, expect, inject, it } from "vitest";
import { z } from "zod";
import { forgeAddress } from "../../scripts/lib/forge/address.ts";
import { connectForge, type Forge } from "../../scripts/lib/forge/forge.ts";
import { labelChange } from "../../scripts/lib/forge/labels.ts";
import { ensurePullRequest } from "../../scripts/lib/pull-request/ensure.ts";
import { ensureTeams } from "../../scripts/lib/sandbox/gitea.ts";
import { git, REPORTER } from "../support/tree.ts";
import {
  ask,
  history,
  OWNER,
  personCommits,
  push,
  repository,
  type StandIn,
  standIn,
  type TestRepository,
} from "./support.ts";

const WAY = { head: "bump/dev/web", base: "main" };
/** The branch has been there before. */
const LATER = { isFirst: false };

function connect(url: string): Forge {
  return connectForge(
    forgeAddress({ repoURL: `${url}/${OWNER}/x.git`, forgeAPI: `${url}/api/v3` }),
    "a-token",
  );
}

/** The real Gitea, as the commands see it. */
function gitea({ name }: Pick<TestRepository, "name">): Forge {
  const url = inject("forge");
  const address = forgeAddress({ repoURL: `${url}/${OWNER}/${name}.git`, forgeAPI: `${url}/api/v1` });
  return connectForge(address, inject("token"));
}

/** A stand-in for GitHub that answers each request, named by its method and path, with a status and JSON. */
async function github(answers: (request: string) => [status: number, body: unknown]): Promise<StandIn> {
  return standIn((request, response) => {
    const [status, body] = answers(`${request.method} ${request.url}`);
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  });
}

/** Opens a pull request of a new file on the real Gitea. */
async function openPull(
  repo: TestRepository,
  head: string,
  file = `${head}.yaml`,
): Promise<{ number: number; commit: string }> {
  await history(repo.root, "checkout", "--quiet", "--force", "--detach", "origin/main");
  await push(repo.root, head);
  await personCommits(repo.root, head, { [file]: `from: ${head}\n` });
  const commit = await history(repo.root, "rev-parse", `origin/${head}`);
  const opened = await gitea(repo).createPullRequest({ head, base: "main" }, { title: head, body: "" });
  return { number: opened?.number ?? 0, commit };
}

function pull(number: number, head: string, owner: string | null, base = "main") {
  return {
    number,
    html_url: `https://forge/pulls/${number}`,
    title: `#${number}`,
    body: null,
    state: "open",
    head: { ref: head, sha: "f".repeat(40), repo: owner === null ? null : { full_name: owner } },
    base: { ref: base },
  };
}

describe("open pull requests", () => {
  it("are looked for on every page, and only the right one counts, whatever the forge filters", async () => {
    const pages = [
      [pull(1, WAY.head, "someone/x"), null, pull(2, `${WAY.head}-2`, "shop/x")],
      [pull(3, WAY.head, "shop/x", "other"), pull(4, WAY.head, null)],
      [pull(5, WAY.head, "Shop/x")],
    ];
    const forge = await standIn((request, response) => {
      const page = Number(new URL(request.url ?? "", "http://x").searchParams.get("page"));
      // As a forge behind a proxy writes it: the address is not to be followed.
      const link = page < pages.length ? { link: `<http://wrong.test/?page=${page + 1}>; rel="next"` } : {};
      response
        .writeHead(200, { "content-type": "application/json", ...link })
        .end(JSON.stringify(pages[page - 1]));
    });
    expect(await connect(forge.url).openPullRequests(WAY)).toMatchObject([{ number: 5, body: "" }]);
    expect(forge.requests).toHaveLength(3);
    expect(forge.requests[0]).toContain("head=shop%3Abump%2Fdev%2Fweb");
  });

  it.each([
    [409, "pull request already exists"],
    [422, 'Validation Failed: {"message":"A pull request already exists for shop:bump/dev/web."}'],
  ])("that somebody else opened at the same moment are taken over (%d)", async (status, message) => {
    let isOpen = false;
    const forge = await standIn((request, response) => {
      const json = (code: number, body: unknown) =>
        response.writeHead(code, { "content-type": "application/json" }).end(JSON.stringify(body));
      if (request.method === "GET") return json(200, isOpen ? [pull(7, WAY.head, "shop/x")] : []);
      if (request.method === "PATCH") return json(200, pull(7, WAY.head, "shop/x"));
      isOpen = true;
      return json(status, { message });
    });
    const ensured = await ensurePullRequest(connect(forge.url), WAY, { title: "t", body: "b" }, LATER);
    expect(ensured).toMatchObject({ number: 7, url: "https://forge/pulls/7", change: "updated" });
  });

  it("are not taken for existing when the forge refuses for another reason", async () => {
    const forge = await standIn((request, response) => {
      const isList = request.method === "GET";
      response
        .writeHead(isList ? 200 : 422, { "content-type": "application/json" })
        .end(isList ? "[]" : '{"message":"No commits between main and bump/dev/web"}');
    });
    await expect(
      ensurePullRequest(connect(forge.url), WAY, { title: "t", body: "b" }, LATER),
    ).rejects.toThrow(/answers 422: No commits between main/);
  });

  it("on a real Gitea are opened once, then updated, then left alone", async () => {
    const repo = await repository();
    await push(repo.root, WAY.head);
    await personCommits(repo.root, WAY.head, { "a.yaml": "a: 1\n" });
    const forge = gitea(repo);
    const ensure = async (body: string) =>
      (await ensurePullRequest(forge, WAY, { title: "t", body }, LATER)).change;
    expect([
      await ensure("one"),
      await ensure("one"),
      await ensure("two\n\nlines  \n"),
      await ensure("two\n\nlines"),
    ]).toEqual(["opened", "unchanged", "updated", "unchanged"]);
    // A closed one is somebody's decision about that change: the next is a new one.
    await ask(`${repo.api}/pulls/1`, "PATCH", { state: "closed" });
    expect(await ensure("two")).toBe("opened");
  });

  it("on a real Gitea that are two become one, the first; it stays so", async () => {
    const repo = await repository();
    await openPull(repo, WAY.head);
    await ask(`${repo.api}/pulls/1`, "PATCH", { state: "closed" });
    const forge = gitea(repo);
    const ensure = async (text: { title: string; body: string }, isFirst: boolean) =>
      ensurePullRequest(forge, WAY, text, { isFirst });
    expect(await ensure({ title: "t", body: "two" }, true)).toMatchObject({ number: 2, change: "opened" });
    // It lets two runs that open one in the same moment both have it; opening the first again makes the same state.
    await ask(`${repo.api}/pulls/1`, "PATCH", { state: "open" });
    expect(await forge.openPullRequests(WAY)).toHaveLength(2);
    const ends = ["updated", "unchanged"].map((change) => ({ number: 1, title: "t", body: "two", change }));
    for (const end of ends) {
      expect(await ensure({ title: "t", body: "two" }, false)).toMatchObject(end);
      expect(await forge.openPullRequests(WAY)).toMatchObject([{ number: 1 }]);
    }
  });
});

describe("a call that fails for a moment", () => {
  it.each<[string, number, Record<string, string>, string]>([
    ["502", 502, {}, "<html>"],
    ["429 with a pause", 429, { "retry-after": "1" }, "{}"],
    ["403 for a secondary limit", 403, {}, '{"message":"You have exceeded a secondary rate limit"}'],
  ])("is tried again if it only reads: %s", async (_, status, headers, body) => {
    const times: number[] = [];
    const forge = await standIn((_request, response) => {
      times.push(Date.now());
      if (times.length === 1) response.writeHead(status, headers).end(body);
      else response.writeHead(200, { "content-type": "application/json" }).end("[]");
    });
    expect(await connect(forge.url).openPullRequests(WAY)).toEqual([]);
    expect(times).toHaveLength(2);
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThanOrEqual(headers["retry-after"] ? 1000 : 490);
  });

  it("is not if doing it twice would show", async () => {
    const forge = await standIn((_, response) => response.writeHead(502).end());
    await expect(connect(forge.url).comment(7, "text")).rejects.toThrow(
      expect.objectContaining({ exitCode: 5 }),
    );
    expect(forge.requests).toEqual(["POST /api/v3/repos/shop/x/issues/7/comments"]);
  });

  it("is tried again if it may be done twice", async () => {
    let count = 0;
    const forge = await github(() => {
      count += 1;
      return count === 1 ? [502, {}] : [200, pull(7, WAY.head, "shop/x")];
    });
    await connect(forge.url).closePullRequest(7);
    expect(forge.requests).toEqual(Array.from({ length: 2 }, () => "PATCH /api/v3/repos/shop/x/pulls/7"));
  });

  it("is tried again, whatever it does, if it was not carried out because there were too many", async () => {
    let count = 0;
    const forge = await github(() => {
      count += 1;
      return count === 1 ? [403, { message: "You have exceeded a secondary rate limit" }] : [201, { id: 1 }];
    });
    await connect(forge.url).comment(7, "text");
    expect(forge.requests).toHaveLength(2);
  });
});

describe("the pull requests that lead to a branch", () => {
  it("are those from branches of the repository itself, each once, on every page", async () => {
    const forge = await standIn((request, response) => {
      const isFirst = new URL(request.url ?? "", "http://x").searchParams.get("page") === "1";
      const pulls = isFirst
        ? [pull(5, "a", "shop/x"), pull(4, "b", "fork/x")]
        : [null, pull(5, "a", "shop/x"), pull(3, "c", "shop/x", "other"), pull(2, "d", "shop/x")];
      const link = isFirst ? { link: '<http://wrong.test/?page=2>; rel="next"' } : {};
      response.writeHead(200, { "content-type": "application/json", ...link }).end(JSON.stringify(pulls));
    });
    const open = await connect(forge.url).listOpenPullRequests("main");
    expect(open.map(({ number, head }) => [number, head])).toEqual([
      [5, "a"],
      [2, "d"],
    ]);
    expect(forge.requests).toHaveLength(2);
  });

  it("on a real Gitea are not those that lead elsewhere, and not the closed ones", async () => {
    const repo = await repository();
    const forge = gitea(repo);
    const one = await openPull(repo, "one");
    const two = await openPull(repo, "two");
    const three = await openPull(repo, "three");
    await push(repo.root, "release");
    await ask(`${repo.api}/pulls/${two.number}`, "PATCH", { base: "release" });
    await forge.closePullRequest(three.number);
    const found = await forge.listOpenPullRequests("main");
    expect(found).toMatchObject([{ number: one.number, head: "one", title: "one", body: "" }]);
  });
});

describe("the statuses of a commit", () => {
  const post = async ({ api }: TestRepository, commit: string, state: string, context: string) =>
    ask(`${api}/statuses/${commit}`, "POST", { state, context, description: `${context} is ${state}` });

  it("on a real Gitea are all there are, the newest first", async () => {
    const repo = await repository();
    const commit = await history(repo.root, "rev-parse", "origin/main");
    // Gitea's times have whole seconds.
    const begun = Date.now() - 1000;
    // Its largest page is 50; many are posted within one second.
    const contexts = Array.from({ length: 53 }, (_, index) => `argocd/dev/app-${index}`);
    for (const context of contexts) await post(repo, commit, "pending", context);
    await ask(`${repo.api}/statuses/${commit}`, "POST", {
      state: "success",
      context: "argocd/dev/app-0",
      target_url: "https://argocd.test/",
    });
    const statuses = await gitea(repo).statuses(commit);
    expect(statuses.map(({ context }) => context)).toEqual(["argocd/dev/app-0", ...contexts.toReversed()]);
    expect(statuses[0]).toEqual({
      context: "argocd/dev/app-0",
      state: "success",
      description: "",
      at: expect.any(Date),
      url: "https://argocd.test/",
      account: REPORTER,
    });
    expect(statuses[1]).toMatchObject({ state: "pending", description: expect.any(String), url: undefined });
    const at = statuses[0]?.at.getTime() ?? 0;
    expect([at >= begun, at <= Date.now()]).toEqual([true, true]);
  });

  it("on a real Gitea are one of four, and never healthy by accident", async () => {
    const repo = await repository();
    const commit = await history(repo.root, "rev-parse", "origin/main");
    for (const state of ["failure", "error", "warning", "skipped", "bogus"]) {
      await post(repo, commit, state, state);
    }
    const states = (await gitea(repo).statuses(commit)).map(({ context, state }) => [context, state]);
    expect(states).toEqual([
      ["bogus", "error"],
      ["warning", "failure"],
      ["error", "error"],
      ["failure", "failure"],
    ]);
  });

  it("on a real Gitea are none when there are none, and a commit that is not there is said", async () => {
    const repo = await repository();
    const commit = await history(repo.root, "rev-parse", "origin/main");
    expect(await gitea(repo).statuses(commit)).toEqual([]);
    await expect(gitea(repo).statuses("f".repeat(40))).rejects.toMatchObject({
      exitCode: 3,
      message: expect.stringMatching(/has no commit f{40} in shop\/gitops-/),
    });
  });

  it("may be null, and a commit that GitHub does not have is said as well", async () => {
    const forge = await github((request) =>
      request.includes("aaaa") ? [200, null] : [422, { message: "No commit found for SHA: bbbb" }],
    );
    expect(await connect(forge.url).statuses("aaaa")).toEqual([]);
    await expect(connect(forge.url).statuses("bbbb")).rejects.toThrow(/has no commit bbbb in shop\/x/);
  });
});

/** Puts labels on a pull request, and takes others off. */
async function label(
  forge: Forge,
  number: number,
  wanted: readonly string[],
  unwanted: readonly string[] = [],
): Promise<void> {
  const { labels } = await forge.readPullRequest(number);
  await forge.changeLabels(number, labelChange(labels, wanted, unwanted), await forge.repositoryLabels());
}

describe("labels on a real Gitea", () => {
  const Labels = z.array(z.object({ id: z.number(), name: z.string() }));
  const names = async (url: string) =>
    Labels.parse(await ask(url))
      .map(({ name }) => name)
      .sort();

  it("are made where they are missing, put on once, and taken from nobody", async () => {
    const repo = await repository();
    const forge = gitea(repo);
    const { number } = await openPull(repo, "one");
    await ask(`${repo.api}/labels`, "POST", { name: "by-hand", color: "#aabbcc" });
    await ask(`${repo.api}/issues/${number}/labels`, "POST", { labels: ["by-hand"] });
    await ask(`${repo.api}/labels`, "POST", { name: "Promotion", color: "#aabbcc" });
    await label(forge, number, ["promotion", "prod", "prod"]);
    await label(forge, number, ["promotion", "prod"]);
    expect(await names(`${repo.api}/issues/${number}/labels`)).toEqual(["Promotion", "by-hand", "prod"]);
    expect(await names(`${repo.api}/labels`)).toEqual(["Promotion", "by-hand", "prod"]);
  });

  it("are found on every page", async () => {
    const repo = await repository();
    const { number } = await openPull(repo, "one");
    for (let index = 0; index < 52; index += 1) {
      await ask(`${repo.api}/labels`, "POST", { name: `a-${index}`, color: "#aabbcc" });
    }
    await ask(`${repo.api}/labels`, "POST", { name: "prod", color: "#aabbcc" });
    await label(gitea(repo), number, ["prod"]);
    expect(await names(`${repo.api}/issues/${number}/labels`)).toEqual(["prod"]);
    const all = [
      ...(await names(`${repo.api}/labels?limit=50`)),
      ...(await names(`${repo.api}/labels?limit=50&page=2`)),
    ];
    expect(all.filter((name) => name === "prod")).toHaveLength(1);
  });

  it("that are there twice are put on once", async () => {
    const repo = await repository();
    const { number } = await openPull(repo, "one");
    for (let index = 0; index < 2; index += 1) {
      await ask(`${repo.api}/labels`, "POST", { name: "prod", color: "#aabbcc" });
    }
    await label(gitea(repo), number, ["prod"]);
    expect(await names(`${repo.api}/issues/${number}/labels`)).toEqual(["prod"]);
  });

  it("that many make at once are one in the end", async () => {
    const repo = await repository();
    const numbers: number[] = [];
    for (const head of ["one", "two", "three", "four"]) numbers.push((await openPull(repo, head)).number);
    await Promise.all(numbers.map(async (number) => label(gitea(repo), number, ["prod"])));
    expect(await names(`${repo.api}/labels`)).toEqual(["prod"]);
    for (const number of numbers) {
      expect(await names(`${repo.api}/issues/${number}/labels`)).toEqual(["prod"]);
    }
  });

  it("that are not wanted any more are taken off, others not", async () => {
    const repo = await repository();
    const forge = gitea(repo);
    const { number } = await openPull(repo, "one");
    await label(forge, number, ["prod", "override", "urgent"]);
    const { labels } = await forge.readPullRequest(number);
    await label(forge, number, ["prod"], ["Override"]);
    expect(await names(`${repo.api}/issues/${number}/labels`)).toEqual(["prod", "urgent"]);
    // Once more, as a run does that has read the labels before.
    await forge.changeLabels(number, labelChange(labels, [], ["override"]), []);
    // As a list shows them, too.
    expect((await forge.openPullRequests({ head: "one", base: "main" }))[0]?.labels).toEqual(
      labels.filter(({ name }) => name !== "override"),
    );
  });
});

describe("labels that a forge does not put on", () => {
  it("are an error, not a silence", async () => {
    const forge = await github(() => [200, []]);
    const change = { missing: ["prod"], surplus: [] };
    await expect(connect(forge.url).changeLabels(7, change, [])).rejects.toThrow(
      /does not put the label prod on #7/,
    );
  });
});

describe("reviewers", () => {
  const PULL = { number: 7, requestedTeams: ["asked"] };

  it("are asked at once, those that are not asked already", async () => {
    const forge = await github(() => [201, pull(7, "a", "shop/x")]);
    expect(await connect(forge.url).requestReviewers(PULL, ["web", "Asked", "identity"])).toBeUndefined();
    expect(await connect(forge.url).requestReviewers(PULL, ["asked"])).toBeUndefined();
    expect(forge.requests).toEqual(["POST /api/v3/repos/shop/x/pulls/7/requested_reviewers"]);
  });

  const Asked = z.object({ requested_reviewers_teams: z.array(z.object({ name: z.string() })).nullable() });

  it("on a real Gitea are the teams that there are; why others are not is said in one line", async () => {
    const repo = await repository();
    const { number } = await openPull(repo, "one");
    // The organisation is shared by all tests.
    const team = `web-${repo.name}`;
    await ensureTeams(inject("forge"), inject("token"), { owner: OWNER, name: repo.name }, [team]);
    const read = async () => gitea(repo).readPullRequest(number);
    const reason = await gitea(repo).requestReviewers(await read(), ["nobody", team, "none"]);
    expect(reason).toBe(
      "nobody is not asked for a review: Team 'nobody' not exist; none is not asked for a review: Team 'none' not exist",
    );
    // Those that are asked already are left alone.
    expect(await gitea(repo).requestReviewers(await read(), [team])).toBeUndefined();
    const asked = Asked.parse(await ask(`${repo.api}/pulls/${number}`));
    expect(asked.requested_reviewers_teams).toEqual([
      { ...asked.requested_reviewers_teams?.[0], name: team },
    ]);
  });

  it("on a real Gitea are none where the owner is a user, and that is said", async () => {
    const Moved = z.object({ full_name: z.string() });
    const { login } = z.object({ login: z.string() }).parse(await ask(`${inject("forge")}/api/v1/user`));
    const repo = await repository();
    const { number } = await openPull(repo, "one");
    const moved = Moved.parse(await ask(`${repo.api}/transfer`, "POST", { new_owner: login }));
    expect(moved.full_name).toBe(`${login}/${repo.name}`);
    const url = inject("forge");
    const address = forgeAddress({ repoURL: `${url}/${moved.full_name}.git`, forgeAPI: `${url}/api/v1` });
    expect(
      await connectForge(address, inject("token")).requestReviewers({ number, requestedTeams: [] }, ["web"]),
    ).toBe("web is not asked for a review: only an organisation has teams");
  });

  it.each<[number, string]>([
    [422, "Reviews may only be requested from collaborators."],
    [403, "Resource not accessible by integration"],
  ])("that a forge refuses with %d are not an error", async (status, message) => {
    const forge = await github(() => [status, { message }]);
    expect(await connect(forge.url).requestReviewers(PULL, ["web"])).toBe(
      `web is not asked for a review: ${message}`,
    );
  });

  it.each<[number, RegExp]>([
    [401, /does not accept the token/],
    [500, /answers 500: broken/],
    [429, /too many calls/],
  ])("are an error when the forge answers %d", async (status, line) => {
    const forge = await github(() => [status, { message: "broken" }]);
    await expect(connect(forge.url).requestReviewers(PULL, ["web"])).rejects.toThrow(line);
  });
});

describe("a pull request on a real Gitea", () => {
  const Pull = z.object({ state: z.string(), merged: z.boolean() });
  const Comments = z.array(z.object({ body: z.string() }));

  it("gets comments", async () => {
    const repo = await repository();
    const { number } = await openPull(repo, "one");
    await gitea(repo).comment(number, "first\n\nand *second*");
    const comments = Comments.parse(await ask(`${repo.api}/issues/${number}/comments`));
    expect(comments).toEqual([{ body: "first\n\nand *second*" }]);
  });

  it("is closed, also twice", async () => {
    const repo = await repository();
    const { number } = await openPull(repo, "one");
    await gitea(repo).closePullRequest(number);
    await gitea(repo).closePullRequest(number);
    expect(Pull.parse(await ask(`${repo.api}/pulls/${number}`))).toEqual({ state: "closed", merged: false });
    await expect(gitea(repo).closePullRequest(99)).rejects.toThrow(/has no pull request #99/);
  });

  it("is merged right after its base has moved, and stays merged", async () => {
    const repo = await repository();
    const forge = gitea(repo);
    const one = await openPull(repo, "one");
    const two = await openPull(repo, "two");
    await forge.mergePullRequest(one.number, one.commit);
    await forge.mergePullRequest(two.number, two.commit);
    await forge.mergePullRequest(two.number, two.commit);
    expect(Pull.parse(await ask(`${repo.api}/pulls/${two.number}`))).toMatchObject({ merged: true });
    expect(await history(repo.root, "ls-tree", "--name-only", "origin/main")).toMatch(
      /one\.yaml\n.*two\.yaml/s,
    );
    await expect(forge.closePullRequest(two.number)).rejects.toThrow(/already merged/);
  });

  it("is not merged when it is not at the commit that is meant", async () => {
    const repo = await repository();
    const { number, commit } = await openPull(repo, "one");
    await personCommits(repo.root, "one", { "more.yaml": "a: 1\n" });
    const attempt = gitea(repo).mergePullRequest(number, commit);
    await expect(attempt).rejects.toMatchObject({
      exitCode: 3,
      message: expect.stringMatching(
        new RegExp(`^#${number} is at [0-9a-f]{7} and not at ${commit.slice(0, 7)}$`),
      ),
    });
    expect(Pull.parse(await ask(`${repo.api}/pulls/${number}`))).toEqual({ state: "open", merged: false });
  });

  it("is not merged when it is closed, conflicts or is no more than a plan", async () => {
    const repo = await repository();
    const forge = gitea(repo);
    const closed = await openPull(repo, "closed");
    await forge.closePullRequest(closed.number);
    await expect(forge.mergePullRequest(closed.number, closed.commit)).rejects.toThrow(
      `#${closed.number} is closed`,
    );
    const one = await openPull(repo, "one", "same.yaml");
    const two = await openPull(repo, "two", "same.yaml");
    await forge.mergePullRequest(one.number, one.commit);
    await expect(forge.mergePullRequest(two.number, two.commit, 3000)).rejects.toThrow(
      // Gitea tries it when it has not looked for conflicts yet since the base moved, and else says to try again later.
      /^(waited \d+ s until 127\.0\.0\.1:\d+ merges #\d+, and nothing moves any more: Please try again later|127\.0\.0\.1:\d+ does not merge #\d+: it may conflict with its base)$/,
    );
    const plan = await openPull(repo, "plan");
    await forge.updatePullRequest(plan.number, { title: "WIP: plan", body: "" });
    await expect(forge.mergePullRequest(plan.number, plan.commit)).rejects.toThrow(
      /does not merge #\d+: Work in progress PRs cannot be merged/,
    );
  });
});

describe("a merge on GitHub", () => {
  const head = "f".repeat(40);
  const open = pull(7, "a", "shop/x");

  it.each<[string, number, string, object]>([
    ["whether it can be merged", 405, "Pull Request is not mergeable", { mergeable: null }],
    ["the base", 405, "Base branch was modified. Review and try the merge again.", { mergeable: true }],
  ])("waits while GitHub finds out: %s", async (_, status, message, state) => {
    let merges = 0;
    const forge = await github((request) => {
      if (request.startsWith("GET ")) return [200, { ...open, ...state }];
      merges += 1;
      return merges === 1 ? [status, { message }] : [200, { sha: head, merged: true, message: "merged" }];
    });
    await connect(forge.url).mergePullRequest(7, head);
    expect(merges).toBe(2);
  });

  it("refuses when GitHub does", async () => {
    const forge = await github((request) =>
      request.startsWith("GET ")
        ? [200, { ...open, mergeable: true }]
        : [405, { message: "Merge commits are not allowed on this repository." }],
    );
    await expect(connect(forge.url).mergePullRequest(7, head)).rejects.toMatchObject({
      exitCode: 3,
      message: expect.stringMatching(
        /does not merge #7: Merge commits are not allowed on this repository\.$/,
      ),
      hint: "look at https://forge/pulls/7",
    });
    expect(forge.requests).toHaveLength(2);
  });

  it("that was answered with an error although it was done is done", async () => {
    let merges = 0;
    const forge = await github((request) => {
      if (request.startsWith("GET ")) return [200, { ...open, state: "closed", merged: true }];
      merges += 1;
      return merges === 1 ? [502, {}] : [405, { message: "Pull Request is not mergeable" }];
    });
    await connect(forge.url).mergePullRequest(7, head);
    expect(merges).toBe(2);
  });
});

describe("a comparison", () => {
  it("on a real Gitea tells the commits between two, the newest first", async () => {
    const repo = await repository();
    const base = await history(repo.root, "rev-parse", "origin/main");
    for (const name of ["one", "two"]) {
      await git(repo.root, "commit", "--quiet", "--allow-empty", "--message", `${name}\n\nwith more`);
    }
    await push(repo.root, "main");
    const shas = (await history(repo.root, "log", "--format=%H", "--max-count=2", "origin/main")).split("\n");
    // From a connection to another repository.
    const forge = gitea({ name: "another" });
    const name = `${OWNER}/${repo.name}`;
    expect(await forge.compare(name, base, shas[0] ?? "")).toEqual({
      kind: "commits",
      commits: [
        { sha: shas[0], subject: "two" },
        { sha: shas[1], subject: "one" },
      ],
      total: 2,
    });
    // Back, as a rollback does: there is nothing that the older one has and the newer one has not.
    expect(await forge.compare(name, shas[0] ?? "", base)).toEqual({
      kind: "commits",
      commits: [],
      total: 0,
    });
  });

  it.each([
    [
      "a repository that is not there",
      "shop/none",
      /has no shop\/none with the commits a{40}\.\.\.b{40}, or the token/,
    ],
    ["something that is no repository", "none", /^none is not <owner>\/<name>$/],
    ["a path", "shop/x/pulls", /^shop\/x\/pulls is not <owner>\/<name>$/],
  ])("on a real Gitea of %s is unreadable", async (_, name, reason) => {
    const forge = gitea({ name: "another" });
    expect(await forge.compare(name, "a".repeat(40), "b".repeat(40))).toEqual({
      kind: "unreadable",
      reason: expect.stringMatching(reason),
    });
  });

  it("on a real Gitea of commits that are not there is unreadable", async () => {
    const { name } = await repository();
    expect(await gitea({ name }).compare(`${OWNER}/${name}`, "a".repeat(40), "b".repeat(40))).toEqual({
      kind: "unreadable",
      reason: expect.stringMatching(/answers 500: |has no shop/),
    });
  });

  it("of which GitHub shows a part says how many there are", async () => {
    const commit = (index: number) => ({ sha: `sha-${index}`, commit: { message: `${index}\r\nmore` } });
    const forge = await github(() => [200, { total_commits: 1000, commits: [commit(999), commit(1000)] }]);
    expect(await connect(forge.url).compare("shop/web", "a", "b")).toEqual({
      kind: "commits",
      commits: [
        { sha: "sha-1000", subject: "1000" },
        { sha: "sha-999", subject: "999" },
      ],
      total: 1000,
    });
    // With a page GitHub would begin at the oldest.
    expect(forge.requests).toEqual(["GET /api/v3/repos/shop/web/compare/a...b"]);
  });

  it("is asked for with the token for the services' repositories, where there is one", async () => {
    const seen: (string | undefined)[] = [];
    const forge = await standIn((request, response) => {
      seen.push(request.headers.authorization);
      response
        .writeHead(200, { "content-type": "application/json" })
        .end('{"commits":[],"total_commits":0,"commit":{"sha":"a"}}');
    });
    const address = forgeAddress({
      repoURL: `${forge.url}/${OWNER}/x.git`,
      forgeAPI: `${forge.url}/api/v3`,
    });
    const connected = connectForge(address, "ours", { sourcesToken: "theirs" });
    await connected.branchTip("main");
    await connected.compare("shop/web", "a", "b");
    expect(seen).toEqual(["token ours", "token theirs"]);
  });

  it.each<[string, number, unknown, RegExp]>([
    ["403", 403, { message: "no" }, /does not let this token do that to shop\/web: no$/],
    ["401", 401, { message: "no" }, /does not accept the token$/],
    ["429", 429, { message: "slow" }, /answers 429: too many calls$/],
    ["502", 502, { message: "bad" }, /answers 502: bad$/],
    [
      "another shape",
      200,
      { commits: [{ id: "a" }], total_commits: 1 },
      /that is no answer of a forge's API$/,
    ],
    ["no total", 200, { commits: [] }, /that is no answer of a forge's API$/],
  ])("that GitHub answers with %s is unreadable", async (_, status, body, reason) => {
    const forge = await github(() => [status, body]);
    expect(await connect(forge.url).compare("shop/web", "a", "b")).toEqual({
      kind: "unreadable",
      reason: expect.stringMatching(reason),
    });
    // A failure is not waited for; only a pace that is too fast is slowed down.
    expect(forge.requests).toHaveLength(status === 429 ? 4 : 1);
  });
});
