/** Secrets in clear in pieces of YAML and JSON that other texts have: a fence of Markdown, a here-document, an argument, a literal. */
import { inDocuments, isYaml, mayHoldSecret, type Reading } from "./documents.ts";
import { type Found, linesOf } from "./key.ts";
import { END } from "./lines.ts";

const PROGRAM = /\.(?:[cm]?[jt]sx?|go|py|rb|java|kt|rs|cs|php|cue|(?:lib|j)sonnet|tf|hcl)$/;
const HERE_DOCUMENT = /<<[-~]?[ \t]*["'\\]?\w/;
/** A brace; or what makes the map it is in a Secret, or an operation on one. Quotes may have a `\` before them. */
const SIGN =
  /[{}]|(?<![\w-])(?:kind(?:\\?["'])?\s*:\s*(?:\\?["'])?(?:SopsSecret|SecretList|SecretGenerator|Secret)(?![\w-])|path(?:\\?["'])?\s*:\s*(?:\\?["'])?\/(?:[\w/]*\/)?(?:data|stringData)\b)/g;

/** A variable of a shell, for which a text in single quotes is interrupted. */
const SPLICED = /'"?(\$\{\w+\}|\$\w+|\$\([^()\n]*\))"?'/g;

/** Looks at pieces that are YAML or JSON, in a text that is whatever its path says. */
export function inPieces(path: string, text: string, reading: Reading): Found[] {
  const isProgram = PROGRAM.test(path);
  const segments = isProgram || isYaml(path) ? [] : inSegments(text, reading);
  return [...inMaps(text, { ...reading, isProgram }), ...segments];
}

/** Maps in braces. */
function inMaps(text: string, reading: Reading): Found[] {
  const at = linesOf(text);
  return mapsOf(text).flatMap(([start, end]) => {
    const piece = text.slice(start, end);
    const plain = piece.replaceAll('\\"', '"').replaceAll(SPLICED, "$1");
    return inDocuments(plain, reading).map(({ line, what }) => ({ line: at(start) + line - 1, what }));
  });
}

/** Where the maps are that have a sign: of two that are one in the other the outer one, so that nothing is read twice. */
function mapsOf(text: string): [number, number][] {
  const open: { start: number; isSigned: boolean }[] = [];
  const maps: [number, number][] = [];
  const add = (start: number, end: number) => {
    while ((maps.at(-1)?.[0] ?? -1) > start) maps.pop();
    maps.push([start, end]);
  };
  for (const { 0: sign, index } of text.matchAll(SIGN)) {
    const last = open.at(-1);
    if (sign === "{") open.push({ start: index, isSigned: false });
    else if (sign === "}") {
      open.pop();
      if (last?.isSigned === true) add(last.start, index + 1);
    } else if (last !== undefined) last.isSigned = true;
  }
  // A brace in a value hides the one that closes the map.
  const unclosed = open.find(({ isSigned }) => isSigned);
  if (unclosed !== undefined) {
    const paragraph = text.indexOf("\n\n", unclosed.start);
    add(unclosed.start, paragraph === -1 ? text.length : paragraph);
  }
  return maps;
}

/** What is between the marks of other texts. */
function inSegments(text: string, reading: Reading): Found[] {
  const lines = text.split("\n");
  const marks = lines.flatMap((line, index) => (END.test(line) || HERE_DOCUMENT.test(line) ? [index] : []));
  return [-1, ...marks].flatMap((mark, index) => {
    const segment = lines.slice(mark + 1, marks[index]).join("\n");
    if (!mayHoldSecret(segment)) return [];
    const found = inDocuments(segment, { ...reading, isWhole: true });
    return found.map(({ line, what }) => ({ line: mark + 1 + line, what }));
  });
}
