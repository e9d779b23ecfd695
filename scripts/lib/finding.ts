/** What a check of the tree has found, and how it ends a command. */
import { FindingsError, type RefusedError } from "./errors.ts";

export interface Finding {
  /** Relative to the repository's root. */
  path: string;
  /** Counted from 1. */
  line: number;
  /** What is wrong; never a value. */
  what: string;
  /** What to do about it. */
  way: string;
  /** A note is worth knowing, and nothing fails because of it. */
  severity: "finding" | "note";
}

/** What is wrong in a file; with the file as a whole, unless a line is named. */
export function findingIn(path: string, what: string, way: string, line = 1): Finding {
  return { path, line, what, way, severity: "finding" };
}

/** What is worth knowing about a file; nothing fails because of it. */
export function noteIn(path: string, what: string, way: string, line = 1): Finding {
  return { path, line, what, way, severity: "note" };
}

/** What is wrong with an overlay as a whole. */
export function findingAt(overlay: string, what: string, way: string): Finding {
  return findingIn(`${overlay}/kustomization.yaml`, what, way);
}

/** A refusal that begins with `file:line:` as a finding there; any other one in a file. */
export function findingOf({ message, hint }: RefusedError, file: string): Finding {
  const [, path = file, line = "1", what = message] = /^(\S+):(\d+): (.*)$/s.exec(message) ?? [];
  return findingIn(path, what, hint ?? "correct it there", Number(line));
}

/** `file:line: what; way`. */
export function describeFinding({ path, line, what, way, severity }: Finding): string {
  return `${path}:${line}: ${severity === "note" ? "note: " : ""}${what}; ${way}`;
}

/** Those because of which a check fails. */
export function real(findings: readonly Finding[]): Finding[] {
  return findings.filter(({ severity }) => severity === "finding");
}

/** The first one that is more than a note, as the error that ends a command; undefined when there is none. */
export function findingsError(findings: readonly Finding[]): FindingsError | undefined {
  const [first, ...others] = real(findings);
  if (first === undefined) return undefined;
  const more = others.length === 0 ? "" : ` (and ${others.length} more)`;
  return new FindingsError(`${first.path}:${first.line}: ${first.what}${more}`, first.way);
}
