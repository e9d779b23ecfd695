import { copyFile, mkdir, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type RunResult, run, tryRun } from "../../../scripts/lib/exec.ts";
import { describeFinding } from "../../../scripts/lib/finding.ts";
import { plaintextInCommits, plaintextInTree, plaintextStaged } from "../../../scripts/lib/plaintext/scan.ts";
import { repositoryRoot } from "../../../scripts/lib/repository.ts";
import { changedPaths } from "../../../scripts/lib/tree/overlays.ts";
import { commit, git, temporary, write } from "../../support/tree.ts";

const ROOT = repositoryRoot();
const value = (text: string) => `apiVersion: v1\nkind: Secret\nstringData:\n  password: "${text}"\n`;
const SECRET = value("correct-horse");

async function repository(): Promise<string> {
  const root = await temporary();
  await git(root, "init", "--quiet", "--initial-branch=main");
  await write(root, { "README.md": "nothing\n", "old.yaml": SECRET });
  await commit(root);
  await git(root, "checkout", "--quiet", "-b", "change");
  return root;
}

describe("the commits of a change", () => {
  it("have nothing: what the base has does not count", async () => {
    const root = await repository();
    await write(root, { "a.yaml": value("") });
    await commit(root);
    expect(await plaintextInCommits(root, "main")).toEqual([]);
  });

  it("have a Secret, also when the next commit takes it back", async () => {
    const root = await repository();
    await write(root, { "a.yaml": SECRET });
    const bad = await commit(root);
    await rm(join(root, "a.yaml"));
    await commit(root);
    expect(await plaintextInTree(root, new Set(["old.yaml"]))).toEqual([]);
    expect(await plaintextInCommits(root, "main")).toMatchObject([
      { path: "a.yaml", line: 4, what: expect.stringContaining(`in commit ${bad.slice(0, 7)}`) },
    ]);
  });

  it("have each Secret once, in the commit that brought it, however often its file was touched", async () => {
    const root = await repository();
    await write(root, { "a.yaml": SECRET });
    const bad = await commit(root);
    await write(root, { "a.yaml": `# touched\n${SECRET}` });
    await commit(root);
    await write(root, { "a.yaml": `${SECRET}---\n${value("another-horse")}` });
    const worse = await commit(root);
    expect((await plaintextInCommits(root, "main")).map(({ line, what }) => [line, what])).toEqual([
      [4, expect.stringContaining(`in commit ${bad.slice(0, 7)}`)],
      [9, expect.stringContaining(`in commit ${worse.slice(0, 7)}`)],
    ]);
  });

  it("have one that was changed, renamed, or came with a merge's own edit", async () => {
    const root = await repository();
    await write(root, { "a.yaml": value("") });
    await commit(root);
    await write(root, { "a.yaml": value("changed-horse") });
    await commit(root);
    await git(root, "mv", "a.yaml", "b.yaml");
    await commit(root);
    await git(root, "checkout", "--quiet", "-b", "other", "main");
    await write(root, { "c.yaml": "a: b\n" });
    await commit(root);
    await git(root, "merge", "--quiet", "--no-commit", "--no-ff", "change");
    await write(root, { "c.yaml": value("merged-horse") });
    await commit(root);
    const found = await plaintextInCommits(root, "main");
    expect(found.map(({ path }) => path).toSorted()).toEqual(["a.yaml", "b.yaml", "c.yaml"]);
  });

  it("do not have what a merge brings from the base", async () => {
    const root = await repository();
    await write(root, { "a.yaml": "a: b\n" });
    await commit(root);
    await git(root, "checkout", "--quiet", "main");
    await write(root, { "later.yaml": SECRET });
    await commit(root);
    await git(root, "checkout", "--quiet", "change");
    await git(root, "merge", "--quiet", "main");
    expect(await plaintextInCommits(root, "main")).toEqual([]);
  });

  it("are read whatever bytes and names they have", async () => {
    const root = await repository();
    await writeFile(join(root, "binary"), Buffer.from([0xff, 0xfe, 0, 0x80, 10, 0xc3]));
    await write(root, {
      "é ü.yaml": SECRET,
      'quo"te.yaml': value("another-horse"),
      empty: "",
      "z.yaml": value("last"),
    });
    await symlink("nowhere", join(root, "link"));
    await commit(root);
    const found = await plaintextInCommits(root, "main");
    expect(found.map(({ path }) => path)).toEqual(['quo\\"te.yaml', "z.yaml", "é ü.yaml"]);
  });

  it("hide nothing behind what looks like git's own words", async () => {
    const root = await repository();
    await write(root, { "a.txt": "x\n", "b.yaml": SECRET });
    const blob = (await git(root, "hash-object", "b.yaml")).trim();
    await write(root, { "a.txt": `x\n${blob} blob 3\nabc\n`, "c.yaml": value("third-horse") });
    await commit(root);
    const found = await plaintextInCommits(root, "main");
    expect(new Set(found.map(({ path }) => path))).toEqual(new Set(["b.yaml", "c.yaml"]));
  });
});

