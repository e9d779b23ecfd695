import { chmod, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, inject, it } from "vitest";
import { pushBump } from "../../scripts/lib/bump/direct.ts";
import { planBump } from "../../scripts/lib/bump/plan.ts";
import { proposeBump } from "../../scripts/lib/bump/pull-request.ts";
import { run } from "../../scripts/lib/exec.ts";
import { connectRepository } from "../../scripts/lib/forge/connection.ts";
import { withForge } from "../../scripts/lib/forge/session.ts";
import { toolPath } from "../../scripts/lib/tools/path.ts";
import { git, smallTree, temporary } from "../support/tree.ts";
import {
  ask,
  between,
  bump as call,
  environment,
  FILE,
  fileAt,
  history,
  NEW,
  NEWER,
  OLD,
  opening,
  personCommits,
  pointAt,
  pullRequests,
  push,
  references,
  repository,
  type TestRepository,
} from "./support.ts";

const BRANCH = "bump/dev/web";

/** These are not about the registry; registry.test.ts is. */
const bump: typeof call = async (root, args, ...rest) => call(root, ["--no-verify", ...args], ...rest);

/** A bump by a machine whose clock is another. */
async function bumpAt(
  { root }: TestRepository,
  tag: string,
  asked: { askedAt: Date; direct: boolean },
): Promise<void> {
  const connection = await connectRepository(root, environment({ FORGE_TOKEN: inject("token") }));
  const { web } = connection.address;
  const session = { env: environment(), onInterrupt: () => {}, needs: [] };
  await withForge(connection, session, async (remote, forge) => {
    const registry = { unverified: "a test" };
    const kustomize = async () => toolPath("kustomize");
    const plan = await planBump(remote, { app: "web", image: { tag }, ...asked, web, registry, kustomize });
    const options = { author: { name: "Ada", email: "ada@shop.test" }, now: () => asked.askedAt };
    await (asked.direct ? pushBump(remote, plan, options) : proposeBump(remote, forge, plan, options));
  });
}

