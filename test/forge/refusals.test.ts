/** What goes wrong, the one line that is said about it, and the proof that nothing was written. */

import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, inject, it } from "vitest";
import { git, settings, temporary, write } from "../support/tree.ts";
import {
  ask,
  between,
  bump as call,
  commandLine,
  deadPort,
  FILE,
  makePerson,
  NEW,
  OLD,
  OWNER,
  pointAt,
  push,
  references,
  repository,
  standIn,
  type TestRepository,
} from "./support.ts";

const PINNED = `  - name: registry/shop/web\n    newTag: "${OLD}"\n`;

/** These are not about the registry; registry.test.ts is. */
const bump: typeof call = async (root, args, ...rest) => call(root, ["--no-verify", ...args], ...rest);

let shared: TestRepository;
beforeAll(async () => {
  const directory = await mkdtemp(join(tmpdir(), "forge-"));
  shared = await repository({}, directory);
  return async () => rm(directory, { recursive: true });
});

/** What a bump ends with: its code, what it says, and whether every reference on the forge is as before. */
async function attempt(repo: TestRepository, args: readonly string[], env?: Record<string, string>) {
  const before = await references(repo.root);
  const { exitCode, stderr } = await bump(repo.root, args, env);
  // Beside it there may be a hint of the argument parser, in brackets.
  const lines = stderr.split("\n").filter((text) => text !== "" && !text.startsWith("("));
  return { exitCode, lines, isUntouched: (await references(repo.root)) === before };
}

function refusal(exitCode: number, line: RegExp) {
  return { exitCode, lines: [expect.stringMatching(line)], isUntouched: true };
}

describe("a call that is wrong", () => {
  it.each<[string, string[], RegExp]>([
    ["an unknown app", ["webb", NEW], /^bump: there is no app webb; there are web$/m],
    ["a path for an app", ["../web", NEW], /^bump: "\.\.\/web" is not the name of an app$/m],
    [
      "an app without an image",
      ["disk", NEW],
      /^bump: disk has no image of its own: it is a store; there are web$/m,
    ],
    [
      "a short commit",
      ["web", "89abcde"],
      /^bump: 89abcde has 7 digits, a commit has 40; give all 40 digits/m,
    ],
    ["a commit of 41 digits", ["web", `${NEW}0`], /^bump: 89\w+0 has 41 digits, a commit has 40; /m],
    [
      "an upper-case commit",
      ["web", NEW.toUpperCase()],
      /^bump: 89AB\w+ has upper-case digits; image tags are lower-case$/m,
    ],
    ["a branch", ["web", "main"], /^bump: "main" is not a commit; give all 40 digits/m],
    [
      "a digest that is none",
      ["web", NEW, "--digest", "sha256:1"],
      /^bump: "sha256:1" is not a digest; it is sha256: and 64/m,
    ],
    ["no commit", ["web"], /^bump: missing required argument 'sha'$/m],
    ["one word too many", ["web", NEW, "prod"], /^bump: too many arguments/m],
    ["an unknown option", ["web", NEW, "--dry-rn"], /^bump: unknown option '--dry-rn'/m],
  ])("%s: exit code 2", async (_, args, line) => {
    expect(await attempt(shared, args)).toEqual(refusal(2, line));
  });

  it("an option that npm has kept: exit code 2, and no real run instead of a dry one", async () => {
    const env = { FORGE_TOKEN: inject("token"), npm_config_dry_run: "true" };
    expect(await attempt(shared, ["web", NEW], env)).toEqual(
      refusal(
        2,
        /^bump: npm has kept --dry-run for itself; put options behind --: npm run bump -- --dry-run/,
      ),
    );
  });
});

