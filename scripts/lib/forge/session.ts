/** What every command that works on the forge needs: its API, and what its branches hold. */

import { type Remote, type RemoteOptions, withRemote } from "../git/remote.ts";
import type { RepositoryConnection } from "./connection.ts";
import { connectForge, type Forge } from "./forge.ts";
import type { Need } from "./preflight.ts";

export interface SessionOptions extends Pick<RemoteOptions, "env" | "onInterrupt"> {
  /** What is going to be written; nothing by a dry run. */
  needs: readonly Need[];
  /** Branches that are fetched with the whole history, while the forge is asked; none by default. */
  history?: string;
}

/**
 * Calls a function with a forge that has been asked whether it lets the token in, and a temporary clone of its repository.
 * @throws RefusedError, ExternalError when it does not, or does not answer: what its API says comes first
 */
export async function withForge<T>(
  { root, address, token, sourcesToken, branch }: RepositoryConnection,
  { needs, history, ...options }: SessionOptions,
  use: (remote: Remote, forge: Forge) => Promise<T>,
): Promise<T> {
  return withRemote({ root, url: address.git, token, branch, ...options }, async (remote, wayTo) => {
    const forge = connectForge(address, token, { sourcesToken, way: await wayTo(address.api) });
    const fetch = history === undefined ? [] : [remote.fetch(history, { history: true })];
    const fetched = Promise.allSettled(fetch);
    const { signatures } = await forge.checkRepository(branch, needs);
    for (const result of await fetched) if (result.status === "rejected") throw result.reason;
    if (signatures && !(await remote.signs())) process.stderr.write(`note: ${unsigned(branch)}\n`);
    return use(remote, forge);
  });
}

/** Said before anything is written: GitHub does not merge an unsigned commit, but signs the one that it makes of a squash. */
function unsigned(branch: string): string {
  return `${branch} takes signed commits only, and Git does not sign here; set commit.gpgSign, or merge with a squash, which the forge signs`;
}
