/** One open pull request for one purpose, kept up to date. */
import { ExternalError, RefusedError } from "../errors.ts";
import type { Forge, PullRequest, Way } from "../forge/forge.ts";

export interface EnsuredPullRequest extends PullRequest {
  change: "opened" | "updated" | "unchanged";
}

/**
 * Sees to it that there is exactly one open pull request with this title and body.
 * @param options.isFirst whether its branch is new, so that there is hardly one yet: then one is opened without a look
 * @throws RefusedError when there is more than one
 * @throws ExternalError when the forge fails
 */
export async function ensurePullRequest(
  forge: Forge,
  way: Way,
  text: { title: string; body: string },
  options: { isFirst: boolean },
): Promise<EnsuredPullRequest> {
  const existing = options.isFirst ? undefined : await find(forge, way);
  if (existing !== undefined) return update(forge, existing, text);
  const created = await forge.createPullRequest(way, text);
  if (created !== undefined) return keepFirst(forge, way, created, text);
  // There is one: another run was faster.
  const theirs = await find(forge, way);
  if (theirs !== undefined) return update(forge, theirs, text);
  throw new ExternalError(
    `the forge opens no pull request from ${way.head} to ${way.base}`,
    "look at the branch, and run it again",
  );
}

/** Gitea lets two runs that ask in the same moment both have one: the one with the lower number stays. */
async function keepFirst(
  forge: Forge,
  way: Way,
  created: PullRequest,
  text: { title: string; body: string },
): Promise<EnsuredPullRequest> {
  const open = await forge.openPullRequests(way);
  const [first = created] = open.toSorted((one, other) => one.number - other.number);
  if (first.number >= created.number) {
    return { ...created, change: "opened" };
  }
  await forge.closePullRequest(created.number);
  return update(forge, first, text);
}

async function find(forge: Forge, way: Way): Promise<PullRequest | undefined> {
  const [first, second] = await forge.openPullRequests(way);
  if (first !== undefined && second !== undefined) {
    throw new RefusedError(
      `#${first.number} and #${second.number} are both open from ${way.head} to ${way.base}`,
      "close one of them",
    );
  }
  return first;
}

async function update(
  forge: Forge,
  pull: PullRequest,
  text: { title: string; body: string },
): Promise<EnsuredPullRequest> {
  const isRight = pull.title === text.title && normal(pull.body) === normal(text.body);
  if (isRight) return { ...pull, change: "unchanged" };
  return { ...(await forge.updatePullRequest(pull.number, text)), change: "updated" };
}

/** Forges change line ends and blanks at the end. */
function normal(body: string): string {
  return body.replaceAll(/[ \t]*\r?\n/g, "\n").trim();
}
