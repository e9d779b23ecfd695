/**
 * Where releases come from: the first environment that receives them has what its commit renders, each later one has what the
 * environment before it had, and either may go back to what it had itself. What a pull request brings is never rendered for that.
 */
import pLimit from "p-limit";
import { CommandError, messageOf, RefusedError, UsageError } from "../errors.ts";
import { findingOf } from "../finding.ts";
import { headCommit } from "../git/checkout.ts";
import { GitSetupError } from "../git/failure.ts";
import { GitHistory } from "../git/history.ts";
import { blobId, type Entry } from "../git/objects.ts";
import { type App, readCatalogue } from "../tree/catalogue.ts";
import { type Environment, readEnvironments } from "../tree/environment.ts";
import { deriveRelease, parseRelease, releasePath } from "./release.ts";
import { type Arrival, readArrivals } from "./release-history.ts";

export interface Difference {
  path: string;
  /** Counted from 1. */
  line: number;
  /** What is wrong, in a few words. */
  what: string;
  /** The line as it should be, in quotes; not there when it is not about a line, or not visible. */
  expected?: string;
  found?: string;
}

export type Origin =
  /** `commit` is what it was rendered from. */
  | { kind: "rendered"; from: string; commit: string }
  /** `commit` is one that brought the same bytes to the environment. */
  | { kind: "copied"; from: string; commit: string }
  | { kind: "restored"; from: string; commit: string }
  | { kind: "removed" }
  | { kind: "unknown"; difference: Difference };

export interface CheckedRelease {
  path: string;
  origin: Origin;
}

export interface ProvenanceScope {
  /** The commit whose releases are checked. */
  head: string;
  /** Where it left the deployed branch; itself when all of it is checked. */
  left: string;
  /** What counts as history: of the deployed branch, or of HEAD when all of it is checked. */
  history: string;
  /** Paths of the releases; a removed one is in it, too. */
  paths: string[];
  /** Whether an environment's own history counts as well: not for a release that is in it anyway. */
  mayRestore: boolean;
}

/** At most this many renderings at once: kustomize takes a core each. */
const PARALLEL = 2;
const RELEASE = /^overlays\/[^/]+\/[^/]+\/release\.yaml$/;

/**
 * Finds the releases that HEAD changes over the point where it left a base.
 * @param root the repository's root directory
 * @param base a branch or a commit
 * @throws UsageError when there is no such commit
 * @throws RefusedError when HEAD and the base have no common history here, or the clone is shallow
 */
export async function changedReleases(root: string, base: string): Promise<ProvenanceScope> {
  const git = new GitHistory(root);
  const head = await git.commitOf("HEAD");
  const history = await git.commitOf(base);
  if (head === undefined || history === undefined) {
    const hint = "fetch it, give another one with --base, or check everything with --all";
    throw new UsageError(`there is no commit ${head === undefined ? "HEAD" : base} here`, hint);
  }
  await refuseShallow(git);
  const left = await git.mergeBase(history, head);
  if (left === undefined)
    throw new RefusedError(`HEAD and ${base} have no commit in common`, "give another one with --base");
  const paths = (await git.changed(left, head)).filter((path) => RELEASE.test(path));
  return { head, left, history, paths, mayRestore: true };
}

/** All releases of HEAD. @throws RefusedError before the first commit, or when the clone is shallow */
export async function allReleases(root: string): Promise<ProvenanceScope> {
  const git = new GitHistory(root);
  const head = await headCommit(root);
  await refuseShallow(git);
  const files = [...(await git.entries(head, ["overlays"])).keys()];
  const paths = files.filter((path) => RELEASE.test(path));
  return { head, left: head, history: head, paths, mayRestore: false };
}

/**
 * Looks at each release of a scope.
 * @param kustomize gives the path of the program; called only when something has to be rendered
 * @returns in the order of the paths
 */
