/** The one rule about structure: a Secret has no value, and a SopsSecret only encrypted ones. */
import { isEncrypted } from "../secrets/sealed.ts";

export type Path = readonly (string | number)[];

/** A place with values in clear. */
export interface ClearValues {
  path: Path;
  /** Never a value itself. */
  what: string;
}

/** Stands for a value in an example. */
const PLACEHOLDER = /^(?:\$\{\w+\}|\$\(\w+\)|<[^<>]*>|[xX*.…]+)$/;
/** The sources of a secretGenerator are files of the tree, in clear. */
const SOURCES = ["literals", "envs", "env", "files"];

/**
 * The Secrets, SopsSecrets and secretGenerators with a value in clear, wherever they are in what YAML or JSON says.
 * @param content objects, or maps
 */
export function clearValues(content: unknown, path: Path = []): ClearValues[] {
  const fields = fieldsOf(content);
  const kind = fields.get("kind");
  const found = [...fields].flatMap(([name, value]) => {
    const at = [...path, name];
    if (name === "secretTemplates")
      return itemsOf(value).flatMap(([index, item]) => blocks(item, [...at, index], "SopsSecret"));
    if (name === "secretGenerator")
      return itemsOf(value).flatMap(([index, item]) => generated(item, [...at, index]));
    if (kind === "SecretList" && name === "items")
      return itemsOf(value).flatMap(([index, item]) => blocks(item, [...at, index], "Secret"));
    return clearValues(value, at);
  });
  if (kind === "Secret") return [...blocks(content, path, kind), ...found];
  return kind === "SecretGenerator" ? [...generated(content, path), ...found] : found;
}

function blocks(secret: unknown, path: Path, kind: string): ClearValues[] {
  const fields = fieldsOf(secret);
  return ["data", "stringData"].flatMap((block) => {
    const [first, ...others] = [...fieldsOf(fields.get(block))].filter(([, value]) => isClear(value));
    if (first === undefined) return [];
    const more = others.length === 0 ? "" : ` (and of ${others.length} more)`;
    const what = `the value of ${first[0]}${more} in a ${kind} is in clear`;
    return [{ path: [...path, block, first[0]], what }];
  });
}

function isClear(value: unknown): boolean {
  if (value === undefined || value === null || typeof value === "object") return false;
  const text = typeof value === "string" ? value.trim() : JSON.stringify(value);
  return !isEncrypted(text) && !PLACEHOLDER.test(text);
}

function generated(generator: unknown, path: Path): ClearValues[] {
  const fields = fieldsOf(generator);
  const source = SOURCES.find((name) => fields.get(name) !== undefined && fields.get(name) !== null);
  if (source === undefined) return [];
  return [{ path: [...path, source], what: "a secretGenerator makes a Secret in clear" }];
}

function fieldsOf(value: unknown): Map<string | number, unknown> {
  if (value instanceof Map) return new Map([...value].map(([key, child]) => [nameOf(key), child]));
  if (Array.isArray(value)) return new Map(value.entries());
  return new Map(typeof value === "object" && value !== null ? Object.entries(value) : []);
}

function itemsOf(value: unknown): [number, unknown][] {
  return Array.isArray(value) ? [...value.entries()] : [];
}

/** A key that is a map, as a template looks like, has no name. */
function nameOf(key: unknown): string | number {
  return typeof key === "string" || typeof key === "number" ? key : "a key";
}
