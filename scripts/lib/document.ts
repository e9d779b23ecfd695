/** YAML documents that people write, read against a schema; what is wrong is reported with file and line. */
import { type Document, LineCounter, parseDocument, type YAMLError } from "yaml";
import type { z } from "zod";
import { RefusedError } from "./errors.ts";

/**
 * Reads a YAML text of one document.
 * @param text the file's content
 * @param file its name, for messages
 * @param schema what it must look like
 * @throws RefusedError with file, line and field, for the first thing that is wrong
 */
export function readDocument<T>(text: string, file: string, schema: z.ZodType<T>): T {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  refuseSyntax(document.errors, file, lines);
  const parsed = schema.safeParse(document.toJS());
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const path = (issue?.path ?? []).filter((key) => typeof key !== "symbol");
  const field = path.length === 0 ? "" : `${path.join(".")}: `;
  throw new RefusedError(
    `${file}:${lineOf(document, path, lines)}: ${field}${issue?.message ?? "not valid"}`,
  );
}

/** @throws RefusedError with file and line for the first of a document's errors */
export function refuseSyntax(
  [first]: readonly YAMLError[],
  file: string,
  lines: LineCounter,
  remedy?: string,
): void {
  if (first === undefined) return;
  // The line is in front already; the lines below it may have a secret value.
  const reason = first.message.split("\n")[0]?.replace(/ at line \d+, column \d+:?$/, "");
  throw new RefusedError(`${file}:${lines.linePos(first.pos[0]).line}: ${reason}`, remedy);
}

/** @throws RefusedError with file and line when a text has the markers of a merge conflict */
export function refuseConflict(text: string, file: string, remedy: string): void {
  const marker = /^(?:<{7}|={7}|>{7})(?:[ \r\n]|$)/m.exec(text);
  if (marker === null) return;
  const line = text.slice(0, marker.index).split("\n").length;
  throw new RefusedError(`${file}:${line}: the marker of a merge conflict`, remedy);
}

/** The line of the field at the path, or of the nearest parent that is there. */
export function lineOf(document: Document, path: readonly (string | number)[], lines: LineCounter): number {
  for (let length = path.length; length > 0; length -= 1) {
    const node: unknown = document.getIn(path.slice(0, length), true);
    if (typeof node === "object" && node !== null && "range" in node && Array.isArray(node.range)) {
      return lines.linePos(Number(node.range[0])).line;
    }
  }
  return 1;
}
