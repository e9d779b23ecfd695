/** What the commands ask the git program. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { RefusedError } from "./errors.ts";
import { run, tryRun } from "./exec.ts";
import { temporaryDirectory } from "./temporary.ts";

/**
 * The commit that is checked out.
 * @throws RefusedError outside a repository, or before its first commit
 */
export async function headCommit(root: string): Promise<string> {
  const { exitCode, stdout } = await tryRun("git", ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"], {
    cwd: root,
  });
  if (exitCode === 0) return stdout.trim();
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
  const git = async (...args: string[]) => tryRun("git", ["rev-parse", ...args], { cwd: root });
  const fetched = await git("--verify", "--quiet", `refs/remotes/origin/${branch}^{commit}`);
  const isShallow = (await git("--is-shallow-repository")).stdout.trim() === "true";
  return fetched.exitCode === 0
    ? { name: `origin/${branch}`, commit: fetched.stdout.trim(), isShallow }
    : { name: "HEAD", commit: await headCommit(root), isShallow };
}

/** The paths below the given ones with changes that are not committed; new files count, ignored ones do not. */
export async function uncommitted(root: string, paths: readonly string[]): Promise<string[]> {
  const status = await run("git", ["status", "--porcelain", "-z", "--no-renames", "--", ...paths], {
    cwd: root,
  });
  return status
    .split("\0")
    .filter((entry) => entry !== "")
    .map((entry) => entry.slice(3));
}

/** The newest commit of HEAD's history that changed one of some paths; undefined when none did. */
export async function lastChange(root: string, paths: readonly string[]): Promise<string | undefined> {
  const log = await run("git", ["log", "-1", "--format=%H", "--", ...paths], { cwd: root });
  return log.trim() || undefined;
}

/** Whether any commit that this clone has, on whatever branch, brought a text into a file. */
export async function wasEver(root: string, path: string, text: string): Promise<boolean> {
  const args = ["log", "--all", "-1", "--format=%H", `-S${text}`, "--", path];
  return (await run("git", args, { cwd: root })).trim() !== "";
}

/** Whether a commit has anything at a path. */
export async function isAt(root: string, commit: string, path: string): Promise<boolean> {
  const { exitCode } = await tryRun("git", ["cat-file", "-e", `${commit}:${path}`], { cwd: root });
  return exitCode === 0;
}

/** Whether a commit is HEAD or one of its ancestors. */
export async function isInHistory(root: string, commit: string): Promise<boolean> {
  return (await tryRun("git", ["merge-base", "--is-ancestor", commit, "HEAD"], { cwd: root })).exitCode === 0;
}

/**
 * Calls a function with a temporary directory that holds some paths as a commit has them, and removes it afterwards.
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
    const archive = join(directory, "tree.tar");
    await run("git", ["archive", "--format=tar", `--output=${archive}`, commit, "--", ...paths], {
      cwd: root,
    });
    await run("tar", ["-xf", archive, "-C", directory]);
    await rm(archive);
    return await use(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
