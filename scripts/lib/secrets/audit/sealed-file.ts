/** The audit of one sealed file, without a key. */
import { isDeepStrictEqual } from "node:util";
import { LineCounter, parseDocument } from "yaml";
import { z } from "zod";
import { lineOf } from "../../document.ts";
import { type Finding, findingIn } from "../../finding.ts";
import type { Credential, SecretPlace } from "../credential.ts";
import { sealCommand } from "../keys/readers.ts";
import { nameOf, RULES_FILE, type Rule } from "../keys/recipients.ts";
import { clearOf, encryptedBytes, isEncrypted, keysOf, pathOf, type SealedFile } from "../sealed.ts";

/** A sealed file where the catalogue wants it. */
export interface Look {
  environment: string;
  credential: Credential;
  place: SecretPlace;
  path: string;
  text: string;
  file: SealedFile;
}

type Path = readonly (string | number)[];

/** The clocks of two machines may differ by this much. */
const CLOCKS_MS = 24 * 60 * 60 * 1000;

/**
 * Compares a file with the catalogue and the rules. What is in clear is not under the MAC, so it is compared with what sealing writes.
 * @param rule of its environment; undefined when there is none
 */
export function fileFindings(look: Look, rule: Rule | undefined, now: Date): Finding[] {
  const { file, text } = look;
  const { sops } = file;
  if (sops === undefined)
    return [fault(look, [], "not encrypted", "change its values where they are used, and seal the new ones")];
  // Sealing writes no comment, and no MAC covers one.
  const comment = /^(.*\s)?#/m.exec(text);
  return [
    ...clearFindings(look),
    ...keyFindings(look),
    ...valueFindings(look),
    ...(comment === null
      ? []
      : [{ ...fault(look, [], "a comment"), line: text.slice(0, comment.index).split("\n").length }]),
    ...blockFindings(look, sops),
    ...recipientFindings(look, sops, rule),
    ...(sops.lastModified.getTime() > now.getTime() + CLOCKS_MS
      ? [fault(look, ["sops", "lastmodified"], "sealed in the future")]
      : []),
  ];
}

/** How to seal a place's Secret again. @param keys those that a person brings; all by default */
export function sealAgain(
  { environment, place }: Pick<Look, "environment" | "place">,
  keys: readonly string[] = [],
): string {
  return sealCommand({ environment, app: place.app, secret: place.name }, keys);
}

/** A finding at a field of the file, or at the nearest parent of it that is there. */
export function fault(
  look: Omit<Look, "file" | "credential">,
  path: Path,
  what: string,
  way?: string,
): Finding {
  const lines = new LineCounter();
  const line = lineOf(parseDocument(look.text, { lineCounter: lines }), path, lines);
  const usual = `restore it from Git, or seal it again: ${sealAgain(look)}`;
  return findingIn(look.path, what, way ?? usual, line);
}

function clearFindings(look: Look): Finding[] {
  const { place, credential, file } = look;
  const expected = clearOf({
    ...place,
    type: credential.type,
    placeholders: file.placeholders,
  });
  const path = firstDifference(expected, file.clear);
  if (path === undefined) return [];
  const name = path.map(String).join(".");
  return [fault(look, path, `${name} differs from the text that sealing writes`)];
}

/** The path of the first field in which two contents differ. */
function firstDifference(expected: unknown, found: unknown): (string | number)[] | undefined {
  if (isDeepStrictEqual(expected, found)) return undefined;
  const one = Fields.safeParse(expected);
  const other = Fields.safeParse(found);
  if (!one.success || !other.success) return [];
  const names = new Set([...Object.keys(one.data), ...Object.keys(other.data)]);
  for (const name of names) {
    const deeper = firstDifference(one.data[name], other.data[name]);
    if (deeper !== undefined) return [/^\d+$/.test(name) ? Number(name) : name, ...deeper];
  }
  return [];
}

const Fields = z.union([
  z.record(z.string(), z.unknown()),
  z
    .array(z.unknown())
    .transform((items): Record<string, unknown> => Object.fromEntries(Object.entries(items))),
]);

