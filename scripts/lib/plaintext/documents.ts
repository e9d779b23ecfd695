/** Secrets in clear in what is YAML or JSON: manifests, kustomizations and patches, and the texts inside of them. */
import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  Scalar,
  visit,
  type YAMLMap,
} from "yaml";
import { isDeclaration, isPublicField } from "./declaration.ts";
import type { Found } from "./key.ts";
import { targetOf, valueOfOperation } from "./patch.ts";
import type { StandIn } from "./stand-in.ts";

/** Without a copy of the lines in every error, and without comparing all keys: both take the square of the time. */
const PARSE = { prettyErrors: false, uniqueKeys: false, logLevel: "silent" } as const;
/** A manifest in a patch in an Application in a ConfigMap: more is nobody's. */
const DEEPEST = 3;
/** Maps that one map merges, one by the other. */
const MOST_MERGED = 100;

/** Also what kustomize takes without an ending. */
const YAML = /\.(?:ya?ml|json)$|(?:^|\/)Kustomization$/;

/** How a text is read. */
export interface Reading {
  isStandIn: StandIn;
  /** Only documents without an error count: the text may be something else. */
  isWhole?: boolean;
  /** A value without quotes is a name, as in a program. */
  isProgram?: boolean;
}

interface Field {
  name: string;
  /** What an alias stands for. */
  value: unknown;
  key: unknown;
}

interface Inside extends Reading {
  /** Of the kustomization's patch that the text is: the kind that it changes. */
  target?: string | undefined;
  depth: number;
}

/** Whether the file of a path is YAML from its first line to its last. */
export function isYaml(path: string): boolean {
  return YAML.test(path);
}

/** Whether a text has to be read at all. */
export function mayHoldSecret(text: string): boolean {
  if (text.includes("Secret") && /kind|secretGenerator/.test(text)) return true;
  return text.includes("secretGenerator") || (text.includes("op") && /\/(?:data|stringData)\b/.test(text));
}

/** Secrets as YAML and JSON have them, wherever in a document. */
export function inDocuments(text: string, reading: Reading): Found[] {
  return inText(text, { ...reading, depth: 0 });
}

function inText(text: string, inside: Inside): Found[] {
  const lines = new LineCounter();
  return parseAllDocuments(text, { ...PARSE, lineCounter: lines }).flatMap((document) => {
    if (!("contents" in document)) return [];
    if (inside.isWhole === true && document.errors.length > 0) return [];
    return inDocument(document, lines, inside);
  });
}

function inDocument(document: Document.Parsed, lines: LineCounter, inside: Inside): Found[] {
  const found: Found[] = [];
  const resolve = resolverOf(document);
  const targets = new Map<unknown, string | undefined>();
  const lineOf = (node: unknown) => lines.linePos(startOf(node)).line;
  const note = (node: unknown, what: string) => found.push({ line: lineOf(node), what });
  const fields = (node: unknown) => (isMap(node) ? fieldsOf(node, resolve) : []);

  const values = (block: Field, kind: string, isDeclared = false) => {
    for (const { name, value, key } of fields(block.value)) {
      const text = textOf(value, inside);
      if (text === undefined || inside.isStandIn(text)) continue;
      if (isDeclared && isPublicField(block.name, name, text)) continue;
      note(key, `a ${kind} with the value of ${name} in clear`);
    }
  };
  const secret = (own: readonly Field[]) => {
    const isDeclared = own
      .filter(({ name }) => name === "metadata")
      .flatMap(({ value }) => fields(value).filter(({ name }) => name === "labels"))
      .flatMap(({ value }) => fields(value))
      .some(({ name, value }) => isScalar(value) && isDeclaration(name, String(value.value)));
    for (const field of own) if (isBlock(field.name)) values(field, "Secret", isDeclared);
  };
  const operation = (own: readonly Field[]) => {
    const place = valueOfOperation(own, inside.target);
    if (place === undefined) return;
    const { key, node, isSecretValue } = place;
    if (key === undefined) return values({ name: "", value: node, key: node }, "patch");
    const text = textOf(node, inside);
    if (text !== undefined && !inside.isStandIn(text) && isSecretValue(text))
      note(node, `a patch with the value of ${key} in clear`);
  };

  visit(document, {
    Map(_, map) {
      const own = fields(map);
      const kinds = own
        .filter(({ name }) => name === "kind")
        .map(({ value }) => (isScalar(value) ? value.value : undefined));
      if (kinds.includes("Secret")) secret(own);
      if (kinds.includes("SecretList"))
        for (const item of itemsOf(own, "items").map(resolve)) secret(fields(item));
      if (kinds.includes("SopsSecret"))
        visit(map, {
          Pair(__, { key, value }) {
            if (isScalar(key) && isBlock(key.value))
              values({ name: String(key.value), value: resolve(value), key }, "SopsSecret");
          },
        });
      const generators = kinds.includes("SecretGenerator") ? [map] : itemsOf(own, "secretGenerator");
      for (const item of generators.map(resolve))
        for (const { node, what } of generated(fields(item), resolve, inside)) note(node, what);
      operation(own);
      for (const { name, value } of own)
        if (name === "patch")
          targets.set(value, targetOf(fields(own.find((one) => one.name === "target")?.value)));
    },
    Scalar(_, scalar) {
      const { value, type } = scalar;
      if (typeof value !== "string" || !mayHoldSecret(value)) return;
      if (inside.isProgram === true || inside.depth === DEEPEST) return;
      const isBlockScalar = type === Scalar.BLOCK_LITERAL || type === Scalar.BLOCK_FOLDED;
      const target = targets.get(scalar);
      const within = inText(value, {
        ...inside,
        target,
        isWhole: true,
        depth: inside.depth + 1,
      });
      for (const { line, what } of within)
        found.push({ line: lineOf(scalar) + (isBlockScalar ? line : 0), what });
    },
  });
  return found;
}

