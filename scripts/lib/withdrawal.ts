/** Taking a proposal back that there is no reason for any more. */
import type { Forge, PullRequest } from "./forge.ts";
import { refuseForeign } from "./proposal-branch.ts";
import type { Remote } from "./remote.ts";

/**
 * Closes the pull request of a proposal and deletes its branch.
 * @returns the pull request that was open
 * @throws RefusedError when the branch holds somebody else's commits
 */
export async function withdraw(
  remote: Remote,
  forge: Forge,
  branch: string,
  reason: string,
): Promise<PullRequest | undefined> {
  const tip = await remote.tip(branch);
  if (tip !== undefined) await refuseForeign(remote, branch);
  const [open] = await forge.openPullRequests({ head: branch, base: remote.branch });
  if (open !== undefined) {
    await forge.comment(open.number, reason);
    await forge.closePullRequest(open.number);
  }
  // Somebody who has just pushed to it has a reason.
  if (tip !== undefined) await remote.deleteBranch(branch, tip);
  return open;
}
