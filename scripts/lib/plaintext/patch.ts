/** Operations of a JSON patch (RFC 6902) that write a Secret's values. */
import { isMap, isScalar } from "yaml";
import { decodedBase64 } from "./stand-in.ts";

interface Field {
  name: string;
  value: unknown;
}

/** What an operation writes. */
interface Written {
  /** Undefined where it writes all values. */
  key: string | undefined;
  node: unknown;
  /** Whether a value is a Secret's, where the operation could be for something else. */
  isSecretValue: (value: string) => boolean;
}

/** Of a Secret, or of a SopsSecret. */
const PLACE = /^(?:\/spec\/secretTemplates\/[^/]+)?\/(data|stringData)(?:\/([^/]+))?$/;

/** The kind in the fields of a kustomization's `target`; undefined when it does not say. */
export function targetOf(target: readonly Field[]): string | undefined {
  const kind = target.find(({ name }) => name === "kind")?.value;
  return isScalar(kind) ? String(kind.value) : undefined;
}

/**
 * What the fields of a map write into a Secret if they are an operation.
 * @param target the kind that is patched, or a pattern for it; undefined when another file says so
 */
export function valueOfOperation(fields: readonly Field[], target: string | undefined): Written | undefined {
  const [op, path, node] = ["op", "path", "value"].map(
    (name) => fields.find((field) => field.name === name)?.value,
  );
  if (!isScalar(op) || !isScalar(path) || node === undefined) return undefined;
  const [, block, key] = PLACE.exec(String(path.value)) ?? [];
  if (block === undefined) return undefined;
  const isPattern = target === undefined || /\W/.test(target);
  if (!isPattern && target !== "Secret" && target !== "SopsSecret") return undefined;
  // ConfigMaps have `data`, too.
  const isCertain = block === "stringData" || target?.includes("Secret") === true;
  if (key === undefined && !(isMap(node) && isCertain)) return undefined;
  return {
    key: key?.replaceAll("~1", "/").replaceAll("~0", "~"),
    node,
    isSecretValue: (value) => isCertain || isLikeData(value),
  };
}

/** Whether a value is base64 of a text, or of bytes that are too many to be base64 by accident, as `postgres` is. */
function isLikeData(value: string): boolean {
  const bytes = decodedBase64(value.trim());
  if (bytes === undefined) return false;
  const isText = !/[\ufffd\p{Cc}]/u.test(bytes.toString("utf8").trim());
  return isText || (bytes.length >= 16 && [/[A-Z]/, /[a-z]/, /\d/].every((sign) => sign.test(value)));
}
