/** Secrets in clear in texts that are no YAML, but have some in them. */
import { type Found, inDocuments, isPublicInDeclaration } from "./plaintext-documents.ts";
import type { StandIn } from "./stand-in.ts";

const KIND = /^([ \t]*(?:- )?)["']?kind["']?:[ \t]*["']?(Secret|SopsSecret)["']?,?[ \t]*$/;
const DATA = /^([ \t]*(?:- )?)["']?(?:data|stringData)["']?:[ \t]*(\{.*)?$/;
const JSON_KIND = /"kind"\s*:\s*"Secret(?:List)?"/;
const ENTRY = /^["']?([\w.-]+|\{\{.*?\}\})["']?:[ \t]+(.*)$/;
/** Where a manifest ends in any text: a document's mark, a fence of Markdown, the end of a here-document or a template literal. */
const END = /^[ \t]*(---|\.\.\.|```|~~~|[A-Z]+$|.*`[;,)]*$)/;

/** Secrets that look like YAML in other texts: templates, here-documents, Markdown, comments, a text inside of a manifest. */
export function inLines(raw: readonly string[], isStandIn: StandIn): Found[] {
  const lines = raw.map((line) =>
    line
      .replace(/\r$/, "")
      .replace(/^([ \t]*)(?:#|\/\/) ?/, "$1")
      .replace(/[ \t]#.*$/, ""),
  );
  return lines.flatMap((line, index) => {
    // A whole one in JSON.
    if (line.includes("{") && JSON_KIND.test(line)) return inBraces(line, index, isStandIn);
    const [, indent, kind] = KIND.exec(line) ?? [];
    if (indent === undefined || kind === undefined) return [];
    const [from, to] = [ends(lines, index, indent.length, -1), ends(lines, index, indent.length, 1)];
    const isDeclared = lines.slice(from, to).some((near) => near.includes("argocd.argoproj.io/secret-type"));
    const found: Found[] = [];
    for (let at = from; at < to; at += 1) {
      const [, deep, flow] = DATA.exec(lines[at] ?? "") ?? [];
      if (deep === undefined || (kind === "Secret" && deep.length !== indent.length)) continue;
      if (flow !== undefined && flow !== "{")
        found.push(...inBraces(`{kind: Secret, data: ${flow}}`, at, isStandIn));
      else found.push(...looseEntries(lines, at, { indent: deep.length, kind, isDeclared, isStandIn }));
    }
    return found;
  });
}

/** What stands between the outermost braces of a line. */
function inBraces(line: string, index: number, isStandIn: StandIn): Found[] {
  const map = line.slice(line.indexOf("{"), line.lastIndexOf("}") + 1);
  return inDocuments(map, isStandIn).map(({ what }) => ({ line: index + 1, what }));
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
  options: { indent: number; kind: string; isDeclared: boolean; isStandIn: StandIn },
): Found[] {
  const { indent, kind, isDeclared, isStandIn } = options;
  const found: Found[] = [];
  for (let at = start + 1; at < lines.length; at += 1) {
    const line = lines[at] ?? "";
    if (line.trim() === "") continue;
    if (indentOf(line) <= indent || END.test(line)) break;
    const [, key, rest = ""] = ENTRY.exec(line.trim()) ?? [];
    if (key === undefined) continue;
    const block = /^[|>][-+\d]*$/.test(rest) ? blockAt(lines, at) : rest;
    const value = block.replaceAll(/^["']|["'],?$/g, "");
    if (
      !(isDeclared && isPublicInDeclaration(key, value)) &&
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
