/** Values that only stand for one: templates, placeholders, and in documentation and tests some words. */
import { isEncrypted } from "./sealed.ts";

export type StandIn = (value: string) => boolean;

const TEMPLATE = /\{\{[^{}]*\}\}|\$\{[^{}]*\}|\$\([^()]*\)|\$[A-Z][A-Z0-9_]*|<[^<>]*>|%[sq]/g;
/** A template that has the value in it: a default, or a text that it only encodes. */
const LITERAL = /\{\{-?\s*["'`]|\bdefault\s+["'`][^"'`]|\$\{\w+:?[-=][^}]/;
const WORDS = [
  "a an the your my some not with here real me todo change replace",
  "test fake dummy example sample placeholder foo bar baz x",
  "secret pass password passwd value token key user name username admin hunter hunter2 s3cr3t",
].flatMap((line) => line.split(" "));
/** Signs and a few digits behind a word. */
const BEHIND = /[-_ .!]*(?:\d{1,4}[-_ .!]*)?/y;
/** Nobody writes a longer one to stand for a value. */
const LONGEST_WORDS = 200;

/** Whether a text is made of such words only. It goes through them once: what takes turns to try would take for ever. */
function isOfWords(text: string): boolean {
  if (text === "" || text.length > LONGEST_WORDS) return false;
  const lower = text.toLowerCase();
  const starts = new Set([0]);
  for (const start of starts) {
    for (const word of WORDS.filter((candidate) => lower.startsWith(candidate, start))) {
      BEHIND.lastIndex = start + word.length;
      BEHIND.test(lower);
      starts.add(Math.max(BEHIND.lastIndex, start + word.length));
    }
  }
  return starts.has(text.length);
}

/**
 * What says whether a value only stands for one, as `${PASSWORD}`, `{{ .Values.password }}` and `<password>` do.
 * @param path of the file; documentation and tests may also have words such as `changeme`
 */
export function standInOf(path: string): StandIn {
  // An environment may be called test.
  const mayHaveWords =
    !/^(apps|argocd|base|overlays)\//.test(path) &&
    /\.(md|adoc|rst)$|(^|\/)(tests?|__tests__|testdata|fixtures|examples?)\//.test(path);
  const isTextStandIn = (value: string): boolean => {
    if (isEncrypted(value) || /^[.…*xX]+$/.test(value)) return true;
    // A certificate without its key is public.
    if (/^(-----BEGIN CERTIFICATE-----\s[\w+/=\s]+-----END CERTIFICATE-----\s*)+$/.test(value)) return true;
    if (mayHaveWords && (isOfWords(value) || /^ENC\[.*\]$/.test(value))) return true;
    if (LITERAL.test(value) || value.search(TEMPLATE) === -1) return false;
    const rest = value.replaceAll(TEMPLATE, "{}");
    // Between templates there may be signs; or it is an address whose password is one.
    return !/[\p{L}\p{N}]/u.test(rest) || /^[a-z+]+:\/\/[^:@/]*:?\{\}@/.test(rest);
  };
  return (value) => {
    const trimmed = value.trim();
    if (isTextStandIn(trimmed)) return true;
    const decoded = Buffer.from(trimmed, "base64");
    const isBase64 = decoded.toString("base64") === trimmed.replaceAll(/\s/g, "");
    return isBase64 && isTextStandIn(decoded.toString("utf8").trim());
  };
}
