/** Rendering with the kustomize program, and the one thing that is read from a kustomization without rendering: its image. */
import { relative } from "node:path";
import { z } from "zod";
import { readDocument } from "../document.ts";
import { ExternalError, messageOf, RefusedError } from "../errors.ts";
import { run } from "../exec.ts";

/**
 * Renders a kustomization.
 * @param kustomize path of the program
 * @param directory directory with the kustomization.yaml
 * @param signal ends the program
 * @returns the manifests as kustomize writes them
 * @throws ExternalError with kustomize's own message, or a shorter one where a file is missing
 */
export async function build(kustomize: string, directory: string, signal?: AbortSignal): Promise<string> {
  try {
    return await run(kustomize, ["build", directory], signal === undefined ? {} : { signal });
  } catch (error) {
    // kustomize tells it in one line, twice, as what it tried first and what it tried then.
    const missing = /accumulation err=.* lstat (\S+): no such file or directory/.exec(messageOf(error))?.[1];
    if (missing === undefined) throw error;
    const what = `there is no ${relative(directory, missing)}, and ${directory} is built from it`;
    throw new ExternalError(what, "add it, or take it out of the kustomization that lists it", {
      cause: error,
    });
  }
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
    throw new RefusedError(`${file} pins ${name} by two digests`, "take the one in its newTag away");
  return { name, tag, digest: digest ?? entry.digest };
}