describe("in the work tree", () => {
  const MIB = 1024 * 1024;
  const large = async (file: string, bytes: number) => {
    await writeFile(file, `${bytes}\n`);
    await truncate(file, bytes);
  };
  const TOO_LARGE = "the file is not looked at: it has more than 5 MiB";

  it.each<[string, (directory: string) => Promise<unknown>]>([
    ["nothing", async () => {}],
    ["a file", async (directory) => writeFile(directory, "a file\n")],
    ["a link to itself", async (directory) => symlink("directory", directory)],
    ["a link to nothing", async (directory) => symlink("nowhere", directory)],
    [
      "files that are none",
      async (directory) => {
        await mkdir(join(directory, "a.yaml"), { recursive: true });
        await run("mkfifo", [join(directory, "b.yaml")]);
      },
    ],
  ])("a directory may have become %s", async (_, change) => {
    const root = await repository();
    await write(root, { "directory/a.yaml": SECRET, "directory/b.yaml": SECRET });
    await commit(root);
    await rm(join(root, "directory"), { recursive: true });
    await change(join(root, "directory"));
    expect(await plaintextInTree(root, new Set())).toMatchObject([{ path: "old.yaml" }]);
  });

  it("with the changed paths of a base, files that are the same there are not looked at", async () => {
    const root = await repository();
    await write(root, { "committed.yaml": SECRET });
    await commit(root);
    await write(root, { "untracked.yaml": SECRET, "old.yaml": `# changed\n${SECRET}` });
    expect(
      (await plaintextInTree(root, new Set(), await changedPaths(root, "HEAD"))).map(({ path }) => path),
    ).toEqual(["old.yaml", "untracked.yaml"]);
    expect(
      (await plaintextInTree(root, new Set(), await changedPaths(root, "HEAD~1"))).map(({ path }) => path),
    ).toEqual(["committed.yaml", "old.yaml", "untracked.yaml"]);
  });

  it("a link is what Git has of it, and not what it leads to", async () => {
    const root = await repository();
    const outside = await temporary();
    await write(outside, { "secret.yaml": SECRET });
    await symlink(join(outside, "secret.yaml"), join(root, "link.yaml"));
    await symlink("nowhere", join(root, "dangling.yaml"));
    await symlink("self.yaml", join(root, "self.yaml"));
    expect(await plaintextInTree(root, new Set(["old.yaml"]))).toEqual([]);
  });

  it("a file that is too large to read is named, with the way out", async () => {
    const root = await repository();
    await large(join(root, "dump.sql"), 700 * MIB);
    await large(join(root, "fits.bin"), 5 * MIB);
    expect((await plaintextInTree(root, new Set(["old.yaml"]))).map(describeFinding)).toEqual([
      `dump.sql:1: ${TOO_LARGE}; keep it out of Git: in .gitignore, or with Git LFS`,
    ]);
  });

  it("one that is staged or in a commit is named, too, and the others are read", async () => {
    const root = await repository();
    await large(join(root, "dump.sql"), 5 * MIB + 1);
    await write(root, { "z.yaml": SECRET });
    await git(root, "add", ".");
    expect(await plaintextStaged(root)).toMatchObject([
      { path: "dump.sql", what: TOO_LARGE },
      { path: "z.yaml", line: 4 },
    ]);
    const bad = (await commit(root)).slice(0, 7);
    expect(await plaintextInCommits(root, "main")).toMatchObject([
      { path: "dump.sql", what: `${TOO_LARGE}, in commit ${bad}: Git keeps it for ever` },
      { path: "z.yaml", line: 4 },
    ]);
  });

  it("commits may have more than is read at once", async () => {
    const root = await repository();
    await git(root, "config", "core.looseCompression", "1");
    for (let index = 0; index < 11; index += 1)
      await write(root, { [`${index}.bin`]: Buffer.alloc(5 * MIB - index, "a") });
    await write(root, { "z.yaml": SECRET });
    await commit(root);
    expect(await plaintextInCommits(root, "main")).toMatchObject([{ path: "z.yaml", line: 4 }]);
  });
});

