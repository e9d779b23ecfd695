/** What is sent to GitHub is what GitHub describes, and what GitHub describes as its answers is understood. */
import { describe, expect, it } from "vitest";
import { RefusedError } from "../../../scripts/lib/errors.ts";
import { connectForge, type Forge } from "../../../scripts/lib/forge/forge.ts";
import { type Need, PROPOSING } from "../../../scripts/lib/forge/preflight.ts";
import { type GitHub, githubDescription, type Options, standInForGitHub } from "../../support/github.ts";
import { settings } from "../../support/tree.ts";

const description = githubDescription();
/** Of the examples in the description. */
const HEAD = "6dcb09b5b57875f334f61aebed695e2e4193db5e";
const REPOSITORY = { owner: "octocat", name: "Hello-World" };

const REPO = "/repos/{owner}/{repo}";
const PULL = `${REPO}/pulls/{pull_number}`;
const RULES = `GET ${REPO}/rules/branches/{branch}`;
const RULESET = `GET ${REPO}/rulesets/{ruleset_id}`;
const OWN = `GET ${REPO}/branches/{branch}/protection`;
const SETTINGS = `GET ${REPO}/contents/{path}`;
const ISSUE = `${REPO}/issues/{issue_number}`;

function connect(api: string, web = "https://github.com"): Forge {
  const git = `https://github.com/${REPOSITORY.owner}/${REPOSITORY.name}.git`;
  return connectForge({ api, web, git, ...REPOSITORY }, "a-token");
}

/** Every method of a forge: what it does with the examples, and which operations that takes. */
const CALLS: Record<
  Exclude<keyof Forge, "address">,
  { call: (forge: Forge) => Promise<unknown>; operations: string[]; result: unknown } & Options
> = {
  checkRepository: {
    call: async (forge) => forge.checkRepository("master", []),
    operations: [`GET ${REPO}`],
    result: { signatures: false },
  },
  openPullRequests: {
    call: async (forge) => forge.openPullRequests({ head: "new-topic", base: "master" }),
    operations: [`GET ${REPO}/pulls`],
    result: [expect.objectContaining({ number: 1347, title: "Amazing new feature" })],
  },
  listOpenPullRequests: {
    call: async (forge) => forge.listOpenPullRequests("master"),
    operations: [`GET ${REPO}/pulls`],
    result: [expect.objectContaining({ number: 1347, head: "new-topic" })],
  },
  createPullRequest: {
    call: async (forge) => forge.createPullRequest({ head: "a", base: "main" }, { title: "t", body: "b" }),
    operations: [`POST ${REPO}/pulls`],
    result: expect.objectContaining({
      number: 1347,
      url: "https://github.com/octocat/Hello-World/pull/1347",
    }),
  },
  updatePullRequest: {
    call: async (forge) => forge.updatePullRequest(1347, { title: "t", body: "b" }),
    operations: [`PATCH ${PULL}`],
    result: expect.objectContaining({ number: 1347, headCommit: HEAD }),
  },
  statuses: {
    call: async (forge) => forge.statuses(HEAD),
    operations: [`GET ${REPO}/commits/{ref}/statuses`],
    result: [
      {
        context: "continuous-integration/jenkins",
        state: "success",
        description: "Build has completed successfully",
        at: new Date("2012-07-20T01:19:13Z"),
        url: "https://ci.example.com/1000/output",
        account: "octocat",
      },
    ],
  },
  protections: {
    call: async (forge) => forge.protections("master"),
    operations: [`GET ${REPO}`, OWN, RULES, RULESET, RULESET],
    result: [
      {
        name: "master",
        protection: {
          missing: [
            "the required status check `checks`, of one source",
            "no bypass of that check",
            "branches up to date, or a merge queue that checks each entry",
            "no force push and no deletion",
            "no merge by rebase or fast-forward",
          ],
          isWhole: true,
          signatures: false,
          noMergeCommit: "its history has to be linear",
          noPush: undefined,
        },
      },
    ],
  },
  branchTip: {
    call: async (forge) => forge.branchTip("main"),
    operations: [`GET ${REPO}/branches/{branch}`],
    result: "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d",
  },
  readPullRequest: {
    call: async (forge) => forge.readPullRequest(1347),
    operations: [`GET ${PULL}`],
    result: expect.objectContaining({
      labels: [{ id: 208_045_946, name: "bug" }],
      requestedTeams: ["justice-league"],
    }),
  },
  repositoryLabels: {
    call: async (forge) => forge.repositoryLabels(),
    operations: [],
    result: [],
  },
  changeLabels: {
    call: async (forge) =>
      forge.changeLabels(
        1347,
        { missing: ["bug", "enhancement"], surplus: [{ id: 1, name: "override" }] },
        [],
      ),
    operations: [`DELETE ${ISSUE}/labels/{name}`, `POST ${ISSUE}/labels`],
    result: undefined,
  },
  requestReviewers: {
    call: async (forge) => forge.requestReviewers({ number: 1347, requestedTeams: [] }, ["web"]),
    operations: [`POST ${PULL}/requested_reviewers`],
    result: undefined,
  },
  comment: {
    call: async (forge) => forge.comment(1347, "text"),
    operations: [`POST ${ISSUE}/comments`],
    result: undefined,
  },
  keepComment: {
    call: async (forge) => forge.keepComment(1347, { marker: "Ours", body: "Ours, and more" }),
    operations: ["GET /user", `GET ${ISSUE}/comments`, `POST ${ISSUE}/comments`],
    result: true,
  },
  closePullRequest: {
    call: async (forge) => forge.closePullRequest(1347),
    operations: [`PATCH ${PULL}`],
    result: undefined,
  },
  mergePullRequest: {
    call: async (forge) => forge.mergePullRequest(1347, HEAD),
    operations: [`PUT ${PULL}/merge`],
    result: undefined,
  },
  compare: {
    call: async (forge) => forge.compare("octocat/Hello-World", "v1.0.0", HEAD),
    operations: [`GET ${REPO}/compare/{basehead}`],
    result: { kind: "commits", commits: [{ sha: HEAD, subject: "Fix all the bugs" }], total: 1 },
  },
};

