/** A bump as a commit on the deployed branch, which others may push to at the same time. */

import { RefusedError } from "../errors.ts";
import type { Author, Remote } from "../git/remote.ts";
import { commitProposal } from "../pull-request/branch.ts";
import { retry } from "../pull-request/retry.ts";
import { type BumpPlan, bumpProposal, planAgain, recordOf } from "./plan.ts";
import { isLater } from "./pull-request-body.ts";

/** Room for 20 that fetch and push in 0.4 s each. */
const PATIENCE = { attempts: 40, longestPauseMs: 8000 };

/**
 * Carries out a plan without a pull request. It never forces: when others were faster, the line is edited in what they pushed.
 * @param options.now the clock
 * @returns the commit; undefined when somebody else has just pushed the same image
 * @throws RefusedError when a bump of the app was asked for later, or a person has edited the line meanwhile
 * @throws ExternalError when the forge fails, or others push all the time
 */
export async function pushBump(
  remote: Remote,
  first: BumpPlan,
  { author, now }: { author: Author; now: () => Date },
): Promise<string | undefined> {
  let plan = first;
  const attempt = async (count: number) => {
    if (count > 1) plan = await planAgain(remote, plan);
    if (plan.edit.changes.length === 0) return undefined;
    await refuseRival(remote, first, plan, now);
    const commit = await commitProposal(remote, bumpProposal(plan), { author, date: plan.record.askedAt });
    await remote.push(commit, remote.branch);
    return commit;
  };
  return retry(remote.branch, attempt, PATIENCE);
}

/** Of two bumps the one that was asked for later stays; so does what a person has made of the line since this began. */
async function refuseRival(
  remote: Remote,
  first: BumpPlan,
  { base, path, edit, record }: BumpPlan,
  now: () => Date,
): Promise<void> {
  const isMoved = edit.before !== first.edit.before;
  const commit = await remote.lastChange(base, [path]);
  const said = commit && (await recordOf(remote, first, commit));
  if (said ? !isLater(said, record, isMoved ? undefined : now()) : !isMoved) return;
  throw new RefusedError(
    `${record.environment} got ${edit.before.slice(0, 7)} of ${record.app} while this ran, in ${commit?.slice(0, 7)}`,
    said ? "that was asked for later, so it stays" : "run it again to replace it",
  );
}
