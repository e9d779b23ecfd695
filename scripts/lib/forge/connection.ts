/** Which repository a command writes to, and with which token: the settings', or the sandbox's. */
import { RefusedError } from "../errors.ts";
import { findSandbox } from "../sandbox/variables.ts";
import { exampleSettings, readSettings, SETTINGS_FILE, type Settings } from "../tree/settings.ts";
import { type ForgeAddress, forgeAddress } from "./address.ts";

export interface RepositoryConnection {
  /** The checkout that the command runs for. */
  root: string;
  address: ForgeAddress;
  token: string;
  /** For the services' own repositories, which are only read; undefined: the same. */
  sourcesToken: string | undefined;
  /** The branch that is deployed. */
  branch: string;
  /** What holds the services' images; undefined for a sandbox, which has none. */
  registry: string | undefined;
}

/**
 * Finds the repository. FORGE_TOKEN comes first and is for the repository of the settings; else a sandbox, where there is one;
 * else GITHUB_TOKEN, which is for the repository of the settings, too, as SOURCES_TOKEN is for the services' repositories beside
 * it. No token is ever sent to the other one's forge.
 * @param root the checkout, or a clone of a sandbox's forge
 * @param env the environment
 * @throws RefusedError when there is no token, or the settings are still the example's
 */
export async function connectRepository(root: string, env: NodeJS.ProcessEnv): Promise<RepositoryConnection> {
  const given = env["FORGE_TOKEN"] || undefined;
  const sandbox = await findSandbox(root, env);
  const local = sandbox?.variables["FORGE_TOKEN"];
  // After `. .sandbox/env` the token in the environment is the sandbox's.
  if (sandbox !== undefined && local !== undefined && (given === undefined || given === local)) {
    const settings = await readSettings(sandbox.clone);
    return { root, ...connection(settings, local), sourcesToken: undefined, registry: undefined };
  }
  const token = given ?? (env["GITHUB_TOKEN"] || undefined);
  if (token !== undefined) {
    const settings = await readSettings(root);
    // Of a sandbox's own address only the host is another: its repository may well be called as the example's.
    if (exampleSettings(settings).includes("repoURL")) {
      throw new RefusedError(
        `${SETTINGS_FILE} still has an example as its repoURL`,
        "put your own there, or start the sandbox with `npm start`",
      );
    }
    return { root, ...connection(settings, token), sourcesToken: env["SOURCES_TOKEN"] || undefined };
  }
  throw new RefusedError("there is no token for the forge", "set FORGE_TOKEN or GITHUB_TOKEN");
}

function connection(
  { repoURL, forgeAPI, revision, registry }: Settings,
  token: string,
): Omit<RepositoryConnection, "root" | "sourcesToken"> {
  return { address: forgeAddress({ repoURL, forgeAPI }), token, branch: revision, registry };
}
