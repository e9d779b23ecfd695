/** What stops a promotion, the one line that is said about it, and the proof that nothing was written. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { releasePath } from "../../scripts/lib/release/release.ts";
import { waitFor } from "../../scripts/lib/wait.ts";
import { git, settings, temporary, write } from "../support/tree.ts";
import {
  callerOf,
  carry,
  environmentOf,
  FROZEN,
  healthy,
  heldBack,
  noneIsOpen,
  pinned,
  pod,
  promotable,
  promote,
  release,
  service,
  TWO,
} from "./promotion-support.ts";
import {
  ask,
  between,
  commandLine,
  deadPort,
  fileAt,
  makePerson,
  NEW,
  OLD,
  opening,
  personCommits,
  pullRequests,
  references,
  standIn,
  type TestRepository,
  withToken,
} from "./support.ts";

const DEV = "overlays/dev/web/kustomization.yaml";
const TEST = releasePath("test", "web");
const LIVE = releasePath("live", "web");

/** Test has a proven release of web that live does not have; each broken tree is a branch of its own beside main. */
let shared: TestRepository;
beforeAll(async () => {
  const directory = await mkdtemp(join(tmpdir(), "forge-"));
  shared = await promotable(TWO, directory);
  await release(shared, { web: NEW });
  for (const [index, tree] of TREES.entries()) await makeBranch(`tree-${index}`, tree);
  await git(directory, ...withToken(), "push", "--quiet", "origin", "refs/heads/tree-*");
  for (const [index, { carried }] of TREES.entries()) {
    if (carried === true) await healthy(shared, await commitOf(`tree-${index}`), "test", ["web"]);
  }
  return async () => rm(directory, { recursive: true });
});

async function commitOf(branch: string): Promise<string> {
  return (await git(shared.root, "rev-parse", branch)).trim();
}

interface Tree {
  name: string;
  /** What is put over main's files: what a function makes of the file there, or nothing where it is to be removed. */
  files: Record<string, string | undefined | ((text: string) => string)>;
  /** Whether dev's releases are carried to test, where they are healthy. */
  carried?: true;
  args?: string[];
  exitCode: number;
  line: RegExp;
}

async function makeBranch(branch: string, { files, carried }: Tree): Promise<void> {
  const { root } = shared;
  await git(root, "checkout", "--quiet", "--force", "-B", branch, "origin/main");
  for (const [path, content] of Object.entries(files)) {
    if (content === undefined) await git(root, "rm", "--quiet", "-r", path);
    else if (typeof content === "string") await write(root, { [path]: content });
    else await write(root, { [path]: content(await git(root, "cat-file", "blob", `origin/main:${path}`)) });
  }
  await git(root, "add", "--all");
  await git(root, "commit", "--quiet", "--message", branch);
  if (carried === true) await carry(root, "dev", "test");
}

/** How a promotion ends: its code, what it says, and whether every reference on the forge is as before. */
async function attempt(
  repo: TestRepository,
  root: string,
  args: readonly string[],
  env: Record<string, string> = environmentOf(),
) {
  const before = await references(repo.root);
  const { exitCode, stderr } = await commandLine("promote", root, args, env);
  // Beside it there may be a hint of the argument parser, in brackets.
  const lines = stderr.split("\n").filter((text) => text !== "" && !text.startsWith("("));
  return { exitCode, lines, isUntouched: (await references(repo.root)) === before };
}

function refusal(exitCode: number, line: RegExp) {
  return { exitCode, lines: [expect.stringMatching(line)], isUntouched: true };
}

const conflict = (text: string) => `${text}<<<<<<< HEAD\n=======\n>>>>>>> other\n`;
const edited = (text: string) => text.replace("name: web", "name: wed");
/** A base that needs a key of a Secret, and a ConfigMap. */
const NEEDS_SECRET = `      env:
        - name: PASSWORD
          valueFrom:
            secretKeyRef:
              name: db
              key: password
`;
const NEEDS_CONFIG = "      envFrom:\n        - configMapRef:\n            name: flags\n";
const SEALED = `apiVersion: isindir.github.com/v1alpha3
kind: SopsSecret
metadata:
  name: db
spec:
  secretTemplates:
    - name: db
      stringData:
        user: ENC[x]
`;
const released = (more: string) => `resources:\n  - release.yaml\n${more}`;

