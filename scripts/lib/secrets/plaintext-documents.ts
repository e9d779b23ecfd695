/** Secrets in clear in YAML and JSON: what kubectl, Argo CD and kustomize would make one of. */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseAllDocuments,
  visit,
  type YAMLMap,
} from "yaml";
import type { StandIn } from "./stand-in.ts";

/** Something in clear, whatever the file is called. */
export interface Found {
  /** Counted from 1. */
  line: number;
  what: string;
}

/** Secrets as YAML and JSON have them, wherever in a document. */
export function inDocuments(text: string, isStandIn: StandIn): Found[] {
  const lines = new LineCounter();
  const found: Found[] = [];
  const note = (node: unknown, what: string) => {
    const range = typeof node === "object" && node !== null && "range" in node ? node.range : undefined;
    found.push({ line: lines.linePos(Array.isArray(range) ? Number(range[0]) : 0).line, what });
  };
  for (const document of parseAllDocuments(text, { lineCounter: lines })) {
    if (!("contents" in document)) continue;
    const values = (map: unknown, kind: string, isPublic: Public = () => false) => {
      for (const [key, value, node] of entries(document, map))
        if (!isStandIn(value) && !isPublic(key, value))
          note(node, `a ${kind} with the value of ${key} in clear`);
    };
    const secret = (map: YAMLMap) => {
      const isPublic = isDeclaration(map) ? isPublicInDeclaration : undefined;
      for (const field of ["data", "stringData"]) values(map.get(field, true), "Secret", isPublic);
    };
    visit(document, {
      Map(_, map) {
        const kind: unknown = map.get("kind");
        if (kind === "Secret") secret(map);
        // Its items need not say what they are.
        if (kind === "SecretList") for (const item of itemsOf(map, "items")) if (isMap(item)) secret(item);
        if (kind === "SopsSecret")
          visit(map, {
            Pair(__, { key, value }) {
              if (isScalar(key) && (key.value === "data" || key.value === "stringData")) values(value, kind);
            },
          });
        for (const item of kind === "SecretGenerator" ? [map] : itemsOf(map, "secretGenerator"))
          for (const { node, what } of generated(item, isStandIn)) note(node, what);
        for (const { node, key } of patched(map, isStandIn))
          note(node, `a patch that puts the value of ${key} into a Secret in clear`);
      },
    });
  }
  return found;
}

function itemsOf(map: YAMLMap, field: string): unknown[] {
  const list: unknown = map.get(field, true);
  return isSeq(list) ? list.items : [];
}

type Public = (key: string, value: string) => boolean;

/** What declares a repository or a cluster to Argo CD is a Secret, and most of it is none. */
function isDeclaration(map: YAMLMap): boolean {
  const label: unknown = map.getIn(["metadata", "labels", "argocd.argoproj.io/secret-type"]);
  return typeof label === "string";
}

export const isPublicInDeclaration: Public = (key, value) =>
  /^(type|name|project|server|enableOCI|insecure|forceHttpBasicAuth)$/.test(key) ||
  (key === "url" && !/\/\/[^/]*@/.test(value));

/** What a JSON patch puts into a Secret: by its path, or because the kustomization that holds it says that it is for one. */
function patched(map: YAMLMap, isStandIn: StandIn): { node: unknown; key: string }[] {
  const operation = operationOf(map, /^\/stringData(\/|$)/, isStandIn);
  const text: unknown = map.get("patch");
  const isForSecret = map.getIn(["target", "kind"]) === "Secret";
  const inner = isForSecret && typeof text === "string" ? parseAllDocuments(text) : [];
  const inText = [...inner].flatMap(({ contents }) =>
    (isSeq(contents) ? contents.items : []).flatMap((one) =>
      isMap(one) ? operationOf(one, /^\/(data|stringData)(\/|$)/, isStandIn) : [],
    ),
  );
  // Of a text the place is where it stands.
  return [...operation, ...inText.map(({ key }) => ({ key, node: map.get("patch", true) }))];
}

function operationOf(map: YAMLMap, where: RegExp, isStandIn: StandIn): { node: unknown; key: string }[] {
  const [op, path] = [map.get("op"), map.get("path")].map(String);
  if (!/^(add|replace|test)$/.test(op ?? "") || !where.test(path ?? "")) return [];
  const value: unknown = map.get("value", true);
  const pairs: [unknown, unknown][] = isMap(value)
    ? value.items.map((pair) => [isScalar(pair.key) ? pair.key.value : pair.key, pair.value])
    : [[path?.split("/").at(-1), value]];
  return pairs.flatMap(([key, scalar]) =>
    isScalar(scalar) && scalar.value !== null && !isStandIn(String(scalar.toJSON()))
      ? [{ node: scalar, key: String(key) }]
      : [],
  );
}

/** Names and values of a map whose values are scalars, with the nodes of the names. */
function entries(document: Document, node: unknown): [string, string, unknown][] {
  const map = isAlias(node) ? node.resolve(document) : node;
  if (!isMap(map)) return [];
  return map.items.flatMap(({ key, value }): [string, string, unknown][] => {
    // A merge: what it names has the values.
    if (isScalar(key) && key.value === "<<")
      return (isSeq(value) ? value.items : [value]).flatMap((merged) => entries(document, merged));
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
