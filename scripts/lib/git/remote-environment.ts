/** How git gets to a forge. */
import { gitEnvironment } from "./environment.ts";

/**
 * The environment for git: asking nobody for a password, running no hook, and with the token as a header for this one host.
 * In the environment no process list, URL or file shows it.
 */
export function remoteEnvironment(env: NodeJS.ProcessEnv, url: string, token: string): NodeJS.ProcessEnv {
  const header = `http.${new URL(url).origin}/.extraHeader`;
  const basic = Buffer.from(`x-access-token:${token}`).toString("base64");
  return {
    ...gitEnvironment(env, [
      ["remote.origin.url", url],
      ["credential.helper", ""],
      ["core.hooksPath", "/dev/null"],
      // A clone that is gone in a moment needs no tidying.
      ["maintenance.auto", "false"],
      ["gc.auto", "0"],
      ["fastimport.unpackLimit", "0"],
      // Empty first: it takes back what the user's configuration sets, such as another token.
      [header, ""],
      [header, `Authorization: Basic ${basic}`],
    ]),
    GIT_TERMINAL_PROMPT: "0",
    GIT_ASKPASS: "",
  };
}