function keyFindings(look: Look): Finding[] {
  const { credential, file } = look;
  const there = keysOf(file);
  const missing = [...credential.keys.keys()].filter((key) => !there.includes(key));
  const surplus = there.filter((key) => !credential.keys.has(key));
  const twice = [...file.data.keys()].filter((key) => file.stringData.has(key));
  const strange = file.placeholders.filter((key) => {
    const kind = credential.keys.get(key);
    return kind === undefined || !("supply" in kind);
  });
  return [
    ...missing.map((key) =>
      fault(look, ["spec", "secretTemplates", 0], `the key ${key} of ${credential.id} is missing`),
    ),
    ...surplus.map((key) =>
      fault(look, pathOf(file, key), `${credential.id} has no key ${key} in the catalogue`),
    ),
    ...twice.map((key) => fault(look, pathOf(file, key), `the key ${key} is in data and in stringData`)),
    ...strange.map((key) =>
      fault(
        look,
        ["metadata", "annotations"],
        `${key} is marked as a placeholder, and no person brings its value`,
      ),
    ),
  ];
}

function valueFindings(look: Look): Finding[] {
  const { file, credential } = look;
  return [...file.data, ...file.stringData].flatMap(([key, value]) => {
    const kind = credential.keys.get(key);
    const path = pathOf(file, key);
    if (!isEncrypted(value)) {
      const way = `Git keeps it for ever: make a new value where it is used, and seal that: ${sealAgain(look)}`;
      return [fault(look, path, `the value of ${key} is not encrypted`, way)];
    }
    // SOPS leaves an empty value in clear.
    if (value !== "" || kind === undefined) return [];
    if ("generate" in kind)
      return [fault(look, path, `the value of ${key} is empty, and the catalogue generates it`)];
    if ("supply" in kind) return [{ ...fault(look, path, `the value of ${key} is empty`), severity: "note" }];
    return [];
  });
}

/** Other key services that can open a file. The operator's CRD knows these lists, empty ones included. */
const KEY_SERVICES = ["azure_kv", "gcp_kms", "hc_vault", "kms", "pgp"];
const EXPECTED: Readonly<Record<string, (value: unknown) => boolean>> = {
  // Recipients and times have checks of their own.
  age: () => true,
  lastmodified: () => true,
  encrypted_regex: (value) => value === "^(data|stringData)$",
  mac_only_encrypted: (value) => value === true,
  // A SHA-512 in hexadecimal digits.
  mac: (value) => typeof value === "string" && encryptedBytes(value) === 128,
  // Version 3.9.0 was the first that knows mac_only_encrypted.
  version: (value) => typeof value === "string" && /^(3\.(9|\d\d+)|[4-9]|\d\d+)\.\d+(\.\d+)?$/.test(value),
};

function blockFindings(look: Look, { fields }: NonNullable<SealedFile["sops"]>): Finding[] {
  const wrong = Object.entries(EXPECTED)
    .filter(([name, isRight]) => !isRight(fields[name]))
    .map(([name]) => fault(look, ["sops", name], `sops.${name} differs from the value that sealing writes`));
  const others = Object.entries(fields).flatMap(([name, value]) => {
    if (name in EXPECTED) return [];
    if (!KEY_SERVICES.includes(name))
      return [fault(look, ["sops", name], `sops.${name} is unknown to the operator`)];
    const isEmpty = value === null || (Array.isArray(value) && value.length === 0);
    return isEmpty
      ? []
      : [
          fault(
            look,
            ["sops", name],
            `sops.${name} opens the file with a key that ${RULES_FILE} does not name`,
          ),
        ];
  });
  return [...wrong, ...others];
}

function recipientFindings(
  look: Look,
  { recipients, ages }: NonNullable<SealedFile["sops"]>,
  rule: Rule | undefined,
): Finding[] {
  const { environment } = look;
  const again = `npm run seal -- --rotate ${environment} ${look.place.app} --secret ${look.place.name}`;
  const at = (index: number, what: string) =>
    fault(look, ["sops", "age", index], what, `seal it anew: ${again}`);
  const wanted = rule?.recipients ?? [];
  const strange = ages.flatMap(({ recipient: _recipient, enc: _enc, ...others }, index) =>
    Object.keys(others).map((name) => at(index, `${name} is no field of a recipient`)),
  );
  return [
    ...recipients.flatMap((key, index) => {
      if (rule !== undefined && !wanted.some((recipient) => recipient.key === key))
        return [at(index, `${key} can open it and is no recipient of ${environment}`)];
      return recipients.indexOf(key) === index ? [] : [at(index, `${nameOf(wanted, key)} stands twice`)];
    }),
    ...wanted
      .filter(({ key }) => !recipients.includes(key))
      .map(({ name }) => at(0, `it is not sealed for ${name}, a recipient of ${environment}`)),
    ...strange,
  ];
}
