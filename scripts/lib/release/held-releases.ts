/** Releases that a change brings although a hold keeps them out: a promotion may be older than the rollback. */
import { type Finding, findingIn } from "../finding.ts";
import { GitHistory } from "../git/history.ts";
import { type Hold, holdPath, holds, parseHolds } from "./hold.ts";
import type { ProvenanceScope } from "./provenance.ts";
import { releaseAt, releaseName } from "./release.ts";

/**
 * Looks for them.
 * @param root the repository's root directory
 * @param options.revision the branch that is deployed: what it has already is not left out, but taken back
 * @returns a finding for each, in the order of the paths
 * @throws RefusedError for a hold file that cannot be read
 */
export async function heldReleases(
  root: string,
  scope: ProvenanceScope,
  { now, revision }: { now: Date; revision: string },
): Promise<Finding[]> {
  const git = new GitHistory(root);
  const found: Finding[] = [];
  const isDeployed = await stands(git, scope.head, `refs/remotes/origin/${revision}`);
  for (const path of scope.paths) {
    const [, environment = "", app = ""] = path.split("/");
    const inForce = await holdsOf(git, scope, path, holdPath({ environment, app }));
    if (inForce.length === 0) continue;
    // A damaged one is a finding of its own.
    const release = await releaseAt(git, scope.head, path);
    const hold = release && inForce.find((candidate) => holds(candidate, release, now));
    if (release === undefined || hold === undefined) continue;
    const what = `${releaseName(release)} is held back from ${environment}: ${hold.reason} (${hold.by})`;
    const first = isDeployed
      ? `take it out again: npm run rollback ${environment} ${app}, and merge that`
      : "leave it out";
    const way = `${first}; or lift the hold${isDeployed ? "" : " first"}: npm run unhold ${environment} ${app}`;
    found.push(findingIn(path, what, way));
  }
  return found;
}

/** Whether a branch has stood at a commit. */
async function stands(git: GitHistory, commit: string, branch: string): Promise<boolean> {
  const tip = await git.commitOf(branch);
  return tip !== undefined && (await git.stoodAt(tip)).has(commit);
}

/**
 * Those of the deployed branch, and of the change if it has others. A hold is lifted by a change of its own: with the release that
 * comes back, as `npm run rollback` does it, and with nothing in whose midst a reviewer would not see it.
 */
async function holdsOf(
  git: GitHistory,
  { head, left, history }: ProvenanceScope,
  release: string,
  path: string,
): Promise<Hold[]> {
  const changed = await git.changed(left, head);
  const isAlone = changed.every((other) => other === release || other === path);
  const commits = !changed.includes(path) ? [history] : isAlone ? [head] : [history, head];
  const files = await Promise.all(commits.map(async (commit) => git.read(commit, path)));
  return files.flatMap((file) => (file === undefined ? [] : parseHolds(file.text, path)));
}
