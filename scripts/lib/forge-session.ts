/** What every command that works on the forge needs: its API, and what its branches hold. */
import { connectForge, type Forge } from "./forge.ts";
import type { RepositoryConnection } from "./forge-connection.ts";
import { type Remote, type RemoteOptions, withRemote } from "./remote.ts";

/**
 * Calls a function with a forge that has been asked whether it lets the token in, and a temporary clone of its repository.
 * @throws RefusedError, ExternalError when it does not, or does not answer
 */
export async function withForge<T>(
  { address, token, branch }: RepositoryConnection,
  options: Pick<RemoteOptions, "env" | "onInterrupt">,
  use: (remote: Remote, forge: Forge) => Promise<T>,
): Promise<T> {
  const forge = connectForge(address, token);
  await forge.checkRepository();
  return withRemote({ url: address.git, token, branch, ...options }, async (remote) => use(remote, forge));
}
