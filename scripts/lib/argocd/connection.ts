/** Which Argo CD a command talks to: the one in its environment, else the sandbox's. */

import { RefusedError } from "../errors.ts";
import { findSandbox } from "../sandbox/variables.ts";
import { toolPath } from "../tools/path.ts";
import type { Argocd } from "./applications.ts";

/**
 * Connects to Argo CD.
 * @param root the checkout, or the work clone of a sandbox
 * @param env the environment; ARGOCD_SERVER and ARGOCD_AUTH_TOKEN in it win over a sandbox
 * @throws RefusedError when there is neither
 */
export async function connectArgocd(root: string, env: NodeJS.ProcessEnv): Promise<Argocd> {
  const given = env["ARGOCD_SERVER"] !== undefined && env["ARGOCD_AUTH_TOKEN"] !== undefined;
  const variables = given ? {} : (await findSandbox(root, env))?.variables;
  if (variables === undefined) {
    throw new RefusedError(
      "there is no Argo CD to ask",
      "set ARGOCD_SERVER and ARGOCD_AUTH_TOKEN, or start the sandbox with `npm start`",
    );
  }
  // Only the client is needed, which the edits do not touch.
  const program = await toolPath("argocd", { root, withoutEdits: true });
  return { program, env: { ...env, ...variables } };
}
