/** Rendering with the kustomize program, and the one thing that is read from a kustomization without rendering: its image. */
import { z } from "zod";
import { readDocument } from "../document.ts";
import { RefusedError } from "../errors.ts";
import { run } from "../exec.ts";

/**
 * Renders a kustomization.
 * @param kustomize path of the program
 * @param directory directory with the kustomization.yaml
 * @param signal ends the program
 * @returns the manifests as kustomize writes them
 * @throws ExternalError with kustomize's own message
 */
export async function build(kustomize: string, directory: string, signal?: AbortSignal): Promise<string> {
  return run(kustomize, ["build", directory], signal === undefined ? {} : { signal });
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
