/** Rendering with the kustomize program, and the one thing that is read from a kustomization without rendering: its image. */
import { relative } from "node:path";
import { z } from "zod";
import { readDocument } from "../document.ts";
import { ExternalError, RefusedError } from "../errors.ts";
import { run } from "../exec.ts";

/** Where no proxy is. */
const NOBODY = "127.0.0.1:9";
/** Nothing is fetched, however that is written: neither by git nor over HTTP. */
export const OFFLINE = {
  GIT_ALLOW_PROTOCOL: "none",
  HTTP_PROXY: `http://${NOBODY}`,
  HTTPS_PROXY: `http://${NOBODY}`,
  NO_PROXY: "",
  no_proxy: "",
};
const NOT_FETCHED = new RegExp(`transport '\\w+' not allowed|proxyconnect .*${NOBODY}`);

/**
 * Renders a kustomization, of files only.
 * @param kustomize path of the program
 * @param directory directory with the kustomization.yaml
 * @param signal ends the program
 * @returns the manifests as kustomize writes them
 * @throws ExternalError with kustomize's own message, or a shorter one where a file is missing or would be fetched
 */
export async function build(kustomize: string, directory: string, signal?: AbortSignal): Promise<string> {
  try {
    const options = { env: { ...process.env, ...OFFLINE }, ...(signal === undefined ? {} : { signal }) };
    return await run(kustomize, ["build", directory], options);
  } catch (error) {
    if (error instanceof ExternalError) throw renderError(directory, stderrOf(error), error);
    throw error;
  }
}

/**
 * The error of a rendering that failed. kustomize tells in one line, twice, what it tried first and what it tried then.
 * @param said all that kustomize said
 * @param error with its last line; by default one is made
 */
export function renderError(directory: string, said: string, error?: ExternalError): ExternalError {
  const last = said.trim().split("\n").at(-1) ?? "";
  const whole = error ?? new ExternalError(`kustomize build ${directory} failed: ${last}`);
  if (NOT_FETCHED.test(said)) {
    const what = `${directory} is built from what is not in this repository, and nothing is fetched`;
    return new ExternalError(what, "have it in the repository", { cause: whole });
  }
  const missing = /accumulation err=.* lstat (\S+): no such file or directory/.exec(whole.message)?.[1];
  if (missing === undefined) return whole;
  const what = `there is no ${relative(directory, missing)}, and ${directory} is built from it`;
  return new ExternalError(what, "add it, or take it out of the kustomization that lists it", {
    cause: whole,
  });
}

/** All that a program said; git's own words are not in the last line. */
function stderrOf({ cause }: ExternalError): string {
  return typeof cause === "object" && cause !== null && "stderr" in cause ? String(cause.stderr) : "";
}

export interface ImagePin {
  name: string;
  /** 40 hexadecimal digits: the commit of the service's repository. */
  tag: string;
  digest: string | undefined;
}

const Images = z.object({
  images: z
    .array(
      z.strictObject({
        name: z.string(),
        newTag: z
          .string()
          .regex(
            /^[0-9a-f]{40}(@sha256:[0-9a-f]{64})?$/,
            "not a commit of 40 lower-case hexadecimal digits, in quotes",
          ),
        digest: z.string().optional(),
      }),
    )
    .default([]),
});

/**
 * Reads which image a kustomization pins. The digest stands in `newTag`, behind the tag and `@`, or in a field of its own; to
 * kustomize that is the same.
 * @param text the kustomization.yaml
 * @param file its name, for messages
 * @param name the image's name in base, such as `registry/ecommerce/user-service`
 * @throws RefusedError when there is no such entry or more than one, its tag is not a commit, or it has two digests
 */
export function pinnedImage(text: string, file: string, name: string): ImagePin {
  const [entry, second] = readDocument(text, file, Images).images.filter((image) => image.name === name);
  if (second !== undefined)
    throw new RefusedError(`${file} pins ${name} a second time`, "leave one of the two");
  if (entry === undefined)
    throw new RefusedError(`${file} pins no image ${name}`, "add it under `images:` with its newTag");
  const [tag = "", digest] = entry.newTag.split("@");
  if (digest !== undefined && entry.digest !== undefined)
    throw new RefusedError(`${file} pins ${name} by two digests`, "remove the one in its newTag");
  return { name, tag, digest: digest ?? entry.digest };
}