function isBlock(name: unknown): boolean {
  return name === "data" || name === "stringData";
}

function startOf(node: unknown): number {
  const range = typeof node === "object" && node !== null && "range" in node ? node.range : undefined;
  return Array.isArray(range) ? Number(range[0]) : 0;
}

/** What says for what an alias stands. To look for each one on its own takes the square of the time. */
function resolverOf(document: Document.Parsed): (node: unknown) => unknown {
  const anchors = new Map<string, Node>();
  const aliases = new Map<Alias, Node | undefined>();
  visit(document, {
    Node(_, node) {
      if (isAlias(node)) aliases.set(node, anchors.get(node.source));
      else if (node.anchor !== undefined) anchors.set(node.anchor, node);
    },
  });
  return (node) => (isAlias(node) ? aliases.get(node) : node);
}

/** Names and values of a map, also of those that it merges (`<<`). */
function fieldsOf(map: YAMLMap, resolve: (node: unknown) => unknown): Field[] {
  const maps = new Set([map]);
  const fields: Field[] = [];
  // A set goes on to what is added while it is read, and has nothing twice.
  for (const one of maps) {
    for (const { key, value } of one.items) {
      const [name, content] = [nameOf(key), resolve(value)];
      if (name !== "<<") fields.push({ name, value: content, key });
      else
        for (const other of isSeq(content) ? content.items.map(resolve) : [content])
          if (isMap(other) && maps.size < MOST_MERGED) maps.add(other);
    }
  }
  return fields;
}

/** A key that is a map has no name: that is what a template looks like. */
function nameOf(key: unknown): string {
  return isScalar(key) ? String(key.value) : "a key";
}

function itemsOf(fields: readonly Field[], name: string): unknown[] {
  return fields.flatMap((field) => (field.name === name && isSeq(field.value) ? field.value.items : []));
}

/** A value as it is written; undefined when it is none. */
function textOf(node: unknown, { isProgram }: Reading): string | undefined {
  if (!isScalar(node) || node.value === null) return undefined;
  if (isProgram === true && node.type !== Scalar.QUOTE_DOUBLE && node.type !== Scalar.QUOTE_SINGLE)
    return undefined;
  return node.source ?? String(node.toJSON());
}

function generated(
  item: readonly Field[],
  resolve: (node: unknown) => unknown,
  { isStandIn }: Reading,
): { node: Scalar; what: string }[] {
  const list = (name: string) => {
    const single = item.filter((field) => field.name === name).map(({ value }) => value);
    return [...itemsOf(item, name).map(resolve), ...single].filter(isScalar).filter(({ value }) => value);
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