describe("a token", () => {
  it("that is missing: exit code 3", async () => {
    expect(await attempt(shared, ["web", NEW], {})).toEqual(
      refusal(3, /^bump: there is no token for the forge; set FORGE_TOKEN or GITHUB_TOKEN$/m),
    );
    expect(await attempt(shared, ["web", NEW], { FORGE_TOKEN: "", GITHUB_TOKEN: "" })).toEqual(
      refusal(3, /^bump: there is no token/),
    );
  });

  it("that is wrong: exit code 3", async () => {
    const line = /^bump: 127\.0\.0\.1:\d+ does not accept the token; it may have expired: make a new one$/m;
    expect(await attempt(shared, ["web", NEW], { GITHUB_TOKEN: "f".repeat(40) })).toEqual(refusal(3, line));
  });

  it("that may not open pull requests: exit code 3, before anything is written", async () => {
    const repo = await repository();
    const { token } = await makePerson(repo, "write", ["read:repository"]);
    const line =
      /^bump: \S+ does not let this token do that to shop\/\S+: token does not have .*write:repository/;
    expect(await attempt(repo, ["web", NEW], { FORGE_TOKEN: token })).toEqual(refusal(3, line));
  });

  it.each([[[]], [["--direct"]]])("that may only read, %j: exit code 3", async (options) => {
    const repo = await repository();
    const { token } = await makePerson(repo, "read");
    const line =
      /^bump: \S+ does not let this token write to shop\/\S+; it needs to write contents and pull req/;
    expect(await attempt(repo, ["web", NEW, ...options], { FORGE_TOKEN: token })).toEqual(refusal(3, line));
  });
});

