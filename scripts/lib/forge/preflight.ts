/** Whether the repository is what the settings say, and lets this token do what a command is about to do. */
import { z } from "zod";
import { RefusedError } from "../errors.ts";
import { parseSettings, SETTINGS_FILE } from "../tree/settings.ts";
import { answerOf, type ForgeCalls, isRefusal, withoutPullRequests } from "./call.ts";
import { readProtection } from "./protection.ts";
import { Content, Repository } from "./response-schema.ts";

/** What a command is going to write. One that only reads needs nothing; one without pull requests pushes to the deployed branch. */
export type Need = "commits" | "pull requests" | "labels";

/** Of a proposal with labels. */
export const PROPOSING: readonly Need[] = ["commits", "pull requests", "labels"];

export interface Preflight {
  /** Whether the deployed branch takes signed commits only, as far as the token may know. */
  signatures: boolean;
}

/**
 * Asks for the repository, for how its branch is protected, and for the rights to what is needed, before anything is written.
 * @param branch the one that is deployed
 * @throws RefusedError that says what does not agree, and what to change
 */
export async function checkRepository(
  calls: ForgeCalls,
  branch: string,
  needs: readonly Need[],
): Promise<Preflight> {
  const { address, call } = calls;
  const { host } = new URL(address.api);
  const found = await call("GET /repos/{owner}/{repo}", {}, Repository);
  const name = found.full_name;
  if (name.toLowerCase() !== `${address.owner}/${address.name}`.toLowerCase()) {
    throw new RefusedError(
      `${address.owner}/${address.name} is ${name} now on ${host}`,
      "put that into repoURL in the settings",
    );
  }
  const git = new URL(address.git).host;
  if (![address.web, found.clone_url].some((url) => new URL(url).host === git)) {
    throw new RefusedError(
      `repoURL in the settings is on ${git}, and forgeAPI belongs to ${new URL(found.clone_url).host}`,
      "both have to be of one forge",
    );
  }
  if (needs.length === 0) return { signatures: false };
  if (found.archived) {
    throw new RefusedError(`${name} is archived`, "nothing can be written to it: take it out of the archive");
  }
  if (found.default_branch !== branch) await checkDefaultBranch(calls, found, branch);
  // An App's token is told that it may do nothing at all.
  if (found.permissions?.pull === true && !found.permissions.push) {
    throw new RefusedError(
      `${host} does not let this token write to ${name}`,
      "it needs to write contents and pull requests",
    );
  }
  const isProposal = needs.includes("pull requests");
  const loss = "a squash or a rebase loses the commit that a release names";
  if (isProposal && found.has_pull_requests === false)
    throw new RefusedError(...withoutPullRequests(host, name));
  if (isProposal && (found.allow_merge_commit === false || found.allow_merge_commits === false))
    throw new RefusedError(`${name} does not allow merge commits`, `allow them in its settings: ${loss}`);
  const { signatures, noPush, noMergeCommit } = await readProtection(calls, branch, found);
  if (isProposal && noMergeCommit !== undefined)
    throw new RefusedError(
      `${branch} of ${name} takes no merge commits: ${noMergeCommit}`,
      `allow them there: ${loss}`,
    );
  if (!isProposal && noPush !== undefined)
    throw new RefusedError(
      `${branch} of ${name} takes no push of this token: ${noPush}`,
      "leave --direct out: then it is a pull request",
    );
  if (isProposal) await checkRights(calls, branch, needs);
  return { signatures };
}

/**
 * GitHub starts the workflows of a schedule, and those that a service asks for, from the default branch. There they read the
 * settings of that branch. Owners and the checks of a pull request come from the deployed branch, whichever the default is.
 */
async function checkDefaultBranch(
  { call }: ForgeCalls,
  { full_name: name, default_branch: other }: Repository,
  branch: string,
): Promise<void> {
  const route = "GET /repos/{owner}/{repo}/contents/{path}";
  const file = await call(route, { path: SETTINGS_FILE }, Content).catch((error: unknown) => {
    if (answerOf(error)?.status === 404) return undefined;
    throw error;
  });
  if (file !== undefined && parseSettings(file.text, `${SETTINGS_FILE} of ${other}`).revision === branch)
    return;
  throw new RefusedError(
    `the default branch of ${name} is ${other}, whose ${SETTINGS_FILE} does not deploy ${branch}: scheduled workflows start there`,
    `merge ${branch} into ${other}, or make ${branch} the default branch`,
  );
}

/** What a token may do is not told. So it is asked to do what cannot be done: whoever may not is refused for that first. */
async function checkRights({ call }: ForgeCalls, branch: string, needs: readonly Need[]): Promise<void> {
  const impossible: [route: string, parameters: object][] = [
    ["POST /repos/{owner}/{repo}/pulls", { head: branch, base: branch, title: "May this token do that?" }],
  ];
  if (needs.includes("labels")) {
    impossible.push(["POST /repos/{owner}/{repo}/issues/{number}/labels", { number: 0, labels: ["none"] }]);
  }
  await Promise.all(
    impossible.map(async ([route, parameters]) => {
      try {
        await call(route, parameters, z.unknown(), { repeatable: true });
      } catch (error) {
        if (!isRefusal(error) || answerOf(error)?.status === 403) throw error;
      }
    }),
  );
}
