/**
 * A proposal: one commit on a branch of a fixed name, and one open pull request for it, both kept as they should be.
 * What is there is compared with what is wanted first, so a run that was broken off is simply repeated.
 */

import { afterWriting, type RefusedError } from "../errors.ts";
import type { Forge, PullRequest } from "../forge/forge.ts";
import { type LabelChange, labelChange } from "../forge/labels.ts";
import type { Label } from "../forge/response-schema.ts";
import type { Author, Remote } from "../git/remote.ts";
import { waitFor } from "../wait.ts";
import { commitProposal, isWanted, type ProposedCommit, refuseForeign } from "./branch.ts";
import { type EnsuredPullRequest, ensurePullRequest } from "./ensure.ts";
import { retry, type Try } from "./retry.ts";

/** What is committed to its branch, and what its pull request says beside the title. */
export interface Proposal extends ProposedCommit {
  body: string;
  labels: readonly string[];
  /** Labels that an earlier run may have put on it, and that have to go; none by default. */
  unwanted?: readonly string[];
  /** Teams, as the catalogue's owners. */
  reviewers: readonly string[];
}

export interface ProposeOptions {
  author: Author;
  /** The date of the commit, if one is made. */
  date: Date;
  /** Asked about what a command has put on the branch, before it is replaced; undefined when it may be. */
  rival?: (commit: string) => Promise<Rival | undefined>;
}

/** Another proposal for the branch, that stays. */
export interface Rival {
  refusal: RefusedError;
  /** What its pull request says. */
  title: string;
  body: string;
}

export interface Replanning {
  /** Looks at the forge again and makes the proposal anew; undefined when there is no reason for it any more. */
  replan: () => Promise<Proposal | undefined>;
}

export interface ProposalOutcome {
  commit: string;
  pull: Pick<EnsuredPullRequest, "number" | "url" | "change">;
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
 * @throws ExternalError when the forge fails, or does not let the token do all of it after the branch has been pushed
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
  const run = new Run(remote, forge, options);
  return retry(branch, PATIENCE, async (count): Promise<Try<ProposalOutcome | undefined>> => {
    if (count > 1) proposal = await replan();
    return proposal === undefined ? { kind: "done", result: undefined } : run.attempt(proposal);
  });
}

/** The tries of one run, and what they have written. */
class Run {
  readonly #remote: Remote;
  readonly #forge: Forge;
  readonly #options: ProposeOptions;
  #hasPushed = false;
  /** The pull request, once its text has been written. */
  #written: EnsuredPullRequest | undefined;
  #known: Promise<readonly Label[]> | undefined;

  constructor(remote: Remote, forge: Forge, options: ProposeOptions) {
    this.#remote = remote;
    this.#forge = forge;
    this.#options = options;
  }

