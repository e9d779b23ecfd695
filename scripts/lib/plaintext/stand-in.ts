/** What only stands for a value, and so may be in clear. */
import { isEncrypted } from "../secrets/sealed.ts";

export type StandIn = (value: string) => boolean;

const TEMPLATE = /\{\{[^{}]*\}\}|\$\{[^{}]*\}|\$\([^()]*\)|\$[A-Z][A-Z0-9_]*|<[^<>]*>|%[sq]/g;
/** A template that has the value in it: a default, or a text that it only encodes. */
const LITERAL = /\{\{-?\s*["'`]|\bdefault\s+["'`][^"'`]|\$\{\w+:?[-=][^}]/;
/** Of two words with the same beginning the longer one is first: the text is cut, and no cut is tried a second time. */
const WORD =
  /username|user|your|my|some|sample|secret|s3cr3t|admin|an?|the|not|name|test|todo|token|fake|foo|dummy|example|placeholder|password|passwd|pass|change|replace|real|me|bar|baz|value|key|here|hunter2?|with|x+/i;
const BETWEEN_WORDS = /^[-_ .!]*(?:\d{1,4}[-_ .!]*)?$/;
/** Longer than what anybody puts for a value. */
const MOST_WORDS = 200;

/** What is deployed, whatever an environment or an app is called. */
const DEPLOYED = /^(?:overlays|base|argocd|apps)\//;
const TOLD = /\.(?:md|adoc|rst)$|(?:^|\/)(?:tests?|__tests__|testdata|fixtures|examples?)\//;

/** @returns what says of a value in the file of a path whether it only stands for one */
export function standInOf(path: string): StandIn {
  const mayHaveWords = TOLD.test(path) && !DEPLOYED.test(path);
  const isTextStandIn = (value: string): boolean => {
    if (isEncrypted(value) || /^[.…*xX]+=*$/.test(value)) return true;
    // A certificate without its key is public.
    if (/^(-----BEGIN CERTIFICATE-----\s[\w+/=\s]+-----END CERTIFICATE-----\s*)+$/.test(value)) return true;
    if (mayHaveWords && (isWords(value) || /^ENC\[.*\]$/.test(value))) return true;
    if (LITERAL.test(value) || value.search(TEMPLATE) === -1) return false;
    const rest = value.replaceAll(TEMPLATE, "{}");
    // Between templates there may be signs; or it is an address whose password is one.
    return !/[\p{L}\p{N}]/u.test(rest) || /^[a-z+]+:\/\/[^:@/]*:?\{\}@/.test(rest);
  };
  return (value) => {
    const trimmed = value.trim();
    if (isTextStandIn(trimmed)) return true;
    const decoded = decodedBase64(trimmed);
    return decoded !== undefined && isTextStandIn(decoded.toString("utf8").trim());
  };
}

/** The bytes of a text that is base64 as a Secret's `data` has it; undefined for any other. */
export function decodedBase64(text: string): Buffer | undefined {
  const decoded = Buffer.from(text, "base64");
  return decoded.toString("base64") === text.replaceAll(/\s/g, "") ? decoded : undefined;
}

/** Whether a text has nothing but words such as `changeme` and `test-password-1`. */
function isWords(value: string): boolean {
  if (value.length > MOST_WORDS) return false;
  const [before, ...others] = value.split(WORD);
  return before === "" && others.length > 0 && others.every((rest) => BETWEEN_WORDS.test(rest));
}
