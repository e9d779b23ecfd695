import { lstat, mkdir, readdir, readFile, readlink, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { run } from "../../../scripts/lib/exec.ts";
import { GitObjects } from "../../../scripts/lib/git/objects.ts";
import { commit, git, temporary, write } from "../../support/tree.ts";

afterEach(() => {
  vi.unstubAllEnvs();
});

/** What a person may have set. */
function configure(key: string, value: string): void {
  vi.stubEnv("GIT_CONFIG_COUNT", "1");
  vi.stubEnv("GIT_CONFIG_KEY_0", key);
  vi.stubEnv("GIT_CONFIG_VALUE_0", value);
}

async function repository(files: Record<string, string>): Promise<{ root: string; head: string }> {
  const root = await temporary();
  await git(root, "init", "--quiet", "--initial-branch=main");
  await write(root, files);
  return { root, head: await commit(root) };
}

describe("a tree as a commit has it", () => {
  it("has the bytes, the mode and the links of each file", async () => {
    const { root } = await repository({ "a/text": "one\ntwo\r\n", "a/é": "é", run: "#!/bin/sh\n" });
    await writeFile(join(root, "bytes"), Buffer.from([0xff, 0, 0x0a, 0xef, 0xbb, 0xbf]));
    await symlink("a/text", join(root, "link"));
    await git(root, "add", "--all");
    await git(root, "update-index", "--chmod=+x", "run");
    await git(root, "commit", "--quiet", "--message", "x");
    await new GitObjects(root).withTree("HEAD", [], async (tree) => {
      expect((await readdir(tree)).toSorted()).toEqual(["a", "bytes", "link", "run"]);
      expect(await readFile(join(tree, "a/text"), "utf8")).toBe("one\ntwo\r\n");
      expect(await readFile(join(tree, "a/é"), "utf8")).toBe("é");
      expect(await readFile(join(tree, "bytes"))).toEqual(Buffer.from([0xff, 0, 0x0a, 0xef, 0xbb, 0xbf]));
      expect(await readlink(join(tree, "link"))).toBe("a/text");
      const executable = async (path: string) => ((await lstat(join(tree, path))).mode & 0o100) !== 0;
      expect([await executable("run"), await executable("a/text")]).toEqual([true, false]);
    });
  });

  it.each([
    ["files and directories", ["a", "b/one"], ["a/deep/x.yaml", "a/x.yaml", "b/one"]],
    ["a pattern", [":(glob)a/*.yaml"], ["a/x.yaml"]],
    ["a pattern for directories", [":(glob)*/deep/*"], ["a/deep/x.yaml"]],
  ])("may be %s of it only", async (_, paths, expected) => {
    const { root, head } = await repository({
      "a/x.yaml": "",
      "a/deep/x.yaml": "",
      "b/one": "",
      "b/one2": "",
    });
    await new GitObjects(root).withTree(head, paths, async (tree) => {
      const found = await readdir(tree, { recursive: true, withFileTypes: true });
      const files = found.filter((entry) => entry.isFile());
      expect(
        files.map((entry) => join(entry.parentPath, entry.name).slice(tree.length + 1)).toSorted(),
      ).toEqual(expected);
    });
  });

  it.each(["c", "a/x", ":(glob)a/*.yml"])("does not do without what is asked for: %s", async (path) => {
    const { root, head } = await repository({ "a/x.yaml": "" });
    await expect(new GitObjects(root).withTree(head, ["a", path], async () => {})).rejects.toMatchObject({
      exitCode: 5,
      message: `${head.slice(0, 7)} has no ${path}`,
    });
  });

  it.each([
    ["core.autocrlf", "true"],
    ["core.eol", "crlf"],
    ["core.quotePath", "true"],
  ])("is the same where a person has set %s to %s", async (key, value) => {
    const { root, head } = await repository({ ".gitattributes": "* text\n", "a/é": "one\ntwo\n" });
    configure(key, value);
    await new GitObjects(root).withTree(head, ["a"], async (tree) => {
      expect(await readFile(join(tree, "a/é"), "utf8")).toBe("one\ntwo\n");
    });
  });

  it("is of the repository that is asked, also in a hook of another one", async () => {
    const { root, head } = await repository({ a: "mine" });
    const other = await repository({ a: "another one's" });
    vi.stubEnv("GIT_DIR", join(other.root, ".git"));
    vi.stubEnv("GIT_INDEX_FILE", join(other.root, ".git/index"));
    await new GitObjects(root).withTree(head, ["a"], async (tree) => {
      expect(await readFile(join(tree, "a"), "utf8")).toBe("mine");
    });
  });

  it.each(["..", ".git"])("never leaves its directory: %s", async (name) => {
    const { root } = await repository({ x: "" });
    const blob = (await run("git", ["hash-object", "-w", "--stdin"], { cwd: root, input: "out" })).trim();
    const object = (mode: string, entry: string, id: string) =>
      Buffer.concat([Buffer.from(`${mode} ${entry}\0`), Buffer.from(id, "hex")]);
    const file = join(root, "object");
    const tree = async (bytes: Buffer) => {
      await writeFile(file, bytes);
      return (await git(root, "hash-object", "-w", "-t", "tree", "--literally", file)).trim();
    };
    const top = await tree(object("40000", name, await tree(object("100644", "escaped", blob))));
    const directory = join(await temporary(), "inner");
    await mkdir(directory);
    await expect(new GitObjects(root).writeTree(top, [], directory)).rejects.toThrow(
      `${name}/escaped is no path that a commit may have`,
    );
    expect(await readdir(join(directory, ".."))).toEqual(["inner"]);
    expect(await readdir(directory)).toEqual([]);
  });
});

describe("texts", () => {
  it("are read together, and what is none is left out and does no harm to the next", async () => {
    const { root } = await repository({ first: "é\n", last: "\uFEFFlast" });
    await writeFile(join(root, "middle"), Buffer.from([0xfc, 0x0a]));
    const head = await commit(root);
    const objects = new GitObjects(root);
    const entries = await objects.entries(head, ["first", "middle", "last"]);
    const blobs = ["first", "middle", "last"].map((path) => entries.get(path)?.blob ?? "");
    expect([...(await objects.texts(blobs)).values()]).toEqual(["é\n", "\uFEFFlast"]);
    await expect(objects.read(head, "middle")).rejects.toMatchObject({
      exitCode: 3,
      message: "middle is not UTF-8",
    });
  });
});
