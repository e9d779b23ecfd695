/** What a container registry has, asked with crane. */
import { DIGEST } from "../digest.ts";
import { ExternalError, RefusedError } from "../errors.ts";
import { type RunResult, tryRun } from "../exec.ts";

/** crane tries a failing registry four times within 9 s, for each of two requests; a silent one it would wait for much longer. */
const TIMEOUT_MS = 60_000;
const WITHOUT = "or leave the registry out of it with --no-verify";

/**
 * Asks a registry for an image's digest: that of the index for an image of several platforms. crane finds its credentials where
 * `docker login` and `crane auth login` leave them.
 * @param crane path of the program
 * @param image registry, path and tag, such as `registry.shop.test/shop/web:1`
 * @param env of crane
 * @throws RefusedError when the registry does not have the image, or does not show it to these credentials
 * @throws ExternalError when the registry cannot be reached or fails
 */
export async function imageDigest(crane: string, image: string, env: NodeJS.ProcessEnv): Promise<string> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const result = await tryRun(crane, ["digest", image], { env, signal });
  const digest = result.stdout.trim();
  if (result.exitCode === 0 && DIGEST.test(digest)) return digest;
  throw signal.aborted
    ? new ExternalError(`${hostOf(image)} has not answered for ${TIMEOUT_MS / 1000} s`, again())
    : failure(result, image);
}

function failure(result: RunResult, image: string): RefusedError | ExternalError {
  const { stderr } = result;
  const options = { cause: result };
  const host = hostOf(image);
  const reason = /^Error: (.*)$/m.exec(stderr)?.[1] ?? `crane ends with ${result.exitCode} and no digest`;
  const status = [...stderr.matchAll(/unexpected status code (\d{3})/g)].at(-1)?.[1];
  if (status === "404" || /: (MANIFEST|NAME)_UNKNOWN\b/.test(reason)) {
    const hint = `push it first, or look at the build of that commit; ${WITHOUT}`;
    return new RefusedError(`there is no image ${image}`, hint, options);
  }
  if (status === "401" || status === "403" || /: (UNAUTHORIZED|DENIED)\b/.test(reason)) {
    const hint = `is it there? log in with \`docker login ${host}\`, ${WITHOUT}`;
    return new RefusedError(`${host} does not show ${image} to you`, hint, options);
  }
  const what = status === undefined ? `cannot be asked: ${reason}` : `answers ${status}: ${reason}`;
  return new ExternalError(`${host} ${what}`, again(), options);
}

function again(): string {
  return `try again later, ${WITHOUT}`;
}

function hostOf(image: string): string {
  return image.slice(0, image.indexOf("/"));
}
