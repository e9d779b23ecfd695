/** How git gets to a forge. */

/**
 * The environment for git: the caller's, but bound to no other repository, asking nobody for a password, running no hook, and
 * with the token as a header for this one host. In the environment no process list, URL or file shows it.
 */
export function remoteEnvironment(env: NodeJS.ProcessEnv, url: string, token: string): NodeJS.ProcessEnv {
  const header = `http.${new URL(url).origin}/.extraHeader`;
  const basic = Buffer.from(`x-access-token:${token}`).toString("base64");
  const settings: [string, string][] = [
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
  ];
  const foreign =
    /^GIT_(DIR|WORK_TREE|INDEX_FILE|COMMON_DIR|NAMESPACE|PREFIX|.*OBJECT_DIRECTOR(Y|IES)|TRACE.*)$/;
  const first = Number(env["GIT_CONFIG_COUNT"] ?? 0);
  return {
    ...Object.fromEntries(Object.entries(env).filter(([name]) => !foreign.test(name))),
    GIT_TERMINAL_PROMPT: "0",
    GIT_ASKPASS: "",
    // What git says is read.
    LC_ALL: "C",
    GIT_CONFIG_COUNT: String(first + settings.length),
    ...Object.fromEntries(
      settings.flatMap(([key, value], index) => [
        [`GIT_CONFIG_KEY_${first + index}`, key],
        [`GIT_CONFIG_VALUE_${first + index}`, value],
      ]),
    ),
  };
}
