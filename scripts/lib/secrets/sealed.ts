/** A sealed Secret: one SopsSecret with one template a file, encrypted with SOPS. What is in clear can be read without a key. */
import { LineCounter, parseAllDocuments, parseDocument, visit } from "yaml";
import { z } from "zod";
import { refuseConflict, refuseSyntax } from "../document.ts";
import { RefusedError } from "../errors.ts";
import type { SecretValues } from "./credential.ts";

/** Says that a key still has a random value where a person has to bring the real one: names of keys, with commas. */
const PLACEHOLDER = "ecommerce-gitops/placeholder";
/** Before whatever uses the Secret. */
const SYNC_WAVE = "-1";

export interface SealedSecret {
  name: string;
  namespace: string;
  /** Of the Secret. */
  type: string;
  app: string;
  /** Keys whose values are random until a person brings the real ones. */
  placeholders: readonly string[];
}

/**
 * What SOPS encrypts. This text holds the values: it goes to its standard input and nowhere else.
 * @param values bytes that are no text go to `data`, as base64
 * @returns JSON: its strings have no other meaning, whatever they look like
 */
export function formatPlain(secret: SealedSecret, values: SecretValues): string {
  const { name, namespace, type, app, placeholders } = secret;
  const texts: [string, string][] = [];
  const bytes: [string, string][] = [];
  for (const [key, value] of values) {
    const text = asText(value);
    if (text === undefined) bytes.push([key, Buffer.from(value).toString("base64")]);
    else texts.push([key, text]);
  }
  const labels = {
    "app.kubernetes.io/managed-by": "argocd",
    "app.kubernetes.io/name": app,
    "app.kubernetes.io/part-of": "ecommerce",
  };
  const annotations = {
    "argocd.argoproj.io/sync-wave": SYNC_WAVE,
    ...(placeholders.length === 0 ? {} : { [PLACEHOLDER]: placeholders.join(",") }),
  };
  const template = {
    name,
    ...(type === "Opaque" ? {} : { type }),
    labels,
    ...(bytes.length === 0 ? {} : { data: Object.fromEntries(bytes) }),
    ...(texts.length === 0 ? {} : { stringData: Object.fromEntries(texts) }),
  };
  return JSON.stringify({
    apiVersion: "isindir.github.com/v1alpha3",
    kind: "SopsSecret",
    metadata: { name, namespace, labels, annotations },
    spec: { secretTemplates: [template] },
  });
}

/** Text that YAML and JSON carry as it is; undefined for all other bytes. */
function asText(value: Uint8Array): string | undefined {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(value);
    // Control characters and marks of byte order have no plain form in YAML.
    return /(?![\t\n])[\p{Cc}\ufeff\ufffe\uffff]/u.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}

const values = z.record(z.string(), z.string()).default({});
const Template = z.looseObject({
  name: z.string(),
  type: z.string().default("Opaque"),
  data: values,
  stringData: values,
});
const File = z.looseObject({
  apiVersion: z.string().startsWith("isindir.github.com/"),
  kind: z.literal("SopsSecret"),
  metadata: z.looseObject({
    name: z.string(),
    namespace: z.string(),
    labels: z.record(z.string(), z.string()).default({}),
    annotations: z.record(z.string(), z.string()).default({}),
  }),
  spec: z.looseObject({ secretTemplates: z.tuple([Template]) }),
});
const Plain = z.looseObject({ kind: z.literal("Secret") });
const Metadata = z.looseObject({
  age: z.array(z.looseObject({ recipient: z.string(), enc: z.string() })).default([]),
  lastmodified: z.iso.datetime({ offset: true }),
  mac: z.string(),
  version: z.string(),
});

/** What a sealed file says without a key. */
export interface SealedFile extends SealedSecret {
  /** Values by key, encrypted; those of `data` are base64 once decrypted. */
  data: ReadonlyMap<string, string>;
  stringData: ReadonlyMap<string, string>;
  /** Everything else: what the file is beside its values and the block that SOPS keeps. */
  clear: unknown;
  /** The block that SOPS keeps; undefined when the file is not encrypted. */
  sops:
    | {
        recipients: readonly string[];
        /** The encrypted data key for each recipient, in the same order. */
        ages: readonly { recipient: string; enc: string }[];
        lastModified: Date;
        mac: string;
        fields: Readonly<Record<string, unknown>>;
      }
    | undefined;
}

/**
 * Reads a sealed file, without a key.
 * @param text its content: encrypted, or decrypted
 * @param file its name, for messages
 * @throws RefusedError when it is no SopsSecret with one Secret, or has conflict markers
 */
