/** What the commands ask a forge's REST API: GitHub, GitHub Enterprise, Gitea or Forgejo. */
import { z } from "zod";
import { CommandError, ExternalError, messageOf, RefusedError } from "./errors.ts";
import type { ForgeAddress } from "./forge-address.ts";
import { ComparisonAnswer, Label, Pull, Repository, Review, Status } from "./forge-answers.ts";
import { answerOf, type ForgeCalls, forgeCalls, isGitea, isRefusal } from "./forge-call.ts";
import { waitFor } from "./wait.ts";

export interface PullRequest {
  number: number;
  /** For a browser. */
  url: string;
  title: string;
  body: string;
  /** The commit that the forge shows in it. */
  headCommit: string;
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
}

/** What lies between two commits; `total` is how many there are, of which a forge may show the newest only. */
export type Comparison =
  | { kind: "commits"; commits: { sha: string; subject: string }[]; total: number }
  | { kind: "unreadable"; reason: string };

/** Every method throws RefusedError or ExternalError when the forge says no, or fails, unless it says otherwise. */
export interface Forge {
  readonly address: ForgeAddress;
  /** Asks for the repository, so that what is wrong with the token, the address or the forge is said before anything is done. */
  checkRepository(): Promise<void>;
  openPullRequests(way: Way): Promise<PullRequest[]>;
  /** Every open one that leads to `base` from a branch of this repository. */
  listOpenPullRequests(base: string): Promise<(PullRequest & { head: string })[]>;
  /** @returns undefined when there is one already */
  createPullRequest(way: Way, text: { title: string; body: string }): Promise<PullRequest | undefined>;
  updatePullRequest(number: number, text: { title: string; body: string }): Promise<PullRequest>;
  /** All statuses of a commit, the newest first: of one context, the first one counts. */
  statuses(commit: string): Promise<CommitStatus[]>;
  /** Those of some labels that a pull request has not got. */
  missingLabels(number: number, names: readonly string[]): Promise<string[]>;
  /** Puts labels on a pull request that has not got them, and makes those that the repository has not got. */
  ensureLabels(number: number, names: readonly string[]): Promise<void>;
  /**
   * Asks teams for a review, unless they are asked already. A team that has reviewed is asked again.
   * @param owners teams of the organisation that owns the repository
   * @returns why not all are asked, in one line
   */
  requestReviewers(number: number, owners: readonly string[]): Promise<string | undefined>;
  comment(number: number, text: string): Promise<void>;
  closePullRequest(number: number): Promise<void>;
  /**
   * Merges with a merge commit; one that is merged already stays so. A forge that is still finding out whether it can be
   * merged, as after every change of the base, is waited for.
   * @param head the commit that is meant; any other is refused
   * @param timeoutMs 30 s by default: Gitea takes about one, and says the same while there is a conflict
   */
  mergePullRequest(number: number, head: string, timeoutMs?: number): Promise<void>;
  /**
   * The commits that `head` has and `base` has not, the newest first. It never throws: they are for information.
   * @param repository `<owner>/<name>` on the same forge, with which the token may have nothing to do
   */
  compare(repository: string, base: string, head: string): Promise<Comparison>;
}

const MERGE_TIMEOUT_MS = 30_000;
/** Gitea while it looks for conflicts; Gitea and GitHub when the base moved during the merge. */
const NOT_YET = /try again later|merge push out of date|base branch was modified/i;
const LABELS = "/repos/{owner}/{repo}/issues/{number}/labels";
/** GitHub's own for a label that is made by being used; Gitea wants one said. */
const LABEL_COLOR = "ededed";

/**
 * Connects to a forge; nothing is sent yet.
 * @param address where it is, and the repository
 * @param token sent to the API at the address, and to nobody else
 */
