/** Two states of a repository: where a change left the deployed branch, and what it makes of it. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { RefusedError, UsageError } from "../errors.ts";
import { refuseHidden } from "../git/checkout.ts";
import { GitHistory } from "../git/history.ts";
import type { Entry, GitObjects } from "../git/objects.ts";
import { withWorkTree } from "../git/work-tree.ts";
import { deployedBranch } from "../release/provenance.ts";
import { readSettings, SETTINGS_FILE } from "../tree/settings.ts";
import { type Graph, type NamedByBlob, readGraph } from "./graph.ts";

/** One state. */
export interface State {
  git: GitObjects;
  /** Git's name for the tree. */
  tree: string;
  files: ReadonlyMap<string, Entry>;
  graph: Graph;
}

export interface States {
  /** The commit where the change left the base. */
  left: string;
  base: State;
  head: State;
  /** The paths that differ; a file that was moved has two. */
  changed: readonly string[];
}

/** The top of the checkout that a directory is in. @throws RefusedError outside a repository */
export async function topOf(directory: string): Promise<string> {
  const { exitCode, stdout } = await new GitHistory(directory).tryGit(["rev-parse", "--show-toplevel"]);
  if (exitCode === 0) return stdout.trimEnd();
  throw new RefusedError(`${directory} is not in a Git checkout`, "name another one with --root");
}

/**
 * The branch that a change goes to: the deployed one of the settings, else the default branch of the remote.
 * @throws UsageError when neither is known here
 */
export async function targetBranch(root: string): Promise<string> {
  if (existsSync(join(root, SETTINGS_FILE))) return deployedBranch(root, (await readSettings(root)).revision);
  const name = await new GitHistory(root).tryGit(["rev-parse", "--abbrev-ref", "origin/HEAD"]);
  if (name.exitCode === 0) return name.stdout.trim();
  throw new UsageError("no branch is known that this change goes to", "name one with --base");
}

/**
 * Calls a function with the state where HEAD left a base, and the state of the checkout's files, committed or not.
 * @param root the top of the checkout
 * @param base a branch or a commit
 * @param parsed see `readGraph`
 * @throws UsageError when there is no such commit
 * @throws RefusedError when HEAD and the base have no common history here, or files are hidden from Git
 */
export async function withStates<T>(
  root: string,
  base: string,
  parsed: NamedByBlob,
  use: (states: States) => Promise<T>,
): Promise<T> {
  await refuseHidden(root);
  const history = new GitHistory(root);
  const left = await leftAt(history, base);
  return withWorkTree(root, async (git, tree) => {
    // One after the other: most kustomizations are the same.
    const before = await stateOf(git, left, parsed);
    const after = await stateOf(git, tree, parsed, before);
    const paths = new Set([...before.files.keys(), ...after.files.keys()]);
    const changed = [...paths].filter((path) => !isSame(before.files.get(path), after.files.get(path)));
    return use({ left, base: before, head: after, changed });
  });
}

/** Calls a function with the state of the checkout's files alone. @param root the top of the checkout */
export async function withState<T>(
  root: string,
  parsed: NamedByBlob,
  use: (state: State) => Promise<T>,
): Promise<T> {
  return withWorkTree(root, async (git, tree) => use(await stateOf(git, tree, parsed)));
}

async function leftAt(history: GitHistory, base: string): Promise<string> {
  const [head, other] = [await history.commitOf("HEAD"), await history.commitOf(base)];
  if (head === undefined || other === undefined)
    throw new UsageError(
      `there is no commit ${head === undefined ? "HEAD" : base} here`,
      "fetch it, or give another one with --base",
    );
  const left = await history.mergeBase(other, head);
  if (left !== undefined) return left;
  if (await history.isShallow())
    throw new RefusedError(
      `this clone is shallow and does not reach back to ${base}`,
      "run `git fetch --unshallow`",
    );
  throw new RefusedError(`HEAD and ${base} have no commit in common`, "give another one with --base");
}

/** One state, with its dependencies. @param tree a commit, or a tree @param like another one of the same repository */
async function stateOf(git: GitObjects, tree: string, parsed: NamedByBlob, like?: State): Promise<State> {
  const files = await git.allEntries(tree);
  const graph = await readGraph({ files, texts: async (blobs) => git.texts(blobs) }, parsed, like);
  return { git, tree, files, graph };
}

function isSame(one: Entry | undefined, other: Entry | undefined): boolean {
  return one?.blob === other?.blob && one?.mode === other?.mode;
}
