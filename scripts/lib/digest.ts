/** Content digests, in the form that registries and release files use. */
import { createHash } from "node:crypto";

/** A digest as text: `sha256:` and 64 hexadecimal digits. */
export const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** The digest of a text's UTF-8 bytes. */
export function sha256(text: string): string {
  return `sha256:${createHash("sha256").update(text, "utf8").digest("hex")}`;
}