describe("a forge", () => {
  it("that is down: exit code 5", async () => {
    const url = `http://127.0.0.1:${await deadPort()}`;
    const root = await temporary();
    await write(root, { "argocd/settings/settings.yaml": settings(`${url}/shop/x.git`, `${url}/api/v1`) });
    expect(await bump(root, ["web", NEW])).toEqual({
      exitCode: 5,
      stdout: "",
      stderr: expect.stringMatching(
        /^bump: 127\.0\.0\.1:\d+ does not answer: .*ECONNREFUSED.*; is forgeAPI in the settings right\?\n$/,
      ),
    });
  });

  it.each<[string, number, Record<string, string>, string, number, RegExp, number]>([
    ["500", 500, {}, "{}", 5, /answers 500: .*; try again later$/, 4],
    [
      "502 and HTML",
      502,
      { "content-type": "text/html" },
      "<html>\n</html>",
      5,
      /answers 502: a page of HTML; /,
      4,
    ],
    [
      "403",
      403,
      {},
      '{"message":"no"}',
      3,
      /does not let this token do that to shop\/x: no; it needs to write/,
      1,
    ],
    [
      "403 for too many calls",
      403,
      { "retry-after": "600" },
      '{"message":"secondary rate limit"}',
      5,
      /answers 403: too many calls; try again in 600 s$/,
      1,
    ],
    ["429", 429, {}, '{"message":"slow down"}', 5, /answers 429: too many calls; try again later$/, 4],
    ["404", 404, {}, "{}", 3, /has no repository shop\/x, or the token may not see it; compare repoURL/, 1],
    [
      "HTML",
      200,
      { "content-type": "text/html" },
      "<html>",
      5,
      /answers text\/html that is no answer of a forge's API; is forgeAPI/,
      1,
    ],
    [
      "other JSON",
      200,
      {},
      '{"hello":1}',
      5,
      /answers application\/json that is no answer of a forge's API; /,
      1,
    ],
  ])("that answers %s", async (_, status, headers, body, exitCode, line, calls) => {
    const forge = await standIn((_request, response) => {
      response.writeHead(status, { "content-type": "application/json", ...headers }).end(body);
    });
    const root = await temporary();
    await write(root, {
      "argocd/settings/settings.yaml": settings(`${forge.url}/shop/x.git`, `${forge.url}/api/v3`),
    });
    const result = await bump(root, ["web", NEW]);
    expect(result.stderr).toMatch(/^bump: 127\.0\.0\.1:\d+ .*\n$/);
    expect(result.stderr.trimEnd()).toMatch(line);
    expect(result.exitCode).toBe(exitCode);
    expect(forge.requests).toEqual(Array.from({ length: calls }, () => "GET /api/v3/repos/shop/x"));
  });

  it.each<[string, number, number, RegExp]>([
    ["500", 500, 5, /^bump: 127\.0\.0\.1:\d+ answers git 500; try again later$/m],
    ["401", 401, 3, /^bump: 127\.0\.0\.1:\d+ does not accept the token for Git; make a new one$/m],
    ["403", 403, 3, /^bump: 127\.0\.0\.1:\d+ does not let this token do that to http/m],
    ["404", 404, 3, /^bump: there is no repository http\S+; compare repoURL/m],
    [
      "something else than Git",
      200,
      5,
      /^bump: http\S+ is no Git repository; is repoURL in the settings right\?$/m,
    ],
  ])("whose Git answers %s", async (_, status, exitCode, line) => {
    const repo = await repository();
    const proxy = await between(async (_method, path) => (path.includes(".git/") ? status : undefined));
    await pointAt(repo, proxy.url);
    expect(await attempt(repo, ["web", NEW])).toEqual(refusal(exitCode, line));
  });

  it("that does not have the repository: exit code 3", async () => {
    const forge = inject("forge");
    await write(shared.root, {
      "argocd/settings/settings.yaml": settings(`${forge}/${OWNER}/none.git`, `${forge}/api/v1`),
    });
    expect(await attempt(shared, ["web", NEW])).toEqual(
      refusal(3, /^bump: 127\.0\.0\.1:\d+ has no repository shop\/none, or the token/),
    );
    await pointAt(shared, forge);
  });

  it("that has another branch as its default: exit code 3", async () => {
    const repo = await repository();
    await git(repo.root, "checkout", "--quiet", "-b", "trunk");
    await write(repo.root, {
      "argocd/settings/settings.yaml": settings(
        `${inject("forge")}/${OWNER}/${repo.name}.git`,
        `${inject("forge")}/api/v1`,
      ).replace("main", "trunk"),
    });
    expect(await attempt(repo, ["web", NEW])).toEqual(
      refusal(
        3,
        /^bump: the default branch of shop\/\S+ is main, whose \S+settings\.yaml does not deploy trunk: scheduled workflows start there; merge trunk into main, or/,
      ),
    );
  });

  it("that has another branch as its default, which deploys the same: it is a bump of main", async () => {
    const repo = await repository();
    await push(repo.root, "develop");
    const change = async () =>
      ask(repo.api, "PATCH", { default_branch: "develop" }).then(
        () => "",
        (error: unknown) => String(error),
      );
    // Gitea may still be at work on the push.
    await expect.poll(change, { timeout: 300_000, interval: 200 }).toBe("");
    expect(await attempt(repo, ["web", NEW])).toMatchObject({ exitCode: 0, lines: [] });
    expect(await ask(`${repo.api}/pulls/1`)).toMatchObject({ base: { ref: "main" } });
  });

  it.each<[string, (repo: TestRepository) => Promise<unknown>, RegExp]>([
    [
      "has another name for the repository",
      async ({ api, name }) => ask(api, "PATCH", { name: `${name}-renamed` }),
      /^bump: shop\/(\S+) is shop\/\1-renamed now on 127\.0\.0\.1:\d+; put that into repoURL in the settings$/,
    ],
    [
      "has archived the repository",
      async ({ api }) => ask(api, "PATCH", { archived: true }),
      /^bump: shop\/\S+ is archived; nothing can be written to it: take it out of the archive$/,
    ],
    [
      "allows no merge commits",
      async ({ api }) => ask(api, "PATCH", { allow_merge_commits: false, default_merge_style: "squash" }),
      /^bump: shop\/\S+ does not allow merge commits; allow them in its settings: a squash or a rebase loses/,
    ],
  ])("that %s: exit code 3", async (_, change, line) => {
    const repo = await repository();
    await change(repo);
    // Git follows the forge to the new name.
    expect(await attempt(repo, ["web", NEW])).toEqual(refusal(3, line));
  });

  it("that has another name for the repository is not read by its old one: exit code 3", async () => {
    const repo = await repository();
    await ask(repo.api, "PATCH", { name: `${repo.name}-renamed` });
    expect(await commandLine("status", repo.root, [])).toMatchObject({
      exitCode: 3,
      stdout: "",
      stderr: expect.stringMatching(/^status: shop\/(\S+) is shop\/\1-renamed now on /),
    });
  });

  it("that protects the branch, with --direct: exit code 3, before anything is pushed", async () => {
    const repo = await repository();
    await ask(`${repo.api}/branch_protections`, "POST", { rule_name: "main", enable_push: false });
    const line =
      /^bump: main of shop\/\S+ takes no push of this token: its protection does not let this token push; leave --direct out: then it is a pull request$/;
    expect(await attempt(repo, ["web", NEW, "--direct"])).toEqual(refusal(3, line));
  });

  it("that protects the branch too little, or as it should: `npm run check -- --forge` says so", async () => {
    const repo = await repository();
    const check = async (token = inject("token")) => {
      const { stdout } = await commandLine("check", repo.root, ["--forge", "--base", "HEAD"], {
        FORGE_TOKEN: token,
      });
      return stdout.split("\n").filter((line) => line.includes(" lacks "));
    };
    const line = (missing: string) =>
      `argocd/settings/settings.yaml:1: main of ${OWNER}/${repo.name} lacks ${missing}; protect it as docs/workflows.md says`;
    const all =
      "pull requests only; the required status check `checks`, of one source; no bypass of that check; branches up to date, or a merge queue that checks each entry; a review by code owners; no force push and no deletion; no merge by rebase or fast-forward";
    expect(await check()).toEqual([line(all)]);
    const rule = {
      rule_name: "m*",
      enable_push: false,
      enable_status_check: true,
      status_check_contexts: ["checks"],
      block_on_outdated_branch: true,
      required_approvals: 1,
      enable_approvals_whitelist: true,
      approvals_whitelist_username: [(await makePerson(repo, "write")).user],
    };
    await ask(`${repo.api}/branch_protections`, "POST", rule);
    expect(await check()).toEqual([line("no bypass of that check; no merge by rebase or fast-forward")]);
    await ask(repo.api, "PATCH", { allow_rebase: false, allow_fast_forward_only_merge: false });
    await ask(`${repo.api}/branch_protections/m*`, "PATCH", { block_admin_merge_override: true });
    expect(await check()).toEqual([]);
    // A person is told of the checks, and not of all else.
    const told =
      "no bypass of that check; branches up to date, or a merge queue that checks each entry; a review by code owners";
    expect(await check((await makePerson(repo, "write")).token)).toEqual([
      `argocd/settings/settings.yaml:1: note: main of ${OWNER}/${repo.name} lacks ${told}, as far as this token may know; protect it as docs/workflows.md says, or ask as an administrator`,
    ]);
  });

  it("that takes signed commits only: that is said before a proposal and before --direct, which it refuses", async () => {
    const repo = await repository();
    const rule = { rule_name: "m*", enable_push: true, require_signed_commits: true };
    await ask(`${repo.api}/branch_protections`, "POST", rule);
    const note = expect.stringMatching(
      /^note: main takes signed commits only, and Git does not sign here; set commit\.gpgSign, or merge with a squash/,
    );
    // Gitea 1.26.0 does not tell Git the reason.
    const line = expect.stringMatching(/^bump: the forge refuses a push to main: .*; leave --direct out/);
    expect(await attempt(repo, ["web", NEW, "--direct"])).toEqual({
      exitCode: 3,
      lines: [note, line],
      isUntouched: true,
    });
    expect(await attempt(repo, ["web", NEW])).toEqual({ exitCode: 0, lines: [note], isUntouched: false });
  });

  it("whose push fails for a missing signature says how to sign: exit code 3", async () => {
    const repo = await repository();
    const hooks = join(inject("repositories"), OWNER, `${repo.name}.git`, "hooks/pre-receive.d");
    // As GitHub says it.
    const text =
      "error: GH013: Repository rule violations found for refs/heads/main.\n\n- Commits must have verified signatures.";
    await write(hooks, { unsigned: `#!/bin/sh\nprintf '${text}\\n' >&2\nexit 1\n` });
    await chmod(join(hooks, "unsigned"), 0o755);
    const line =
      /^bump: the forge refuses a push to main: - Commits must have verified signatures; have Git sign commits \(commit\.gpgSign\) with a key/;
    expect(await attempt(repo, ["web", NEW, "--direct"])).toEqual(refusal(3, line));
  });

  it("that has a branch in the way of this one: exit code 3", async () => {
    const repo = await repository();
    await push(repo.root, "bump");
    expect(await attempt(repo, ["web", NEW])).toEqual(
      refusal(3, /^bump: the forge refuses a push to bump\/dev\/web: .*; let the token push/),
    );
  });

  it("that has no pull requests for the repository: exit code 3", async () => {
    const repo = await repository();
    await ask(repo.api, "PATCH", { has_pull_requests: false });
    const line =
      /^bump: 127\.0\.0\.1:\d+ has no pull requests for shop\/\S+; switch them on in its settings$/;
    expect(await attempt(repo, ["web", NEW])).toEqual(refusal(3, line));
    for (const word of ["pushed: ", "unchanged: "]) {
      const direct = await bump(repo.root, ["web", NEW, "--direct"]);
      expect(direct).toMatchObject({ exitCode: 0, stdout: expect.stringContaining(word), stderr: "" });
    }
  });
});

