/** A bump by pull request: one for each app, in which the bump that was asked for last counts. */
import { isDeepStrictEqual } from "node:util";
import { RefusedError } from "../errors.ts";
import type { Forge, PullRequest } from "../forge/forge.ts";
import type { Author, Remote } from "../git/remote.ts";
import { type ProposalOutcome, Proposer } from "../pull-request/propose.ts";
import { retry } from "../pull-request/retry.ts";
import { withdrawOrLeave } from "../pull-request/withdraw.ts";
import { type BumpPlan, bumpProposal, planAgain, recordOf } from "./plan.ts";
import { isLater } from "./pull-request-body.ts";

/**
 * Carries out a plan by pull request. When others are faster, it is made anew from what the forge then has.
 * @param options.now the clock
 * @returns undefined when the deployed branch has got the image meanwhile
 * @throws RefusedError when a bump of the app was asked for later, or the branch holds somebody else's commits
 * @throws ExternalError when the forge fails, or others push all the time
 */
export async function proposeBump(
  remote: Remote,
  forge: Forge,
  first: BumpPlan,
  { author, now }: { author: Author; now: () => Date },
): Promise<ProposalOutcome | undefined> {
  const seen = await remote.tip(first.branch);
  let plan = first;
  const proposer = new Proposer(remote, forge, { author, date: plan.record.askedAt });
  const rivalOf = async (commit: string) => {
    const said = await recordOf(remote, plan, commit);
    const isRival = said && isLater(said, plan.record, commit === seen ? now() : undefined);
    // The later bump may ask for the same image.
    if (!isRival || isDeepStrictEqual(said.image, plan.record.image)) return undefined;
    const fact = `${plan.branch} got ${said.image.tag.slice(0, 7)} while this ran`;
    const refusal = new RefusedError(fact, "that was asked for later, so it stays");
    return { refusal, title: said.title, body: said.body };
  };
  return retry(plan.branch, async (count) => {
    if (count > 1) plan = await planAgain(remote, plan);
    return plan.edit.changes.length === 0 ? undefined : proposer.attempt(bumpProposal(plan), rivalOf);
  });
}

/**
 * Takes back the pull request of an older bump, when the deployed branch has the image that was asked for now.
 * @returns the pull request that was open
 * @throws RefusedError when somebody else has commits on its branch
 */
export async function withdrawBump(
  remote: Remote,
  forge: Forge,
  plan: BumpPlan,
  now: Date,
): Promise<PullRequest | undefined> {
  const { branch, record } = plan;
  const tip = await remote.tip(branch);
  if (tip === undefined) return undefined;
  const said = await recordOf(remote, plan, tip);
  if (said !== undefined && isLater(said, record, now)) return undefined;
  const has = `\`${remote.branch}\` has ${record.image.tag} of ${record.app} already`;
  return withdrawOrLeave(remote, forge, branch, `${has}, which was asked for after this.`);
}