const TREES: Tree[] = [
  {
    name: "a merge conflict in the first environment's overlay",
    files: { [DEV]: conflict },
    args: ["dev", "test"],
    exitCode: 3,
    line: /^promote: overlays\/dev\/web\/kustomization\.yaml:\d+: /,
  },
  {
    name: "a merge conflict in the source's release",
    files: { [TEST]: conflict },
    exitCode: 3,
    line: /^promote: overlays\/test\/web\/release\.yaml:6: the content is not the one this digest names; restore/,
  },
  {
    name: "a merge conflict in the head of the target's release",
    files: { [LIVE]: (text) => `<<<<<<< HEAD\n${text}` },
    exitCode: 3,
    line: /^promote: overlays\/live\/web\/release\.yaml:1: not the head of a release; restore it from Git/,
  },
  {
    name: "a release that was edited by hand in the source",
    files: { [TEST]: edited },
    exitCode: 3,
    line: /^promote: overlays\/test\/web\/release\.yaml:6: the content is not the one this digest names; /,
  },
  {
    name: "a release that was edited by hand in the target",
    files: { [LIVE]: edited },
    exitCode: 3,
    line: /^promote: overlays\/live\/web\/release\.yaml:6: the content is not the one this digest names; /,
  },
  {
    name: "a release whose head was edited by hand",
    files: { [TEST]: (text) => text.replace("# from: dev", "# from: DEV") },
    exitCode: 3,
    line: /^promote: overlays\/test\/web\/release\.yaml:4: not a line "# from: …"; /,
  },
  {
    name: "a release with other line ends",
    files: { [TEST]: (text) => text.replaceAll("\n", "\r\n") },
    exitCode: 3,
    line: /^promote: overlays\/test\/web\/release\.yaml:1: not the head of a release; /,
  },
  {
    name: "an empty release",
    files: { [TEST]: "" },
    exitCode: 3,
    line: /^promote: overlays\/test\/web\/release\.yaml:1: not the head of a release; /,
  },
  {
    name: "another app's release",
    files: { [TEST]: (text) => text.replace("# app: web", "# app: api") },
    exitCode: 3,
    line: /^promote: overlays\/test\/web\/release\.yaml:2: a release of api; /,
  },
  {
    name: "YAML broken by hand",
    files: { [DEV]: "images: [\n" },
    args: ["dev", "test"],
    exitCode: 3,
    line: /^promote: overlays\/dev\/web\/kustomization\.yaml:\d+: /,
  },
  {
    name: "two entries for one image",
    files: { [DEV]: `${pinned("web", OLD)}  - name: registry/shop/web\n    newTag: "${NEW}"\n` },
    args: ["dev", "test", "web"],
    exitCode: 3,
    line: /^promote: overlays\/dev\/web\/kustomization\.yaml pins registry\/shop\/web a second time; leave one of the two$/,
  },
  {
    name: "an image pinned by a version",
    files: { [DEV]: pinned("web", "v1") },
    args: ["dev", "test"],
    exitCode: 3,
    line: /^promote: \S+dev\/web\/kustomization\.yaml:5: images\.0\.newTag: not a commit of 40 lower-case/,
  },
  {
    name: "no image",
    files: { [DEV]: "resources:\n  - ../../../base/web\n" },
    args: ["dev", "test"],
    exitCode: 3,
    line: /^promote: overlays\/dev\/web\/kustomization\.yaml pins no image registry\/shop\/web; add it/,
  },
  {
    name: "a base that cannot be rendered",
    files: { "base/web/pod.yaml": "kind: [\n" },
    args: ["dev", "test", "web"],
    exitCode: 5,
    line: /^promote: kustomize build \S+ failed: /,
  },
  {
    name: "an app that the first environment alone has",
    files: {
      ...service("cart"),
      "overlays/test/cart/kustomization.yaml": "",
      "overlays/live/cart/kustomization.yaml": "",
    },
    args: ["test", "live", "cart"],
    exitCode: 3,
    line: /^promote: there is no overlays\/test\/cart\/release\.yaml; promote the app to that environment first$/,
  },
  {
    name: "an app whose overlay the target lacks",
    files: { "overlays/live/web": undefined },
    args: ["test", "live", "web"],
    exitCode: 3,
    line: /^promote: there is no overlays\/live\/web\/kustomization\.yaml; add the app's overlay there first$/,
  },
  {
    name: "an app whose overlay the source lacks",
    files: { "overlays/test/web": undefined },
    args: ["test", "live", "web"],
    exitCode: 3,
    line: /^promote: test has no web; add overlays\/test\/web first$/,
  },
  {
    name: "a broken catalogue",
    files: { "apps/web.yaml": "app: web\nkind: x\n" },
    exitCode: 3,
    line: /^promote: apps\/web\.yaml:2: kind: /,
  },
  {
    name: "a file of the catalogue with another one's name",
    files: { "apps/wed.yaml": "app: web\nnamespace: shop\nkind: store\nowners: [web]\n" },
    exitCode: 3,
    line: /^promote: apps\/wed\.yaml is about web; rename it to apps\/web\.yaml$/,
  },
  {
    name: "a broken environment.yaml",
    files: { "overlays/live/environment.yaml": "kind: ConfigMap\ndata:\n  name: live\n  soak: soon\n" },
    exitCode: 3,
    line: /^promote: overlays\/live\/environment\.yaml:4: data\.soak: not a time such as 30m$/,
  },
  {
    name: "two first environments",
    files: { "overlays/qa/environment.yaml": "kind: ConfigMap\ndata:\n  name: qa\n  soak: 1s\n" },
    exitCode: 3,
    line: /^promote: overlays\/\*\/environment\.yaml: the environments are not one line; /,
  },
  {
    name: "a held release",
    files: heldBack("live", "web", NEW),
    args: ["test", "live", "web"],
    exitCode: 3,
    line: /^promote: web: this release is held back from live: it loses orders \(Ada\); promote another one, or/,
  },
  {
    name: "a broken hold",
    files: { "overlays/live/web/hold.yaml": "environment: live\napp: web\nholds: []\n" },
    exitCode: 3,
    line: /^promote: overlays\/live\/web\/hold\.yaml:3: holds: names no release: remove the file$/,
  },
  {
    name: "a frozen window",
    files: FROZEN,
    exitCode: 3,
    line: /^promote: live: frozen \(deny \* \* \* \* \* for 1h\); remove the window, or give a reason: --override "…"$/,
  },
  {
    name: "a window that Argo CD would not read",
    files: {
      ...FROZEN,
      "overlays/live/project.yaml": FROZEN["overlays/live/project.yaml"].replace("deny", "Deny"),
    },
    exitCode: 3,
    line: /^promote: overlays\/live: the AppProject live-service: spec\.syncWindows\.0\.kind: /,
  },
  {
    name: "a target that cannot be rendered",
    files: { "overlays/live/web/kustomization.yaml": released("  - gone.yaml\n") },
    exitCode: 3,
    line: /^promote: web: live cannot be rendered with this release: there is no gone\.yaml.*; adapt overlays\/live\/web$/,
  },
  {
    name: "a patch in the target for what the release has no more",
    files: {
      "overlays/live/web/kustomization.yaml": released("patches:\n  - path: patch.yaml\n"),
      "overlays/live/web/patch.yaml": "apiVersion: v1\nkind: Pod\nmetadata:\n  name: old\n",
    },
    args: ["test", "live", "--override", "never mind"],
    exitCode: 3,
    line: /^promote: web: live cannot be rendered with this release: kustomize .*; adapt overlays\/live\/web$/,
  },
  {
    name: "a key of a Secret that the target has not sealed, whatever the reason",
    files: {
      "base/web/pod.yaml": pod("web", NEEDS_SECRET),
      "overlays/live/web/kustomization.yaml": released("  - sealed.yaml\n"),
      "overlays/live/web/sealed.yaml": SEALED,
    },
    carried: true,
    args: ["test", "live", "--override", "never mind"],
    exitCode: 3,
    line: /^promote: web: live does not have key password of Secret db; seal it for live first$/,
  },
  {
    name: "a key of a Secret where nothing is sealed, without a reason",
    files: { "base/web/pod.yaml": pod("web", NEEDS_SECRET) },
    carried: true,
    exitCode: 3,
    line: /^promote: web: live does not have key password of Secret db; seal it for live first, or, where the cluster has it, give a reason: --override "…"$/,
  },
  {
    name: "a ConfigMap that the target does not have, whatever the reason",
    files: { "base/web/pod.yaml": pod("web", NEEDS_CONFIG) },
    carried: true,
    args: ["test", "live", "--override", "never mind"],
    exitCode: 3,
    line: /^promote: web: live does not have ConfigMap flags; add it to overlays\/live\/web$/,
  },
];

