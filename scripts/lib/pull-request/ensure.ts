/** One open pull request for one purpose, kept up to date. */
import { ExternalError } from "../errors.ts";
import type { Forge, PullRequest, Way } from "../forge/forge.ts";

export interface EnsuredPullRequest extends PullRequest {
  change: "opened" | "updated" | "unchanged";
}

/**
 * Sees to it that there is exactly one open pull request with this title and body.
 * @param options.isFirst whether its branch is new, so that there is hardly one yet: then one is opened without a look
 * @throws ExternalError when the forge fails
 */
export async function ensurePullRequest(
  forge: Forge,
  way: Way,
  text: { title: string; body: string },
  options: { isFirst: boolean },
): Promise<EnsuredPullRequest> {
  const existing = options.isFirst ? undefined : await findOne(forge, way);
  if (existing !== undefined) return update(forge, existing, text);
  const created = await forge.createPullRequest(way, text);
  // Where another run was faster, its pull request is the one.
  const open = await findOne(forge, way);
  if (created !== undefined && (open === undefined || open.number === created.number))
    return { ...created, change: "opened" };
  if (open !== undefined) return update(forge, open, text);
  throw new ExternalError(
    `the forge opens no pull request from ${way.head} to ${way.base}`,
    "look at the branch, and run it again",
  );
}

/**
 * Gitea lets two runs that ask in the same moment both have one. The one with the lowest number stays, whoever looks: so all
 * agree, also when one of them is killed.
 */
async function findOne(forge: Forge, way: Way): Promise<PullRequest | undefined> {
  const open = await forge.openPullRequests(way);
  const [first, ...others] = open.toSorted((one, other) => one.number - other.number);
  for (const { number } of others) await forge.closePullRequest(number);
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
