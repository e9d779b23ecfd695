/** What every change of readers writes: `.sops.yaml`, and the sealed files that are for somebody else then. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { readEnvironments } from "../../tree/environment.ts";
import type { SealedChange } from "../seal/seal.ts";
import { formatRules, RULES_FILE, type Rule } from "./recipients.ts";
import { refuseUncommitted, resealAll, type Sealed, writeChange } from "./reseal.ts";

/** Where a change is made. */
export interface Here {
  /** The repository's root directory. */
  root: string;
  /** Where sops finds private keys. */
  env: NodeJS.ProcessEnv;
  /** The path of a program, asked for when it is needed only: it may have to be built. */
  tool: (name: "age" | "age-keygen" | "kubectl" | "sops") => Promise<string>;
}

/** All that is to be written. */
export interface KeysChange {
  /** The text of `.sops.yaml`. */
  rules: string;
  files: readonly SealedChange[];
}

export interface ChangeRequest {
  before: readonly Rule[];
  after: readonly Rule[];
  environments: readonly string[];
  /** What is to be sealed for the readers of `after`. */
  files: readonly Sealed[];
  /** Whether the rules change only, and the files another time. */
  later: boolean;
}

/**
 * Makes all that is to be written, before any of it is.
 * @throws RefusedError when a sealed file has changes that are not committed, or no private key here opens it
 */
export async function planChange(
  { root, env, tool }: Here,
  { before, after, environments, files, later }: ChangeRequest,
): Promise<KeysChange> {
  await refuseUncommitted(root, environments);
  const rules = formatRules(await readFile(join(root, RULES_FILE), "utf8"), after);
  if (later) return { rules, files: [] };
  return { rules, files: await resealAll({ path: await tool("sops"), env }, files, before, rules) };
}

/** Writes a change. */
export async function applyChange({ root }: Here, { files, rules }: KeysChange): Promise<void> {
  await writeChange(root, files, rules);
}

/** The names of a repository's environments. */
export async function environmentNames(root: string): Promise<string[]> {
  return (await readEnvironments(root)).map(({ name }) => name);
}
