/** Secrets that look like YAML in other texts: templates, here-documents, Markdown, comments, a text inside of a manifest. */
import { isDeclaration, isPublicField } from "./declaration.ts";
import type { Found } from "./key.ts";
import type { StandIn } from "./stand-in.ts";

// In all of these no two parts that repeat may take the same character: on a long line that takes the square of the time.
const KIND = /^([ \t]*(?:- )?)["']?kind["']?:[ \t]*["']?(Secret|SopsSecret)["']?[ \t]*$/;
const DATA = /^([ \t]*(?:- )?)["']?(data|stringData)["']?:[ \t]*$/;
const ENTRY = /^["']?([\w.-]+|\{\{.*?\}\})["']?:[ \t]+(.*)$/s;
const LABEL = /^[ \t]*["']?([\w./-]+)["']?:[ \t]+["']?([\w-]+)["']?[ \t]*$/;
/** Where a manifest ends in any text: a document's mark, a fence of Markdown, the end of a here-document or a template literal. */
export const END = /^[ \t]*(?:---|\.\.\.|```|~~~|[A-Z]+$)|`[;,)]*$/;

/** One manifest: the lines around its kind. */
interface Manifest {
  kind: string;
  indent: number;
  from: number;
  to: number;
}

/** Looks at lines, whatever they are part of. */
export function inLines(raw: readonly string[], isStandIn: StandIn): Found[] {
  const lines = raw.map((line) => line.replace(/^([ \t]*)(?:#|\/\/) ?/, "$1").replace(/[ \t]#.*$/s, ""));
  return manifestsOf(lines).flatMap(({ kind, indent, from, to }) => {
    const found: Found[] = [];
    const isPublic = lines.slice(from, to).some((line) => isLabel(line)) ? isPublicField : () => false;
    for (let at = from; at < to; at += 1) {
      const [, deep, block = ""] = DATA.exec(lines[at] ?? "") ?? [];
      if (deep === undefined || (kind === "Secret" && deep.length !== indent)) continue;
      for (const { line, name, value } of looseEntries(lines, at, deep.length)) {
        if (isStandIn(value) || isPublic(block, name, value)) continue;
        found.push({ line, what: `a ${kind} with the value of ${name} in clear` });
      }
    }
    return found;
  });
}

function manifestsOf(lines: readonly string[]): Manifest[] {
  const manifests: Manifest[] = [];
  // What has two kinds is read once.
  const read = new Map<string, number>();
  for (const [index, line] of lines.entries()) {
    const [, { length: indent } = "", kind] = KIND.exec(line) ?? [];
    if (kind === undefined || index < (read.get(`${kind} ${indent}`) ?? 0)) continue;
    const [from, to] = [ends(lines, index, indent, -1), ends(lines, index, indent, 1)];
    read.set(`${kind} ${indent}`, to);
    manifests.push({ kind, indent, from, to });
  }
  return manifests;
}

function isLabel(line: string): boolean {
  const [, name = "", type = ""] = LABEL.exec(line) ?? [];
  return isDeclaration(name, type);
}

function indentOf(line: string): number {
  return line.length - line.trimStart().length;
}

/** The first line before or after one that is no longer part of its map. */
function ends(lines: readonly string[], start: number, indent: number, step: 1 | -1): number {
  let at = start;
  for (let line = lines[at]; line !== undefined; at += step, line = lines[at]) {
    if (line.trim() === "" || /^\s*\{\{/.test(line)) continue;
    // The map is an item of a list, and here is the first line of one.
    const isItem = /^\s*- /.test(line) && indentOf(line) + 2 === indent;
    if (isItem && step === -1) return at;
    if (at !== start && (isItem || indentOf(line.replace(/^(\s*)- /, "$1  ")) < indent)) break;
    if (END.test(line)) break;
  }
  return step === 1 ? at : Math.max(at, 0);
}

function looseEntries(
  lines: readonly string[],
  start: number,
  indent: number,
): { line: number; name: string; value: string }[] {
  const found: { line: number; name: string; value: string }[] = [];
  for (let at = start + 1; at < lines.length; at += 1) {
    const line = lines[at] ?? "";
    if (line.trim() === "") continue;
    if (indentOf(line) <= indent || END.test(line)) break;
    const [, name, rest = ""] = ENTRY.exec(line.trim()) ?? [];
    if (name === undefined) continue;
    const block = /^[|>][-+\d]*$/.test(rest) ? blockAt(lines, at) : rest;
    const value = block.replaceAll(/^["']|["']$/g, "");
    const isNothing = ["", "null", "~"].includes(value) || /^[[{]/.test(value.replace(/^\{\{/, ""));
    if (!isNothing) found.push({ line: at + 1, name, value });
  }
  return found;
}

function blockAt(lines: readonly string[], start: number): string {
  const indent = indentOf(lines[start] ?? "");
  const block: string[] = [];
  for (let at = start + 1; at < lines.length; at += 1) {
    const line = lines[at] ?? "";
    if (line.trim() !== "" && indentOf(line) <= indent) break;
    block.push(line.trim());
  }
  return block.join("\n");
}