export async function checkProvenance(
  root: string,
  scope: ProvenanceScope,
  kustomize: () => Promise<string>,
): Promise<CheckedRelease[]> {
  if (scope.paths.length === 0) return [];
  const { head, history } = scope;
  const git = new GitHistory(root);
  const apps = await git.withTree(head, ["apps"], readCatalogue);
  const environments = await environmentsAt(git, head);
  const deployed = head === history ? environments : await environmentsAt(git, history);
  const stoodAt = await git.stoodAt(history);
  return pLimit(PARALLEL).map(scope.paths, async (path) => ({
    path,
    origin: await originOf({ git, scope, path, apps, environments, deployed, stoodAt, kustomize }),
  }));
}

/**
 * The environment that builds the live base: in the history, or a change could turn the order round and need no releases.
 * @returns its name; that of the work tree where the history's environments are not valid: the change may fix them
 */
export async function firstEnvironment(root: string, { history }: ProvenanceScope): Promise<string> {
  const environments = await environmentsAt(new GitHistory(root), history).catch(async (error: unknown) => {
    if (error instanceof RefusedError) return readEnvironments(root);
    throw error;
  });
  return environments[0]?.name ?? "";
}

interface Check {
  git: GitHistory;
  scope: ProvenanceScope;
  path: string;
  apps: readonly App[];
  /** Those that the change has. */
  environments: readonly Environment[];
  /** Those of the history: their order counts, or a change could let a release leave one out. */
  deployed: readonly Environment[];
  /** The commits that the deployed branch has stood at. */
  stoodAt: ReadonlySet<string>;
  kustomize: () => Promise<string>;
}

async function environmentsAt(git: GitHistory, commit: string): Promise<Environment[]> {
  return git.withTree(commit, [":(glob)overlays/*/environment.yaml"], readEnvironments);
}

async function originOf(check: Check): Promise<Origin> {
  const { git, scope, path, apps, environments, deployed } = check;
  const [, to = "", app = ""] = path.split("/");
  const file = (await git.entries(scope.head, [path])).get(path);
  if (file === undefined) return { kind: "removed" };
  const fault = (what: string): Origin => ({ kind: "unknown", difference: { path, line: 1, what } });
  if (file.mode === "120000") return fault("a symbolic link");
  const find = (name: string) =>
    [...deployed, ...environments].find((environment) => environment.name === name);
  const environment = environments.some(({ name }) => name === to) ? find(to) : undefined;
  if (environment === undefined) return fault(`there is no environment ${to}`);
  if (!apps.some((candidate) => candidate.app === app)) return fault(`there is no app ${app}`);
  const { promotesFrom: from } = environment;
  if (from === undefined) return fault(`${to} builds the live base and has no releases`);

  if (scope.mayRestore) {
    const own = (await readArrivals(git, path, scope.history)).find(({ blob }) => blob === file.blob);
    if (own !== undefined) return { kind: "restored", from: to, commit: own.commit };
  }
  const isFirst = find(from)?.promotesFrom === undefined;
  return isFirst ? rendered(check, app, from, file) : copied(check, app, from, file);
}

