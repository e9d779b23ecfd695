/** A file that npm, Node, Git or another program reads for itself is not smuggled in among others. */
import { expect, it } from "vitest";
import { tryRun } from "../../scripts/lib/exec.ts";
import { describeFinding } from "../../scripts/lib/finding.ts";
import { repositoryRoot } from "../../scripts/lib/repository.ts";
import { trackedFindings } from "../../scripts/lib/tree/tracked.ts";
import { bundledLine } from "../support/commands.ts";
import { commit, git, smallRepository, write } from "../support/tree.ts";

const hidden = "programs read hidden files for themselves; rename or remove it";
const needless = "programs may read it for themselves, and no app needs it; rename or remove it";
const inRoot = (name: string) =>
  `${name} is no known name in the root; move it into a directory, or first merge the name into scripts/lib/tree/tracked.ts`;
const ignored = (path: string) =>
  `Git tracks it although .gitignore names it; remove it: git rm --cached ${path}`;

const PACKAGE = "scripts/node_modules/yaml/index.js";
const PACKAGE_OF_AN_APP = "base/web/node_modules/yaml/index.js";
const PLANTED: [does: string, path: string, finding: string][] = [
  ["npm takes a registry or a shell from it", ".npmrc", inRoot(".npmrc")],
  ["npm installs what it names", "npm-shrinkwrap.json", inRoot("npm-shrinkwrap.json")],
  ["Node takes packages from it", "node_modules/zx/index.js", inRoot("node_modules")],
  ["Node takes packages from it", PACKAGE, ignored(PACKAGE)],
  ["Node takes packages from it", PACKAGE_OF_AN_APP, ignored(PACKAGE_OF_AN_APP)],
  ["esbuild resolves packages by it", ".pnp.cjs", inRoot(".pnp.cjs")],
  ["commands started from it once", ".cache/commands/promote.json", inRoot(".cache")],
  ["the sandbox's keys would be published", ".sandbox/env", inRoot(".sandbox")],
  ["Vitest runs it", "vitest.workspace.ts", inRoot("vitest.workspace.ts")],
  ["Vite reads variables from it", ".env", inRoot(".env")],
  ["lefthook runs it", "lefthook-local.yml", inRoot("lefthook-local.yml")],
  ["mise runs it", ".mise.toml", inRoot(".mise.toml")],
  ["Git fetches what it names", ".gitmodules", inRoot(".gitmodules")],
  ["nobody knows it", "payload", inRoot("payload")],
  ["Git changes files by it", "overlays/live/web/.gitattributes", hidden],
  ["Git does not show files that it names", "base/web/.gitignore", hidden],
  ["sops takes recipients from it", "overlays/live/web/.sops.yaml", hidden],
  ["oxlint switches rules off by it", "base/.oxlintrc.json", hidden],
  ["mise runs it", "base/web/.mise/config.toml", hidden],
  ["mise takes tools from it", "overlays/live/web/mise.toml", needless],
  ["Node takes another kind of module from it", "base/web/package.json", needless],
  ["Biome switches rules off by it", "overlays/live/web/biome.json", needless],
  ["esbuild and TypeScript resolve modules by it", "base/web/tsconfig.build.json", needless],
  ["Vitest might run it", "base/web/x.test.ts", needless],
  ["make runs it", "overlays/live/web/Makefile", needless],
];

it("each of them is found, committed or not", async () => {
  const root = await smallRepository();
  await write(root, { ".gitignore": "node_modules\n.sandbox/\n.cache/\n" });
  await write(root, Object.fromEntries(PLANTED.map(([, path]) => [path, ""])));
  await git(root, "add", "--force", "--all");
  const found = (await trackedFindings(root)).map(describeFinding);
  expect(found.toSorted()).toEqual(PLANTED.map(([, path, finding]) => `${path}:1: ${finding}`).toSorted());
});

it("a submodule is found, of which Argo CD would fetch what it names", async () => {
  const root = await smallRepository();
  const commitId = (await git(root, "rev-parse", "HEAD")).trim();
  await git(root, "update-index", "--add", "--cacheinfo", `160000,${commitId},base/web/more`);
  expect((await trackedFindings(root)).map(describeFinding)).toEqual([
    "base/web/more:1: Argo CD would fetch another repository for it; have its files here",
  ]);
});

it("what is not tracked, or what only a person's own configuration ignores, is no fault", async () => {
  const root = await smallRepository();
  await write(root, { ".git/info/exclude": "*.yaml\n", payload: "" });
  expect(await trackedFindings(root)).toEqual([]);
});

it("`npm run check` says so", async () => {
  const root = await smallRepository();
  await write(root, { ".npmrc": "node-options=--require=./payload" });
  await commit(root);
  const check = bundledLine("check", ["--no-server", "--root", root, "--base", "main"]);
  const { stdout, exitCode } = await tryRun(...check);
  expect({ stdout, exitCode }).toMatchObject({
    stdout: expect.stringContaining(".npmrc:1: .npmrc is no known name in the root"),
    exitCode: 4,
  });
});

it("this repository has none of them", async () => {
  expect((await trackedFindings(repositoryRoot())).map(describeFinding)).toEqual([]);
});
