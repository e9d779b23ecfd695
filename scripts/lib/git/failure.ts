/** What git says when it fails, as one line for a person. */
import { ExternalError, RefusedError } from "../errors.ts";
import type { RunResult } from "../exec.ts";

/** One line for a fetch or push that did not get through. */
export function failure(result: RunResult, url: string): RefusedError | ExternalError {
  const { stderr } = result;
  const { host } = new URL(url);
  const options = { cause: result };
  const status = /(?:returned error:|HTTP) (\d{3})/.exec(stderr)?.[1];
  if (status === "401" || /Authentication failed|could not read (Username|Password)/.test(stderr))
    return new RefusedError(`${host} does not accept the token for Git`, "make a new one", options);
  if (status === "403")
    return new RefusedError(
      `${host} does not let this token do that to ${url}`,
      "it needs to write contents",
      options,
    );
  if (status === "404" || /repository '.*' not found/.test(stderr))
    return new RefusedError(`there is no repository ${url}`, "compare repoURL in the settings", options);
  if (/not valid: is this a git repository/.test(stderr))
    return new ExternalError(`${url} is no Git repository`, "is repoURL in the settings right?", options);
  if (status !== undefined)
    return new ExternalError(`${host} answers git ${status}`, "try again later", options);
  return new ExternalError(`git cannot reach ${url}: ${lastLine(result)}`, "try again later", options);
}

export function lastLine({ stderr, exitCode }: RunResult): string {
  const line = stderr
    .trim()
    .split("\n")
    .at(-1)
    ?.replace(/^(fatal|error): /, "");
  return line || `exit code ${exitCode}`;
}