describe("by pull request", () => {
  it("one line of one file; the same call twice is once; a newer commit updates it", async () => {
    const repo = await repository();
    const before = await fileAt(repo.root, "main");
    const first = await bump(repo.root, ["web", NEW]);
    expect(first).toMatchObject({ exitCode: 0, stderr: "" });
    expect(first.stdout).toContain(`${FILE}:5\n-    newTag: "${OLD}"\n+    newTag: "${NEW}"\n`);
    expect(first.stdout).toMatch(/\nopened: #1 http\S+\/pulls\/1 \(web 89abcde\)\n$/);
    expect(await fileAt(repo.root, BRANCH)).toBe(before.replace(OLD, NEW));
    expect(await history(repo.root, "diff", "--numstat", `origin/main...origin/${BRANCH}`)).toBe(
      `1\t1\t${FILE}`,
    );
    const message = await history(repo.root, "log", "-1", "--format=%an%n%B", `origin/${BRANCH}`);
    expect(message).toMatch(
      /^ecommerce-gitops bot\nweb: 89abcde in dev\n\nhttp\S+\/shop\/web\/compare\/0123/,
    );
    expect(message).toContain("\nImage in the registry: not verified, as --no-verify asks\n");

    const refs = await references(repo.root);
    const second = await bump(repo.root, ["web", NEW]);
    expect(second.stdout).toMatch(/\nunchanged: #1 /);
    expect(await references(repo.root)).toBe(refs);

    const third = await bump(repo.root, ["web", NEWER]);
    expect(third.stdout).toMatch(/\nupdated: #1 /);
    expect(await fileAt(repo.root, BRANCH)).toBe(before.replace(OLD, NEWER));
    expect(await history(repo.root, "rev-list", "--count", `origin/main..origin/${BRANCH}`)).toBe("1");
    expect(await pullRequests(repo)).toMatchObject([
      { number: 1, state: "open", title: "web: fedcba9 in dev", body: expect.stringContaining(NEWER) },
    ]);
    expect(await fileAt(repo.root, "main")).toBe(before);
  });

  it("never overwrites what a person has put on the branch, and says what to do", async () => {
    const repo = await repository();
    await bump(repo.root, ["web", NEW]);
    await personCommits(repo.root, BRANCH, { "base/web/more.yaml": "kind: More\n" });
    const refs = await references(repo.root);
    const person = (await history(repo.root, "rev-parse", `origin/${BRANCH}`)).slice(0, 7);
    const refused = await bump(repo.root, ["web", NEWER]);
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toBe(
      `bump: ${BRANCH} holds a commit that no command made: ${person}; merge or close its pull request and delete the branch, then run it again\n`,
    );
    // What is asked for is there: nothing needs to be overwritten.
    expect(await bump(repo.root, ["web", NEW])).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await references(repo.root)).toBe(refs);
  });

  it("takes a bump that a person has amended for theirs", async () => {
    const repo = await repository();
    await bump(repo.root, ["web", NEW]);
    await history(repo.root, "checkout", "--quiet", "--force", "--detach", `origin/${BRANCH}`);
    await writeFile(
      join(repo.root, FILE),
      (await readFile(join(repo.root, FILE), "utf8")).concat("# mine\n"),
    );
    await git(repo.root, "commit", "--quiet", "--all", "--amend", "--no-edit");
    await git(
      repo.root,
      "-c",
      `http.extraHeader=Authorization: token ${inject("token")}`,
      "push",
      "--quiet",
      "--force",
      "origin",
      `HEAD:${BRANCH}`,
    );
    expect(await bump(repo.root, ["web", NEWER])).toMatchObject({
      exitCode: 3,
      stderr: expect.stringContaining("holds a commit that no command made"),
    });
  });

  it("starts from main again when main has changed the same file since", async () => {
    const repo = await repository();
    await bump(repo.root, ["web", NEW]);
    const changed = `${await fileAt(repo.root, "main")}# by hand\n`;
    await personCommits(repo.root, "main", { [FILE]: changed });
    expect((await bump(repo.root, ["web", NEW])).stdout).toMatch(/\nupdated: #1 /);
    expect(await fileAt(repo.root, BRANCH)).toBe(changed.replace(OLD, NEW));
    expect(await history(repo.root, "rev-list", "--count", `origin/main..origin/${BRANCH}`)).toBe("1");
  });

  it("does not take main's own commits for somebody's, however many the forge has merged into the branch", async () => {
    const repo = await repository();
    await bump(repo.root, ["web", NEW]);
    await history(repo.root, "checkout", "--quiet", "--force", "--detach", "origin/main");
    // More than are fetched at first to find where the branch left main.
    for (let day = 1; day <= 60; day += 1)
      await git(repo.root, "commit", "--quiet", "--allow-empty", "--message", `Day ${day}`);
    await push(repo.root, "main");
    await ask(`${repo.api}/pulls/1/update?style=merge`, "POST");
    await personCommits(repo.root, "main", { "note.yaml": "a: 1\n" });
    expect((await bump(repo.root, ["web", NEWER])).stdout).toMatch(/\nupdated: #1 /);
    expect(await history(repo.root, "rev-list", "--count", `origin/main..origin/${BRANCH}`)).toBe("1");
  });

  it("is not led astray by another branch's pull request", async () => {
    const repo = await repository();
    await personCommits(repo.root, "main", { "x.yaml": "a: 1\n" });
    await history(repo.root, "checkout", "--quiet", "--detach", "origin/main");
    for (const branch of ["bump/dev/web-2", "other"]) {
      await git(repo.root, "push", "--quiet", "--force", repo.root, `HEAD:refs/heads/tmp-${branch.length}`);
      await git(
        repo.root,
        "-c",
        `http.extraHeader=Authorization: token ${inject("token")}`,
        "push",
        "--quiet",
        "origin",
        `HEAD:refs/heads/${branch}`,
      );
      await personCommits(repo.root, branch, { [`${branch.length}.yaml`]: "a: 1\n" });
      await ask(`${repo.api}/pulls`, "POST", { head: branch, base: "main", title: branch });
    }
    expect((await bump(repo.root, ["web", NEW])).stdout).toMatch(/\nopened: #3 /);
    expect((await pullRequests(repo)).map(({ title }) => title)).toEqual([
      "web: 89abcde in dev",
      "other",
      "bump/dev/web-2",
    ]);
  });

  it("goes on where a run was broken off after its push", async () => {
    const repo = await repository();
    let broken = true;
    const opens = opening();
    const proxy = await between(async (method, path) => (broken && opens(method, path) ? 500 : undefined));
    await pointAt(repo, proxy.url);
    expect((await bump(repo.root, ["web", NEW])).exitCode).toBe(5);
    expect(await pullRequests(repo)).toEqual([]);
    const commit = await history(repo.root, "rev-parse", `origin/${BRANCH}`);
    broken = false;
    expect((await bump(repo.root, ["web", NEW])).stdout).toMatch(/\nopened: #1 /);
    expect(await pullRequests(repo)).toMatchObject([{ head: { sha: commit } }]);
  });

  it("closes the pull request of an older bump when main has what is asked for now", async () => {
    const repo = await repository();
    await bump(repo.root, ["web", NEW]);
    const refs = await references(repo.root);
    expect((await bump(repo.root, ["web", OLD, "--dry-run"])).exitCode).toBe(0);
    expect(await references(repo.root)).toBe(refs);
    const back = await bump(repo.root, ["web", OLD]);
    expect(back).toMatchObject({ exitCode: 0, stderr: "" });
    expect(back.stdout).toMatch(/^unchanged: dev on main has .*\nclosed: #1 http\S+\/pulls\/1\n$/);
    expect(await pullRequests(repo)).toMatchObject([{ number: 1, state: "closed" }]);
    expect(await references(repo.root)).not.toContain(BRANCH);
    // And a later one opens another.
    expect((await bump(repo.root, ["web", NEW])).stdout).toMatch(/\nopened: #2 /);
  });

  it("does not close one that was asked for later", async () => {
    const repo = await repository();
    let isFirst = true;
    const proxy = await between(async (_, path) => {
      if (!isFirst || !path.includes("git-upload-pack")) return undefined;
      isFirst = false;
      await bump(repo.root, ["web", NEW]);
      return undefined;
    });
    await pointAt(repo, proxy.url);
    expect((await bump(repo.root, ["web", OLD])).stdout).toBe(
      `unchanged: dev on main has ${OLD} of web already\n`,
    );
    expect(await pullRequests(repo)).toMatchObject([{ state: "open" }]);
  });

  it.each([
    ["by pull request", [], /^bump: bump\/dev\/web got fedcba9 while this ran; that was asked for later, so/],
    [
      "with --direct",
      ["--direct"],
      /^bump: dev got fedcba9 of web while this ran, in \w{7}; that was asked for/,
    ],
  ])("%s does not replace one that was asked for later and was there first", async (_, options, line) => {
    const repo = await repository();
    let refs = "";
    const proxy = await between(async (_method, path) => {
      if (refs !== "" || !path.includes("git-upload-pack")) return undefined;
      refs = "soon";
      expect(await bump(repo.root, ["web", NEWER, ...options])).toMatchObject({ exitCode: 0 });
      refs = await references(repo.root);
      return undefined;
    });
    await pointAt(repo, proxy.url);
    const result = await bump(repo.root, ["web", NEW, ...options]);
    expect(result).toMatchObject({ exitCode: 3, stderr: expect.stringMatching(line) });
    expect(await references(repo.root)).toBe(refs);
  });

  it.each([[[]], [["--direct"]]])("%j replaces one that is dated in the future", async (options) => {
    const repo = await repository();
    const ahead = new Date(Date.now() + 3_600_000);
    await bumpAt(repo, NEW, { askedAt: ahead, direct: options.length > 0 });
    expect(await bump(repo.root, ["web", NEWER, ...options])).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await fileAt(repo.root, options.length > 0 ? "main" : BRANCH)).toContain(NEWER);
  });

  it.each<[string, boolean, () => (method: string, path: string) => boolean]>([
    ["is updated", true, () => (method, path) => method === "PATCH" && path.endsWith("/pulls/1")],
    ["is opened", false, opening],
  ])(
    "a later bump while the pull request %s leaves it with text and content of one",
    async (_, isThere, moment) => {
      const repo = await repository();
      if (isThere) await bump(repo.root, ["web", "a".repeat(40)]);
      const isMoment = moment();
      let isFirst = true;
      const proxy = await between(async (method, path) => {
        if (!isMoment(method, path) || !isFirst) return undefined;
        isFirst = false;
        expect(await bump(repo.root, ["web", NEWER])).toMatchObject({ exitCode: 0 });
        return undefined;
      });
      await pointAt(repo, proxy.url);
      expect(await bump(repo.root, ["web", NEW])).toMatchObject({
        exitCode: 3,
        stderr: `bump: ${BRANCH} got fedcba9 while this ran; that was asked for later, so it stays\n`,
      });
      expect(await fileAt(repo.root, BRANCH)).toContain(NEWER);
      expect(await pullRequests(repo)).toMatchObject([
        { title: "web: fedcba9 in dev", body: expect.stringContaining(`\nTo: ${NEWER}\n`) },
      ]);
    },
  );

  it("does not close it when a person has put something on its branch", async () => {
    const repo = await repository();
    await bump(repo.root, ["web", NEW]);
    await personCommits(repo.root, BRANCH, { "base/web/more.yaml": "kind: More\n" });
    const refs = await references(repo.root);
    expect(await bump(repo.root, ["web", OLD])).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(/^bump: bump\/dev\/web holds a commit that no command made: \w{7}; /),
    });
    expect(await references(repo.root)).toBe(refs);
    expect(await pullRequests(repo)).toMatchObject([{ state: "open" }]);
  });

  it("ends as one pull request when two runs do the same at once", async () => {
    const repo = await repository();
    const results = await Promise.all([bump(repo.root, ["web", NEW]), bump(repo.root, ["web", NEW])]);
    expect(results).toMatchObject([{ exitCode: 0 }, { exitCode: 0 }]);
    // Gitea may have let both open one, of which the second is closed again.
    const open = (await pullRequests(repo)).filter(({ state }) => state === "open");
    expect(open).toMatchObject([{ number: 1, title: "web: 89abcde in dev" }]);
    expect(await history(repo.root, "rev-list", "--count", `origin/main..origin/${BRANCH}`)).toBe("1");
  });
});

describe("with --direct", () => {
  it("is a commit on main, on top of what somebody else has pushed meanwhile", async () => {
    const repo = await repository();
    let pushes = 0;
    const proxy = await between(async (method, path) => {
      if (method !== "POST" || !path.endsWith("/git-receive-pack")) return undefined;
      pushes += 1;
      if (pushes <= 2) await personCommits(repo.root, "main", { "note.yaml": `at: ${pushes}\n` });
      return undefined;
    });
    await pointAt(repo, proxy.url);
    const result = await bump(repo.root, ["web", NEW, "--direct"]);
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
    expect(result.stdout).toMatch(/\npushed: [0-9a-f]{7} is on main\n$/);
    expect(pushes).toBe(3);
    expect(await history(repo.root, "log", "--format=%s", "origin/main")).toBe(
      "web: 89abcde in dev\nBy hand\nBy hand\nThe tree",
    );
    expect(await pullRequests(repo)).toEqual([]);
  });

  it.each([
    [
      "a later bump of the same app",
      "bump",
      /dev got fedcba9 of web while this ran, in \w{7}; that was asked for later, so it stays\n$/,
    ],
    [
      "a person's edit of the same line",
      "person",
      /dev got fedcba9 of web while this ran, in \w{7}; run it again to replace it\n$/,
    ],
  ])("gives way to %s", async (_, who, message) => {
    const repo = await repository();
    let isFirst = true;
    const proxy = await between(async (method, path) => {
      if (!isFirst || method !== "POST" || !path.endsWith("/git-receive-pack")) return undefined;
      isFirst = false;
      if (who === "bump") await bump(repo.root, ["web", NEWER, "--direct"]);
      else
        await personCommits(repo.root, "main", {
          [FILE]: (await fileAt(repo.root, "main")).replace(OLD, NEWER),
        });
      return undefined;
    });
    await pointAt(repo, proxy.url);
    expect(await bump(repo.root, ["web", NEW, "--direct"])).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(message),
    });
    expect(await fileAt(repo.root, "main")).toContain(NEWER);
  });

  it("lands all of 20 bumps of different apps at once", async () => {
    const apps = Array.from({ length: 20 }, (_, index) => `app-${String(index).padStart(2, "0")}`);
    const tree = smallTree();
    const file = (app: string) => `overlays/dev/${app}/kustomization.yaml`;
    const files = apps.flatMap((app) =>
      ["apps/web.yaml", "base/web/kustomization.yaml", "base/web/pod.yaml", FILE].map((path) => [
        path.replace("web", app),
        (tree[path] ?? "").replaceAll("web", app),
      ]),
    );
    const repo = await repository(Object.fromEntries(files));
    const sha = (app: string) => app.slice(-2).repeat(20);
    const results = await Promise.all(apps.map(async (app) => bump(repo.root, [app, sha(app), "--direct"])));
    expect(results.filter(({ exitCode }) => exitCode !== 0)).toEqual([]);
    for (const app of apps) expect(await fileAt(repo.root, "main", file(app))).toContain(`"${sha(app)}"`);
    const subjects = await history(repo.root, "log", "--format=%s", "--first-parent", "origin/main");
    expect(subjects.split("\n").sort()).toEqual(
      ["The tree", ...apps.map((app) => `${app}: ${sha(app).slice(0, 7)} in dev`)].sort(),
    );
  });
});

describe("what it works from", () => {
  it("is main on the forge, whatever the checkout looks like", async () => {
    const repo = await repository();
    const before = await fileAt(repo.root, "main");
    await git(repo.root, "checkout", "--quiet", "--detach");
    for (const path of ["apps", "overlays", "base"]) await rm(join(repo.root, path), { recursive: true });
    await writeFile(join(repo.root, "staged"), "x");
    await git(repo.root, "add", "--all");
    const status = await git(repo.root, "status", "--porcelain");
    expect((await bump(repo.root, ["web", NEW, "--direct"])).exitCode).toBe(0);
    expect(await git(repo.root, "status", "--porcelain")).toBe(status);
    expect(await fileAt(repo.root, "main")).toBe(before.replace(OLD, NEW));
  });

  it("keeps line ends and every other byte, under any Git configuration", async () => {
    const text = `\uFEFFresources: [ ../../../base/web ]\r\nimages:   # ü\r\n- name: registry/shop/web\r\n  newTag:   "${OLD}"   # why\r\n`;
    const repo = await repository({ [FILE]: text });
    await git(repo.root, "config", "user.name", "Ada");
    await git(repo.root, "config", "user.email", "ada@shop.test");
    const env = {
      FORGE_TOKEN: inject("token"),
      GIT_CONFIG_COUNT: "1",
      GIT_CONFIG_KEY_0: "core.autocrlf",
      GIT_CONFIG_VALUE_0: "true",
    };
    expect((await bump(repo.root, ["web", NEW, "--direct"], env)).exitCode).toBe(0);
    // Compared by its hash: reading it here would drop the mark it starts with.
    await writeFile(join(repo.root, "expected"), text.replace(OLD, NEW));
    const expected = (await git(repo.root, "hash-object", "--no-filters", "expected")).trim();
    expect(await history(repo.root, "rev-parse", `origin/main:${FILE}`)).toBe(expected);
    expect(await history(repo.root, "log", "-1", "--format=%an <%ae>", "origin/main")).toBe(
      "Ada <ada@shop.test>",
    );
  });

  it("pins the digest, too, where there is one", async () => {
    const digest = (digit: string) => `sha256:${digit.repeat(64)}`;
    const text = `images:\n  - name: registry/shop/web\n    newTag: "${OLD}"\n    digest: ${digest("0")}\n`;
    const repo = await repository({ [FILE]: text });
    expect((await bump(repo.root, ["web", NEW, "--direct", "--digest", digest("a")])).exitCode).toBe(0);
    expect(await fileAt(repo.root, "main")).toBe(
      text.replace(OLD, NEW).replace(digest("0"), `"${digest("a")}"`),
    );
  });
});

describe("without a trace", () => {
  it("--dry-run prints the line, and nothing is written", async () => {
    const repo = await repository();
    const refs = await references(repo.root);
    const result = await bump(repo.root, ["web", NEW, "--dry-run"]);
    expect(result).toEqual({
      exitCode: 0,
      stdout: `${FILE}:5\n-    newTag: "${OLD}"\n+    newTag: "${NEW}"\nimage in the registry: not verified, as --no-verify asks\na pull request from bump/dev/web to main\n`,
      stderr: "",
    });
    expect(await references(repo.root)).toBe(refs);
  });

  it.each([[[]], [["--direct"]]])("%j is unchanged when dev has it already", async (options) => {
    const repo = await repository();
    const refs = await references(repo.root);
    const result = await bump(repo.root, ["web", OLD, ...options]);
    expect(result).toEqual({
      exitCode: 0,
      stdout: `unchanged: dev on main has ${OLD} of web already\n`,
      stderr: "",
    });
    expect(await references(repo.root)).toBe(refs);
  });

  it("no argument of git, no line of output and no file shows the token", async () => {
    const repo = await repository();
    const bin = await temporary();
    const log = join(bin, "arguments");
    const real = (await run("which", ["git"])).trim();
    await writeFile(join(bin, "git"), `#!/bin/sh\nprintf '%s\\n' "$@" >> '${log}'\nexec '${real}' "$@"\n`);
    await chmod(join(bin, "git"), 0o755);
    const token = inject("token");
    const scratch = await temporary();
    const env = {
      FORGE_TOKEN: token,
      PATH: `${bin}:${process.env["PATH"]}`,
      TMPDIR: scratch,
      GIT_TRACE_CURL: "1",
      GIT_CURL_VERBOSE: "1",
    };
    const result = await bump(repo.root, ["web", NEW, "--verbose"], env);
    expect(result.exitCode).toBe(0);
    const shown = `${result.stdout}${result.stderr}${await readFile(log, "utf8")}`;
    expect(shown).toContain("push\n");
    for (const secret of [token, Buffer.from(`x-access-token:${token}`).toString("base64")]) {
      expect(shown).not.toContain(secret);
    }
    // The temporary clone is gone.
    expect(await run("ls", ["-A", scratch])).not.toContain("remote-");
  });

  it.each(["SIGINT", "SIGTERM"] as const)("%s leaves no temporary file, and no change", async (signal) => {
    const repo = await repository();
    const refs = await references(repo.root);
    const scratch = await temporary();
    let kill: (name: NodeJS.Signals) => void = () => {};
    const proxy = await between(async (method, path) => {
      if (!path.endsWith("service=git-receive-pack")) return undefined;
      kill(signal);
      // The push never gets an answer.
      return new Promise(() => {});
    });
    await pointAt(repo, proxy.url);
    const env = { FORGE_TOKEN: inject("token"), TMPDIR: scratch };
    const result = await bump(repo.root, ["web", NEW, "--direct"], env, (end) => {
      kill = end;
    });
    expect(result.exitCode).toBe(130);
    expect(await run("ls", ["-A", scratch])).not.toContain("remote-");
    expect(await references(repo.root)).toBe(refs);
  });
});