describe("a call that is wrong", () => {
  it.each<[string, string[], RegExp]>([
    [
      "an unknown source",
      ["tset", "live"],
      /^promote: there is no environment tset; there are dev, test, live$/,
    ],
    [
      "an unknown target",
      ["test", "prod"],
      /^promote: there is no environment prod; there are dev, test, live$/,
    ],
    [
      "a path for an environment",
      ["test", "../live"],
      /^promote: there is no environment \.\.\/live; there are/,
    ],
    [
      "a level that is skipped",
      ["dev", "live"],
      /^promote: a promotion does not go from dev to live; live takes releases from test$/,
    ],
    [
      "the same level",
      ["test", "test"],
      /^promote: test to test is no promotion; test takes releases from dev$/,
    ],
    [
      "backwards",
      ["live", "test"],
      /^promote: a promotion does not go from live to test; test takes releases from dev$/,
    ],
    [
      "backwards to the first",
      ["test", "dev"],
      /^promote: a promotion does not go from test to dev; dev follows the base by itself$/,
    ],
    [
      "an unknown app",
      ["test", "live", "web", "webb"],
      /^promote: there is no app webb; there are api, disk, web$/,
    ],
    [
      "a path for an app",
      ["test", "live", "../test/web"],
      /^promote: there is no app \.\.\/test\/web; there are/,
    ],
    ["an app of no name", ["test", "live", ""], /^promote: there is no app; there are api, disk, web$/],
    ["no target", ["test"], /^promote: missing required argument 'to'$/],
    ["an unknown option", ["test", "live", "--dry-rn"], /^promote: unknown option '--dry-rn'/],
    [
      "a reason of no words",
      ["test", "live", "--override", " "],
      /^promote: --override has no reason; say why/,
    ],
    [
      "a reason for gates where there are none",
      ["dev", "test", "--local", "--override", "it burns"],
      /^promote: --override is about the gates, and --local has none; leave one of them out$/,
    ],
    [
      "evidence for gates where there are none",
      ["dev", "test", "--local", "--server"],
      /^promote: --server is about the gates, and --local has none; leave one of them out$/,
    ],
    ["no reason", ["test", "live", "--override"], /^promote: option '--override <reason>' argument missing$/],
  ])("%s: exit code 2", async (_, args, line) => {
    expect(await attempt(shared, await callerOf(shared, {}), args)).toEqual(refusal(2, line));
  });

  it("an option that npm has kept: exit code 2, and no real run instead of a dry one", async () => {
    const env = environmentOf({ npm_config_dry_run: "true" });
    expect(await attempt(shared, await callerOf(shared, {}), ["test", "live"], env)).toEqual(
      refusal(2, /^promote: npm has kept --dry-run for itself; put options behind --: npm run promote -- /),
    );
  });
});

