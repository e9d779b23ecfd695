/**
 * Sealed files that somebody has tampered with, and who notices: the audit without a key, the audit with one. Real sops.
 * Where the second says `no`, the first finds it; where both say `no`, the reason stands beside it.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parse, parseDocument, stringify } from "yaml";
import { real } from "../../../scripts/lib/finding.ts";
import { auditSecrets } from "../../../scripts/lib/secrets/audit/audit.ts";
import { openSecrets } from "../../../scripts/lib/secrets/audit/open.ts";
import type { Sops } from "../../../scripts/lib/secrets/sops.ts";
import { API, COPIED, DATABASE, read, type SealedRepository, sealedRepository } from "./audit-support.ts";

const LIVE = "overlays/live/web/database.sops.yaml";

let repository: SealedRepository;
/** The untouched files. */
let files: Record<string, string>;
/** Of each recipient alone. Opening a text that was opened before gives the same. */
let owners: Sops[];

beforeAll(async () => {
  repository = await sealedRepository();
  const { root } = repository;
  files = Object.fromEntries(
    await Promise.all([DATABASE, API, COPIED, LIVE].map(async (path) => [path, await read(root, path)])),
  );
  owners = [repository.sops.cluster, repository.sops.ada].map((sops) => {
    const known = new Map<string, ReturnType<Sops["open"]>>();
    return {
      ...sops,
      open: async (path, text) => {
        const answer = known.get(text) ?? sops.open(path, text);
        known.set(text, answer);
        return answer;
      },
    };
  });
});
afterAll(async () => repository.remove());

type Path = (string | number)[];
const TEMPLATE: Path = ["spec", "secretTemplates", 0];
const PASSWORD = [...TEMPLATE, "stringData", "password"];
const USERNAME = [...TEMPLATE, "stringData", "username"];
const TOKEN = [...TEMPLATE, "stringData", "token"];

function at(text: string, path: Path): unknown {
  return parseDocument(text).getIn(path);
}
/** A file with another value at a path; undefined removes it. */
function withField(text: string, path: Path, value: unknown): string {
  const document = parseDocument(text);
  if (value === undefined) document.deleteIn(path);
  else document.setIn(path, document.createNode(value));
  return document.toString({ lineWidth: 0 });
}
function set(path: Path, value: unknown): (text: string) => string {
  return (text) => withField(text, path, value);
}
/** Puts another letter where one is: age's header is base64 in base64, and is to stay so. */
function replaceByte(bytes: Buffer, index: number): void {
  bytes[index] = bytes[index] === 0x41 ? 0x42 : 0x41;
}
/** Replaces one byte of a part of an encrypted value. */
function flip(path: Path, part: "data" | "iv" | "tag", position = 0): (text: string) => string {
  return (text) => {
    const value = String(at(text, path));
    const flipped = value.replace(
      new RegExp(`(${part}:)([\\w+/=]+)`),
      (_, before: string, encoded: string) => {
        const bytes = Buffer.from(encoded, "base64");
        const index = position < 0 ? bytes.length + position : position;
        replaceByte(bytes, index);
        return `${before}${bytes.toString("base64")}`;
      },
    );
    return withField(text, path, flipped);
  };
}
/** Puts something else where a part of an encrypted value is. */
function withPart(path: Path, name: "data" | "iv" | "tag", to: string): (text: string) => string {
  return (text) =>
    withField(text, path, String(at(text, path)).replace(new RegExp(`${name}:[\\w+/=]+`), `${name}:${to}`));
}
/** Replaces one byte of the encrypted data key of a recipient, counted from the end. */
function flipKey(recipient: number, fromEnd: number): (text: string) => string {
  return (text) => {
    const path: Path = ["sops", "age", recipient, "enc"];
    const lines = String(at(text, path)).trim().split("\n");
    const bytes = Buffer.from(lines.slice(1, -1).join(""), "base64");
    replaceByte(bytes, bytes.length - fromEnd);
    const body = bytes.toString("base64").match(/.{1,64}/g) ?? [];
    return withField(text, path, `${[lines[0], ...body, lines.at(-1)].join("\n")}\n`);
  };
}
function swap(one: Path, other: Path): (text: string) => string {
  return (text) => withField(withField(text, one, at(text, other)), other, at(text, one));
}
function rename(from: Path, to: Path): (text: string) => string {
  return (text) => withField(withField(text, from, undefined), to, parse(stringify(at(text, from))));
}
const fromFile =
  (path: string, from: Path, to: Path = from) =>
  (text: string) =>
    withField(text, to, at(files[path] ?? "", from));
