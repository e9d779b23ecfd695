/** Finds Secrets in clear and private keys in a text, whatever kind of file it is; docs/secrets.md says what it lets pass. */
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, parseAllDocuments, visit } from "yaml";
import type { Finding } from "../finding.ts";
import { isEncrypted } from "./sealed.ts";

/** Accepts what is found on its line and the next; on the first line of a file, in all of it. */
const ACCEPTED = /gitops:not-a-secret +\S/;
/** Files without any of this are not read further. */
const WORTH_A_LOOK = /kind["']?\s*:.*Secret|secretGenerator|PRIVATE KEY|AGE-SECRET-KEY-|LS0tLS1CRUdJTi/;
const WAY =
  "make a new value where it is used, and seal that; if it is no secret, say so on the line: gitops:not-a-secret <reason>";

interface Found {
  line: number;
  what: string;
}

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
    ...(/\.(ya?ml|json)$/.test(path) ? inDocuments(text, isStandIn) : []),
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

type StandIn = (value: string) => boolean;

const TEMPLATE = /\{\{[^{}]*\}\}|\$\{[^{}]*\}|\$\([^()]*\)|\$[A-Z][A-Z0-9_]*|<[^<>]*>|%[sq]/g;
/** A template that has the value in it: a default, or a text that it only encodes. */
const LITERAL = /\{\{-?\s*["'`]|\bdefault\s+["'`][^"'`]|\$\{\w+:?[-=][^}]/;
const WORDS =
  /^(?:(?:your|my|some|an?|the|not|test|fake|dummy|example|sample|placeholder|change|replace|me|todo|foo|bar|baz|secret|pass(?:word|wd)?|value|token|key|user|name|username|admin|here|with|real|hunter2?|s3cr3t|x+)[-_ .!]*\d{0,4}[-_ .!]*)+$/i;

/** What says whether a value only stands for one. */
function standInOf(path: string): StandIn {
  const mayHaveWords = /\.(md|adoc|rst)$|(^|\/)(tests?|__tests__|testdata|fixtures|examples?)\//.test(path);
  const isTextStandIn = (value: string): boolean => {
    if (isEncrypted(value) || /^[.…*xX]+$/.test(value)) return true;
    // A certificate without its key is public.
    if (/^(-----BEGIN CERTIFICATE-----\s[\w+/=\s]+-----END CERTIFICATE-----\s*)+$/.test(value)) return true;
    if (mayHaveWords && (WORDS.test(value) || /^ENC\[.*\]$/.test(value))) return true;
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

/** Secrets as YAML and JSON have them, wherever in a document. */
function inDocuments(text: string, isStandIn: StandIn): Found[] {
  const lines = new LineCounter();
  const found: Found[] = [];
  const note = (node: unknown, what: string) => {
    const range = typeof node === "object" && node !== null && "range" in node ? node.range : undefined;
    found.push({ line: lines.linePos(Array.isArray(range) ? Number(range[0]) : 0).line, what });
  };
  for (const document of parseAllDocuments(text, { lineCounter: lines })) {
    if (!("contents" in document)) continue;
    const values = (map: unknown, kind: string) => {
      for (const [key, value, node] of entries(document, map))
        if (!isStandIn(value)) note(node, `a ${kind} with the value of ${key} in clear`);
    };
    visit(document, {
      Map(_, map) {
        const kind: unknown = map.get("kind");
        if (kind === "Secret") for (const field of ["data", "stringData"]) values(map.get(field, true), kind);
        if (kind === "SopsSecret")
          visit(map, {
            Pair(__, { key, value }) {
              if (isScalar(key) && (key.value === "data" || key.value === "stringData")) values(value, kind);
            },
          });
        const generators: unknown = map.get("secretGenerator", true);
        for (const item of kind === "SecretGenerator" ? [map] : isSeq(generators) ? generators.items : [])
          for (const { node, what } of generated(item, isStandIn)) note(node, what);
      },
    });
  }
  return found;
}

/** Names and values of a map whose values are scalars, with the nodes of the names. */
function entries(document: Document, node: unknown): [string, string, unknown][] {
  const map = isAlias(node) ? node.resolve(document) : node;
  if (!isMap(map)) return [];
  return map.items.flatMap(({ key, value }): [string, string, unknown][] => {
    const scalar = isAlias(value) ? value.resolve(document) : value;
    if (!isScalar(scalar) || scalar.value === null) return [];
    const text = scalar.source ?? String(scalar.toJSON());
    return [[String(isScalar(key) ? key.value : key), text, key]];
  });
}

function generated(item: unknown, isStandIn: StandIn): { node: unknown; what: string }[] {
  if (!isMap(item)) return [];
  const list = (field: string) => {
    const items: unknown = item.get(field, true);
    return isSeq(items) ? items.items.filter(isScalar) : isScalar(items) && items.value ? [items] : [];
  };
  return [
    ...list("literals")
      .filter(
        ({ value }) =>
          !isStandIn(
            String(value)
              .replace(/^[^=]*=/, "")
              .replaceAll(/^["']|["']$/g, ""),
          ),
      )
      .map((node) => ({ node, what: "a secretGenerator with a value in clear" })),
    ...["envs", "env", "files"].flatMap(list).map((node) => ({
      node,
      what: `a secretGenerator of the file ${String(node.value)}, which is in clear`,
    })),
  ];
}

const KIND = /^([ \t]*(?:- )?)["']?kind["']?:[ \t]*["']?(Secret|SopsSecret)["']?[ \t]*$/;
const DATA = /^([ \t]*(?:- )?)["']?(?:data|stringData)["']?:[ \t]*$/;
const ENTRY = /^["']?([\w.-]+|\{\{.*?\}\})["']?:[ \t]+(.*)$/;
/** Where a manifest ends in any text: a document's mark, a fence of Markdown, the end of a here-document or a template literal. */
const END = /^[ \t]*(---|\.\.\.|```|~~~|[A-Z]+$|.*`[;,)]*$)/;

/** Secrets that look like YAML in other texts: templates, here-documents, Markdown, comments, a text inside of a manifest. */
function inLines(raw: readonly string[], isStandIn: StandIn): Found[] {
  const lines = raw.map((line) =>
    line
      .replace(/\r$/, "")
      .replace(/^([ \t]*)(?:#|\/\/) ?/, "$1")
      .replace(/[ \t]#.*$/, ""),
  );
  return lines.flatMap((line, index) => {
    const [, indent, kind] = KIND.exec(line) ?? [];
    if (indent === undefined || kind === undefined) return [];
    const [from, to] = [ends(lines, index, indent.length, -1), ends(lines, index, indent.length, 1)];
    const found: Found[] = [];
    for (let at = from; at < to; at += 1) {
      const [, deep] = DATA.exec(lines[at] ?? "") ?? [];
      if (deep === undefined || (kind === "Secret" && deep.length !== indent.length)) continue;
      found.push(...looseEntries(lines, at, deep.length, kind, isStandIn));
    }
    return found;
  });
}

function indentOf(line: string): number {
  return line.length - line.trimStart().length;
}

/** The first line before or after one that is no longer part of its map. */
function ends(lines: readonly string[], start: number, indent: number, step: 1 | -1): number {
  let at = start;
  for (let line = lines[at]; line !== undefined; at += step, line = lines[at]) {
    if (line.trim() === "" || /^\s*\{\{/.test(line)) continue;
    if (END.test(line) || (indentOf(line.replace(/^(\s*)- /, "$1  ")) < indent && at !== start)) break;
  }
  return step === 1 ? at : Math.max(at, 0);
}

function looseEntries(
  lines: readonly string[],
  start: number,
  indent: number,
  kind: string,
  isStandIn: StandIn,
): Found[] {
  const found: Found[] = [];
  for (let at = start + 1; at < lines.length; at += 1) {
    const line = lines[at] ?? "";
    if (line.trim() === "") continue;
    if (indentOf(line) <= indent || END.test(line)) break;
    const [, key, rest = ""] = ENTRY.exec(line.trim()) ?? [];
    if (key === undefined) continue;
    const block = /^[|>][-+\d]*$/.test(rest) ? blockAt(lines, at) : rest;
    const value = block.replaceAll(/^["']|["']$/g, "");
    if (
      value !== "" &&
      value !== "null" &&
      value !== "~" &&
      !/^[[{]/.test(value.replace(/^\{\{/, "")) &&
      !isStandIn(value)
    )
      found.push({ line: at + 1, what: `a ${kind} with the value of ${key} in clear` });
  }
  return found;
}

function blockAt(lines: readonly string[], start: number): string {
  const indent = indentOf(lines[start] ?? "");
  const rest = lines.slice(start + 1);
  const end = rest.findIndex((line) => line.trim() !== "" && indentOf(line) <= indent);
  return rest
    .slice(0, end === -1 ? undefined : end)
    .map((line) => line.trim())
    .join("\n");
}
