/**
 * A proposal: one commit on a branch of a fixed name, and one open pull request for it, both kept as they should be.
 * What is there is compared with what is wanted first, so a run that was broken off is simply repeated.
 */
import { contend } from "./contend.ts";
import type { Forge } from "./forge.ts";
import { commitProposal, isWanted, refuseForeign } from "./proposal-branch.ts";
import { type EnsuredPullRequest, ensurePullRequest } from "./pull-request.ts";
import type { Author, FileChange, Remote } from "./remote.ts";

export interface Proposal {
  branch: string;
  /** The commit of the deployed branch that it starts from. */
  base: string;
  changes: readonly FileChange[];
  /** Whether the branch is right with other people's commits on it, too, as long as these files are as wanted. */
  mayHoldMore?: boolean;
  title: string;
  /** Of the pull request. */
  body: string;
  /** What the commit's message says after the title; nothing by default. */
  summary?: string;
  /** The last lines of the commit's message, `Key: value` each. */
  trailers: readonly string[];
  labels: readonly string[];
  /** Teams, as the catalogue's owners. */
  reviewers: readonly string[];
}

export interface ProposeOptions {
  author: Author;
  /** The date of the commit, if one is made. */
  date: Date;
  /** Throws when what a command has put on the branch is to stay; asked before it is replaced. */
  refuseRival?: (commit: string) => Promise<void>;
}

export interface Replanning {
  /** Looks at the forge again and makes the proposal anew; undefined when there is no reason for it any more. */
  replan: () => Promise<Proposal | undefined>;
}

export interface ProposalOutcome {
  commit: string;
  pull: EnsuredPullRequest;
  /** What the forge would not do, a line each; the pull request is there all the same. */
  notes: string[];
}

/** What has become of a proposal, for the terminal, a line each. */
export function describeProposal({ pull, notes }: ProposalOutcome): string[] {
  return [...notes.map((note) => `note: ${note}`), `${pull.change}: #${pull.number} ${pull.url}`];
}

/** Of 20 that push in the same second, the last to get through is beaten four times on average. */
const PATIENCE = { attempts: 10, longestPauseMs: 1000 };

/**
 * Sees to it that a proposal is there, with exactly this content.
 * @param options.replan makes it anew when others have pushed to its branch; by default it stays as it is
 * @returns undefined when the new one is not needed
 * @throws RefusedError when the branch holds somebody else's commits, or the forge does not let the token do it
 * @throws ExternalError when the forge fails
 */
export async function propose(
  remote: Remote,
  forge: Forge,
  proposal: Proposal,
  options: ProposeOptions,
): Promise<ProposalOutcome>;
export async function propose(
  remote: Remote,
  forge: Forge,
  proposal: Proposal,
  options: ProposeOptions & Replanning,
): Promise<ProposalOutcome | undefined>;
export async function propose(
  remote: Remote,
  forge: Forge,
  first: Proposal,
  options: ProposeOptions & Partial<Replanning>,
): Promise<ProposalOutcome | undefined> {
  const { branch } = first;
  let proposal: Proposal | undefined = first;
  const replan =
    options.replan ??
    (async () => {
      await remote.fetch(`${branch}*`);
      return first;
    });
  return contend(branch, PATIENCE, async (count) => {
    if (count > 1) proposal = await replan();
    if (proposal === undefined) return { kind: "done", result: undefined };
    const pushed = await ensureCommit(remote, proposal, options);
    if (pushed.kind === "moved") return pushed;
    const { commit, isNew } = pushed;
    return { kind: "done", result: await complete(forge, proposal, remote.branch, { commit, isNew }) };
  });
}

/** Sees to the pull request of a commit that is on its branch. */
async function complete(
  forge: Forge,
  proposal: Proposal,
  base: string,
  { commit, isNew }: { commit: string; isNew: boolean },
): Promise<ProposalOutcome> {
  const { branch: head, title, body, labels, reviewers } = proposal;
  const pull = await ensurePullRequest(forge, { head, base }, { title, body });
  const change = pull.change === "unchanged" && isNew ? "updated" : pull.change;
  const outcome = { commit, pull: { ...pull, change }, notes: [] };
  // The labels come last: with them the pull request is complete, and whoever has reviewed it is not asked once more.
  const mayBeComplete = change === "unchanged" || labels.length === 0;
  if (mayBeComplete && (await isLabelled(forge, pull.number, labels))) return outcome;
  const refusal = await forge.requestReviewers(pull.number, reviewers);
  await forge.ensureLabels(pull.number, labels);
  return { ...outcome, notes: refusal === undefined ? [] : [refusal] };
}

async function isLabelled(forge: Forge, number: number, labels: readonly string[]): Promise<boolean> {
  return labels.length === 0 || (await forge.missingLabels(number, labels)).length === 0;
}

type Committed = { kind: "there"; commit: string; isNew: boolean } | { kind: "moved"; reason: string };

async function ensureCommit(remote: Remote, proposal: Proposal, options: ProposeOptions): Promise<Committed> {
  const { branch } = proposal;
  const tip = await remote.tip(branch);
  if (tip !== undefined) {
    if (await isWanted(remote, proposal, tip)) return { kind: "there", commit: tip, isNew: false };
    await refuseForeign(remote, branch);
    await options.refuseRival?.(tip);
  }
  const commit = await commitProposal(remote, proposal, options);
  const pushed = await remote.push(commit, branch, tip ?? "none");
  return pushed.kind === "moved" ? pushed : { kind: "there", commit, isNew: true };
}
