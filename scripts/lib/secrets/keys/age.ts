/** Keys of age. A private key is in memory, on a program's standard input or output, and in the one file it was made for. */
import { chmod, mkdir, open, realpath } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { ExternalError, RefusedError, UsageError } from "../../errors.ts";
import { tryRun } from "../../exec.ts";
import { exists, readIfThere } from "../../file.ts";

/** A private key, and the public one that belongs to it. */
export interface Identity {
  /** `AGE-SECRET-KEY-1…` */
  identity: string;
  /** `age1…` */
  recipient: string;
}

/**
 * Makes a key, in memory.
 * @param ageKeygen path of the age-keygen program
 * @throws ExternalError when it fails; without its output, which may hold the key
 */
export async function createIdentity(ageKeygen: string): Promise<Identity> {
  const { exitCode, stdout } = await tryRun(ageKeygen, []);
  const identity = /^AGE-SECRET-KEY-1[A-Z0-9]+$/m.exec(stdout)?.[0];
  const recipient = /^# public key: (age1[a-z0-9]+)$/m.exec(stdout)?.[1];
  if (exitCode === 0 && identity !== undefined && recipient !== undefined) return { identity, recipient };
  throw new ExternalError(`age-keygen has made no key: exit code ${exitCode}`);
}

/** How a file of keys, which may hold several, has one of them. */
export function formatIdentity({ identity, recipient }: Identity): string {
  return `# public key: ${recipient}\n${identity}\n`;
}

/** A text of keys with one more at its end. */
export function withIdentity(text: string, identity: Identity): string {
  return `${text}${text === "" || text.endsWith("\n") ? "" : "\n"}${formatIdentity(identity)}`;
}

/**
 * Has age itself say whether something is a recipient.
 * @param age path of the age program
 * @throws UsageError when it is none, or only starts or ends like one
 */
export async function verifyRecipient(age: string, recipient: string): Promise<void> {
  if (/^age-secret-key-/i.test(recipient))
    throw new UsageError(
      "that is a private key, which nobody else may see",
      "it is in your shell's history now: make another with age-keygen, and give its public key, age1…",
    );
  if (/^age1[a-z0-9]+$/.test(recipient)) {
    const { exitCode } = await tryRun(age, ["--encrypt", "--recipient", recipient], { input: "-" });
    if (exitCode === 0) return;
  }
  throw new UsageError(
    `${recipient} is not a recipient of age`,
    "copy the whole of what age-keygen calls the public key: age1…",
  );
}

/** The file in which sops looks for a user's keys. */
export function userKeyFile(env: NodeJS.ProcessEnv): string {
  const home = env["HOME"] ?? "";
  const ours = process.platform === "darwin" ? "Library/Application Support" : ".config";
  return join(env["XDG_CONFIG_HOME"] || join(home, ours), "sops/age/keys.txt");
}

/**
 * Looks whether a file may hold private keys.
 * @returns its path without symbolic links
 * @throws RefusedError when it is in a Git work tree, or holds something else
 */
export async function verifyKeyFile(path: string): Promise<string> {
  const file = await realFile(resolve(path));
  for (let directory = dirname(file); ; directory = dirname(directory)) {
    if (await exists(join(directory, ".git")))
      throw new RefusedError(
        `${file} would be in the Git work tree ${directory}`,
        "name a file outside of every repository",
      );
    if (directory === dirname(directory)) break;
  }
  const lines = ((await readIfThere(file)) ?? "").split("\n").map((line) => line.trim());
  if (lines.every((line) => /^(|#.*|AGE-(SECRET-KEY|PLUGIN)-.+)$/.test(line))) return file;
  throw new RefusedError(`${file} holds something else than keys of age`, "name another file");
}

/** The path with the links of those of its directories that exist resolved. */
async function realFile(path: string): Promise<string> {
  if (await exists(path)) return realpath(path);
  const above = dirname(path);
  return above === path ? path : join(await realFile(above), basename(path));
}

/**
 * Adds a key to a file that nobody else can read; what is there stays.
 * @param path as `verifyKeyFile` returns it
 */
export async function appendIdentity(path: string, identity: Identity): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const before = (await readIfThere(path)) ?? "";
  // Appended in place: a copy beside it would be one more file with a key.
  const handle = await open(path, "a", 0o600);
  try {
    await chmod(path, 0o600);
    await handle.appendFile(withIdentity(before, identity).slice(before.length));
    await handle.sync();
  } finally {
    await handle.close();
  }
}