  async attempt(proposal: Proposal): Promise<Try<ProposalOutcome>> {
    try {
      return await this.#try(proposal);
    } catch (error) {
      const written = this.#written && `#${this.#written.number} is open`;
      const left = written ?? (this.#hasPushed ? `${proposal.branch} is pushed` : undefined);
      throw left === undefined ? error : afterWriting(error, left);
    }
  }

  async #try(proposal: Proposal): Promise<Try<ProposalOutcome>> {
    const pushed = await this.#ensureCommit(proposal);
    if (pushed.kind === "moved") return pushed;
    const { commit, isFirst } = pushed.result;
    const { branch: head, title, body } = proposal;
    const way = { head, base: this.#remote.branch };
    const pull = await ensurePullRequest(this.#forge, way, { title, body }, { isFirst });
    if (pull.change !== "unchanged")
      this.#written = { ...pull, change: this.#written?.change ?? pull.change };
    // Somebody has pushed since: the text may be ours, and the commit theirs.
    const moved = await this.#moved(pull, head, commit);
    if (moved !== undefined) return moved;
    const change = this.#written?.change ?? (this.#hasPushed ? "updated" : "unchanged");
    const isLabelled = change === "unchanged" && isEmpty(changeOf(proposal, pull));
    const notes = isLabelled ? [] : await this.#complete(proposal, pull);
    return { kind: "done", result: { commit, pull: { ...pull, change }, notes } };
  }

  /** Waits until a pull request shows a commit, which takes Gitea a second, with much to do more; `moved` when its branch is at another one. */
  async #moved(pull: PullRequest, branch: string, commit: string): Promise<Try<never> | undefined> {
    if (pull.headCommit === commit) return undefined;
    let last = "";
    const { headCommit } = await waitFor(
      `#${pull.number} shows ${commit.slice(0, 7)}`,
      async () => {
        const now = await this.#forge.readPullRequest(pull.number);
        if (now.headCommit === commit) return now;
        last = `it is at ${now.headCommit.slice(0, 7)}`;
        await this.#remote.fetch(`${branch}*`);
        return (await this.#remote.tip(branch)) === commit ? undefined : now;
      },
      { lastWord: () => last, hint: "the forge has much to do: run it again" },
    );
    if (headCommit === commit) return undefined;
    const reason = `#${pull.number} is at ${headCommit.slice(0, 7)} and not at ${commit.slice(0, 7)}`;
    return { kind: "moved", reason };
  }

  /** Asks for reviews and puts the labels on; with those it is complete, and whoever has reviewed it is not asked once more. */
  async #complete(proposal: Proposal, pull: EnsuredPullRequest): Promise<string[]> {
    const { labels, reviewers } = proposal;
    if (labels.length === 0 && reviewers.length === 0) return [];
    const now = pull.change === "opened" ? pull : await this.#forge.readPullRequest(pull.number);
    const refusal = await this.#forge.requestReviewers(now, reviewers);
    const change = changeOf(proposal, now);
    if (!isEmpty(change)) await this.#forge.changeLabels(now.number, change, await this.#repositoryLabels());
    return refusal === undefined ? [] : [refusal];
  }

  async #repositoryLabels(): Promise<readonly Label[]> {
    this.#known ??= this.#forge.repositoryLabels();
    return this.#known;
  }

  /** @returns the commit, and whether the branch has just been made for it */
  async #ensureCommit(proposal: Proposal): Promise<Try<{ commit: string; isFirst: boolean }>> {
    const { branch } = proposal;
    const tip = await this.#remote.tip(branch);
    if (tip !== undefined) {
      if (await isWanted(this.#remote, proposal, tip)) {
        return { kind: "done", result: { commit: tip, isFirst: false } };
      }
      await refuseForeign(this.#remote, branch);
      const rival = await this.#options.rival?.(tip);
      if (rival !== undefined) return this.#giveWay(rival, branch, tip);
    }
    // For later, while git works; what goes wrong with it is said then.
    if (proposal.labels.length > 0) this.#repositoryLabels().catch(() => {});
    const commit = await commitProposal(this.#remote, proposal, this.#options);
    const pushed = await this.#remote.push(commit, branch, tip ?? "none");
    if (pushed.kind === "moved") return pushed;
    this.#hasPushed = true;
    return { kind: "done", result: { commit, isFirst: tip === undefined } };
  }

  /** A text that was written over the rival's is taken back first; then nothing is left of this run. */
  async #giveWay({ refusal, title, body }: Rival, branch: string, tip: string): Promise<Try<never>> {
    const pull =
      this.#written && (await this.#forge.updatePullRequest(this.#written.number, { title, body }));
    const moved = pull && (await this.#moved(pull, branch, tip));
    if (moved !== undefined) return moved;
    this.#written = undefined;
    this.#hasPushed = false;
    throw refusal;
  }
}

function changeOf({ labels, unwanted = [] }: Proposal, pull: PullRequest): LabelChange {
  return labelChange(pull.labels, labels, unwanted);
}

function isEmpty({ missing, surplus }: LabelChange): boolean {
  return missing.length === 0 && surplus.length === 0;
}
