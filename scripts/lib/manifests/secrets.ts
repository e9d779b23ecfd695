/** Renderings without what is secret in them: neither values nor ciphertext. */
import { parseDocument, stringify } from "yaml";

const SECRET = /^kind: ["']?(Secret|SopsSecret)["']?$/m;

/** A rendering in which the values of Secrets and sealed Secrets are hidden; their keys stay. */
export function withoutSecrets(yaml: string): string {
  return yaml
    .split(/^---\n/m)
    .map((document) => (SECRET.test(document) ? stringify(hidden(parseDocument(document).toJS())) : document))
    .join("---\n");
}

/** Fields that identify an object. All other values of a Secret are hidden. */
const SHOWN = new Set(["apiVersion", "kind", "metadata", "type", "name", "labels", "immutable"]);

function hidden(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(hidden);
  if (typeof node !== "object" || node === null) return "(hidden)";
  const entries = Object.entries(node).filter(([key]) => key !== "sops");
  return Object.fromEntries(entries.map(([key, child]) => [key, SHOWN.has(key) ? child : hidden(child)]));
}
