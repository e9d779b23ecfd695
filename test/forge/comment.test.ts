import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, inject, it } from "vitest";
import { z } from "zod";
import { commit, git, temporary, write } from "../support/tree.ts";
import { pod } from "./promotion-support.ts";
import {
  ask,
  askAs,
  commandLine,
  FILE,
  fileAt,
  makePerson,
  NEW,
  OLD,
  personCommits,
  push,
  repository,
  type TestRepository,
  withToken,
} from "./support.ts";

const Comments = z.array(z.object({ id: z.number(), body: z.string() }));

async function comments({ api }: TestRepository, number: number): Promise<string[]> {
  return Comments.parse(await ask(`${api}/issues/${number}/comments`)).map(({ body }) => body);
}

/** Puts a change on a branch, and opens a pull request for it. @returns its number; the checkout has the branch */
async function propose(repo: TestRepository, change: Change, title: string): Promise<number> {
  await push(repo.root, "change");
  await personCommits(repo.root, "change", await change(repo));
  const pull = await ask(`${repo.api}/pulls`, "POST", { base: "main", head: "change", title });
  return Numbered.parse(pull).number;
}

/** Files that a change writes. */
type Change = (repo: TestRepository) => Promise<Record<string, string>> | Record<string, string>;

const Numbered = z.object({ number: z.number() });
const bumped: Change = async ({ root }) => ({ [FILE]: (await fileAt(root, "main")).replaceAll(OLD, NEW) });

/** What `diff` says of the checkout, as a file. */
async function markdown({ root }: TestRepository): Promise<string> {
  const { stdout, stderr, exitCode } = await commandLine("diff", root, [
    "--base",
    "origin/main",
    "--markdown",
  ]);
  expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
  const directory = await temporary();
  await write(directory, { "diff.md": stdout });
  return join(directory, "diff.md");
}

it("a pull request has one comment with what it does, which follows the change", async () => {
  const repo = await repository();
  const number = await propose(repo, bumped, "Another image");
  await ask(`${repo.api}/issues/${number}/comments`, "POST", { body: "Looks good" });
  const first = await markdown(repo);
  expect(await commandLine("comment", repo.root, [String(number), first])).toEqual({
    exitCode: 0,
    stdout: `#${number} has the comment\n`,
    stderr: "",
  });
  const [other, ours = "", ...more] = await comments(repo, number);
  expect([other, more]).toEqual(["Looks good", []]);
  expect(ours).toContain("**dev**: 1 app, image only");
  expect(ours).toContain("`Pod web` `containers[app].image`");

  expect((await commandLine("comment", repo.root, [String(number), first])).stdout).toBe(
    `#${number} has this comment already\n`,
  );
  await personCommits(repo.root, "change", {
    "docs/read.md": "text",
    [FILE]: await fileAt(repo.root, "main"),
  });
  await commandLine("comment", repo.root, [String(number), await markdown(repo)]);
  const [, changed = "", ...none] = await comments(repo, number);
  expect(none).toEqual([]);
  expect(changed).toContain("**no environment changes**: no overlay is built from what differs");
});

const POD = "base/web/pod.yaml";
const RELEASE = "overlays/test/web/release.yaml";
const release = (tag: string) => `# commit: ${tag}\n${pod("web").replace("shop/web\n", `shop/web:${tag}\n`)}`;

it.each<[string, Change, string]>([
  ["a bump", bumped, "**dev**: 1 app, image only"],
  [
    "an edit of a base",
    () => ({ [POD]: `${pod("web")}      env: [{ name: LEVEL, value: debug }]\n` }),
    "**dev**: 1 app, configuration only",
  ],
  ["a promotion", () => ({ [RELEASE]: release(NEW) }), "**test**: 1 app, image only"],
  [
    "a refactor",
    () => ({
      "base/web/kustomization.yaml": "components:\n  - ../components/labels\nresources:\n  - pod.yaml\n",
    }),
    "**no environment changes**: refactor",
  ],
])("%s is said in one line", async (title, change, verdict) => {
  const repo = await repository({ [RELEASE]: release(OLD) });
  const number = await propose(repo, change, title);
  await commandLine("comment", repo.root, [String(number), await markdown(repo)]);
  const [comment = ""] = await comments(repo, number);
  expect(comment.split("\n")).toContain(`- ${verdict}`);
});

it("a change from a fork is said by the base's tools, which read it and run nothing of it", async () => {
  const repo = await repository();
  const { user, token } = await makePerson(repo, "read");
  await askAs(token, `${repo.api}/forks`, "POST", { name: repo.name });
  const trap = "import { writeFileSync } from 'node:fs'; writeFileSync('ran', '');\n";
  const header = ["-c", `http.extraHeader=Authorization: token ${token}`];
  await write(repo.root, { ...(await bumped(repo)), "scripts/run.js": trap, "scripts/diff.ts": trap });
  await git(repo.root, "checkout", "--quiet", "-b", "theirs");
  await commit(repo.root);
  const fork = `${inject("forge")}/${user}/${repo.name}.git`;
  await git(repo.root, ...header, "push", "--quiet", fork, "HEAD:refs/heads/theirs");
  const head = `${user}:theirs`;
  const pull = await askAs(token, `${repo.api}/pulls`, "POST", { base: "main", head, title: "From a fork" });
  const { number } = Numbered.parse(pull);
  await git(repo.root, ...withToken(), "fetch", "--quiet", "origin", `refs/pull/${number}/head`);
  await git(repo.root, "checkout", "--quiet", "--detach", "FETCH_HEAD");
  const file = await markdown(repo);
  expect(await commandLine("comment", repo.root, [String(number), file])).toMatchObject({ exitCode: 0 });
  expect((await comments(repo, number)).join("\n")).toContain("- **dev**: 1 app, image only");
  expect(await readdir(repo.root)).not.toContain("ran");
});

it.each<[string, string[], string]>([
  [
    "what is no number",
    ["first"],
    "comment: first is not the number of a pull request; give one such as 12\n",
  ],
  [
    "a file of something else",
    ["1"],
    "comment: {file} does not begin with <!-- ecommerce-gitops diff -->; write it with `npm run diff -- --markdown`\n",
  ],
])("%s is refused before the forge is asked", async (_, args, line) => {
  const directory = await temporary();
  await write(directory, { "other.md": "# Other" });
  const file = join(directory, "other.md");
  const { exitCode, stderr } = await commandLine("comment", directory, [...args, file], {});
  expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: line.replace("{file}", file) });
});
