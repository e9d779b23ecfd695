/** The one edit of a kustomization that people write: the image it pins, and not one byte beside it. */
import { isDeepStrictEqual } from "node:util";
import {
  type CST,
  type Document,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseAllDocuments,
  parseDocument,
  type YAMLMap,
} from "yaml";
import { refuseConflict, refuseSyntax } from "../document.ts";
import { RefusedError } from "../errors.ts";

export interface ImageValue {
  /** 40 hexadecimal digits: the commit of the service's repository. */
  tag: string;
  digest?: string | undefined;
}

export interface LineChange {
  /** Counted from 1. */
  line: number;
  /** The whole line without its end. */
  before: string;
  after: string;
}

export interface ImageEdit {
  /** The file's new content. */
  text: string;
  /** What differs; none when the image is pinned already. */
  changes: LineChange[];
  /** What `newTag` was. */
  before: string;
}

type Value = { field: "newTag" | "digest"; token: CST.FlowScalar; is: unknown };
type Edit = Value & { wanted: string };

/**
 * Pins an image. Only the characters of `newTag` change, to `<tag>` or `<tag>@<digest>`; where the entry has a field `digest`,
 * the digest goes there and two lines change. What is written ends up quoted.
 * @param text the kustomization.yaml
 * @param file its name, for messages
 * @param name the image's name in base, such as `registry/ecommerce/user-service`
 * @throws RefusedError with file and line, when the file is damaged or says something that this edit would not be all of
 */
export function withImage(text: string, file: string, name: string, image: ImageValue): ImageEdit {
  refuseConflict(text, file, "resolve it and push");
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { keepSourceTokens: true, lineCounter: lines });
  const document = only(documents, file, lines);
  const where = (offset: number | undefined) => `${file}:${lines.linePos(offset ?? 0).line}`;
  const { entry, index } = find(document, file, name, where);
  const tag = value(entry, "newTag", where);
  if (tag === undefined) {
    throw new RefusedError(
      `${where(entry.range?.[0])}: the image ${name} has no newTag`,
      'add one line: newTag: ""',
    );
  }
  const edits = wantedOf(entry, tag, image, where).filter((candidate) => candidate.is !== candidate.wanted);
  const before = tag.token.type === "scalar" ? tag.token.source : String(tag.is);
  if (edits.length === 0) return { text, changes: [], before };

  const wanted = plain(document);
  let result = text;
  // From the end, so that the places of the others stay.
  for (const { field, token, wanted: written } of edits.toSorted((a, b) => b.token.offset - a.token.offset)) {
    const quote = token.type === "single-quoted-scalar" ? "'" : '"';
    const rest = result.slice(token.offset + token.source.length);
    result = `${result.slice(0, token.offset)}${quote}${written}${quote}${rest}`;
    wanted.images[index] = { ...wanted.images[index], [field]: written };
  }
  // An anchor on the value, for one, would change what its aliases mean.
  if (!isDeepStrictEqual(plain(parseDocument(result)), wanted)) {
    throw new RefusedError(
      `${where(tag.token.offset)}: something else in the file depends on this value`,
      "write the value here without an anchor",
    );
  }
  return { text: result, changes: changedLines(text, result), before };
}

function only(documents: readonly Document[], file: string, lines: LineCounter): Document {
  refuseSyntax(
    documents.flatMap(({ errors }) => errors),
    file,
    lines,
    "correct it and push",
  );
  const [document] = documents;
  if (document === undefined || documents.length > 1) {
    throw new RefusedError(
      `${file} has ${documents.length} YAML documents`,
      "a kustomization is exactly one",
    );
  }
  return document;
}

function find(
  document: Document,
  file: string,
  name: string,
  where: (offset: number | undefined) => string,
): { entry: YAMLMap; index: number } {
  const images: unknown = isMap(document.contents) ? document.contents.get("images", true) : undefined;
  const items = isSeq(images) ? images.items : [];
  const found = items.flatMap((entry, index) =>
    isMap(entry) && entry.get("name") === name ? [{ entry, index }] : [],
  );
  const [first, second] = found;
  if (first === undefined) {
    throw new RefusedError(`${file} pins no image ${name}`, "add it under `images:` with its newTag");
  }
  if (second !== undefined) {
    throw new RefusedError(
      `${where(second.entry.range?.[0])}: ${name} is pinned a second time, first in line ${where(first.entry.range?.[0]).split(":").at(-1)}`,
      "leave one of them",
    );
  }
  return first;
}

/** A field that can be edited within its line; undefined when the entry does not have it. */
function value(
  entry: YAMLMap,
  field: Value["field"],
  where: (offset: number | undefined) => string,
): Value | undefined {
  const node: unknown = entry.get(field, true);
  if (node === undefined) return undefined;
  const token = isScalar(node) ? node.srcToken : undefined;
  const flow =
    token?.type === "scalar" ||
    token?.type === "single-quoted-scalar" ||
    token?.type === "double-quoted-scalar";
  if (isScalar(node) && flow && token.source !== "" && !token.source.includes("\n"))
    return { field, token, is: node.value };
  throw new RefusedError(
    `${where(token?.offset ?? entry.range?.[0])}: ${field} is not a value on its line`,
    `write it as ${field}: "<value>"`,
  );
}

/**
 * What the fields are to be. Where nobody says a digest, that of the same tag stays; an old one beside a new tag must not:
 * it would go on running the old image.
 */
function wantedOf(
  entry: YAMLMap,
  tag: Value,
  image: ImageValue,
  where: (offset: number | undefined) => string,
): Edit[] {
  const isSame = String(tag.is).split("@")[0] === image.tag;
  const digest = value(entry, "digest", where);
  if (image.digest === undefined && isSame) return [];
  if (digest === undefined) {
    const wanted = image.digest === undefined ? image.tag : `${image.tag}@${image.digest}`;
    return [{ ...tag, wanted }];
  }
  if (image.digest === undefined) {
    throw new RefusedError(
      `${where(entry.range?.[0])}: the image is pinned by digest, too`,
      "say the new one with --digest",
    );
  }
  return [
    { ...tag, wanted: image.tag },
    { ...digest, wanted: image.digest },
  ];
}

function plain(document: Document): { images: Record<string, unknown>[] } {
  return JSON.parse(JSON.stringify(document.toJS()));
}

function changedLines(before: string, after: string): LineChange[] {
  const old = before.split(/\r?\n/);
  return after
    .split(/\r?\n/)
    .map((line, index) => ({ line: index + 1, before: old[index] ?? "", after: line }))
    .filter((change) => change.before !== change.after);
}
