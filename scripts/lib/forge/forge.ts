/** What the commands ask a forge's REST API: GitHub, GitHub Enterprise, Gitea or Forgejo. */
import { z } from "zod";
import { CommandError, messageOf, RefusedError } from "../errors.ts";
import { waitFor } from "../wait.ts";
import { type ForgeAddress, repositoryNamed } from "./address.ts";
import { answerOf, type ConnectOptions, forgeCalls } from "./call.ts";
import { keepComment } from "./comments.ts";
import { changeLabels, type LabelChange, repositoryLabels } from "./labels.ts";
import { checkRepository, type Need, type Preflight } from "./preflight.ts";
import { type Protection, readProtection } from "./protection.ts";
import { Branch, ComparisonAnswer, type Label, Pull, Repository, Status } from "./response-schema.ts";
import { requestReviewers } from "./reviewers.ts";

export interface PullRequest {
  number: number;
  /** For a browser. */
  url: string;
  title: string;
  body: string;
  /** The commit that the forge shows in it. */
  headCommit: string;
  labels: readonly Label[];
  /** Teams that are asked for a review; a list of pull requests may not say so. */
  requestedTeams: readonly string[];
}

/** What a pull request is found by. */
export interface Way {
  /** The branch with the change, in the same repository. */
  head: string;
  base: string;
}

export interface CommitStatus {
  /** What it is about, such as `argocd/<cluster>/<app>`. */
  context: string;
  state: "pending" | "success" | "failure" | "error";
  description: string;
  /** When it was posted. */
  at: Date;
  /** Where there is more about it. */
  url: string | undefined;
  /** Who posted it, as the forge says; undefined when that account is gone, or no forge was asked. */
  account: string | undefined;
}

/** What lies between two commits; `total` is how many there are, of which a forge may show the newest only. */
export type Comparison =
  | { kind: "commits"; commits: { sha: string; subject: string }[]; total: number }
  | { kind: "unreadable"; reason: string };

/** Every method throws RefusedError or ExternalError when the forge says no, or fails, unless it says otherwise. */
export interface Forge {
  readonly address: ForgeAddress;
  /**
   * Asks for the repository, so that what is wrong with the token, the settings or the forge is said before anything is done.
   * @param branch the one that is deployed
   */
  checkRepository(branch: string, needs: readonly Need[]): Promise<Preflight>;
  /**
   * How the deployed branch is protected, and the default branch where that is another one: workflows with a token start there.
   * @param branch the one that is deployed
   */
  protections(branch: string): Promise<{ name: string; protection: Protection }[]>;
  /** The newest commit of a branch. */
  branchTip(branch: string): Promise<string>;
  readPullRequest(number: number): Promise<PullRequest>;
  openPullRequests(way: Way): Promise<PullRequest[]>;
  /** Every open one that leads to `base` from a branch of this repository. */
  listOpenPullRequests(base: string): Promise<(PullRequest & { head: string })[]>;
  /** @returns undefined when there is one already */
  createPullRequest(way: Way, text: { title: string; body: string }): Promise<PullRequest | undefined>;
  updatePullRequest(number: number, text: { title: string; body: string }): Promise<PullRequest>;
  /** All statuses of a commit, the newest first: of one context, the first one counts. */
  statuses(commit: string): Promise<CommitStatus[]>;
  /** What `changeLabels` has to know of the repository. */
  repositoryLabels(): Promise<Label[]>;
  /** Puts labels on a pull request, makes those that the repository does not have, and takes others off. */
  changeLabels(number: number, change: LabelChange, known: readonly Label[]): Promise<void>;
  /**
   * Asks teams for a review, unless they are asked already. A team that has reviewed is asked again.
   * @param pull as it was read just now
   * @param owners teams of the organisation that owns the repository
   * @returns why not all are asked, in one line
   */
  requestReviewers(
    pull: Pick<PullRequest, "number" | "requestedTeams">,
    owners: readonly string[],
  ): Promise<string | undefined>;
  comment(number: number, text: string): Promise<void>;
  /** Writes the one comment that begins with a marker, or changes it. @returns false when it was the same already */
  keepComment(number: number, comment: { marker: string; body: string }): Promise<boolean>;
  closePullRequest(number: number): Promise<void>;
  /**
   * Merges with a merge commit; one that is merged already stays so. A forge that is still finding out whether it can be
   * merged, as after every change of the base, is waited for.
   * @param head the commit that is meant; any other is refused
   * @param timeoutMs 30 s by default: Gitea takes about one, and says the same while there is a conflict
   */
  mergePullRequest(number: number, head: string, quietMs?: number): Promise<void>;
  /**
   * The commits that `head` has and `base` has not, the newest first. It never throws: they are for information.
   * @param repository `<owner>/<name>` on the same forge, which its token may not be allowed to see
   */
  compare(repository: string, base: string, head: string): Promise<Comparison>;
}

const MERGE_QUIET_MS = 30_000;
/** Gitea while it looks for conflicts; Gitea and GitHub when the base moved during the merge. */
const NOT_YET = /try again later|merge push out of date|base branch was modified/i;

/**
 * Connects to a forge; nothing is sent yet.
 * @param address where it is, and the repository
 * @param token sent to the API at the address, and to nobody else
 * @param options.sourcesToken the same, and used for comparisons only: they are of other repositories
 * @param options.way through the network, to the API
 */
