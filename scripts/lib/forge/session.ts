/** What every command that works on the forge needs: its API, and what its branches hold. */

import { type Remote, type RemoteOptions, withRemote } from "../git/remote.ts";
import type { RepositoryConnection } from "./connection.ts";
import { connectForge, type Forge } from "./forge.ts";

export interface SessionOptions extends Pick<RemoteOptions, "env" | "onInterrupt"> {
  /** Whether one is to be opened, so that there must be such a thing. */
  pullRequests: boolean;
  /** Branches that are fetched with the whole history, while the forge is asked; none by default. */
  history?: string;
}

/**
 * Calls a function with a forge that has been asked whether it lets the token in, and a temporary clone of its repository.
 * @throws RefusedError, ExternalError when it does not, or does not answer: what its API says comes first
 */
export async function withForge<T>(
  { root, address, token, sourcesToken, branch }: RepositoryConnection,
  { pullRequests, history, ...options }: SessionOptions,
  use: (remote: Remote, forge: Forge) => Promise<T>,
): Promise<T> {
  const forge = connectForge(address, token, sourcesToken);
  return withRemote({ root, url: address.git, token, branch, ...options }, async (remote) => {
    const fetch = history === undefined ? [] : [remote.fetch(history, { history: true })];
    const fetched = Promise.allSettled(fetch);
    await forge.checkRepository({ pullRequests });
    for (const result of await fetched) if (result.status === "rejected") throw result.reason;
    return use(remote, forge);
  });
}