describe("a tree", () => {
  it.each<[string, Record<string, string>, number, RegExp]>([
    [
      "with a merge conflict",
      { [FILE]: `images:\n<<<<<<< HEAD\n${PINNED}=======\n>>>>>>> x\n` },
      3,
      /web\/kustomization\.yaml:2: the marker of a merge conflict; resolve it and push$/m,
    ],
    [
      "with broken YAML",
      { [FILE]: "images: [\n" },
      3,
      /^bump: overlays\/dev\/web\/kustomization\.yaml:\d: /m,
    ],
    [
      "without the image",
      { [FILE]: "resources: []\n" },
      3,
      /^bump: overlays\/dev\/web\/kustomization\.yaml pins no image registry\/shop\/web; add it/m,
    ],
    [
      "with two entries",
      { [FILE]: `images:\n${PINNED}${PINNED}` },
      3,
      /kustomization\.yaml:4: registry\/shop\/web is pinned a second time, first in line 2; leave one/m,
    ],
    [
      "with a digest that would stay",
      { [FILE]: `images:\n${PINNED}    digest: sha256:1\n` },
      3,
      /:2: the image is pinned by digest, too; say the new one with --digest$/m,
    ],
    ["with a broken catalogue", { "apps/web.yaml": "app: web\nkind: x\n" }, 3, /^bump: apps\/web\.yaml:2: /m],
    [
      "with two first environments",
      { "overlays/qa/environment.yaml": "kind: ConfigMap\ndata:\n  name: qa\n  soak: 1s\n" },
      3,
      /^bump: overlays\/\*\/environment\.yaml: the environments are not one line/m,
    ],
    [
      "with the example's settings",
      {
        "argocd/settings/settings.yaml": settings(
          "https://github.com/example/x.git",
          "https://api.github.com",
        ),
      },
      3,
      /still has an example as its repoURL; put your own there/m,
    ],
  ])("%s", async (_, files, exitCode, line) => {
    expect(await attempt(await repository(files), ["web", NEW])).toEqual(refusal(exitCode, line));
  });

  it("without the app's overlay: exit code 3", async () => {
    const app =
      "app: new\nnamespace: shop\nkind: service\nimage: shop/new\nsource: shop/new\nowners:\n  - web\n";
    const repo = await repository({ "apps/new.yaml": app });
    expect(await attempt(repo, ["new", NEW])).toEqual(
      refusal(3, /^bump: dev has no new; add overlays\/dev\/new\/kustomization\.yaml first$/m),
    );
  });

  it("with a file that is not UTF-8: exit code 3", async () => {
    const repo = await repository();
    await writeFile(join(repo.root, FILE), Buffer.from(`images:\n${PINNED}# \xfc\n`, "latin1"));
    await git(repo.root, "commit", "--quiet", "--all", "--message", "x");
    await push(repo.root, "main");
    expect(await attempt(repo, ["web", NEW])).toEqual(
      refusal(3, /^bump: overlays\/dev\/web\/kustomization\.yaml is not UTF-8; save it/m),
    );
  });
});
