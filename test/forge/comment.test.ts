import { join } from "node:path";
import { expect, it } from "vitest";
import { z } from "zod";
import { temporary, write } from "../support/tree.ts";
import {
  ask,
  commandLine,
  FILE,
  fileAt,
  NEW,
  OLD,
  personCommits,
  push,
  repository,
  type TestRepository,
} from "./support.ts";

const Comments = z.array(z.object({ id: z.number(), body: z.string() }));

async function comments({ api }: TestRepository, number: number): Promise<string[]> {
  return Comments.parse(await ask(`${api}/issues/${number}/comments`)).map(({ body }) => body);
}

/** A pull request that changes an image in the first environment, and one that a person opens for it. */
async function proposed() {
  const repo = await repository();
  await push(repo.root, "change");
  const text = (await fileAt(repo.root, "change")).replaceAll(OLD, NEW);
  await personCommits(repo.root, "change", { [FILE]: text });
  const pull = await ask(`${repo.api}/pulls`, "POST", {
    base: "main",
    head: "change",
    title: "Another image",
  });
  const { number } = z.object({ number: z.number() }).parse(pull);
  return { repo, number };
}

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
  const { repo, number } = await proposed();
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
