import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { tryRun } from "../../scripts/lib/exec.ts";
import { authorOf, refuseHidden, uncommitted } from "../../scripts/lib/git/checkout.ts";
import { GitHistory } from "../../scripts/lib/git/history.ts";
import { renderedDiffs } from "../../scripts/lib/manifests/change-report.ts";
import { plaintextInTree, plaintextStaged } from "../../scripts/lib/plaintext/scan.ts";
import { allReleases, checkProvenance } from "../../scripts/lib/release/provenance.ts";
import { formatRelease } from "../../scripts/lib/release/release.ts";
import { readStatus } from "../../scripts/lib/status/status.ts";
import { changedPaths } from "../../scripts/lib/tree/overlays.ts";
import { bundledLine } from "../support/commands.ts";
import { configured, type Settings, type SettingsWay, WAYS } from "../support/git-settings.ts";
import { commit, git, smallRepository, temporary, write } from "../support/tree.ts";

afterEach(() => {
  vi.unstubAllEnvs();
});

function stub(env: Record<string, string>): void {
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
}

describe("files that git does not look at", () => {
  const SPARSE = ["sparse-checkout", "set", "apps", "argocd", "base", "overlays/dev"];
  const WEB = "overlays/live/web/kustomization.yaml";

  it.each<[string, string[], RegExp, string]>([
    [
      "a sparse checkout",
      SPARSE,
      /^this checkout is sparse: git leaves out overlays\/\S+ and \d+ more \(skip-worktree\)$/,
      "run `git sparse-checkout disable`",
    ],
    [
      "skip-worktree",
      ["update-index", "--skip-worktree", WEB],
      /^this checkout is sparse: git leaves out overlays\/live\/web\/kustomization\.yaml \(skip-worktree\)$/,
      "run `git sparse-checkout disable`",
    ],
    [
      "assume-unchanged",
      ["update-index", "--assume-unchanged", WEB],
      /^git takes overlays\/live\/web\/kustomization\.yaml for unchanged, whatever it holds \(assume-unchanged\)$/,
      `run \`git update-index --no-assume-unchanged ${WEB}\``,
    ],
  ])("%s: the checkout is refused, until what is said is done", async (_, args, message, hint) => {
    const root = await smallRepository();
    await refuseHidden(root);
    await git(root, ...args);
    const refusal = { exitCode: 3, message: expect.stringMatching(message), hint };
    await expect(refuseHidden(root)).rejects.toMatchObject(refusal);
    await expect(uncommitted(root, ["apps"])).rejects.toMatchObject(refusal);
    const [, ...way] = /`(.+)`/.exec(hint)?.[1]?.split(" ") ?? [];
    await git(root, ...way);
    await refuseHidden(root);
  });

  it("are no matter outside a repository", async () => {
    await expect(refuseHidden(await temporary())).resolves.toBeUndefined();
  });

  it.each([
    ["check", ["--all"]],
    ["secrets", []],
    ["seal", ["dev", "web"]],
    ["keys", []],
    ["init", []],
    ["promote", ["--local", "dev", "test"]],
  ])("%s refuses a sparse checkout", async (verb, args) => {
    const root = await smallRepository();
    await git(root, ...SPARSE);
    const result = await tryRun(...bundledLine(verb, ["--root", root, ...args]));
    expect(result).toEqual({
      exitCode: 3,
      stdout: "",
      stderr: expect.stringMatching(
        new RegExp(`^${verb}: this checkout is sparse: .*; run \`git sparse-checkout disable\`\n$`),
      ),
    });
  });
});

describe("a file that git has and the work tree has not", () => {
  it.each<[string, (root: string) => Promise<unknown>]>([
    ["removed, and not staged", async (root) => rm(join(root, "a.sops.yaml"))],
    [
      "a directory in its place",
      async (root) => {
        await rm(join(root, "a.sops.yaml"));
        await write(root, { "a.sops.yaml/x": "" });
      },
    ],
  ])("is not judged: %s", async (_, change) => {
    const root = await temporary();
    await git(root, "init", "--quiet");
    await write(root, { "a.sops.yaml": "a: 1\n" });
    await commit(root);
    expect(await plaintextInTree(root, new Set())).not.toEqual([]);
    await change(root);
    expect(await plaintextInTree(root, new Set())).toEqual([]);
  });
});