it("the index is what counts before a commit, not the work tree", async () => {
  const root = await repository();
  await write(root, { "a.yaml": SECRET, "b.yaml": SECRET });
  await git(root, "add", "a.yaml");
  await write(root, { "a.yaml": value("") });
  expect(await plaintextStaged(root)).toMatchObject([{ path: "a.yaml", line: 4 }]);
});

it("the index counts before the first commit, too", async () => {
  const root = await temporary();
  await git(root, "init", "--quiet");
  await write(root, { "a.yaml": SECRET });
  await git(root, "add", "a.yaml");
  expect(await plaintextStaged(root)).toHaveLength(1);
});

describe("the hook", () => {
  /** A clone in which `npm ci` would have installed the hook; the command is this checkout's. */
  async function clone(): Promise<{
    root: string;
    tryCommit: (path: string, text: string) => Promise<RunResult>;
  }> {
    const root = await repository();
    const command = `node "${join(ROOT, "scripts/run.js")}" secrets --root .`;
    await write(root, {
      "package.json": JSON.stringify({ scripts: { secrets: command } }),
      ".gitignore": "node_modules\n",
    });
    await copyFile(join(ROOT, "lefthook.yml"), join(root, "lefthook.yml"));
    await symlink(join(ROOT, "node_modules"), join(root, "node_modules"));
    const { LEFTHOOK: _, ...own } = process.env;
    const env = { ...own, GIT_CONFIG_GLOBAL: "/dev/null", GIT_CONFIG_SYSTEM: "/dev/null" };
    await git(root, "config", "user.name", "test");
    await git(root, "config", "user.email", "test@example.com");
    const lefthook = join(ROOT, "node_modules/.bin/lefthook");
    expect(await tryRun(lefthook, ["install"], { cwd: root, env })).toMatchObject({ exitCode: 0 });
    return {
      root,
      tryCommit: async (path, text) => {
        await write(root, { [path]: text });
        await git(root, "add", path);
        return tryRun("git", ["commit", "--message", "change"], { cwd: root, env });
      },
    };
  }

  it("lets a clean commit pass, and refuses one with a Secret in clear", async () => {
    const { root, tryCommit } = await clone();
    expect(await tryCommit("a.yaml", value("${PASSWORD}"))).toMatchObject({ exitCode: 0 });
    const before = await git(root, "rev-parse", "HEAD");
    const refused = await tryCommit("b.yaml", SECRET);
    expect(refused.exitCode).not.toBe(0);
    expect(`${refused.stdout}${refused.stderr}`).toContain(
      "b.yaml:4: the value of password in a Secret is in clear",
    );
    expect(`${refused.stdout}${refused.stderr}`).not.toContain("correct-horse");
    expect(await git(root, "rev-parse", "HEAD")).toBe(before);
  });
});
