/** The rules of secretlint, and two of this repository's own. Imported only when there is a text to look at. */
import { lintSource } from "@secretlint/core";
import { secretLintProfiler } from "@secretlint/profiler";
import { rules as recommended } from "@secretlint/secretlint-rule-preset-recommend";
import { LineCounter, parseAllDocuments } from "yaml";
import { lineOf } from "../document.ts";
import { clearValues } from "./manifest.ts";

type Rule = (typeof recommended)[number];

/** A place in a text. */
export interface Found {
  /** Counted from 1. */
  line: number;
  /** Never a value. */
  what: string;
}

// The profiler keeps the time of each rule and searches all of them again for each one: a minute for 800 files.
secretLintProfiler.mark = () => {};

const OWN = "ecommerce-gitops/";
/** A header with a key behind it: a page may name the header. Secretlint's own rule misses short keys, such as those of Ed25519 and P-256. */
const PEM = /-----BEGIN (?:[A-Z]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----[^-]{0,200}?[\w+/]{32}/g;

/** Private keys that secretlint does not know: those of age, which open the sealed files, and PEM, also in base64. */
const keys = ruleOf("keys", (text, report) => {
  for (const { index } of text.matchAll(/AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{50,}/g))
    report(index, "a private key of age is in clear");
  for (const { index } of text.matchAll(PEM)) report(index, "a private key is in clear");
  for (const { 0: run, index } of text.matchAll(/LS0tLS1CRUdJTi[\w+/=]{64,}/g))
    if (Buffer.from(run, "base64").toString("latin1").search(PEM) === 0)
      report(index, "a private key is in clear, in base64");
});

const YAML = /\.(?:ya?ml|json)$|(?:^|\/)Kustomization$/;
/** A finding needs one of these words; a string of YAML can hide letters behind a backslash. */
const MAY_BE_SECRET = /Secret|secret(?:Generator|Templates)|\\[uUx]/;

const manifests = ruleOf("manifests", (text, report, path) => {
  if (path.endsWith(".sops.yaml") && path !== ".sops.yaml" && !/^sops:$/m.test(text))
    report(0, "the file is not encrypted");
  if (!YAML.test(path) || !MAY_BE_SECRET.test(text)) return;
  const lines = new LineCounter();
  try {
    // Without a copy of the lines in every error, and without comparing all keys: both take the square of the time.
    const options = { lineCounter: lines, prettyErrors: false, uniqueKeys: false, merge: true } as const;
    for (const document of parseAllDocuments(text, { ...options, logLevel: "silent" }))
      if ("contents" in document)
        for (const { path: place, what } of clearValues(document.toJS({ mapAsMap: true })))
          report(lines.lineStarts[lineOf(document, place, lines) - 1] ?? 0, what);
  } catch (error) {
    // The parser calls itself for each level, and refuses aliases that grow without end.
    if (!(error instanceof RangeError || error instanceof ReferenceError)) throw error;
    report(0, "the file is not looked at: its YAML is nested too deeply");
  }
});

/** Secretlint's `secretlint-disable` comments. */
const COMMENTS = "@secretlint/secretlint-rule-filter-comments";
const all = [...recommended, keys, manifests];
const [withComments, withoutComments] = [all, all.filter(({ meta }) => meta.id !== COMMENTS)].map((rules) =>
  rules.map((rule) => ({ id: rule.meta.id, rule })),
);

/**
 * Looks at a text with all rules, in the order of the lines.
 * @param path its ending says how to read it
 * @param mayHaveComments whether a comment in the text can call something no secret
 */
export async function findSecrets(path: string, text: string, mayHaveComments: boolean): Promise<Found[]> {
  const { messages } = await lintSource({
    source: { filePath: path, content: text, contentType: "text", ext: /\.\w+$/.exec(path)?.[0] ?? "" },
    options: {
      config: { rules: (mayHaveComments ? withComments : withoutComments) ?? [] },
      noPhysicFilePath: true,
    },
  });
  return messages.map(({ ruleId, messageId, message, loc }) => ({
    line: loc.start.line,
    // The messages of others have the secret in them.
    what: ruleId.startsWith(OWN) ? message : `a credential is in clear: ${messageId}`,
  }));
}

function ruleOf(
  name: string,
  look: (text: string, report: (index: number, what: string) => void, path: string) => void,
): Rule {
  return {
    messages: {},
    meta: { id: `${OWN}${name}`, type: "scanner", recommended: true, supportedContentTypes: ["text"] },
    create: (context) => ({
      file: ({ content, filePath }) =>
        look(
          content,
          (index, what) =>
            context.report({
              message: { message: what, messageId: name, data: {} },
              range: [index, index + 1],
            }),
          filePath ?? "",
        ),
    }),
  };
}