describe("a partial clone", () => {
  /** Its release names a commit whose base is no longer what HEAD has. */
  async function partial(): Promise<string> {
    const root = await smallRepository();
    const rendered = (await git(root, "rev-parse", "HEAD")).trim();
    const release = { app: "web", image: "shop/web:1", from: "dev", commit: rendered, body: "kind: Pod\n" };
    await write(root, {
      "overlays/test/web/release.yaml": formatRelease(release),
      "base/web/pod.yaml": "kind: Job\n",
    });
    await commit(root);
    await git(root, "config", "uploadpack.allowFilter", "true");
    const clone = join(await temporary(), "clone");
    await git(root, "clone", "--quiet", "--filter=blob:none", `file://${root}`, clone);
    return clone;
  }

  it("brings what is missing, and where that cannot be done it is refused, not judged", async () => {
    const clone = await partial();
    const origin = (await git(clone, "remote", "get-url", "origin")).trim();
    await git(clone, "remote", "set-url", "origin", "file:///nowhere");
    const check = async () => checkProvenance(clone, await allReleases(clone), async () => "no-kustomize");
    await expect(check()).rejects.toMatchObject({
      exitCode: 3,
      message: expect.stringMatching(
        /^this clone is partial, and git cannot fetch [0-9a-f]{7}, which it needs: /,
      ),
      hint: "run `git fetch --refetch --no-filter`, which makes the clone whole",
    });
    await git(clone, "remote", "set-url", "origin", origin);
    const [checked] = await check();
    // The program that would render it is not there; nothing is missing any more.
    expect(checked?.origin).toMatchObject({ difference: { what: expect.stringMatching(/no-kustomize/) } });
  });
});

const QUERY = { apps: [], changes: [], sources: undefined, now: new Date("2026-11-20T12:00:00Z") };

/** Everything that is asked of a checkout, of one with a merge, names and texts beyond ASCII, and changes in the work tree. */
async function answers(root: string): Promise<unknown> {
  const history = new GitHistory(root);
  const head = (await history.commitOf("HEAD")) ?? "";
  const { parents } = await history.describe(head);
  return {
    author: await authorOf(root, process.env),
    history: await Promise.all([
      history.describe(`${head}~1`),
      history.log(["base"]),
      history.changes(["base"], { from: head }),
      history.changed(parents[0] ?? "", head),
      history.lastChange(head, ["base"]),
      history.entries(head, ["base"]),
    ]),
    status: await readStatus({ git: history, commit: head, ...QUERY }),
    uncommitted: await uncommitted(root, ["."]),
    changed: await changedPaths(root, parents[0] ?? ""),
    difference: await renderedDiffs([{ label: "dev/web", before: "a\n\nb\n", after: "a\n\nc\n" }]),
    staged: await plaintextStaged(root),
    tree: await plaintextInTree(root, new Set()),
  };
}

async function repository(): Promise<string> {
  const root = await smallRepository();
  await git(root, "config", "user.name", "Zoë");
  await git(root, "config", "user.email", "zoe@shop.test");
  await git(root, "checkout", "--quiet", "-b", "side");
  await write(root, { "base/é.yaml": "Zwölf: 12\n", "base/web/x.yaml": "a: 1\n" });
  await git(root, "add", "--all");
  await git(root, "commit", "--quiet", "--message", "Zwölf\n\nÜber alles\n");
  await git(root, "checkout", "--quiet", "main");
  await git(root, "merge", "--quiet", "--no-ff", "--message", "Merge Zwölf", "side");
  await write(root, {
    "base/web/x.yaml": "a: 2\n",
    "new/a/b.yaml": "",
    "staged.yaml": "kind: Secret\nstringData:\n  password: correct-horse\n",
  });
  await git(root, "add", "staged.yaml");
  return root;
}

