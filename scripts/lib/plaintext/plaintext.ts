/** Finds Secrets in clear and private keys in a text, whatever kind of file it is; docs/secrets.md says what it lets pass. */
import { type Finding, findingIn } from "../finding.ts";
import { inDocuments, isYaml, mayHoldSecret } from "./documents.ts";
import { type Found, privateKeys } from "./key.ts";
import { inLines } from "./lines.ts";
import { inPieces } from "./pieces.ts";
import { type StandIn, standInOf } from "./stand-in.ts";

/** Accepts what is found on its line and the next; on the first line of a file, in all of it. */
const ACCEPTED = /gitops:not-a-secret +\S/;
/** Files without any of this, and without what may be a Secret, are not read further. */
const KEY = /PRIVATE KEY|AGE-SECRET-KEY-|LS0tLS1CRUdJTi/;
/** To read YAML takes fifty times its size in memory, and half a second for a million characters. */
const LARGEST_YAML = 10_000_000;
const WAY =
  "make a new value where it is used, and seal that; if it is no secret, say so on the line: gitops:not-a-secret <reason>";

/**
 * Looks for Secrets with values (as YAML and JSON, in a List, and in a JSON patch), a SopsSecret that is not wholly encrypted, a
 * kustomization's secretGenerator, and private keys of age and PEM. Values that only stand for one, such as `${PASSWORD}`,
 * `{{ .Values.password }}` or `<password>`, may be there.
 * @param path its ending says what it is; documentation and tests may also have words such as `changeme`
 */
export function plaintextFindings(path: string, content: string): Finding[] {
  const text = withoutWidth(content).replaceAll("\r\n", "\n");
  const isSealed = path.endsWith(".sops.yaml") && path !== ".sops.yaml";
  const mayHold = mayHoldSecret(text);
  if (!isSealed && !KEY.test(text) && !mayHold) return [];
  const lines = text.split("\n");
  if (ACCEPTED.test(lines[0] ?? "")) return [];
  const isStandIn = standInOf(path);
  const found = [
    ...privateKeys(text),
    ...(mayHold ? inYaml(path, text, isStandIn) : []),
    ...inLines(lines, isStandIn),
    ...(isSealed && !/^sops:$/m.test(text) ? [{ line: 1, what: "not encrypted" }] : []),
  ];
  const byLine = new Map(found.toReversed().map((one) => [one.line, one]));
  return [...byLine.values()]
    .filter(({ line }) => ![lines[line - 1], lines[line - 2]].some((near) => ACCEPTED.test(near ?? "")))
    .toSorted((one, other) => one.line - other.line)
    .map(({ line, what, way = WAY }) => findingIn(path, what, way, line));
}

/** UTF-16, which PowerShell's `>` writes, read as UTF-8 has NULs between its letters, and a mark before them. */
function withoutWidth(text: string): string {
  return text.replace(/^[\ufeff\ufffd]+/, "").replaceAll("\0", "");
}

function inYaml(path: string, text: string, isStandIn: StandIn): Found[] {
  if (text.length > LARGEST_YAML) {
    const what = `not looked at: more than ${LARGEST_YAML / 1_000_000} MB that may hold a Secret`;
    return [{ line: 1, what, way: "split it, or keep it out of Git: in .gitignore" }];
  }
  try {
    const whole = isYaml(path) ? inDocuments(text, { isStandIn }) : [];
    return [...whole, ...inPieces(path, text, { isStandIn })];
  } catch (error) {
    // The parser calls itself for each level.
    if (!(error instanceof RangeError)) throw error;
    return [{ line: 1, what: "not looked at: nested too deeply", way: "keep it out of Git: in .gitignore" }];
  }
}
