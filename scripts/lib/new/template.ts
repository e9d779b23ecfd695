/** The templates of `npm run new`, one directory a kind, and edits of YAML that people go on writing: comments and order stay. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Document, isScalar, isSeq, parseDocument, type YAMLSeq } from "yaml";
import { RefusedError } from "../errors.ts";

const TEMPLATES = "scripts/lib/new/templates";

/** Fills in a template; every name in capitals has to have a value. */
export async function fill(
  root: string,
  template: string,
  values: Readonly<Record<string, string>>,
): Promise<string> {
  const text = await readFile(join(root, TEMPLATES, template), "utf8");
  const names = new RegExp(`\\b(${Object.keys(values).join("|")})\\b`, "g");
  return text.replace(names, (name) => values[name] ?? name);
}

/** Changes a YAML text; what is not changed stays as it is, comments included. */
export function edited(text: string, change: (document: Document) => void): string {
  const document = parseDocument(text);
  change(document);
  return document.toString({ lineWidth: 0, flowCollectionPadding: false });
}

/**
 * The list at a path.
 * @param file for the message
 * @throws RefusedError when there is none
 */
export function listAt(document: Document, file: string, path: readonly (string | number)[]): YAMLSeq {
  const node: unknown = document.getIn(path, true);
  if (isSeq(node)) return node;
  throw new RefusedError(`${file} has no list ${path.join(".")}`, "give it one, as its neighbours have");
}

/** Puts a text into a list: behind all with the same prefix, or where it belongs when those are in the order of the alphabet. */
export function insert(list: YAMLSeq, text: string, prefix: string): void {
  const texts = list.items.map((item) => (isScalar(item) ? String(item.value) : ""));
  const own = texts.filter((other) => other.startsWith(prefix));
  const isSorted = own.every((other, index) => index === 0 || other > (own[index - 1] ?? ""));
  const later = isSorted ? texts.findIndex((other) => other.startsWith(prefix) && other > text) : -1;
  const last = texts.findLastIndex((other) => other.startsWith(prefix));
  list.items.splice(later >= 0 ? later : last + 1 || texts.length, 0, text);
}
