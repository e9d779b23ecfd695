/** Who can read the Secrets of which environment: `.sops.yaml`. SOPS reads the same file; docs/secrets.md. */
import { join } from "node:path";
import { type Document, isAlias, isMap, isScalar, isSeq, parseDocument, type YAMLSeq } from "yaml";
import { z } from "zod";
import { readDocument } from "../../document.ts";
import { RefusedError } from "../../errors.ts";
import { readIfThere } from "../../file.ts";

/** Relative to the repository's root. */
export const RULES_FILE = ".sops.yaml";

/** A public key, and whose it is. */
export interface Recipient {
  /** The anchor of the key, such as `cluster-prod` or `ada`. */
  name: string;
  key: string;
}

export interface Rule {
  environment: string;
  recipients: readonly Recipient[];
}

/** Only these fields of a rule are what the operator and `npm run secrets` know. */
const RULE = {
  encrypted_regex: z.literal("^(data|stringData)$"),
  mac_only_encrypted: z.literal(true),
  path_regex: z.string().regex(/^\^overlays\/[a-z0-9-]+\//, "not ^overlays/<environment>/"),
};
const RulesFile = z.strictObject({
  stores: z.unknown().optional(),
  keys: z.array(z.string()).default([]),
  creation_rules: z.array(
    z.strictObject({
      ...RULE,
      key_groups: z.tuple([
        z.strictObject({
          age: z.array(z.string().regex(/^age1[a-z0-9]+$/, "not a public key of age")).min(1),
        }),
      ]),
    }),
  ),
});

/** What makes the first keys of environments, and their Secrets. A bare `npm run init` is refused: it is to say who reads them. */
export function initCommand(...environments: string[]): string {
  return [
    "npm run init --",
    ...environments.map((name) => `--only ${name} --to-cluster ${name}=<context>`),
  ].join(" ");
}

/** What some recipients' public key is called; the key itself where it has no name. */
export function nameOf(recipients: readonly Recipient[], key: string): string {
  return recipients.find((recipient) => recipient.key === key)?.name ?? key;
}

/** The path of the sealed files of an environment, as a rule says it. */
function rulePath(environment: string): string {
  return String.raw`^overlays/${environment}/[^/]+/[^/]+\.sops\.yaml$`;
}

/**
 * Reads the rules.
 * @param root the repository's root directory
 * @returns in the order of the file; SOPS takes the first rule that fits
 * @throws RefusedError with file and line when it is not as this repository needs it, RefusedError when there is none
 */
export async function readRules(root: string): Promise<Rule[]> {
  const text = await readIfThere(join(root, RULES_FILE));
  if (text === undefined)
    throw new RefusedError(`${root} has no ${RULES_FILE}`, "`npm run init -- --help` says how to make it");
  return parseRules(text);
}

/** The rules of a text: see `readRules`. */
export function parseRules(text: string): Rule[] {
  const file = readDocument(text, RULES_FILE, RulesFile);
  const names = namesOf(parseDocument(text));
  return file.creation_rules.map((rule) => {
    const environment = /^\^overlays\/([a-z0-9-]+)\//.exec(rule.path_regex)?.[1] ?? "";
    if (rule.path_regex !== rulePath(environment)) {
      throw new RefusedError(
        `${RULES_FILE}: the rule of ${environment} is for ${rule.path_regex}`,
        `make it ${rulePath(environment)}`,
      );
    }
    const recipients = rule.key_groups[0].age.map((key) => ({ key, name: anchorOf(names, key) }));
    return { environment, recipients };
  });
}

function anchorOf(names: ReadonlyMap<string, string>, key: string): string {
  const name = names.get(key);
  if (name !== undefined) return name;
  throw new RefusedError(
    `${RULES_FILE}: nobody's name is with ${key}`,
    "list it under `keys:` with an anchor, and refer to that",
  );
}

/** The names by key: anchors of the list `keys`. */
function namesOf(document: Document): Map<string, string> {
  const keys = document.get("keys");
  if (!isSeq(keys)) return new Map();
  return new Map(
    keys.items.flatMap((item) =>
      isScalar(item) && item.anchor !== undefined ? [[String(item.value), item.anchor] as const] : [],
    ),
  );
}

/**
 * The rules' text with other recipients in it; whatever else people wrote stays.
 * @param text of the file
 * @param rules every rule as it is to be
 */
export function formatRules(text: string, rules: readonly Rule[]): string {
  const document = parseDocument(text);
  const all = new Map(rules.flatMap(({ recipients }) => recipients).map(({ name, key }) => [name, key]));
  const keys = sequence(document, ["keys"]);
  keys.items = keys.items.filter(
    (item) => isScalar(item) && item.anchor !== undefined && all.get(item.anchor) === item.value,
  );
  for (const [name, key] of all) {
    if (keys.items.some((item) => isScalar(item) && item.anchor === name)) continue;
    const node = document.createNode(key);
    node.anchor = name;
    keys.items.push(node);
  }
  const places = sequence(document, ["creation_rules"]);
  for (const { environment, recipients } of rules) {
    const wanted = rulePath(environment);
    let rule = places.items.find((item) => isMap(item) && item.get("path_regex") === wanted);
    if (!isMap(rule)) {
      rule = document.createNode({
        path_regex: wanted,
        encrypted_regex: "^(data|stringData)$",
        mac_only_encrypted: true,
        key_groups: [{ age: [] }],
      });
      places.items.push(rule);
    }
    if (!isMap(rule)) continue;
    const ages = rule.getIn(["key_groups", 0, "age"]);
    if (!isSeq(ages)) continue;
    const source = (item: unknown) => (isAlias(item) ? item.source : undefined);
    ages.items = ages.items.filter((item) => recipients.some(({ name }) => name === source(item)));
    for (const { name } of recipients) {
      if (ages.items.some((item) => source(item) === name)) continue;
      const anchor = keys.items.find((item) => isScalar(item) && item.anchor === name);
      if (isScalar(anchor)) ages.items.push(document.createAlias(anchor, name));
    }
    ages.flow = false;
  }
  return document.toString({ lineWidth: 0 });
}

function sequence(document: Document, path: readonly string[]): YAMLSeq {
  const there = document.getIn(path);
  if (isSeq(there)) return there;
  const made = document.createNode([]);
  document.setIn(path, made);
  return made;
}