/** Gitea refuses while it is at work on the change before ("already in queue"). */
async function makeDefault(branch: string): Promise<void> {
  const change = async () =>
    ask(shared.api, "PATCH", { default_branch: branch }).then(
      () => "",
      (error: unknown) => String(error),
    );
  await expect.poll(change, { timeout: 300_000, interval: 200 }).toBe("");
}

describe("main has", () => {
  it.each(TREES.map((tree, index) => [tree.name, tree.exitCode, `tree-${index}`, tree] as const))(
    "%s: exit code %d",
    async (_, exitCode, branch, { args, line }) => {
      const root = await callerOf(shared, { branch });
      await makeDefault(branch);
      onTestFinished(async () => makeDefault("main"));
      expect(await attempt(shared, root, args ?? ["test", "live"])).toEqual(refusal(exitCode, line));
    },
  );
});

describe("the checkout", () => {
  it.each<[string, Record<string, string>, number, RegExp]>([
    ["is no repository of this shape", {}, 2, /^promote: \S+ has no argocd\/settings\/settings\.yaml; /],
    [
      "has the example's settings",
      {
        "argocd/settings/settings.yaml": settings(
          "https://github.com/example/x.git",
          "https://api.github.com",
        ),
      },
      3,
      /^promote: argocd\/settings\/settings\.yaml still has an example as its repoURL; put your own there/,
    ],
    [
      "has broken settings",
      { "argocd/settings/settings.yaml": "kind: ConfigMap\ndata:\n  repoURL: [\n" },
      3,
      /^promote: argocd\/settings\/settings\.yaml:\d+: /,
    ],
    [
      "has a setting that is not one",
      { "argocd/settings/settings.yaml": settings("ftp://forge/shop/x.git", "https://forge/api/v1") },
      3,
      /^promote: argocd\/settings\/settings\.yaml:3: data\.repoURL: not the URL of a Git repository$/,
    ],
  ])("%s", async (_, files, exitCode, line) => {
    const root = await temporary();
    await write(root, files);
    expect(await attempt(shared, root, ["test", "live"])).toEqual(refusal(exitCode, line));
  });

  it("names a branch that the forge does not have: exit code 3", async () => {
    const root = await callerOf(shared, { branch: "trunk" });
    expect(await attempt(shared, root, ["test", "live", "--dry-run"])).toEqual(
      refusal(
        3,
        /^promote: http\S+ has no branch trunk; compare revision in the settings, and push the branch$/,
      ),
    );
  });

  it("has no commit, with --local: exit code 3", async () => {
    const root = await callerOf(shared, {});
    expect(await attempt(shared, root, ["dev", "test", "--local"])).toEqual(
      refusal(3, /^promote: \S+ has no commit yet, or is not a Git repository; commit first$/),
    );
  });
});