/** What a person may have set for looking at a history, by its subject. */
const READING: Record<string, Settings> = {
  colours: [
    ["color.ui", "always"],
    ["color.diff", "always"],
    ["color.status", "always"],
  ],
  encodings: [
    ["i18n.commitEncoding", "ISO-8859-1"],
    ["i18n.logOutputEncoding", "ISO-8859-1"],
    ["core.quotePath", "true"],
    ["core.precomposeUnicode", "true"],
  ],
  "line ends": [
    ["core.autocrlf", "input"],
    ["core.safecrlf", "warn"],
  ],
  differences: [
    ["diff.orderFile", "/nonexistent"],
    ["diff.relative", "true"],
    ["diff.renames", "copies"],
    ["diff.noprefix", "true"],
    ["diff.mnemonicPrefix", "true"],
    ["diff.external", "false"],
    ["diff.context", "0"],
    ["diff.algorithm", "patience"],
    ["diff.suppressBlankEmpty", "true"],
    ["diff.wsErrorHighlight", "all"],
    ["diff.ignoreSubmodules", "all"],
  ],
  histories: [
    ["log.showSignature", "true"],
    ["log.showRoot", "false"],
    ["log.follow", "true"],
    ["log.mailmap", "true"],
    ["log.diffMerges", "combined"],
    ["log.decorate", "full"],
    ["log.abbrevCommit", "true"],
    ["log.date", "relative"],
    ["format.pretty", "oneline"],
    ["core.abbrev", "5"],
    ["notes.displayRef", "refs/notes/*"],
  ],
  status: [
    ["status.showUntrackedFiles", "no"],
    ["status.relativePaths", "true"],
    ["status.short", "true"],
    ["status.branch", "true"],
    ["status.showStash", "true"],
    ["status.renames", "copies"],
    ["core.untrackedCache", "true"],
    ["index.version", "4"],
    ["index.skipHash", "true"],
    ["feature.manyFiles", "true"],
  ],
  "programs of others": [
    ["alias.log", "!false"],
    ["core.pager", "false"],
    ["core.editor", "false"],
    ["core.commentChar", "%"],
    ["core.hooksPath", "/nonexistent"],
    ["trace2.eventTarget", "2"],
    ["advice.detachedHead", "true"],
    ["safe.bareRepository", "explicit"],
    ["maintenance.auto", "true"],
  ],
};

describe("what git says of a checkout is the same", () => {
  let root: string;
  let plain: unknown;
  beforeEach(async () => {
    root = await repository();
    stub(await configured([], "global", root));
    plain = await answers(root);
  });

  it.each(Object.keys(READING).map((subject, index) => [subject, WAYS[index % WAYS.length]] as const))(
    "whatever is set about %s, %s",
    async (subject, way = "global") => {
      stub(await configured(READING[subject] ?? [], way, root));
      expect(await answers(root)).toEqual(plain);
    },
  );

  it.each(WAYS)("with all of it set, %s", async (way: SettingsWay) => {
    stub(await configured(Object.values(READING).flat(), way, root));
    expect(await answers(root)).toEqual(plain);
  });

  it("in the environment of a hook of another repository, and with objects that replace others", async () => {
    const other = await smallRepository();
    await git(root, "replace", "HEAD", "HEAD~1");
    stub({
      GIT_DIR: join(other, ".git"),
      GIT_WORK_TREE: other,
      GIT_OBJECT_DIRECTORY: join(other, ".git/objects"),
      GIT_COMMON_DIR: join(other, ".git"),
      GIT_NAMESPACE: "x",
      GIT_LITERAL_PATHSPECS: "1",
      GIT_ATTR_SOURCE: "HEAD",
      GIT_TRACE: "1",
      GIT_TRACE2_EVENT: "2",
      GIT_DIFF_OPTS: "-u9",
      GIT_EXTERNAL_DIFF: "false",
      GIT_CONFIG: "/nonexistent",
      GIT_QUARANTINE_PATH: "/nonexistent",
    });
    expect(await answers(root)).toEqual(plain);
  });
});

