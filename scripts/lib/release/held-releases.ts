/** Releases that a change brings although a hold keeps them out: a promotion may be older than the rollback. */
import { RefusedError } from "../errors.ts";
import { type Finding, findingIn } from "../finding.ts";
import { GitHistory } from "../git/history.ts";
import { type Hold, holdPath, holds, parseHolds } from "./hold.ts";
import type { ProvenanceScope } from "./provenance.ts";
import { parseRelease, type Release, releaseName } from "./release.ts";

/**
 * Looks for them.
 * @param root the repository's root directory
 * @returns a finding for each, in the order of the paths
 * @throws RefusedError for a hold file that cannot be read
 */
export async function heldReleases(root: string, scope: ProvenanceScope, now: Date): Promise<Finding[]> {
  const git = new GitHistory(root);
  const found: Finding[] = [];
  for (const path of scope.paths) {
    const [, environment = "", app = ""] = path.split("/");
    const inForce = await holdsOf(git, scope, holdPath({ environment, app }));
    if (inForce.length === 0) continue;
    const release = await releaseAt(git, scope.head, path);
    const hold = release && inForce.find((candidate) => holds(candidate, release, now));
    if (release === undefined || hold === undefined) continue;
    const what = `${releaseName(release)} is held back from ${environment}: ${hold.reason} (${hold.by})`;
    const way = `leave it out, or lift the hold first: npm run unhold ${environment} ${app}`;
    found.push(findingIn(path, what, way));
  }
  return found;
}

/** As they will be once the change is merged: those of the deployed branch, unless the change is about them. */
async function holdsOf(git: GitHistory, scope: ProvenanceScope, path: string): Promise<Hold[]> {
  const { head, left, history } = scope;
  const [own, before] = await Promise.all(
    [head, left].map(async (commit) => (await git.entries(commit, [path])).get(path)?.blob),
  );
  const file = await git.read(own === before ? history : head, path);
  return file === undefined ? [] : parseHolds(file.text, path);
}

/** Undefined where there is none, or none that can be named: that is a finding of its own. */
async function releaseAt(git: GitHistory, commit: string, path: string): Promise<Release | undefined> {
  try {
    const file = await git.read(commit, path);
    return file && parseRelease(file.text, path);
  } catch (error) {
    if (error instanceof RefusedError) return undefined;
    throw error;
  }
}
