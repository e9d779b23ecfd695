/** Taking a proposal back that there is no reason for any more. */

import { afterWriting, MovedError } from "../errors.ts";
import type { Forge, PullRequest } from "../forge/forge.ts";
import type { Remote } from "../git/remote.ts";
import { refuseForeign } from "./branch.ts";

/**
 * Deletes the branch of a proposal and closes its pull request, with a comment that says why.
 * @returns the pull request that was open
 * @throws MovedError when somebody has just pushed to the branch, and so has a reason for it: then nothing has been done
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
  // Before the branch is gone: forges close its pull request with it.
  const [open] = await forge.openPullRequests({ head: branch, base: remote.branch });
  if (tip !== undefined) await remote.deleteBranch(branch, tip);
  if (open === undefined) return undefined;
  try {
    await forge.closePullRequest(open.number);
    // Last: where it is closed, a run that goes on after one that was broken off does not write it a second time.
    await forge.comment(open.number, reason);
  } catch (error) {
    throw tip === undefined ? error : afterWriting(error, `${branch} is deleted`);
  }
  return open;
}

/**
 * As `withdraw`, for whoever has nothing to do anew when somebody has just pushed to the branch: then it stays.
 * @returns the pull request that was open
 */
export async function withdrawOrLeave(
  ...args: Parameters<typeof withdraw>
): Promise<PullRequest | undefined> {
  return withdraw(...args).catch((error: unknown) => {
    if (error instanceof MovedError) return undefined;
    throw error;
  });
}

/** What has become of a proposal that was taken back, for the terminal: a line, or nothing where none was open. */
export function describeWithdrawal(closed: PullRequest | undefined): string {
  return closed === undefined ? "" : `closed: #${closed.number} ${closed.url}\n`;
}
