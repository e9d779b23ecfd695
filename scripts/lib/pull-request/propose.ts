/**
 * A proposal: one commit on a branch of a fixed name, and one open pull request for it, both kept as they should be.
 * What is there is compared with what is wanted first, so a run that was broken off is simply repeated.
 */

import { cutBody } from "../cli/markdown.ts";
import { afterWriting, MovedError, type RefusedError } from "../errors.ts";
import type { Forge, PullRequest } from "../forge/forge.ts";
import { type LabelChange, labelChange } from "../forge/labels.ts";
import type { Label } from "../forge/response-schema.ts";
import type { Author, Remote } from "../git/remote.ts";
import { waitFor } from "../wait.ts";
import { commitProposal, isWanted, type ProposedCommit, refuseForeign } from "./branch.ts";
import { type EnsuredPullRequest, ensurePullRequest } from "./ensure.ts";
import { retry } from "./retry.ts";

/** What is committed to its branch, and what its pull request says beside the title. */
export interface Proposal extends ProposedCommit {
  body: string;
  labels: readonly string[];
  /** Labels that an earlier run may have put on it, and that have to go; none by default. */
  unwanted?: readonly string[];
  /** Teams, as the catalogue's owners. */
  reviewers: readonly string[];
}

/** The author and the date of the commit, if one is made. */
export interface Signature {
  author: Author;
  date: Date;
}

/** Another proposal that has come to the branch and stays. */
export interface Rival {
  refusal: RefusedError;
  /** What its pull request says. */
  title: string;
  body: string;
}

/** Asked about a commit that a command has put on the branch, before it is replaced; undefined when it may be. */
type RivalOf = (commit: string) => Promise<Rival | undefined>;

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

/**
 * Sees to it that a proposal is there, with exactly this content.
 * @throws as `Proposer.attempt`; ExternalError when others push to its branch all the time
 */
export async function propose(
  remote: Remote,
  forge: Forge,
  proposal: Proposal,
  signature: Signature,
): Promise<ProposalOutcome> {
  const { branch } = proposal;
  const proposer = new Proposer(remote, forge, signature);
  return retry(branch, async (count) => {
    if (count > 1) await remote.fetch(`${branch}*`);
    return proposer.attempt(proposal);
  });
}

/** The tries of one run, and what they have written. */
export class Proposer {
  readonly #remote: Remote;
  readonly #forge: Forge;
  readonly #signature: Signature;
  #hasPushed = false;
  /** The pull request, once its text has been written. */
  #written: EnsuredPullRequest | undefined;
  #known: Promise<readonly Label[]> | undefined;

  constructor(remote: Remote, forge: Forge, signature: Signature) {
    this.#remote = remote;
    this.#forge = forge;
    this.#signature = signature;
  }

  /**
   * Sees to it that a proposal is there, once, with exactly this content.
   * @throws MovedError when others have pushed to its branch
   * @throws RefusedError when the branch holds a rival or somebody else's commits, or the forge does not let the token do it
   * @throws ExternalError when the forge fails, or does not let the token do all of it after the branch has been pushed
   */
  async attempt(proposal: Proposal, rivalOf: RivalOf = async () => undefined): Promise<ProposalOutcome> {
    try {
      const { commit, isFirst } = await this.#ensureCommit(proposal, rivalOf);
      const pull = await this.#ensureText(proposal, proposal.branch, commit, isFirst);
      const change = this.#written?.change ?? (this.#hasPushed ? "updated" : "unchanged");
      const isLabelled = change === "unchanged" && isEmpty(changeOf(proposal, pull));
      const notes = isLabelled ? [] : await this.#complete(proposal, pull);
      return { commit, pull: { ...pull, change }, notes };
    } catch (error) {
      const written = this.#written && `#${this.#written.number} is open`;
      const left = written ?? (this.#hasPushed ? `${proposal.branch} is pushed` : undefined);
      throw left === undefined ? error : afterWriting(error, left);
    }
  }

  /** @returns the commit, and whether the branch has just been made for it */
  async #ensureCommit(proposal: Proposal, rivalOf: RivalOf): Promise<{ commit: string; isFirst: boolean }> {
    const { branch } = proposal;
    const tip = await this.#remote.tip(branch);
    if (tip !== undefined) {
      if (await isWanted(this.#remote, proposal, tip)) return { commit: tip, isFirst: false };
      await refuseForeign(this.#remote, branch);
      const rival = await rivalOf(tip);
      if (rival !== undefined) return this.#giveWay(rival, branch, tip);
    }
    // For later, while git works; what goes wrong with it is said then.
    if (proposal.labels.length > 0) this.#repositoryLabels().catch(() => {});
    const commit = await commitProposal(this.#remote, proposal, this.#signature);
    await this.#remote.push(commit, branch, tip ?? "none");
    this.#hasPushed = true;
    return { commit, isFirst: tip === undefined };
  }

  /** A text that was written over the rival's is taken back first; then nothing is left of this run. */
  async #giveWay(rival: Rival, branch: string, tip: string): Promise<never> {
    if (this.#written !== undefined) await this.#ensureText(rival, branch, tip, false);
    this.#written = undefined;
    this.#hasPushed = false;
    throw rival.refusal;
  }

  /**
   * Writes the text of the branch's pull request, and waits until that shows the commit, which takes Gitea a second.
   * @throws MovedError when the branch is at another commit by then: the text is of this run, and the commit is not
   */
  async #ensureText(
    { title, body }: Pick<Proposal, "title" | "body">,
    branch: string,
    commit: string,
    isFirst: boolean,
  ): Promise<EnsuredPullRequest> {
    const way = { head: branch, base: this.#remote.branch };
    const { web, owner, name } = this.#forge.address;
    const whole = `${web}/${owner}/${name}/compare/${way.base}...${branch}`;
    const text = { title, body: cutBody(body, whole) };
    const pull = await ensurePullRequest(this.#forge, way, text, { isFirst });
    if (pull.change !== "unchanged")
      this.#written = { ...pull, change: this.#written?.change ?? pull.change };
    let { headCommit } = pull;
    const look = async () => {
      if (headCommit === commit) return pull;
      ({ headCommit } = await this.#forge.readPullRequest(pull.number));
      if (headCommit === commit) return pull;
      await this.#remote.fetch(`${branch}*`);
      if ((await this.#remote.tip(branch)) === commit) return undefined;
      throw new MovedError(branch, `#${pull.number} is at ${headCommit.slice(0, 7)}`);
    };
    return waitFor(`#${pull.number} shows ${commit.slice(0, 7)}`, look, {
      lastWord: () => `it is at ${headCommit.slice(0, 7)}`,
      hint: "the forge has much to do: run it again",
    });
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
}

function changeOf({ labels, unwanted = [] }: Proposal, pull: PullRequest): LabelChange {
  return labelChange(pull.labels, labels, unwanted);
}

function isEmpty({ missing, surplus }: LabelChange): boolean {
  return missing.length === 0 && surplus.length === 0;
}