const clear = (change: (file: Record<string, never>) => void) => (text: string) => {
  const content = parse(text);
  change(content);
  return stringify(content, { lineWidth: 0 });
};

const lastModified = (time: string) => (text: string) =>
  text.replace(/(?<=lastmodified: )"[^"]+"/, JSON.stringify(time));

type Found = "yes" | "no";
interface Mutant {
  name: string;
  change: (text: string) => string;
  /** Whether the audit without a key finds it, and whether the one with a key does. */
  without: Found;
  with: Found;
}
const mutants: Mutant[] = [
  // Values: what is encrypted.
  { name: "a bit of a value", change: flip(PASSWORD, "data"), without: "no", with: "yes" },
  { name: "the last bit of a value", change: flip(PASSWORD, "data", -1), without: "no", with: "yes" },
  { name: "a bit of a fixed value", change: flip(USERNAME, "data", 2), without: "no", with: "yes" },
  { name: "a bit of a nonce", change: flip(PASSWORD, "iv", 7), without: "no", with: "yes" },
  { name: "a bit of a tag", change: flip(PASSWORD, "tag"), without: "no", with: "yes" },
  { name: "the last bit of a tag", change: flip(PASSWORD, "tag", -1), without: "no", with: "yes" },
  { name: "two values exchanged", change: swap(PASSWORD, USERNAME), without: "no", with: "yes" },
  {
    name: "a value copied to another key",
    change: (text) => withField(text, PASSWORD, at(text, USERNAME)),
    without: "no",
    with: "yes",
  },
  { name: "a value of another file", change: fromFile(API, TOKEN, PASSWORD), without: "no", with: "yes" },
  { name: "a value of a copy", change: fromFile(COPIED, PASSWORD), without: "no", with: "yes" },
  { name: "a value of another environment", change: fromFile(LIVE, PASSWORD), without: "no", with: "yes" },
  { name: "a value in clear", change: set(PASSWORD, "hunter2"), without: "yes", with: "yes" },
  { name: "an empty value", change: set(PASSWORD, ""), without: "yes", with: "yes" },
  {
    name: "a value that only looks encrypted",
    change: set(PASSWORD, "ENC[AES256_GCM,data:aHVudGVyMg==]"),
    without: "yes",
    with: "yes",
  },
  {
    name: "a value cut short",
    change: (text) => withField(text, PASSWORD, String(at(text, PASSWORD)).slice(0, 40)),
    without: "yes",
    with: "yes",
  },
  { name: "a nonce of one byte", change: withPart(PASSWORD, "iv", "AA=="), without: "yes", with: "yes" },
  { name: "a tag of one byte", change: withPart(PASSWORD, "tag", "AA=="), without: "yes", with: "yes" },
  {
    name: "a text where its bytes should be",
    change: withPart(PASSWORD, "data", "hunter2"),
    without: "yes",
    with: "yes",
  },
  {
    name: "a value of another type: bytes",
    change: (text) => withField(text, PASSWORD, String(at(text, PASSWORD)).replace("type:str", "type:bytes")),
    without: "yes",
    with: "yes",
  },
  {
    name: "a value of another type: int",
    change: (text) => withField(text, PASSWORD, String(at(text, PASSWORD)).replace("type:str", "type:int")),
    without: "yes",
    with: "yes",
  },
  {
    name: "a value called a comment",
    change: (text) =>
      withField(text, PASSWORD, String(at(text, PASSWORD)).replace("type:str", "type:comment")),
    without: "yes",
    with: "yes",
  },
  // Keys.
  { name: "a key removed", change: set(PASSWORD, undefined), without: "yes", with: "yes" },
  {
    name: "a key renamed",
    change: rename(PASSWORD, [...TEMPLATE, "stringData", "passwort"]),
    without: "yes",
    with: "yes",
  },
  {
    name: "a key added in clear",
    change: set([...TEMPLATE, "stringData", "debug"], "true"),
    without: "yes",
    with: "yes",
  },
  {
    name: "a key added with a copied value",
    change: (text) => withField(text, [...TEMPLATE, "stringData", "old"], at(text, PASSWORD)),
    without: "yes",
    with: "yes",
  },
  {
    name: "a key added, empty",
    change: set([...TEMPLATE, "stringData", "more"], ""),
    without: "yes",
    with: "no",
  },
  {
    name: "a key twice",
    change: (text) => text.replace(/^( +)password: .*$/m, "$&\n$1password: x"),
    without: "yes",
    with: "no",
  },
  {
    name: "a key in data and in stringData",
    change: (text) => withField(text, [...TEMPLATE, "data"], { password: at(text, PASSWORD) }),
    without: "yes",
    with: "yes",
  },
  {
    name: "a value moved to data",
    change: rename(PASSWORD, [...TEMPLATE, "data", "password"]),
    without: "no",
    with: "yes",
  },
  {
    name: "stringData called data",
    change: rename([...TEMPLATE, "stringData"], [...TEMPLATE, "data"]),
    without: "no",
    with: "yes",
  },
  {
    name: "the order of keys turned round",
    change: (text) => text.replace(/^( +username: .*)\n( +password: .*)$/m, "$2\n$1"),
    without: "no",
    with: "yes",
  },
  // What is in clear: only the comparison with the catalogue sees it, no MAC is over it.
  { name: "another name", change: set(["metadata", "name"], "other"), without: "yes", with: "no" },
  {
    name: "another namespace",
    change: set(["metadata", "namespace"], "kube-system"),
    without: "yes",
    with: "no",
  },
  {
    name: "another name of the Secret",
    change: set([...TEMPLATE, "name"], "admin"),
    without: "yes",
    with: "no",
  },
  {
    name: "another type of Secret",
    change: set([...TEMPLATE, "type"], "kubernetes.io/service-account-token"),
    without: "yes",
    with: "no",
  },
  {
    name: "another label",
    change: set([...TEMPLATE, "labels", "app.kubernetes.io/name"], "disk"),
    without: "yes",
    with: "no",
  },
  {
    name: "an annotation for the Secret",
    change: set([...TEMPLATE, "annotations"], { "replicator/to": "*" }),
    without: "yes",
    with: "no",
  },
  {
    name: "no sync wave",
    change: set(["metadata", "annotations", "argocd.argoproj.io/sync-wave"], undefined),
    without: "yes",
    with: "no",
  },
  { name: "another kind", change: set(["kind"], "Secret"), without: "yes", with: "no" },
  {
    name: "another group",
    change: set(["apiVersion"], "isindir.github.com/v1alpha2"),
    without: "yes",
    with: "no",
  },
  { name: "suspended", change: set(["spec", "suspend"], true), without: "yes", with: "no" },
  {
    name: "a placeholder that is none",
    change: set(["metadata", "annotations", "ecommerce-gitops/placeholder"], "password"),
    without: "yes",
    with: "no",
  },
  {
    name: "a second template in clear",
    change: clear((file: any) =>
      file.spec.secretTemplates.push({ name: "more", stringData: { key: "value" } }),
    ),
    without: "yes",
    with: "no",
  },
  { name: "a second document", change: (text) => `${text}---\nkind: Secret\n`, without: "yes", with: "no" },
  {
    name: "a comment with a value",
    change: (text) => text.replace(/^spec:$/m, "# password: hunter2\nspec:"),
    without: "yes",
    with: "no",
  },
  {
    name: "a comment that looks encrypted",
    change: (text) => text.replace(/^( +)(username: .*)$/m, "$1#ENC[hunter2 in clear]\n$1$2"),
    without: "yes",
    with: "no",
  },
  { name: "a field beside them", change: set(["status"], { message: "fine" }), without: "yes", with: "no" },
  // What SOPS keeps.
  { name: "no sops block", change: set(["sops"], undefined), without: "yes", with: "no" },
  { name: "no MAC", change: set(["sops", "mac"], undefined), without: "yes", with: "no" },
  { name: "an empty MAC", change: set(["sops", "mac"], ""), without: "yes", with: "yes" },
  { name: "the MAC of another file", change: fromFile(API, ["sops", "mac"]), without: "no", with: "yes" },
  { name: "the MAC of a copy", change: fromFile(COPIED, ["sops", "mac"]), without: "no", with: "yes" },
  { name: "a MAC cut short", change: withPart(["sops", "mac"], "data", "AA=="), without: "yes", with: "yes" },
  { name: "a bit of the MAC", change: flip(["sops", "mac"], "data"), without: "no", with: "yes" },
  { name: "a bit of the MAC's tag", change: flip(["sops", "mac"], "tag"), without: "no", with: "yes" },
  {
    name: "an earlier lastmodified",
    change: lastModified("2020-01-01T00:00:00Z"),
    without: "no",
    with: "yes",
  },
  {
    name: "a lastmodified of the future",
    change: lastModified("2999-01-01T00:00:00Z"),
    without: "yes",
    with: "yes",
  },
  { name: "no lastmodified", change: set(["sops", "lastmodified"], undefined), without: "yes", with: "no" },
  {
    name: "another encrypted_regex",
    change: set(["sops", "encrypted_regex"], "^nothing$"),
    without: "yes",
    with: "yes",
  },
  {
    name: "an encrypted_regex that leaves one out",
    change: set(["sops", "encrypted_regex"], "^data$"),
    without: "yes",
    with: "yes",
  },
  {
    name: "no encrypted_regex",
    change: set(["sops", "encrypted_regex"], undefined),
    without: "yes",
    with: "yes",
  },
  {
    name: "mac_only_encrypted is false",
    change: set(["sops", "mac_only_encrypted"], false),
    without: "yes",
    with: "yes",
  },
  {
    name: "an unencrypted_suffix",
    change: set(["sops", "unencrypted_suffix"], "_plain"),
    without: "yes",
    with: "yes",
  },
  {
    name: "a way in with PGP",
    change: set(["sops", "pgp"], [{ fp: "A".repeat(40), created_at: "2026-01-01T00:00:00Z", enc: "x" }]),
    without: "yes",
    with: "yes",
  },
  // Nobody reads it but SOPS, which takes it for what wrote the file: another number changes nothing.
  { name: "another version of SOPS", change: set(["sops", "version"], "3.9.0"), without: "no", with: "no" },
  {
    name: "a version that is too old for it",
    change: set(["sops", "version"], "3.8.1"),
    without: "yes",
    with: "no",
  },
  { name: "no version", change: set(["sops", "version"], undefined), without: "yes", with: "no" },
  // Recipients.
  { name: "a recipient removed", change: set(["sops", "age", 0], undefined), without: "yes", with: "no" },
  { name: "all recipients removed", change: set(["sops", "age"], []), without: "yes", with: "yes" },
  {
    name: "a recipient twice",
    change: (text) => withField(text, ["sops", "age", 2], parse(stringify(at(text, ["sops", "age", 0])))),
    without: "yes",
    with: "no",
  },
  {
    name: "a stranger added",
    change: (text) =>
      withField(text, ["sops", "age", 2], {
        recipient: repository.recipients.stranger,
        enc: at(text, ["sops", "age", 0, "enc"]),
      }),
    without: "yes",
    with: "no",
  },
  {
    name: "a stranger instead of a recipient",
    change: (text) => withField(text, ["sops", "age", 1, "recipient"], repository.recipients.stranger),
    without: "yes",
    with: "no",
  },
  // Each recipient finds its data key all the same, and sealing again puts the names right.
  {
    name: "the recipients' data keys exchanged",
    change: swap(["sops", "age", 0, "enc"], ["sops", "age", 1, "enc"]),
    without: "no",
    with: "no",
  },
  {
    name: "the recipients' names exchanged",
    change: swap(["sops", "age", 0, "recipient"], ["sops", "age", 1, "recipient"]),
    without: "no",
    with: "no",
  },
  { name: "a byte of a data key", change: flipKey(0, 20), without: "no", with: "yes" },
  { name: "a byte of the other data key's header", change: flipKey(1, 100), without: "no", with: "yes" },
  {
    name: "a data key of another file",
    change: fromFile(API, ["sops", "age", 0, "enc"]),
    without: "yes",
    with: "yes",
  },
  {
    name: "all data keys of another file",
    change: fromFile(API, ["sops", "age"]),
    without: "yes",
    with: "yes",
  },
  {
    name: "a data key that is none",
    change: set(
      ["sops", "age", 0, "enc"],
      "-----BEGIN AGE ENCRYPTED FILE-----\nYWJj\n-----END AGE ENCRYPTED FILE-----\n",
    ),
    without: "no",
    with: "yes",
  },
  {
    name: "a data key cut short",
    change: (text) =>
      withField(
        text,
        ["sops", "age", 0, "enc"],
        String(at(text, ["sops", "age", 0, "enc"])).replace(/\n[^\n]+\n(?=-----END)/, "\n"),
      ),
    without: "no",
    with: "yes",
  },
  // The whole.
  {
    name: "the ciphertext of another Secret, with its data keys",
    change: (text) => fromFile(COPIED, ["sops"])(fromFile(COPIED, [...TEMPLATE, "stringData"])(text)),
    without: "yes",
    with: "no",
  },
  { name: "the copy's file under this name", change: () => files[COPIED] ?? "", without: "yes", with: "no" },
  { name: "another environment's file", change: () => files[LIVE] ?? "", without: "yes", with: "yes" },
  { name: "half of the file", change: (text) => text.slice(0, text.length / 2), without: "yes", with: "no" },
  { name: "an empty file", change: () => "", without: "yes", with: "no" },
  {
    name: "a merge conflict",
    change: (text) => text.replace(/^( +password: .*)$/m, "<<<<<<< HEAD\n$1\n=======\n$1\n>>>>>>> theirs"),
    without: "yes",
    with: "no",
  },
];

