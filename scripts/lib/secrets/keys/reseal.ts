/** Who can read an environment changes: its sealed files and `.sops.yaml` go from one state to the other. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RefusedError } from "../../errors.ts";
import { replaceFile } from "../../file.ts";
import { uncommitted } from "../../git/checkout.ts";
import { withTemporaryDirectory } from "../../temporary.ts";
import { environmentOf, sealedFiles } from "../credential.ts";
import { resealFile, type SealedChange, writeSealed } from "../seal/seal.ts";
import { parseSealed } from "../sealed.ts";
import { connectSops, NoKeyError, type Sops } from "../sops.ts";
import { nameOf, RULES_FILE, type Rule } from "./recipients.ts";

/** The sops program, and where it finds private keys. */
export interface SopsProgram {
  path: string;
  env: NodeJS.ProcessEnv;
}

/**
 * Calls a function with a sops that has other rules than the repository's: what is to be written is complete before
 * anything is. Its directory holds public keys only, and is gone afterwards.
 * @param rules text of the other `.sops.yaml`
 */
export async function withRules<T>(
  program: SopsProgram,
  rules: string,
  use: (sops: Sops) => Promise<T>,
): Promise<T> {
  return withTemporaryDirectory("rules-", async (directory) => {
    await writeFile(join(directory, RULES_FILE), rules);
    return use(connectSops(program.path, directory, program.env));
  });
}

/** A sealed file, and the public keys of those who can read it. */
export interface Sealed {
  path: string;
  text: string;
  recipients: readonly string[];
}

/**
 * The sealed files of a tree, without a key.
 * @param environments only theirs; of all by default
 * @throws RefusedError when one is damaged
 */
export async function readSealedFiles(root: string, environments?: readonly string[]): Promise<Sealed[]> {
  const wanted = (path: string) => environments?.some((name) => name === environmentOf(path)) ?? true;
  return Promise.all(
    (await sealedFiles(root)).filter(wanted).map(async (path) => {
      const text = await readFile(join(root, path), "utf8");
      return { path, text, recipients: parseSealed(text, path).sops?.recipients ?? [] };
    }),
  );
}

/**
 * Seals files again, each with a new data key, for those whom other rules name; writes nothing.
 * @param before the rules that the files were sealed under, for the names of those who can open them
 * @param after text of the other `.sops.yaml`
 * @throws NoKeyError when none of a file's recipients is here; RefusedError when a file is damaged
 */
export async function resealAll(
  program: SopsProgram,
  files: readonly Sealed[],
  before: readonly Rule[],
  after: string,
): Promise<SealedChange[]> {
  return withRules(program, after, async (sops) => {
    const results = await Promise.allSettled(
      files.map(async ({ path, text }) => resealFile(sops, path, text)),
    );
    return results.map((result, index) => {
      if (result.status === "fulfilled") return result.value;
      const file = files[index];
      if (!(result.reason instanceof NoKeyError) || file === undefined) throw result.reason;
      const known = before.flatMap(({ recipients }) => recipients);
      const names = file.recipients.map((key) => nameOf(known, key)).join(", ");
      throw new NoKeyError(
        result.reason.message,
        `only ${names} can: run it where one of these keys is, and point SOPS_AGE_KEY_FILE to it`,
      );
    });
  });
}

/**
 * Refuses to mix a change with another one: what is half-done could then not be taken back with Git.
 * @param environments whose sealed files are to change
 * @throws RefusedError naming the first file that is not committed
 */
export async function refuseUncommitted(root: string, environments: readonly string[]): Promise<void> {
  const paths = environments.map((name) => `:(glob)overlays/${name}/**/*.sops.yaml`);
  const [first] = await uncommitted(root, paths);
  if (first === undefined) return;
  throw new RefusedError(
    `${first} has changes that are not committed`,
    "commit them first, or take them back with `git restore`",
  );
}

/**
 * Writes sealed files and then the rules. The rules come last: until they are there the change has not happened, and the
 * same command does all of it again. In the other order a run that was interrupted would leave files that the rules call
 * somebody's and that nobody of them can read.
 */
export async function writeChange(
  root: string,
  files: readonly SealedChange[],
  rules: string,
): Promise<void> {
  await writeSealed(root, files);
  await replaceFile(join(root, RULES_FILE), rules, 0o644);
}
