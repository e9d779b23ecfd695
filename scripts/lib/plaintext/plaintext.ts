/** Finds secrets in clear in a text; docs/secrets.md. */
import { type Finding, findingIn } from "../finding.ts";

const REMEDY =
  "make a new value where it is used, and seal that; if it is no secret, add the comment `secretlint-disable-line`, which counts outside of base and overlays";
/** Where teams may change files without the platform's review (.github/CODEOWNERS): a comment there would approve itself. */
const TEAMS = /^(?:base|overlays)\//;

/**
 * Looks for credentials as secretlint knows them, for private keys, and for Secrets and SopsSecrets with values in clear.
 * @param path its ending says what it is
 */
export async function plaintextFindings(path: string, content: string): Promise<Finding[]> {
  const { findSecrets } = await import("./rules.ts");
  const found = await findSecrets(path, withoutWidth(content), !TEAMS.test(path));
  const byLine = new Map(found.toReversed().map((one) => [one.line, one.what]));
  return [...byLine].toReversed().map(([line, what]) => findingIn(path, what, REMEDY, line));
}

/** UTF-16, which PowerShell's `>` writes, read as UTF-8 has NULs between its letters, and a mark before them. */
function withoutWidth(text: string): string {
  return text.replace(/^[\ufeff\ufffd]+/, "").replaceAll("\0", "");
}