export function connectForge(
  address: ForgeAddress,
  token: string,
  { sourcesToken = token, ...connecting }: { sourcesToken?: string | undefined } & ConnectOptions = {},
): Forge {
  const calls = forgeCalls(address, token, connecting);
  const sources = sourcesToken === token ? calls : forgeCalls(address, sourcesToken, connecting);
  const { call, list, differences } = calls;
  const { host } = new URL(address.api);

  const openPulls = async (base: string, filter: object) => {
    const found = await list("GET /repos/{owner}/{repo}/pulls", { state: "open", base, ...filter }, Pull);
    const ours = `${address.owner}/${address.name}`.toLowerCase();
    // Gitea ignores `head` and `base`, and a list that changes between two pages may have one twice.
    const right = found.filter((pull) => pull.base === base && pull.headRepository?.toLowerCase() === ours);
    return [...new Map(right.map((pull) => [pull.number, pull])).values()];
  };
  const readPull = async (number: number) =>
    call("GET /repos/{owner}/{repo}/pulls/{number}", { number }, Pull);

  return {
    address,
    async checkRepository(branch, needs) {
      return checkRepository(calls, branch, needs);
    },
    async protections(branch) {
      const repository = await call("GET /repos/{owner}/{repo}", {}, Repository);
      const names = [...new Set([branch, repository.default_branch])];
      return Promise.all(
        names.map(async (name) => ({ name, protection: await readProtection(calls, name, repository) })),
      );
    },
    async branchTip(branch) {
      return (await call("GET /repos/{owner}/{repo}/branches/{branch}", { branch }, Branch)).tip;
    },
    readPullRequest: readPull,
    async openPullRequests({ head, base }) {
      // GitHub ignores a `head` without its owner.
      const pulls = await openPulls(base, { head: `${address.owner}:${head}` });
      return pulls.filter((pull) => pull.head === head);
    },
    async listOpenPullRequests(base) {
      return openPulls(base, {});
    },
    async createPullRequest(way, text) {
      try {
        // It may be repeated: one that a busy forge has made after all is found by its branch.
        const route = "POST /repos/{owner}/{repo}/pulls";
        return await call(route, { ...way, ...text }, Pull, { repeatable: true });
      } catch (error) {
        // Gitea says 409; GitHub says 422, as for other things.
        const status = answerOf(error)?.status;
        if (status === 409 || (status === 422 && /already exists/.test(messageOf(error)))) return undefined;
        throw error;
      }
    },
    async updatePullRequest(number, text) {
      return call("PATCH /repos/{owner}/{repo}/pulls/{number}", { number, ...text }, Pull);
    },
    async statuses(commit) {
      const route = "GET /repos/{owner}/{repo}/commits/{ref}/statuses";
      const found = await list(route, { ref: commit, ...differences.statuses }, Status);
      const known = found.flatMap(({ state, ...rest }) => (state === "skipped" ? [] : [{ ...rest, state }]));
      return known.toSorted((one, other) => other.at.getTime() - one.at.getTime());
    },
    async repositoryLabels() {
      return repositoryLabels(calls);
    },
    async changeLabels(number, change, known) {
      await changeLabels(calls, number, change, known);
    },
    async requestReviewers({ number, requestedTeams }, owners) {
      return requestReviewers(calls, number, owners, requestedTeams);
    },
    async comment(number, body) {
      const route = "POST /repos/{owner}/{repo}/issues/{number}/comments";
      await call(route, { number, body }, z.object({ id: z.number() }));
    },
    async keepComment(number, comment) {
      return keepComment(calls, number, comment);
    },
    async closePullRequest(number) {
      await call("PATCH /repos/{owner}/{repo}/pulls/{number}", { number, state: "closed" }, Pull);
    },
    async mergePullRequest(number, head, quietMs = MERGE_QUIET_MS) {
      const { method, parameters } = differences.merge(head);
      const route = `${method} /repos/{owner}/{repo}/pulls/{number}/merge`;
      let reason = "";
      const merge = async () => {
        try {
          // It may be repeated: a second one finds it merged.
          await call(route, { number, ...parameters }, z.unknown(), { repeatable: true });
          return true;
        } catch (error) {
          const answer = answerOf(error);
          if (answer === undefined || ![404, 405, 409].includes(answer.status)) throw error;
          const pull = await readPull(number);
          if (pull.headCommit !== head) {
            const now = pull.headCommit.slice(0, 7);
            throw new RefusedError(
              `#${number} is at ${now} and not at ${head.slice(0, 7)}`,
              "look at what has changed",
            );
          }
          if (pull.merged) return true;
          if (pull.state === "closed") throw new RefusedError(`#${number} is closed`, "open it again");
          // Gitea's 409 about a conflict that it has not noticed before has no message.
          reason = answer.message === "" ? "it may conflict with its base" : answer.message;
          if (NOT_YET.test(reason) || pull.mergeable === null) return undefined;
          throw new RefusedError(`${host} does not merge #${number}: ${reason}`, `look at ${pull.url}`);
        }
      };
      await waitFor(`${host} merges #${number}`, merge, {
        quietMs,
        lastWord: () => reason,
        hint: "does it conflict with its base?",
      });
    },
    async compare(source, base, head) {
      const repository = repositoryNamed(source);
      if (repository === undefined) {
        return { kind: "unreadable", reason: `${source} is not <owner>/<name>` };
      }
      // GitHub shows the newest only when no page is asked for.
      const parameters = { basehead: `${base}...${head}`, ...differences.comparison };
      const route = "GET /repos/{owner}/{repo}/compare/{basehead}";
      try {
        // Not repeated: a forge's failure is told as it is, and Gitea answers 500 about a commit that it does not have.
        const options = { repository, repeatable: false };
        const { commits, total } = await sources.call(route, parameters, ComparisonAnswer, options);
        return { kind: "commits", commits: differences.newestFirst(commits), total };
      } catch (error) {
        if (error instanceof CommandError) return { kind: "unreadable", reason: error.message };
        throw error;
      }
    },
  };
}