/** Whether a release is what the commit in its head renders. */
async function rendered(
  { git, path, stoodAt, kustomize }: Check,
  app: string,
  from: string,
  file: Entry,
): Promise<Origin> {
  const text = await git.git(["cat-file", "blob", file.blob]);
  const lines = text.split("\n");
  const at = lines.findIndex((line) => /^# commit: [0-9a-f]{40}$/.test(line));
  const commit = lines[at]?.slice("# commit: ".length);
  if (commit === undefined) return { kind: "unknown", difference: damage(path, text) };
  const fault = (what: string): Origin => ({ kind: "unknown", difference: { path, line: at + 1, what } });
  if (!stoodAt.has(commit))
    return fault(`its commit ${commit.slice(0, 7)} is none that the deployed branch has stood at`);
  try {
    const expected = await deriveRelease({
      git,
      app,
      from,
      commit,
      kustomize: await kustomize(),
    });
    // By its hash: a text does not show the mark that a file may start with, nor bytes that are not UTF-8.
    if (blobId(expected, file.blob.length) === file.blob) return { kind: "rendered", from, commit };
    const what = `not what ${from} rendered at ${commit.slice(0, 7)}`;
    return { kind: "unknown", difference: { ...firstDifference(path, expected, text), what } };
  } catch (error) {
    // What cannot be rendered there cannot have come from there.
    if (error instanceof CommandError && !(error instanceof GitSetupError))
      return fault(`nothing can be rendered from ${commit.slice(0, 7)}: ${messageOf(error)}`);
    throw error;
  }
}

/** Whether a release is, byte for byte, one that the environment before had. */
async function copied({ git, scope, path }: Check, app: string, from: string, file: Entry): Promise<Origin> {
  const source = await readArrivals(git, releasePath(from, app), scope.history);
  const same = source.find(({ blob }) => blob === file.blob);
  if (same !== undefined) return { kind: "copied", from, commit: same.commit };
  const text = await git.git(["cat-file", "blob", file.blob]);
  const nearest = await nearestOf(git, source, text);
  if (nearest === undefined) {
    const what = `${from} never had a release of ${app} on the deployed branch`;
    return { kind: "unknown", difference: { path, line: 1, what } };
  }
  const what = `not a release that ${from} had on the deployed branch, compared with that of ${nearest.commit.slice(0, 7)}`;
  return { kind: "unknown", difference: { ...firstDifference(path, nearest.text, text), what } };
}

/** The version to compare a stranger with: one that names the same commit and image, else the newest. */
async function nearestOf(
  git: GitHistory,
  source: readonly Arrival[],
  text: string,
): Promise<{ commit: string; text: string } | undefined> {
  const head = (content: string) => content.split("\n").slice(0, 5).join("\n");
  const texts = await git.texts(source.flatMap(({ blob }) => blob ?? []));
  const candidates = source.flatMap(({ commit, blob = "" }) => {
    const found = texts.get(blob);
    return found === undefined ? [] : [{ commit, text: found }];
  });
  return candidates.find((candidate) => head(candidate.text) === head(text)) ?? candidates[0];
}

/** The first line in which the content differs; where that is equal, the first of the head. */
function firstDifference(path: string, expected: string, found: string): Omit<Difference, "what"> {
  const wanted = expected.split("\n");
  const lines = found.split("\n");
  const body = wanted.findIndex((line) => !line.startsWith("# "));
  const differing = Array.from({ length: Math.max(wanted.length, lines.length) }, (_, index) => index).filter(
    (index) => wanted[index] !== lines[index],
  );
  const index = differing.find((candidate) => candidate >= body) ?? differing[0];
  if (index === undefined) return { path, line: 1 };
  return { path, line: index + 1, expected: quoted(wanted[index]), found: quoted(lines[index]) };
}

/** Shows blanks at the end, and what a terminal would not print. */
function quoted(line: string | undefined): string {
  return line === undefined ? "the end of the file" : JSON.stringify(line);
}

/** Why a head does not say a commit. */
function damage(path: string, text: string): Difference {
  try {
    parseRelease(text, path);
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    const { line, what } = findingOf(error, path);
    return { path, line, what };
  }
  return { path, line: 1, what: "its head names no commit" };
}

/**
 * The branch to compare with when none is named: the deployed one, as it was last fetched.
 * @throws RefusedError when this clone knows it neither as origin's nor as another remote's
 */
export async function deployedBranch(root: string, revision: string): Promise<string> {
  const git = new GitHistory(root);
  // The full name: a tag or a branch may be called origin/main, too.
  for (const name of [`refs/remotes/origin/${revision}`, `${revision}@{upstream}`]) {
    if ((await git.commitOf(name)) !== undefined) return name;
  }
  throw new RefusedError(
    `this clone has no origin/${revision}`,
    "fetch it, give a branch with --base, or check everything with --all",
  );
}

/** What is missing would look like what never was. */
async function refuseShallow(git: GitHistory): Promise<void> {
  if (await git.isShallow())
    throw new RefusedError(
      "this clone is shallow, and releases name older commits",
      "run `git fetch --unshallow`",
    );
}
