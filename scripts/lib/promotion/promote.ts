/** A promotion from beginning to end: review, gates, and the pull request that is kept for it. */
import type { Argocd } from "../argocd/applications.ts";
import { inert } from "../cli/markdown.ts";
import { MovedError, RefusedError } from "../errors.ts";
import type { Forge, PullRequest } from "../forge/forge.ts";
import type { Author, FileChange, Remote } from "../git/remote.ts";
import { type Proposal, type ProposalOutcome, Proposer } from "../pull-request/propose.ts";
import { retry } from "../pull-request/retry.ts";
import { withdraw } from "../pull-request/withdraw.ts";
import { formatRelease, releaseName } from "../release/release.ts";
import { closeOvertaken, type OvertakenPromotion } from "./open.ts";
import { formatPromotionBranch, PROMOTIONS, promotionBody, promotionTitle } from "./pull-request-body.ts";
import { type Refusal, type Review, reviewPromotion } from "./review.ts";

export interface PromoteRequest {
  from: string;
  to: string;
  /** None for the whole environment. */
  apps: readonly string[];
  /** Why closed gates are passed. */
  override: string | undefined;
  /** Gives the path of the program. */
  kustomize: () => Promise<string>;
  /** Asked instead of the forge what became of the releases. */
  argocd: Argocd | undefined;
  now: Date;
  author: Author;
  /** Whether gates that open by themselves are no refusal. */
  ifReady: boolean;
  /** Reviews, and changes nothing. */
  dryRun: boolean;
  /** Told what was found, before anything is done about it. */
  onReview: (review: Review) => Promise<void>;
  /** Told what became of each promotion that a hold has overtaken, in a line. */
  onClosed: (line: string) => void;
}

/** What stands in the way of a promotion. */
type Refused = Pick<Refusal, "fact" | "way" | "opensItself">;

export type PromoteOutcome =
  | { kind: "reviewed" }
  | ({ kind: "not now" } & Refused)
  | { kind: "nothing"; closed: Pick<PullRequest, "number" | "url"> | undefined }
  | ({ kind: "proposed"; review: Review } & ProposalOutcome);

/** The promotion is made anew each time, which takes seconds. */
const PATIENCE = { attempts: 5, longestPauseMs: 1000 };
/** The label that says that gates were passed. */
const OVERRIDE = "override";

/**
 * Promotes.
 * @param remote fetched with its history, and the branches of promotions
 * @throws UsageError, RefusedError when the call is not in order or a gate is closed
 * @throws ExternalError when the forge or a program fails
 */
export async function promote(
  remote: Remote,
  forge: Forge,
  request: PromoteRequest,
): Promise<PromoteOutcome> {
  const branch = formatPromotionBranch(request);
  const proposer = new Proposer(remote, forge, { author: request.author, date: request.now });
  const attempt = async (count: number): Promise<PromoteOutcome> => {
    if (count > 1) await remote.fetch(PROMOTIONS);
    const review = await reviewPromotion(remote, forge, request);
    await request.onReview(review);
    if (request.dryRun) return { kind: "reviewed" };
    const refused = refusalOf(review, request.override);
    // The one on this branch is brought up to date below, or closed because nothing is left; unless a gate stops this run.
    const isStopped = refused !== undefined && review.steps.length > 0;
    for (const overtaken of review.overtaken)
      if (overtaken.branch !== branch || isStopped)
        request.onClosed(await closeOvertaken(remote, forge, overtaken, overtakenBy(overtaken, review)));
    if (review.steps.length === 0) {
      const closed = await withdraw(remote, forge, branch, noReasonFor(review));
      if (refused === undefined) return { kind: "nothing", closed };
      const pull = closed === undefined ? "" : `; #${closed.number} is closed`;
      throw new RefusedError(`${refused.fact}${pull}`, refused.way);
    }
    if (refused !== undefined) {
      if (request.ifReady && refused.opensItself) return { kind: "not now", ...refused };
      throw new RefusedError(refused.fact, refused.way);
    }
    const outcome = await proposer.attempt(proposalOf(review, branch, forge, request.override));
    await refuseMoved(remote, forge, review);
    return { kind: "proposed", review, ...outcome };
  };
  return retry(`${remote.branch} or ${branch}`, attempt, PATIENCE);
}

/** Why there is no pull request any more. */
function noReasonFor({ from, to, base, refusals }: Review): string {
  const held = refusals.map(({ fact }) => ` ${inert(fact)}.`).join("");
  return `Nothing is left to promote from ${from} to ${to} as of ${base.slice(0, 7)}.${held}`;
}

/** Why a promotion is closed that a hold has overtaken. */
function overtakenBy({ held }: OvertakenPromotion, { from, to }: Review): string {
  const why = held.map(
    ({ app, release, hold }) =>
      `${app} ${releaseName(release)} is held back from ${to}: ${inert(`${hold.reason} (${hold.by})`)}.`,
  );
  return `${why.join(" ")} \`npm run promote ${from} ${to}\` opens one for the rest.`;
}

/** What stands in the way, in a line; undefined when nothing does. */
function refusalOf({ refusals }: Review, override: string | undefined): Refused | undefined {
  const closed = refusals.filter(({ mayOverride }) => override === undefined || !mayOverride);
  // One that waiting does not open is told first.
  const first = closed.find(({ opensItself }) => !opensItself) ?? closed[0];
  if (first === undefined) return undefined;
  const more = closed.length === 1 ? "" : ` (and ${closed.length - 1} more, above)`;
  const { opensItself } = first;
  return { fact: `${first.fact}${more}`, way: first.way, opensItself };
}

function proposalOf(review: Review, branch: string, forge: Forge, override: string | undefined): Proposal {
  const { from, to, steps, base } = review;
  const passed = review.refusals.length > 0 ? override : undefined;
  return {
    branch,
    base,
    changes: steps.map(
      ({ path, after }): FileChange => ({ path, file: { mode: "100644", text: formatRelease(after) } }),
    ),
    title: promotionTitle(review),
    body: promotionBody(review, forge.address, passed),
    trailers: [`Promote: ${from} ${to} ${steps.map(({ app }) => app).join(" ")}`],
    labels: ["promotion", `env/${to}`, ...(passed === undefined ? [] : [OVERRIDE])],
    // Of a run that had to pass a gate which is open now.
    unwanted: passed === undefined ? [OVERRIDE] : [],
    reviewers: [...new Set(steps.flatMap(({ owners }) => owners))].toSorted(),
  };
}

/** @throws MovedError when the deployed branch has got something since that the promotion was made from */
async function refuseMoved(remote: Remote, forge: Forge, { from, to, base }: Review): Promise<void> {
  if ((await forge.branchTip(remote.branch)) === base) return;
  await remote.fetch(PROMOTIONS);
  const tip = (await remote.tip(remote.branch)) ?? base;
  const matters = new RegExp(
    `^(apps|base|argocd)/|^overlays/(${from}|${to})/|^overlays/[^/]+/environment\\.yaml$`,
  );
  const moved = (await remote.changed(base, tip)).find((path) => matters.test(path));
  if (moved !== undefined) throw new MovedError(remote.branch, `it has another ${moved}`);
}
