/**
 * Whether Git tracks files that programs read for themselves: npm, Node, Git, linters and others look for files of certain names,
 * in the root and in every directory, and some of those run programs.
 */
import { type Finding, findingIn } from "../finding.ts";
import { GitObjects } from "../git/objects.ts";

/** All that may stand in the root. Programs look there first, so nothing stands there that nobody has listed here. */
const ROOT_ENTRIES: ReadonlySet<string> = new Set([
  ".ci",
  ".editorconfig",
  ".gitattributes",
  ".github",
  ".gitignore",
  ".oxlintrc.json",
  ".sops.yaml",
  "CONTRIBUTING.md",
  "LICENSE",
  "README.md",
  "apps",
  "argocd",
  "base",
  "bench",
  "biome.json",
  "docs",
  "lefthook.yml",
  "load",
  "mise.toml",
  "overlays",
  "package-lock.json",
  "package.json",
  "sandbox",
  "scripts",
  "test",
  "tools",
  "tsconfig.json",
  "vitest.config.ts",
]);

/** What an app and its environments are made of. In their directories people work who own nothing else. */
const TREE = /^(apps|argocd|base|overlays)\//;
const OF_TREE = /\.(yaml|conf|json|lua|sh|sql)$/;
/** Of those the names that npm, Node, esbuild, TypeScript, Biome or lefthook look for in every directory, or in the one they run in. */
const CONFIGURATION =
  /^(package|package-lock|npm-shrinkwrap|biome|lefthook|lefthook-local|[jt]sconfig(\..*)?)\.(json|yaml)$/;

/** Looks at the paths of all tracked files, committed or not; it reads none of them. */
export async function trackedFindings(root: string): Promise<Finding[]> {
  const git = new GitObjects(root);
  const list = async (...options: string[]) =>
    (await git.git(["ls-files", "-z", ...options])).split("\0").filter((path) => path !== "");
  // By the repository's own .gitignore files: what a person's own configuration ignores is no fault.
  const ignored = new Set(await list("--cached", "--ignored", "--exclude-per-directory=.gitignore"));
  const entries = (await list("--stage")).flatMap((entry) => {
    const [, mode, path] = /^(\d+) \w+ \d\t(.+)$/s.exec(entry) ?? [];
    return path === undefined ? [] : [{ path, isSubmodule: mode === "160000" }];
  });
  return entries.flatMap(({ path, isSubmodule }) => {
    const [top = "", ...below] = path.split("/");
    if (!ROOT_ENTRIES.has(top)) {
      const way = "move it into a directory, or first merge the name into scripts/lib/tree/tracked.ts";
      return [findingIn(path, `${top} is no known name in the root`, way)];
    }
    if (ignored.has(path))
      return [
        findingIn(path, "Git tracks it although .gitignore names it", `remove it: git rm --cached ${path}`),
      ];
    if (below.some((name) => name.startsWith(".")))
      return [findingIn(path, "programs read hidden files for themselves", "rename or remove it")];
    if (isSubmodule)
      return [findingIn(path, "Argo CD would fetch another repository for it", "have its files here")];
    if (TREE.test(path) && (!OF_TREE.test(path) || CONFIGURATION.test(below.at(-1) ?? "")))
      return [
        findingIn(path, "programs may read it for themselves, and no app needs it", "rename or remove it"),
      ];
    return [];
  });
}
