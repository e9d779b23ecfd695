/**
 * docs/change.md: every change that it shows is made in a copy of this tree, and the check says what the page says. A fork has other lines
 * soon; there a change that does not fit any more is skipped.
 */
import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { tryRun } from "../../scripts/lib/exec.ts";
import { repositoryRoot } from "../../scripts/lib/repository.ts";
import { readSettings } from "../../scripts/lib/tree/settings.ts";
import { bundledLine } from "../support/commands.ts";
import { commit, git } from "../support/tree.ts";

const ROOT = repositoryRoot();
const TREE = ["apps", "argocd", "base", "overlays", "sandbox", ".gitignore", ".sops.yaml"];
const SECTION = /^## (.+)\n[^]*?```diff\n([^]*?)```\n\n`(.+)`$/gm;

const { repoURL } = await readSettings(ROOT);
const page = await readFile(join(ROOT, "docs/change.md"), "utf8");
const changes = [...page.matchAll(SECTION)].map(([, title = "", diff = "", verdict = ""]) => {
  return { title, diff, verdict };
});

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "change-"));
  for (const name of TREE) await cp(join(ROOT, name), join(root, name), { recursive: true });
  await git(root, "init", "--quiet", "--initial-branch=main");
  await commit(root);
});
afterAll(async () => rm(root, { recursive: true, force: true }));

it("shows each of its changes with what the check says", () => {
  expect(changes.map(({ title }) => title)).toEqual(
    [...page.matchAll(/^## (.+)$/gm)].map(([, title]) => title),
  );
  expect(changes.length).toBeGreaterThan(10);
});

it.for(changes)("$title", async ({ diff, verdict }, { skip }) => {
  await git(root, "reset", "--quiet", "--hard");
  await git(root, "clean", "--quiet", "--force", "-d");
  const applied = await tryRun("git", ["apply", "-"], { cwd: root, input: diff });
  skip(applied.exitCode !== 0 && !repoURL.includes("/example/"), "the tree has other lines by now");
  expect(applied).toMatchObject({ exitCode: 0, stderr: "" });
  const line = bundledLine("check", ["--root", root, "--base", "HEAD", "--no-server"]);
  const { stdout, exitCode } = await tryRun(...line);
  expect(stdout.split("\n")[0]).toBe(verdict);
  expect(exitCode).toBe(0);
});
