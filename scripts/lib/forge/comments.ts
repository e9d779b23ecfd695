/** One comment on a pull request that is kept up to date. */
import { z } from "zod";
import { CommandError } from "../errors.ts";
import { answerOf, type ForgeCalls } from "./call.ts";

const Comment = z.object({
  id: z.number(),
  body: z.string().nullish(),
  // Nobody, when the account is gone. Gitea has no types.
  user: z.object({ login: z.string(), type: z.string().optional() }).nullish(),
});

/**
 * Writes the comment that begins with a marker, or changes it. A comment of another account is left alone, whatever it begins with:
 * its author could change it afterwards.
 * @returns whether the forge was asked to write
 */
export async function keepComment(
  { call, list }: ForgeCalls,
  number: number,
  { marker, body }: { marker: string; body: string },
): Promise<boolean> {
  const own = await ownLogin(call);
  const found = await list("GET /repos/{owner}/{repo}/issues/{number}/comments", { number }, Comment);
  const kept = found.find(({ body: text, user }) => {
    const isOwn = own === undefined ? user?.type === "Bot" : user?.login === own;
    return isOwn && text?.startsWith(marker) === true;
  });
  if (kept === undefined) {
    await call("POST /repos/{owner}/{repo}/issues/{number}/comments", { number, body }, Comment);
    return true;
  }
  if (kept.body?.trim() === body.trim()) return false;
  const route = "PATCH /repos/{owner}/{repo}/issues/comments/{comment_id}";
  await call(route, { comment_id: kept.id, body }, Comment);
  return true;
}

/** The token's account; undefined for a workflow's token, which GitHub does not tell its account: a bot. */
async function ownLogin(call: ForgeCalls["call"]): Promise<string | undefined> {
  try {
    return (await call("GET /user", {}, z.object({ login: z.string() }))).login;
  } catch (error) {
    // Of any other token it is a right that is missing.
    if (error instanceof CommandError && /by integration/.test(answerOf(error)?.message ?? ""))
      return undefined;
    throw error;
  }
}
