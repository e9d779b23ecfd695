/** Private keys in any text. */
import { LineCounter } from "yaml";

export interface Found {
  /** Counted from 1. */
  line: number;
  /** Never a value. */
  what: string;
  /** What to do about it, where that is not the same as for a value in clear. */
  way?: string;
}

/** Finds private keys of age and PEM, also in base64 as a Secret's `data` has them. */
export function privateKeys(text: string): Found[] {
  const age = [...text.matchAll(/AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{50,}/g)];
  // With material behind it: documentation may name the line.
  const pem = [
    ...text.matchAll(/-----BEGIN (?:[A-Z]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----[^-]{0,200}?[\w+/]{32}/g),
  ];
  const encoded = [...text.matchAll(/LS0tLS1CRUdJTi[\w+/=]{64,}/g)].filter(([run]) =>
    /^-----BEGIN (?:[A-Z]+ ){0,4}PRIVATE KEY/.test(Buffer.from(run, "base64").toString("latin1")),
  );
  const at = linesOf(text);
  return [
    ...age.map(({ index }) => ({ line: at(index), what: "a private key of age" })),
    ...[...pem, ...encoded].map(({ index }) => ({ line: at(index), what: "a private key" })),
  ];
}

/** What says in which line of a text a character is. */
export function linesOf(text: string): (index: number) => number {
  const counter = new LineCounter();
  counter.addNewLine(0);
  for (const { index } of text.matchAll(/\n/g)) counter.addNewLine(index + 1);
  return (index) => counter.linePos(index).line;
}
