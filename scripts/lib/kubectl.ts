/** kubectl. What goes in or comes out may hold a key. */
import { ExternalError } from "./errors.ts";
import { tryRun } from "./exec.ts";

/** One cluster of the user's kubeconfig. */
export interface Target {
  readonly kubectl: string;
  readonly context: string;
  /** The program's environment, with the kubeconfig; the process's own by default. */
  readonly env?: NodeJS.ProcessEnv;
}

/**
 * Runs kubectl in a context.
 * @returns its standard output
 * @throws ExternalError with the last line of what it says, and all of it as the cause; neither input nor output is kept:
 *   they may hold a key
 */
export async function kubectl(target: Target, args: readonly string[], input = ""): Promise<string> {
  const result = await tryRun(
    target.kubectl,
    [...args, "--context", target.context, "--request-timeout=30s"],
    { input, ...(target.env === undefined ? {} : { env: target.env }) },
  );
  if (result.exitCode === 0) return result.stdout;
  // An admission webhook may quote what it refuses.
  const said = /AGE-SECRET-KEY|[A-Za-z0-9+/]{64}/.test(result.stderr) ? "" : result.stderr.trim();
  const reason = said.split("\n").at(-1) || `exit code ${result.exitCode}`;
  const options = said === "" ? {} : { cause: said };
  throw new ExternalError(`${target.context}: kubectl ${args[0]} failed: ${reason}`, undefined, options);
}
