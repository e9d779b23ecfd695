/** Asking teams for a review. */

import { answerOf, type ForgeCalls, isRefusal } from "./call.ts";
import { Review } from "./response-schema.ts";

/**
 * Asks teams for a review of a pull request, unless they are asked already.
 * @param asked those that are
 * @returns why not all are asked, in one line
 */
export async function requestReviewers(
  calls: ForgeCalls,
  number: number,
  teams: readonly string[],
  asked: readonly string[],
): Promise<string | undefined> {
  const known = new Set(asked.map((team) => team.toLowerCase()));
  const open = teams.filter((team) => !known.has(team.toLowerCase()));
  const refusal = open.length === 0 ? undefined : await ask(calls, number, open);
  if (refusal === undefined) return undefined;
  // No forge asks anybody when it does not know one of them: so each for itself.
  const reasons =
    open.length === 1 ? [refusal] : await Promise.all(open.map(async (team) => ask(calls, number, [team])));
  const refused = open.flatMap((team, index) =>
    reasons[index] === undefined ? [] : [`${team} is not asked for a review: ${reasons[index]}`],
  );
  return refused.join("; ") || undefined;
}

/** Returns the forge's reason when it refuses. */
async function ask(
  { call }: ForgeCalls,
  number: number,
  teams: readonly string[],
): Promise<string | undefined> {
  const route = "POST /repos/{owner}/{repo}/pulls/{number}/requested_reviewers";
  try {
    const answer = await call(route, { number, team_reviewers: teams }, Review, { repeatable: true });
    // Gitea answers with the requests it made; it makes none where the owner is a user.
    const isIgnored = Array.isArray(answer) && answer.length === 0;
    return isIgnored ? "only an organisation has teams" : undefined;
  } catch (error) {
    if (isRefusal(error)) return answerOf(error)?.message;
    throw error;
  }
}