describe("the token", () => {
  it.each<[string, Record<string, string>, RegExp]>([
    ["is missing", {}, /^promote: there is no token for the forge; set FORGE_TOKEN or GITHUB_TOKEN$/],
    [
      "is wrong",
      { FORGE_TOKEN: "f".repeat(40) },
      /^promote: 127\.0\.0\.1:\d+ does not accept the token; it may have expired: make a new one$/,
    ],
  ])("%s: exit code 3", async (_, env, line) => {
    expect(await attempt(shared, await callerOf(shared, {}), ["test", "live"], env)).toEqual(
      refusal(3, line),
    );
  });

  it("may not put on labels, which are the issues': exit code 3, before anything is written", async () => {
    const { token } = await makePerson(shared, "write", ["write:repository"]);
    const env = environmentOf({ FORGE_TOKEN: token });
    expect(await attempt(shared, await callerOf(shared, {}), ["test", "live"], env)).toEqual(
      refusal(
        3,
        /^promote: \S+ does not let this token do that to shop\/\S+: token does not have .*write:issue.*; it needs to write issues, too/,
      ),
    );
  });

  it("may only read: exit code 3", async () => {
    const env = environmentOf({ FORGE_TOKEN: (await makePerson(shared, "read")).token });
    expect(await attempt(shared, await callerOf(shared, {}), ["test", "live"], env)).toEqual(
      refusal(
        3,
        /^promote: \S+ does not let this token write to shop\/\S+; it needs to write contents and pull requests$/,
      ),
    );
  });
});

