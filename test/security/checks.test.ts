/** Nobody chooses which checks a change gets, or what it is compared with. */
import { expect, it } from "vitest";
import { run } from "../../scripts/lib/exec.ts";
import { deployedBranch } from "../../scripts/lib/release/provenance.ts";
import { bundledLine } from "../support/commands.ts";
import { commit, git, smallRepository, write } from "../support/tree.ts";

/** A checkout as a job has it: HEAD is the change, main is known as it is on the forge. */
async function change(files: Record<string, string>): Promise<string> {
  const root = await smallRepository();
  await git(root, "update-ref", "refs/remotes/origin/main", "HEAD");
  await write(root, files);
  await commit(root);
  return root;
}

async function jobs(root: string): Promise<string[]> {
  const base = ["--base", "refs/remotes/origin/main"];
  const text = await run(...bundledLine("jobs", ["--root", root, ...base]));
  return JSON.parse(text);
}

it.each(["tag", "branch"])("a %s called origin/main hides no change", async (kind) => {
  const root = await change({ "scripts/evil.ts": "" });
  await git(root, kind, "origin/main");
  const base = await deployedBranch(root, "main");
  expect(await git(root, "rev-parse", base)).toBe(await git(root, "rev-parse", "HEAD~1"));
  expect(await jobs(root)).toContain("code");
});

it("code that is moved into a release's directory still counts as code", async () => {
  const root = await change({ "scripts/good.ts": "export const x = 1;\n".repeat(9) });
  await git(root, "update-ref", "refs/remotes/origin/main", "HEAD");
  await git(root, "mv", "scripts/good.ts", "base/web/good.ts");
  await commit(root);
  expect(await jobs(root)).toContain("code");
});
