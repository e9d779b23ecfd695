/**
 * A proposal: one commit on a branch of a fixed name, and one open pull request for it, both kept as they should be.
 * What is there is compared with what is wanted first, so a run that was broken off is simply repeated.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { ExternalError, RefusedError } from "./errors.ts";
import type { Forge, PullRequest } from "./forge.ts";
import { type EnsuredPullRequest, ensurePullRequest } from "./pull-request.ts";
import { type Author, blobId, type Entry, type FileChange, type Remote } from "./remote.ts";

export interface Proposal {
  branch: string;
  /** The commit of the deployed branch that it starts from. */
  base: string;
  changes: readonly FileChange[];
  title: string;
  /** Of the pull request. */
  body: string;
  /** The last lines of the commit's message, `Key: value` each. */
  trailers: readonly string[];
  labels: readonly string[];
  /** Teams, as the catalogue's owners. */
  reviewers: readonly string[];
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

/** How often a push is tried when others push to the same branch at the same time. */
const ATTEMPTS = 5;
const LONGEST_PAUSE_MS = 1000;
/** Says what the commit contains: whoever has changed that since is not a command of this repository. */
const CONTENT = /^Content: (sha256:[0-9a-f]{64})$/m;

/**
 * Sees to it that a proposal is there, with exactly this content.
 * @param now the date of the commit, if one is made
 * @throws RefusedError when the branch holds somebody else's commits, or the forge does not let the token do it
 * @throws ExternalError when the forge fails
 */
export async function propose(
  remote: Remote,
  forge: Forge,
  proposal: Proposal,
  author: Author,
  now: Date,
): Promise<ProposalOutcome> {
  const { commit, isNew } = await ensureCommit(remote, proposal, author, now);
  const way = { head: proposal.branch, base: remote.branch };
  const { title, body } = proposal;
  const pull = await ensurePullRequest(forge, way, { title, body });
  const change = pull.change === "unchanged" && isNew ? "updated" : pull.change;
  // The labels come last: with them the pull request is complete, and whoever has reviewed it is not asked once more.
  const isComplete =
    change === "unchanged" && (await forge.missingLabels(pull.number, proposal.labels)).length === 0;
  if (isComplete) return { commit, pull, notes: [] };
  const refusal = await forge.requestReviewers(pull.number, proposal.reviewers);
  await forge.ensureLabels(pull.number, proposal.labels);
  return { commit, pull: { ...pull, change }, notes: refusal === undefined ? [] : [refusal] };
}

/**
 * Takes a proposal back that there is no reason for any more: closes its pull request and deletes its branch.
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

async function ensureCommit(
  remote: Remote,
  proposal: Proposal,
  author: Author,
  date: Date,
): Promise<{ commit: string; isNew: boolean }> {
  const { branch, base, changes } = proposal;
  const message = (content: string) =>
    `${proposal.title}\n\n${[...proposal.trailers, `Content: ${content}`].join("\n")}\n`;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const tip = await remote.tip(branch);
    if (tip !== undefined && (await isWanted(remote, proposal, tip))) return { commit: tip, isNew: false };
    if (tip !== undefined) await refuseForeign(remote, branch);
    const commit = await remote.commit({ parent: base, changes, message, author, date });
    const pushed = await remote.push(commit, branch, tip ?? "none");
    if (pushed.kind === "pushed") return { commit, isNew: true };
    await sleep(Math.random() * LONGEST_PAUSE_MS);
    await remote.fetch(`${branch}*`);
  }
  throw new ExternalError(`others pushed to ${branch} ${ATTEMPTS} times while this tried to`, "run it again");
}

/** Whether the branch is one commit that does these changes, made of files that main still has like that. */
async function isWanted(remote: Remote, { branch, base, changes }: Proposal, tip: string): Promise<boolean> {
  const { commits, from } = await remote.ahead(branch, `${branch}*`);
  if (commits.length !== 1 || from === undefined) return false;
  const changed = new Set(await remote.changed(from, tip));
  if (changed.size !== changes.length) return false;
  const paths = changes.map(({ path }) => path);
  const [there, left, now] = await Promise.all([tip, from, base].map((at) => remote.entries(at, paths)));
  return changes.every(({ path, file }) => {
    const wanted = file && { mode: file.mode, blob: blobId(file.text, base.length) };
    return changed.has(path) && same(there?.get(path), wanted) && same(left?.get(path), now?.get(path));
  });
}

function same(a: Entry | undefined, b: Entry | undefined): boolean {
  return a?.blob === b?.blob && a?.mode === b?.mode;
}

/** A branch is given up only when each of its commits contains what its message says, as a command wrote it. */
async function refuseForeign(remote: Remote, branch: string): Promise<void> {
  const { commits } = await remote.ahead(branch, `${branch}*`);
  for (const commit of commits) {
    const { message, parents } = await remote.describe(commit);
    const [parent, second] = parents;
    const said = CONTENT.exec(message)?.[1];
    if (parent && !second && said !== undefined && said === (await remote.content(parent, commit))) continue;
    throw new RefusedError(
      `${branch} holds a commit that no command made: ${commit.slice(0, 7)}`,
      "merge or close its pull request and delete the branch, then run it again",
    );
  }
}