export function connectForge(address: ForgeAddress, token: string): Forge {
  const calls = forgeCalls(address, token);
  const { call, list } = calls;
  const gitea = isGitea(address);
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
  const missingLabels = async (number: number, names: readonly string[]) =>
    without(names, await list(`GET ${LABELS}`, { number }, Label));

  return {
    address,
    async checkRepository() {
      await call("GET /repos/{owner}/{repo}", {}, Repository);
    },
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
      // Gitea's default order is by seconds, so that pages could overlap; this one is by the number of the status.
      const order = gitea ? { sort: "leastindex" } : {};
      const route = "GET /repos/{owner}/{repo}/commits/{ref}/statuses";
      const found = await list(route, { ref: commit, ...order }, Status);
      const known = found.flatMap(({ state, ...rest }) => (state === "skipped" ? [] : [{ ...rest, state }]));
      return known.toSorted((one, other) => other.at.getTime() - one.at.getTime());
    },
    missingLabels,
    async ensureLabels(number, names) {
      const missing = await missingLabels(number, names);
      if (missing.length === 0) return;
      // GitHub makes a label that it does not have; Gitea leaves it out without a word, and knows two of one name.
      const labels = gitea ? await labelIds(calls, missing) : missing;
      const worn = await call(`POST ${LABELS}`, { number, labels }, z.array(Label), { repeatable: true });
      const [lost] = without(missing, worn);
      if (lost !== undefined) {
        throw new ExternalError(`${host} does not put the label ${lost} on #${number}`, "run it again");
      }
    },
    async requestReviewers(number, owners) {
      const { requestedTeams } = await readPull(number);
      const asked = new Set(requestedTeams.map((team) => team.toLowerCase()));
      const refusals: string[] = [];
      // One by one: GitHub asks nobody when it does not know one of them.
      for (const owner of owners.filter((team) => !asked.has(team.toLowerCase()))) {
        const reason = await askTeam(calls, number, owner);
        if (reason !== undefined) refusals.push(`${owner} is not asked for a review: ${reason}`);
      }
      return refusals.length === 0 ? undefined : refusals.join("; ");
    },
    async comment(number, body) {
      const route = "POST /repos/{owner}/{repo}/issues/{number}/comments";
      await call(route, { number, body }, z.object({ id: z.number() }));
    },
    async closePullRequest(number) {
      await call("PATCH /repos/{owner}/{repo}/pulls/{number}", { number, state: "closed" }, Pull);
    },
    async mergePullRequest(number, head, timeoutMs = MERGE_TIMEOUT_MS) {
      const path = "/repos/{owner}/{repo}/pulls/{number}/merge";
      const [route, parameters] = gitea
        ? [`POST ${path}`, { Do: "merge", head_commit_id: head }]
        : [`PUT ${path}`, { merge_method: "merge", sha: head }];
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
      const explain = async () => `${reason}; does it conflict with its base?`;
      await waitFor(`${host} merges #${number}`, merge, { timeoutMs, explain });
    },
    async compare(repository, base, head) {
      const [, owner, name] = /^([^/]+)\/([^/]+)$/.exec(repository) ?? [];
      if (owner === undefined || name === undefined) {
        return { kind: "unreadable", reason: `${repository} is not <owner>/<name>` };
      }
      // Gitea reads the files of every commit unless told not to. GitHub shows the newest only when no page is asked for.
      const parameters = {
        basehead: `${base}...${head}`,
        ...(gitea ? { files: false, verification: false } : {}),
      };
      const route = "GET /repos/{owner}/{repo}/compare/{basehead}";
      try {
        // Not repeated: a forge's failure is told as it is, and Gitea answers 500 about a commit that it does not have.
        const options = { repository: { owner, name }, repeatable: false };
        const { commits, total } = await call(route, parameters, ComparisonAnswer, options);
        return { kind: "commits", commits: gitea ? commits : commits.toReversed(), total };
      } catch (error) {
        if (error instanceof CommandError) return { kind: "unreadable", reason: error.message };
        throw error;
      }
    },
  };
}

/** The names that none of the labels has. GitHub's names are the same in capitals, so no forge gets both. */
function without(names: readonly string[], labels: readonly Label[]): string[] {
  const there = new Set(labels.map((label) => label.name.toLowerCase()));
  return [...new Set(names)].filter((name) => !there.has(name.toLowerCase()));
}

/** Gitea's ids of labels, which are made where they are missing. */
async function labelIds({ call, list }: ForgeCalls, names: readonly string[]): Promise<number[]> {
  const route = "/repos/{owner}/{repo}/labels";
  const made: Label[] = [];
  for (const name of without(names, await list(`GET ${route}`, {}, Label))) {
    made.push(await call(`POST ${route}`, { name, color: LABEL_COLOR }, Label));
  }
  // Another run may have made the same one meanwhile. The older one counts for both, and each takes its own back.
  const labels = [...made, ...(await list(`GET ${route}`, {}, Label))];
  const ids = names.map((name) => {
    const same = labels.filter((label) => label.name.toLowerCase() === name.toLowerCase());
    return Math.min(...same.map(({ id }) => id));
  });
  for (const { id } of made.filter((label) => !ids.includes(label.id))) {
    await call("DELETE /repos/{owner}/{repo}/labels/{id}", { id }, z.unknown());
  }
  return ids;
}

/** Asks one team for a review; returns the forge's reason when it refuses. */
async function askTeam({ call }: ForgeCalls, number: number, team: string): Promise<string | undefined> {
  const route = "POST /repos/{owner}/{repo}/pulls/{number}/requested_reviewers";
  try {
    const answer = await call(route, { number, team_reviewers: [team] }, Review, { repeatable: true });
    // Gitea answers with the requests it made; it makes none where the owner is a user.
    const isIgnored = Array.isArray(answer) && answer.length === 0;
    return isIgnored ? "only an organisation has teams" : undefined;
  } catch (error) {
    if (isRefusal(error)) return answerOf(error)?.message;
    throw error;
  }
}