export function parseSealed(text: string, file: string): SealedFile {
  refuseConflict(
    text,
    file,
    "sealed files cannot be merged: take one side with `git checkout --ours` or `--theirs`, and seal again what the other changed",
  );
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  refuseSyntax(document.errors, file, lines, "restore it from Git, or seal it again");
  const content: unknown = document.toJS();
  if (Plain.safeParse(content).success) {
    throw new RefusedError(
      `${file}: a Secret in clear`,
      "change its values where they are used, and seal the new ones; Git keeps what has been committed",
    );
  }
  const parsed = File.safeParse(content);
  if (!parsed.success) throw unlike(file, "no SopsSecret with one Secret", parsed.error);
  const { metadata, spec } = parsed.data;
  const [template] = spec.secretTemplates;
  return {
    name: metadata.name,
    namespace: metadata.namespace,
    type: template.type,
    app: metadata.labels["app.kubernetes.io/name"] ?? "",
    placeholders: (metadata.annotations[PLACEHOLDER] ?? "").split(",").filter((key) => key !== ""),
    data: new Map(Object.entries(template.data)),
    stringData: new Map(Object.entries(template.stringData)),
    clear: withoutValues(content),
    sops: readMetadata(parsed.data["sops"], file),
  };
}

/** The lines on which a text of YAML or JSON has a SopsSecret, also one in a list. */
export function sopsSecretsIn(text: string): number[] {
  if (!text.includes("SopsSecret")) return [];
  const lines = new LineCounter();
  const found: number[] = [];
  for (const document of parseAllDocuments(text, { lineCounter: lines })) {
    if (!("contents" in document)) continue;
    visit(document, {
      Map(_, map) {
        // A kind alone names one, as roles and definitions do.
        if (map.get("kind") === "SopsSecret" && map.has("spec"))
          found.push(lines.linePos(map.range?.[0] ?? 0).line);
      },
    });
  }
  return found;
}

/** What `formatPlain` writes for a Secret without a value, as a sealed file has it. */
export function clearOf(secret: SealedSecret): unknown {
  return JSON.parse(formatPlain(secret, new Map()));
}

const HasTemplates = z.looseObject({
  spec: z.looseObject({ secretTemplates: z.array(z.looseObject({})) }),
});

function withoutValues(content: unknown): unknown {
  const { sops: _sops, ...file } = HasTemplates.parse(content);
  const secretTemplates = file.spec.secretTemplates.map(({ data: _d, stringData: _s, ...rest }) => rest);
  return { ...file, spec: { ...file.spec, secretTemplates } };
}

function readMetadata(block: unknown, file: string): SealedFile["sops"] {
  if (block === undefined) return undefined;
  const parsed = Metadata.safeParse(block);
  if (!parsed.success) throw unlike(file, "no complete `sops` block", parsed.error);
  const { age, lastmodified, mac } = parsed.data;
  return {
    recipients: age.map(({ recipient }) => recipient),
    ages: age,
    lastModified: new Date(lastmodified),
    mac,
    fields: parsed.data,
  };
}

function unlike(file: string, what: string, { issues }: z.ZodError): RefusedError {
  const [issue] = issues;
  const where = issue === undefined || issue.path.length === 0 ? "" : `${issue.path.join(".")}: `;
  return new RefusedError(
    `${file}: ${what}: ${where}${issue?.message}`,
    "restore it from Git, or seal it again",
  );
}

/** The values of a decrypted file. */
export function valuesOf({ data, stringData }: Pick<SealedFile, "data" | "stringData">): SecretValues {
  return new Map([
    ...[...data].map(([key, value]) => [key, Buffer.from(value, "base64")] as const),
    ...[...stringData].map(([key, value]) => [key, Buffer.from(value)] as const),
  ]);
}

/** The names of a file's keys. */
export function keysOf({ data, stringData }: Pick<SealedFile, "data" | "stringData">): string[] {
  return [...data.keys(), ...stringData.keys()];
}

/** Where a file has the value of a key. */
export function pathOf({ data }: Pick<SealedFile, "data">, key: string): readonly (string | number)[] {
  return ["spec", "secretTemplates", 0, data.has(key) ? "data" : "stringData", key];
}

const BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?";
/** A nonce has 32 bytes, a tag 16: https://github.com/getsops/sops, aes/cipher.go. */
const ENCRYPTED = new RegExp(
  `^ENC\\[AES256_GCM,data:(${BASE64}),iv:[A-Za-z0-9+/]{43}=,tag:[A-Za-z0-9+/]{22}==,type:str\\]$`,
);

/** Whether a value is what SOPS makes of a text. It leaves an empty one as it is. */
export function isEncrypted(value: string): boolean {
  return value === "" || encryptedBytes(value) > 0;
}

/** How many bytes an encrypted value has, the text and its ciphertext alike; 0 for what is not encrypted. */
export function encryptedBytes(value: string): number {
  return Buffer.from(ENCRYPTED.exec(value)?.[1] ?? "", "base64").length;
}
