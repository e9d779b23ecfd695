/** What the commands ask the git program. */
import { rm } from "node:fs/promises";
import { RefusedError } from "../errors.ts";
import { temporaryDirectory } from "../temporary.ts";
import { GitHistory } from "./history.ts";
import { GitObjects } from "./objects.ts";

/**
 * The commit that is checked out.
 * @throws RefusedError outside a repository, or before its first commit
 */
export async function headCommit(root: string): Promise<string> {
  const head = await new GitObjects(root).commitOf("HEAD");
  if (head !== undefined) return head;
  throw new RefusedError(`${root} has no commit yet, or is not a Git repository`, "commit first");
}

/**
 * What a checkout knows of the deployed branch: as it was fetched last, else what is checked out.
 * @throws RefusedError outside a repository, or before its first commit
 */
export async function deployedIn(
  root: string,
  branch: string,
): Promise<{ name: string; commit: string; isShallow: boolean }> {
  const git = new GitHistory(root);
  const fetched = await git.commitOf(`refs/remotes/origin/${branch}`);
  const isShallow = await git.isShallow();
  return fetched !== undefined
    ? { name: `origin/${branch}`, commit: fetched, isShallow }
    : { name: "HEAD", commit: await headCommit(root), isShallow };
}

/** The paths below the given ones with changes that are not committed; new files count, ignored ones do not. */
export async function uncommitted(root: string, paths: readonly string[]): Promise<string[]> {
  const status = await new GitObjects(root).git([
    "status",
    "--porcelain",
    "-z",
    "--no-renames",
    "--",
    ...paths,
  ]);
  return status
    .split("\0")
    .filter((entry) => entry !== "")
    .map((entry) => entry.slice(3));
}

/** The newest commit of HEAD's history that changed one of some paths; undefined when none did. */
export async function lastChange(root: string, paths: readonly string[]): Promise<string | undefined> {
  return new GitHistory(root).lastChange("HEAD", paths);
}

/** Whether any commit that this clone has, on whatever branch, brought a text into a file. */
export async function wasEver(root: string, path: string, text: string): Promise<boolean> {
  const args = ["log", "--all", "-1", "--format=%H", `-S${text}`, "--", path];
  return (await new GitObjects(root).git(args)).trim() !== "";
}

/** Whether a commit has anything at a path. */
export async function isAt(root: string, commit: string, path: string): Promise<boolean> {
  return (await new GitObjects(root).tryGit(["cat-file", "-e", `${commit}:${path}`])).exitCode === 0;
}

/** Whether a commit is HEAD or one of its ancestors. */
export async function isInHistory(root: string, commit: string): Promise<boolean> {
  return new GitHistory(root).isAncestor(commit, "HEAD");
}

/**
 * Calls a function with a temporary directory that holds some paths as a commit has them, and removes it afterwards.
 * @param paths as `GitObjects.writeTree` takes them
 * @throws ExternalError when git does not have the commit or one of the paths in it
 */
export async function withTreeAt<T>(
  root: string,
  commit: string,
  paths: readonly string[],
  use: (directory: string) => Promise<T>,
): Promise<T> {
  const directory = await temporaryDirectory("tree-");
  try {
    await new GitObjects(root).writeTree(commit, paths, directory);
    return await use(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