describe("GitHub's description", () => {
  it.each(Object.entries(CALLS))(
    "allows what %s sends, and its example is understood",
    async (_, expected) => {
      const github = await standInForGitHub(description, expected);
      expect(await expected.call(connect(github.api))).toEqual(expected.result);
      expect(github.faults).toEqual([]);
      expect(github.operations.toSorted()).toEqual(expected.operations.toSorted());
    },
  );

  it.each(Object.entries(CALLS))("allows no answer that %s does not understand", async (_, expected) => {
    const github = await standInForGitHub(description, { ...expected, barest: true });
    await expected.call(connect(github.api));
    expect(github.faults).toEqual([]);
    expect(github.operations.toSorted()).toEqual(expected.operations.toSorted());
  });

  it("allows what changes a comment of the token's own account", async () => {
    const github = await standInForGitHub(description, {});
    await connect(github.api).keepComment(1347, { marker: "Me", body: "Me again" });
    expect(github.faults).toEqual([]);
    expect(github.operations).toContain("PATCH /repos/{owner}/{repo}/issues/comments/{comment_id}");
  });

  it.each<[number, string, RegExp]>([
    [405, HEAD, /does not merge #1347: Pull Request is not mergeable$/],
    [409, "f".repeat(40), /^#1347 is at 6dcb09b and not at fffffff$/],
  ])("has the merge that is refused with %d", async (status, head, line) => {
    const github = await standInForGitHub(description, {
      statuses: { [`PUT ${PULL}/merge`]: status },
      answers: { [`GET ${PULL}`]: pullRequest({ mergeable: true }) },
    });
    await expect(connect(github.api).mergePullRequest(1347, head)).rejects.toThrow(line);
    expect(github).toMatchObject({ operations: [`PUT ${PULL}/merge`, `GET ${PULL}`], faults: [] });
  });
});

describe("a repository, before anything is written to it", () => {
  const check = async (change: object, needs: readonly Need[], answers: Record<string, unknown> = {}) => {
    const github = await standInForGitHub(description, {
      answers: { [`GET ${REPO}`]: repositoryOf({ permissions: WRITER, ...change }), [RULES]: [], ...answers },
      statuses: { [OWN]: 404 },
    });
    return { github, checked: connect(github.api).checkRepository("master", needs) };
  };
  const WRITER = { pull: true, push: true, admin: false };

  it.each<[string, object]>([
    ["a person's token", {}],
    ["an App's token, which is told nothing", { permissions: { pull: false, push: false, admin: false } }],
    ["another spelling", { full_name: "Octocat/hello-world" }],
  ])("is asked for the rights that are needed: %s", async (_, change) => {
    const { github, checked } = await check(change, PROPOSING);
    await checked;
    expect(github.operations.toSorted()).toEqual([
      `GET ${REPO}`,
      OWN,
      RULES,
      `POST ${ISSUE}/labels`,
      `POST ${REPO}/pulls`,
    ]);
    expect(github.faults).toEqual([]);
  });

  it.each<[string, object, readonly Need[], RegExp]>([
    ["renamed", { full_name: "octocat/Hi" }, [], /^octocat\/Hello-World is octocat\/Hi now on 127/],
    ["moved", { full_name: "hubot/Hello-World" }, [], /^octocat\/Hello-World is hubot\/Hello-World now on/],
    ["archived", { archived: true }, ["commits"], /^octocat\/Hello-World is archived$/],
    [
      "that the token may only read",
      { permissions: { ...WRITER, push: false } },
      ["commits"],
      /does not let this token write to octocat\/Hello-World$/,
    ],
    [
      "without merge commits",
      { allow_merge_commit: false },
      PROPOSING,
      /^octocat\/Hello-World does not allow merge commits$/,
    ],
    ["without pull requests", { has_pull_requests: false }, PROPOSING, /has no pull requests for octocat/],
  ])("is refused, with exit code 3 and no other call: %s", async (_, change, needs, message) => {
    const { github, checked } = await check(change, needs);
    await expect(checked).rejects.toMatchObject({ exitCode: 3, message: expect.stringMatching(message) });
    expect(github).toMatchObject({ operations: [`GET ${REPO}`], faults: [] });
  });

  it("is refused when repoURL and forgeAPI are not of one forge", async () => {
    const clone_url = "https://git.shop.test/octocat/Hello-World.git";
    const github = await standInForGitHub(description, {
      answers: { [`GET ${REPO}`]: repositoryOf({ clone_url }) },
    });
    await expect(connect(github.api, "https://api.shop.test").checkRepository("master", [])).rejects.toThrow(
      /^repoURL in the settings is on github\.com, and forgeAPI belongs to git\.shop\.test$/,
    );
  });

  it.each<[string, object]>([
    ["archived", { archived: true }],
    ["with another default branch", { default_branch: "trunk" }],
    ["without merge commits", { allow_merge_commit: false }],
  ])("may be read: %s", async (_, change) => {
    const { checked } = await check(change, []);
    await expect(checked).resolves.toEqual({ signatures: false });
  });

  it.each<[string, string, string | undefined]>([
    ["deploys this one, too", "revision: master", undefined],
    [
      "deploys itself",
      "revision: trunk",
      "the default branch of octocat/Hello-World is trunk, whose argocd/settings/settings.yaml does not deploy master: scheduled workflows start there",
    ],
  ])("may have another default branch, if that deploys the same: that %s", async (_, revision, refusal) => {
    const text = settings("https://github.com/octocat/Hello-World.git", "https://api.github.com");
    const file = { ...exampleOf("content-file-response-if-content-is-a-file"), encoding: "base64" };
    const answers = {
      [SETTINGS]: {
        ...file,
        content: Buffer.from(text.replace("revision: main", revision)).toString("base64"),
      },
    };
    const { github, checked } = await check({ default_branch: "trunk" }, PROPOSING, answers);
    expect(await outcomeOf(checked)).toBe(refusal);
    expect(github.faults).toEqual([]);
  });
});

describe("the rules of the deployed branch", () => {
  const rule = (type: string, parameters: object = {}) => ({
    type,
    ruleset_source_type: "Repository",
    ruleset_source: "octocat/Hello-World",
    ruleset_id: 42,
    parameters,
  });
  const QUEUE = {
    check_response_timeout_minutes: 60,
    grouping_strategy: "ALLGREEN",
    max_entries_to_build: 5,
    max_entries_to_merge: 5,
    merge_method: "MERGE",
    min_entries_to_merge: 1,
    min_entries_to_merge_wait_minutes: 5,
  };
  const REVIEW = {
    dismiss_stale_reviews_on_push: true,
    require_code_owner_review: true,
    require_last_push_approval: true,
    required_approving_review_count: 1,
    required_review_thread_resolution: false,
  };
  const CHECKS = {
    required_status_checks: [{ context: "checks", integration_id: 15_368 }],
    strict_required_status_checks_policy: false,
  };
  /** As docs/workflows.md wants them. */
  const RIGHT = [
    rule("pull_request", REVIEW),
    rule("merge_queue", QUEUE),
    rule("required_status_checks", CHECKS),
    rule("non_fast_forward"),
    rule("deletion"),
  ];
  const without = (type: string, ...others: object[]) => [
    ...RIGHT.filter((one) => one.type !== type),
    ...others,
  ];
  const ruleset = (change: object = {}) => ({
    ...exampleOf("repository-ruleset"),
    bypass_actors: [],
    current_user_can_bypass: "never",
    ...change,
  });
  const github = async (rules: readonly object[], set: object = ruleset()) =>
    standInForGitHub(description, {
      answers: {
        [`GET ${REPO}`]: repositoryOf({ permissions: { pull: true, push: true, admin: false } }),
        [RULES]: rules,
        [RULESET]: set,
      },
      statuses: { [OWN]: 404 },
    });

  const CHECK = "the required status check `checks`, of one source";
  const BYPASS = "no bypass of that check";
  const REBASE = "no merge by rebase or fast-forward";
  const CURRENT = "branches up to date, or a merge queue that checks each entry";
  it.each<[string, readonly object[], string[], object?]>([
    ["all that should be there", RIGHT, []],
    [
      "nothing",
      [],
      [
        "pull requests only",
        CHECK,
        BYPASS,
        CURRENT,
        "a review by code owners",
        "no force push and no deletion",
        REBASE,
      ],
    ],
    [
      "a check of anybody",
      without(
        "required_status_checks",
        rule("required_status_checks", { ...CHECKS, required_status_checks: [{ context: "checks" }] }),
      ),
      [CHECK, BYPASS],
    ],
    [
      "another check",
      without(
        "required_status_checks",
        rule("required_status_checks", {
          ...CHECKS,
          required_status_checks: [{ context: "lint", integration_id: 1 }],
        }),
      ),
      [CHECK, BYPASS],
    ],
    [
      "a check that some may bypass",
      RIGHT,
      [BYPASS],
      ruleset({ bypass_actors: [{ actor_id: 1, actor_type: "Team" }] }),
    ],
    ["branches that may be old, and rebase", without("merge_queue"), [CURRENT, REBASE]],
    [
      "branches up to date",
      [
        ...RIGHT.filter(
          ({ type }) => !["merge_queue", "required_status_checks", "pull_request"].includes(type),
        ),
        rule("required_status_checks", { ...CHECKS, strict_required_status_checks_policy: true }),
        rule("pull_request", { ...REVIEW, allowed_merge_methods: ["merge", "squash"] }),
      ],
      [],
    ],
    [
      "a queue that checks the last entry only",
      without("merge_queue", rule("merge_queue", { ...QUEUE, grouping_strategy: "HEADGREEN" })),
      [CURRENT],
    ],
    [
      "a review by anybody",
      without("pull_request", rule("pull_request", { ...REVIEW, require_code_owner_review: false })),
      ["a review by code owners"],
    ],
  ])("are compared with what they should be: %s", async (_, rules, missing, set) => {
    const { api, faults } = await github(rules, set);
    expect((await connect(api).protections("master"))[0]?.protection).toMatchObject({ missing });
    expect(faults).toEqual([]);
  });

  it("are known as a whole to an administrator, and not to others", async () => {
    const set = ruleset();
    const { bypass_actors: _, ...told } = set;
    const whole = async (rules: readonly object[], answer: object) =>
      (await connect((await github(rules, answer)).api).protections("master"))[0]?.protection.isWhole;
    expect(await whole(RIGHT, told)).toBe(false);
    // The description's 404 does not say that there is no protection.
    expect(await whole([], set)).toBe(false);
  });

  it.each<[string, object, RegExp]>([
    [
      "a queue that squashes",
      rule("merge_queue", { ...QUEUE, merge_method: "SQUASH" }),
      /^master of octocat\/Hello-World takes no merge commits: its merge queue makes a squash of each$/,
    ],
    ["a linear history", rule("required_linear_history"), /: its history has to be linear$/],
    [
      "other methods",
      rule("pull_request", { ...REVIEW, allowed_merge_methods: ["squash", "rebase"] }),
      /: a ruleset allows squash and rebase only$/,
    ],
  ])("with which no promotion could be merged are told before it is written: %s", async (_, one, message) => {
    const { api, operations, faults } = await github([one]);
    await expect(connect(api).checkRepository("master", PROPOSING)).rejects.toMatchObject({
      exitCode: 3,
      message: expect.stringMatching(message),
    });
    expect(operations.filter((operation) => operation.startsWith("POST"))).toEqual([]);
    expect(faults).toEqual([]);
  });

  it.each<[string, string, boolean]>([
    ["pull_request", "never", false],
    ["pull_request", "pull_requests_only", false],
    ["merge_queue", "never", false],
    ["required_status_checks", "never", false],
    ["pull_request", "always", true],
    ["non_fast_forward", "never", true],
  ])("with %s, to be bypassed %s, let a push in: %s", async (type, bypass, isFine) => {
    const parameters = { pull_request: REVIEW, merge_queue: QUEUE, required_status_checks: CHECKS };
    const one = rule(type, Object.entries(parameters).find(([name]) => name === type)?.[1]);
    const { api, faults } = await github([one], ruleset({ current_user_can_bypass: bypass }));
    const line = `master of octocat/Hello-World takes no push of this token: the ruleset super cool ruleset has the rule ${type}, and this token may not bypass it`;
    const checked = connect(api).checkRepository("master", ["commits"]);
    expect(await outcomeOf(checked)).toBe(isFine ? undefined : line);
    expect(faults).toEqual([]);
  });

  it("with signatures are told", async () => {
    const { api } = await github([rule("required_signatures")]);
    expect(await connect(api).checkRepository("master", PROPOSING)).toEqual({ signatures: true });
  });
});

describe("held against GitHub's description", () => {
  it.each<[string, string, string, object | undefined, RegExp]>([
    ["an unknown path", "GET", "/repos/o/r/pull", undefined, /^GET \S+ is no operation$/],
    ["another method", "POST", "/repos/o/r/pulls/1/merge", {}, /^POST \S+ is no operation$/],
    [
      "an unknown parameter",
      "GET",
      "/repos/o/r/pulls?limit=50",
      undefined,
      /^query parameter limit is unknown$/,
    ],
    [
      "a parameter of another type",
      "GET",
      "/repos/o/r/pulls?page=a",
      undefined,
      /^query parameter page must be integer/,
    ],
    [
      "a value that is not allowed",
      "GET",
      "/repos/o/r/pulls?state=merged",
      undefined,
      /^query parameter state must be equal/,
    ],
    [
      "a path parameter of another type",
      "GET",
      "/repos/o/r/pulls/x",
      undefined,
      /^path parameter pull_number must be integer/,
    ],
    [
      "a renamed field",
      "POST",
      "/repos/o/r/pulls/1/requested_reviewers",
      { teams: ["web"] },
      /^body must NOT have additional properties teams$/,
    ],
    [
      "Gitea's merge",
      "PUT",
      "/repos/o/r/pulls/1/merge",
      { Do: "merge" },
      /^body must NOT have additional properties Do$/,
    ],
    [
      "a missing field",
      "POST",
      "/repos/o/r/pulls",
      { head: "a", title: "t" },
      /^body must have required property 'base'/,
    ],
    [
      "a field of another type",
      "POST",
      "/repos/o/r/issues/1/comments",
      { body: 1 },
      /^body\/body must be string/,
    ],
    [
      "ids for labels",
      "POST",
      "/repos/o/r/issues/1/labels",
      { labels: [1] },
      /^body\/labels\/0 must be string/,
    ],
    ["a body that is missing", "POST", "/repos/o/r/issues/1/comments", undefined, /^body must be object/],
  ])("%s is a fault", async (_, method, path, body, fault) => {
    const github = await standInForGitHub(description);
    await fetch(`${github.api}${path}`, {
      method,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
    expect(github.faults[0]).toMatch(fault);
  });

  it.each<[keyof typeof CALLS, RegExp]>([
    ["listOpenPullRequests", /^query parameter limit is unknown$/],
    ["statuses", /^query parameter sort is unknown$/],
    ["mergePullRequest", /^POST \S+ is no operation$/],
    ["compare", /^query parameter files is unknown$/],
    ["repositoryLabels", /^GET \S+\/labels is no operation$/],
  ])("what %s sends to Gitea is a fault", async (method, fault) => {
    const github = await standInForGitHub(description, CALLS[method]);
    await CALLS[method].call(asGitea(github)).catch(() => {});
    expect(github.faults).toContainEqual(expect.stringMatching(fault));
  });

  it.each<[keyof typeof CALLS, string, string]>([
    ["checkRepository", "full-repository-default-response", "full_name"],
    ["listOpenPullRequests", "pull-request-simple-items", "html_url"],
    ["createPullRequest", "pull-request", "number"],
    ["statuses", "status-items", "state"],
    ["branchTip", "branch-get", "sha"],
    ["changeLabels", "label-items", "name"],
    ["requestReviewers", "pull-request-review-request", "number"],
    ["comment", "issue-comment", "id"],
  ])("an answer to %s with another name for a field is not understood", async (method, example, field) => {
    const changed = structuredClone(description);
    const text = JSON.stringify(changed.components["examples"]?.[example]);
    changed.components["examples"] = {
      ...changed.components["examples"],
      [example]: JSON.parse(text.replaceAll(`"${field}":`, `"${field}_":`)),
    };
    const github = await standInForGitHub(changed, CALLS[method]);
    await expect(CALLS[method].call(connect(github.api))).rejects.toThrow(/is no answer of a forge's API$/);
  });

  it("an answer of a test that is not as described is a fault", async () => {
    const answers = { [`GET ${PULL}`]: { ...pullRequest({}), head: "main" } };
    const github = await standInForGitHub(description, { answers });
    await fetch(`${github.api}/repos/o/r/pulls/1`);
    expect(github.faults).toContainEqual(
      expect.stringMatching(/is not answered so: answer\/head must be object/),
    );
  });
});

/** The line of a refusal; undefined where there was none. */
async function outcomeOf(checked: Promise<unknown>): Promise<string | undefined> {
  return checked.then(
    () => undefined,
    (error: unknown) => (error instanceof RefusedError ? error.message : String(error)),
  );
}

/** The example of a pull request with something changed; its teams lack a field that the description requires. */
function pullRequest(change: object): object {
  return { ...exampleOf("pull-request"), requested_teams: [], ...change };
}

/** The example of a repository with something changed. */
function repositoryOf(change: object): object {
  const git = "https://github.com/octocat/Hello-World.git";
  // The example's own source lacks a field that the description requires.
  return {
    ...exampleOf("full-repository-default-response"),
    source: undefined,
    language: "C",
    clone_url: git,
    ...change,
  };
}

function exampleOf(name: string): object {
  const found = description.components["examples"]?.[name];
  if (typeof found !== "object" || found === null || !("value" in found)) throw new Error("no example");
  return Object(found.value);
}

/** The stand-in under the path that Gitea has its API at. */
function asGitea({ api }: GitHub): Forge {
  return connect(api.replace(/v3$/, "v1"));
}
