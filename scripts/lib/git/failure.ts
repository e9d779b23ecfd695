/** What git says when it fails, as one line for a person. */
import { CommandError, ExternalError, RefusedError } from "../errors.ts";
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
  if (/mismatched algorithms/.test(stderr))
    return new RefusedError(
      `${url} names commits by SHA-256, and a release names them by SHA-1`,
      "make the repository anew, with the object format SHA-1",
      options,
    );
  if (/not valid: is this a git repository/.test(stderr))
    return new ExternalError(`${url} is no Git repository`, "is repoURL in the settings right?", options);
  if (status !== undefined)
    return new ExternalError(`${host} answers git ${status}`, "try again later", options);
  return new ExternalError(`git cannot reach ${url}: ${lastLine(result)}`, "try again later", options);
}

/** What somebody may have set so that git answers nothing at all, as git says it. */
const BROKEN_SETTING =
  /^(?:error|fatal): (bad (?:config|\w+ config value|zlib compression level) .*|invalid value for '.*|bogus .*|missing config .*|exceeded maximum include depth .*)$/m;

type Failure = Pick<RunResult, "exitCode" | "stderr">;

/** Git does not work in a checkout, so nothing can be said about what is in it: neither that it is wrong, nor that it is absent. */
export class GitSetupError extends CommandError {
  constructor(message: string, hint: string, cause: Failure) {
    super(3, message, hint, { cause });
  }
}

/** Why git does not work in a checkout, when that is how it is set up there; undefined for any other failure. */
export function setupRefusal(result: Failure): GitSetupError | undefined {
  if (result.exitCode !== 128) return undefined;
  const refusal = (message: string, hint: string) => new GitSetupError(message, hint, result);
  const find = (pattern: RegExp) => pattern.exec(result.stderr)?.[1];
  const owned = find(/detected dubious ownership in repository at '(.+)'/);
  if (owned !== undefined)
    return refusal(
      `${owned} belongs to another user, so git does not read it (safe.directory)`,
      `git config --global --add safe.directory ${owned}`,
    );
  const setting = find(BROKEN_SETTING);
  if (setting !== undefined)
    return refusal(
      `git cannot read its configuration: ${setting}`,
      "fix it; `git config --list --show-origin` shows where a setting stands",
    );
  const extension = find(/unknown repository extensions? found:\s+(\S+)/);
  if (extension !== undefined)
    return refusal(`this git does not know the repository's extension ${extension}`, "install a newer git");
  const missing = find(/could not fetch ([0-9a-f]+) from promisor remote/);
  return missing === undefined
    ? undefined
    : refusal(
        `this clone is partial, and git cannot fetch ${missing.slice(0, 7)}, which it needs: ${firstError(result)}`,
        "run `git fetch --refetch --no-filter`, which makes the clone whole",
      );
}

/** The first thing that git calls an error. */
export function firstError(result: Failure): string {
  return /^(?:error|fatal): (.+)$/m.exec(result.stderr)?.[1]?.replace(/:$/, "") ?? lastLine(result);
}

export function lastLine({ stderr, exitCode }: Failure): string {
  const line = stderr
    .trim()
    .split("\n")
    .at(-1)
    ?.replace(/^(fatal|error): /, "");
  return line || `exit code ${exitCode}`;
}
