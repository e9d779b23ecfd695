/** What a promotion begins with: a forge that lets the token in, and its history here. Both are asked for at once. */
import { connectForge, type Forge } from "./forge.ts";
import type { RepositoryConnection } from "./forge-connection.ts";
import { type Remote, type RemoteOptions, withRemote } from "./remote.ts";

/** The branches of promotions. */
export const PROMOTIONS = "promote/*";

/**
 * Calls a function with a forge that has been asked whether it lets the token in, and a temporary clone of its repository with
 * the history and the branches of promotions.
 * @throws RefusedError, ExternalError when it does not, or does not answer: what its API says comes first
 */
export async function withPromotions<T>(
  { address, token, branch }: RepositoryConnection,
  options: Pick<RemoteOptions, "env" | "onInterrupt">,
  use: (remote: Remote, forge: Forge) => Promise<T>,
): Promise<T> {
  const forge = connectForge(address, token);
  return withRemote({ url: address.git, token, branch, ...options }, async (remote) => {
    const fetched = Promise.allSettled([remote.fetch(PROMOTIONS, { history: true })]);
    await forge.checkRepository({ pullRequests: true });
    const [result] = await fetched;
    if (result.status === "rejected") throw result.reason;
    return use(remote, forge);
  });
}
