/** Finds Secrets in clear and private keys in a text, whatever kind of file it is; docs/secrets.md says what it lets pass. */
import type { Finding } from "../finding.ts";
import { type Found, inDocuments } from "./plaintext-documents.ts";
import { inLines } from "./plaintext-lines.ts";
import { standInOf } from "./stand-in.ts";

/** Accepts what is found on its line and the next; on the first line of a file, in all of it. */
const ACCEPTED = /gitops:not-a-secret +\S/;
/** Files without any of this are not read further. */
const WORTH_A_LOOK = /Secret|secretGenerator|stringData|PRIVATE KEY|AGE-SECRET-KEY-|LS0tLS1CRUdJTi/;
/** kustomize takes a kustomization without an ending, too. */
const DOCUMENTS = /\.(ya?ml|json)$|(^|\/)Kustomization$/;
const WAY =
  "make a new value where it is used, and seal that; if it is no secret, say so on the line: gitops:not-a-secret <reason>";

/**
 * Looks for `kind: Secret` with values, a SopsSecret that is not wholly encrypted, a kustomization's secretGenerator, and private
 * keys of age and PEM. Values that only stand for one, such as `${PASSWORD}`, `{{ .Values.password }}` or `<password>`, may be there.
 * @param path its ending says what it is; documentation and tests may also have words such as `changeme`
 */
export function plaintextFindings(path: string, content: string): Finding[] {
  const text = withoutWidth(content);
  const isSealed = path.endsWith(".sops.yaml") && path !== ".sops.yaml";
  if (!isSealed && !WORTH_A_LOOK.test(text)) return [];
  const lines = text.split("\n");
  if (ACCEPTED.test(lines[0] ?? "")) return [];
  const isStandIn = standInOf(path);
  const found = [
    ...privateKeys(text),
    ...(DOCUMENTS.test(path) ? inDocuments(text, isStandIn) : []),
    ...inLines(lines, isStandIn),
    ...(isSealed && !/^sops:$/m.test(text) ? [{ line: 1, what: "not encrypted" }] : []),
  ];
  const byLine = new Map(found.toReversed().map((one) => [one.line, one]));
  return [...byLine.values()]
    .filter(({ line }) => ![lines[line - 1], lines[line - 2]].some((near) => ACCEPTED.test(near ?? "")))
    .toSorted((one, other) => one.line - other.line)
    .map(({ line, what }) => ({ path, line, what, way: WAY, severity: "finding" }));
}

/** UTF-16, which PowerShell's `>` writes, read as UTF-8 has NULs between its letters, and a mark before them. */
function withoutWidth(text: string): string {
  return text.replace(/^[\ufeff\ufffd]+/, "").replaceAll("\0", "");
}

function privateKeys(text: string): Found[] {
  const at = (index: number) => text.slice(0, index).split("\n").length;
  const age = [...text.matchAll(/AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{50,}/g)];
  // With material behind it: documentation may name the line.
  const pem = [...text.matchAll(/-----BEGIN ([A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----[^-]{0,200}?[\w+/]{32}/g)];
  const encoded = [...text.matchAll(/LS0tLS1CRUdJTi[\w+/=]{64,}/g)].filter(([run]) =>
    /^-----BEGIN ([A-Z]+ )*PRIVATE KEY/.test(Buffer.from(run, "base64").toString("latin1")),
  );
  return [
    ...age.map(({ index }) => ({ line: at(index), what: "a private key of age" })),
    ...[...pem, ...encoded].map(({ index }) => ({ line: at(index), what: "a private key" })),
  ];
}