describe("the forge", () => {
  it("is down: exit code 5", async () => {
    const root = await callerOf(shared, { url: `http://127.0.0.1:${await deadPort()}` });
    expect(await attempt(shared, root, ["test", "live"])).toEqual(
      refusal(
        5,
        /^promote: 127\.0\.0\.1:\d+ does not answer: .*ECONNREFUSED.*; is forgeAPI in the settings right/,
      ),
    );
  });

  it.each<[string, number, Record<string, string>, string, number, RegExp]>([
    ["500", 500, {}, "{}", 5, /answers 500: .*; try again later$/],
    ["403", 403, {}, '{"message":"no"}', 3, /does not let this token do that to \S+: no; it needs to write/],
    ["429", 429, {}, '{"message":"slow"}', 5, /answers 429: too many calls; try again later$/],
    ["404", 404, {}, "{}", 3, /has no repository \S+, or the token may not see it; compare repoURL/],
    [
      "HTML",
      200,
      { "content-type": "text/html" },
      "<html>\n",
      5,
      /answers text\/html that is no answer of a forge/,
    ],
  ])("answers %s", async (_, status, headers, body, exitCode, line) => {
    const forge = await standIn((_request, response) => {
      response.writeHead(status, { "content-type": "application/json", ...headers }).end(body);
    });
    const root = await callerOf(shared, { url: forge.url });
    expect(await attempt(shared, root, ["test", "live"])).toEqual(refusal(exitCode, line));
    // It is the stand-in to which something could have been written.
    expect(forge.requests.length).toBeGreaterThan(0);
    expect(forge.requests.filter((request) => !request.startsWith("GET "))).toEqual([]);
  });

  it("is asked by its API and by Git at once", async () => {
    let isFetching = false;
    let wasFetching = false;
    const proxy = await between(async (_method, path) => {
      isFetching ||= path.includes("/info/refs");
      if (path !== `/api/v1/repos/shop/${shared.name}`) return undefined;
      const until = async () => isFetching || undefined;
      await waitFor("Git is asked", until, { everyMs: 20 }).catch(() => {});
      wasFetching ||= isFetching;
      return undefined;
    });
    const root = await callerOf(shared, { url: proxy.url });
    const env = environmentOf();
    const ended = await commandLine("promote", root, ["test", "live", "--dry-run"], env);
    expect({ ...ended, stdout: "", wasFetching }).toEqual({
      exitCode: 0,
      stdout: "",
      stderr: "",
      wasFetching: true,
    });
  });

  it.each<[string, RegExp, number, number, RegExp]>([
    ["Git with 500", /\.git\//, 500, 5, /^promote: 127\.0\.0\.1:\d+ answers git 500; try again later$/],
    ["Git with 403", /\.git\//, 403, 3, /^promote: 127\.0\.0\.1:\d+ does not let this token do that to http/],
    [
      "statuses with 500",
      /\/statuses/,
      500,
      5,
      /^promote: 127\.0\.0\.1:\d+ answers 500: a page of HTML; try/,
    ],
    [
      "statuses with 403",
      /\/statuses/,
      403,
      3,
      /^promote: 127\.0\.0\.1:\d+ does not let this token do that to/,
    ],
    [
      "a push with 403",
      /git-receive-pack/,
      403,
      3,
      /^promote: 127\.0\.0\.1:\d+ does not let this token do that/,
    ],
  ])("answers %s", async (_, path, status, exitCode, line) => {
    const proxy = await between(async (_method, asked) => (path.test(asked) ? status : undefined));
    const root = await callerOf(shared, { url: proxy.url });
    expect(await attempt(shared, root, ["test", "live"])).toEqual(refusal(exitCode, line));
  });

  it("protects the branch: exit code 3", async () => {
    const repo = await promotable();
    await release(repo, { web: NEW });
    await ask(`${repo.api}/branch_protections`, "POST", { rule_name: "promote/**", enable_push: false });
    expect(await attempt(repo, repo.root, ["test", "live"])).toEqual(
      refusal(
        3,
        /^promote: the forge refuses a push to promote\/test\/live\/_all: .*protected branch.*; let the token push/,
      ),
    );
  });

  it("has no pull requests for the repository: exit code 3", async () => {
    const repo = await promotable();
    await release(repo, { web: NEW });
    await ask(repo.api, "PATCH", { has_pull_requests: false });
    expect(await attempt(repo, repo.root, ["test", "live"])).toEqual(
      refusal(3, /^promote: \S+ has no pull requests for shop\/\S+; switch them on in its settings$/),
    );
  });

  it.each<[string, (method: string, path: string) => boolean, RegExp]>([
    [
      "open pull requests",
      opening(),
      /; it needs to .*; promote\/test\/live\/_all is pushed: then run it again$/,
    ],
    [
      "put on labels",
      (_, path) => path.endsWith("/issues/1/labels"),
      /; it needs to write issues, too: .*; #1 is open: then run it again$/,
    ],
  ])("does not let the token %s: exit code 5, since something is there", async (_, isRefused, line) => {
    const repo = await promotable();
    await release(repo, { web: NEW });
    const proxy = await between(async (method, path) => (isRefused(method, path) ? 403 : undefined));
    const root = await callerOf(repo, { url: proxy.url });
    expect(await attempt(repo, root, ["test", "live"])).toEqual({
      ...refusal(5, line),
      isUntouched: false,
    });
    // It goes on from there once it may.
    expect(await promote(repo, "test", "live")).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await pullRequests(repo)).toHaveLength(1);
  });

  it("does not let the token close what is not needed any more: exit code 5, since the branch is gone", async () => {
    const repo = await promotable();
    await release(repo, { web: NEW });
    await promote(repo, "test", "live");
    const carried = await fileAt(repo.root, "main", TEST);
    await personCommits(repo.root, "main", { [LIVE]: carried });
    const proxy = await between(async (method) => (method === "PATCH" ? 403 : undefined));
    const root = await callerOf(repo, { url: proxy.url });
    const line = /^promote: .*; it needs to .*; promote\/test\/live\/_all is deleted: then run it again$/;
    expect(await attempt(repo, root, ["test", "live"])).toEqual({ ...refusal(5, line), isUntouched: false });
    expect(await promote(repo, "test", "live")).toMatchObject({ exitCode: 0, stderr: "" });
    await noneIsOpen(repo);
  });
});