async function findings(path: string, text: string): Promise<{ without: string[]; with: string[] }> {
  const { root } = repository;
  await writeFile(join(root, path), text);
  try {
    const audited = await auditSecrets(root, { now: new Date() });
    const own = audited.looks.filter(({ environment }) => environment === "dev");
    const opened = await Promise.all(
      owners.map(async (sops) => openSecrets({ ...audited, looks: own }, sops)),
    );
    const of = (list: typeof audited.findings) => real(list).map(({ what }) => what);
    const without = audited.findings.filter(({ what }) => !what.endsWith("is a placeholder"));
    return { without: of(without), with: of(opened.flatMap((one) => one.findings)) };
  } finally {
    await writeFile(join(root, path), files[path] ?? "");
  }
}

it("nothing is found in an untouched file", async () => {
  expect(await findings(DATABASE, files[DATABASE] ?? "")).toEqual({ without: [], with: [] });
});

it.each(mutants)("$name: found without a key: $without, with one: $with", async (mutant) => {
  const text = mutant.change(files[DATABASE] ?? "");
  expect(text).not.toBe(files[DATABASE]);
  const found = await findings(DATABASE, text);
  const yes = (list: string[]): Found => (list.length > 0 ? "yes" : "no");
  expect({ without: yes(found.without), with: yes(found.with) }, JSON.stringify(found)).toEqual({
    without: mutant.without,
    with: mutant.with,
  });
});

it("every mutant but three that harm nobody is found by one of the two", () => {
  const unseen = mutants.filter((mutant) => mutant.without === "no" && mutant.with === "no");
  expect(unseen.map(({ name }) => name)).toEqual([
    "another version of SOPS",
    "the recipients' data keys exchanged",
    "the recipients' names exchanged",
  ]);
  expect(mutants.length).toBeGreaterThanOrEqual(40);
});