describe("a git that does not work here", () => {
  it.each<[string, Record<string, string>, string]>([
    ["a setting with another kind of value", {}, "bad boolean config value 'maybe' for 'core.autocrlf'"],
    ["a count that is none", { GIT_CONFIG_COUNT: "x" }, "bogus count in GIT_CONFIG_COUNT"],
    ["a missing key", { GIT_CONFIG_COUNT: "1" }, "missing config key GIT_CONFIG_KEY_0"],
  ])("says which setting: %s", async (_, env, fact) => {
    const root = await smallRepository();
    const setting: Settings = [["core.autocrlf", "maybe"]];
    stub({ ...(await configured(Object.keys(env).length === 0 ? setting : [], "global", root)), ...env });
    await expect(uncommitted(root, ["."])).rejects.toMatchObject({
      exitCode: 3,
      message: `git cannot read its configuration: ${fact}`,
    });
  });

  it("says which file, where one is no configuration", async () => {
    const root = await smallRepository();
    const file = join(await temporary(), "config");
    await writeFile(file, "[user\n");
    stub({ GIT_CONFIG_GLOBAL: file });
    await expect(authorOf(root, process.env)).rejects.toMatchObject({
      exitCode: 3,
      message: `git cannot read its configuration: bad config line 1 in file ${file}`,
    });
  });

  it("says that the checkout is another user's", async () => {
    const root = await smallRepository();
    const bin = await temporary();
    const { stdout: real } = await tryRun("which", ["git"]);
    const script = `#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec ${real.trim()} "$@"\n`;
    await writeFile(join(bin, "git"), script, { mode: 0o755 });
    stub({ PATH: `${bin}:${process.env["PATH"]}`, GIT_CONFIG_GLOBAL: "/dev/null" });
    await expect(uncommitted(root, ["."])).rejects.toMatchObject({
      exitCode: 3,
      message: `${root} belongs to another user, so git does not read it (safe.directory)`,
      hint: `git config --global --add safe.directory ${root}`,
    });
  });

  it("says that it is too old for the repository", async () => {
    const root = await smallRepository();
    await git(root, "config", "core.repositoryFormatVersion", "1");
    await git(root, "config", "extensions.later", "x");
    await expect(uncommitted(root, ["."])).rejects.toMatchObject({
      exitCode: 3,
      message: "this git does not know the repository's extension later",
    });
  });
});

describe("who commits", () => {
  it.each<[string, Settings, Record<string, string>, string]>([
    [
      "user",
      [
        ["user.name", "Ann"],
        ["user.email", "ann@shop.test"],
      ],
      {},
      "Ann <ann@shop.test>",
    ],
    [
      "author before user",
      [
        ["user.name", "A"],
        ["user.email", "a@shop.test"],
        ["author.name", "Ann"],
        ["author.email", "ann@shop.test"],
      ],
      {},
      "Ann <ann@shop.test>",
    ],
    [
      "the environment before both",
      [
        ["user.name", "A"],
        ["user.email", "ann@shop.test"],
      ],
      { GIT_AUTHOR_NAME: "Ann" },
      "Ann <ann@shop.test>",
    ],
    [
      "nobody: a name is not enough",
      [["user.name", "Ann"]],
      { EMAIL: "x@shop.test" },
      "ecommerce-gitops bot <bot@ecommerce-gitops.invalid>",
    ],
  ])("is %s", async (_, settings, env, expected) => {
    const root = await smallRepository();
    stub({ ...(await configured(settings, "inclusion", root)), ...env });
    const { name, email } = await authorOf(root, process.env);
    expect(`${name} <${email}>`).toBe(expected);
  });

  it("is refused where it is no name", async () => {
    const root = await smallRepository();
    stub({ ...(await configured([["user.email", "a@shop.test"]], "global", root)), GIT_AUTHOR_NAME: "." });
    await expect(authorOf(root, process.env)).rejects.toMatchObject({
      exitCode: 3,
      message: "git does not say who commits: name consists only of disallowed characters: .",
    });
  });
});
