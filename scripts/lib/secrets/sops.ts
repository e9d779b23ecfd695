/** The sops program. Values go through its standard input and output only: never an argument, a variable, a file or a log. */
import pLimit from "p-limit";
import { CommandError, ExternalError, RefusedError } from "../errors.ts";
import { type RunResult, tryRun } from "../exec.ts";
import type { SecretValues } from "./credential.ts";
import { formatPlain, parseSealed, type SealedFile, type SealedSecret } from "./sealed.ts";

/** No private key here opens a file. */
export class NoKeyError extends RefusedError {}

/** How many run at once: one takes a core for 30 ms. */
const PARALLEL = 4;

/** May be asked for any number of files at once. */
export interface Sops {
  /**
   * Encrypts a Secret for the recipients that `.sops.yaml` has for a path; needs no key.
   * @returns the content of the file
   * @throws RefusedError when no rule fits the path
   */
  seal(path: string, secret: SealedSecret, values: SecretValues): Promise<string>;
  /**
   * Decrypts a file's content, and checks that nobody has changed it.
   * @throws NoKeyError without a key for it, RefusedError when it has been tampered with
   */
  open(path: string, text: string): Promise<SealedFile>;
  /** Whether the private key of a recipient is here: it opens what is sealed for that recipient now. */
  hasKeyOf(recipient: string): Promise<boolean>;
}

/**
 * @param program path of the sops program
 * @param root the repository's root, with `.sops.yaml`
 * @param env where sops finds a private key: SOPS_AGE_KEY_FILE and the like, or the user's own file
 */
export function connectSops(program: string, root: string, env: NodeJS.ProcessEnv): Sops {
  const limit = pLimit(PARALLEL);
  const options = { cwd: root, env: sopsEnvironment(env) };
  const sops = async (args: readonly string[], input: string) =>
    limit(async () => tryRun(program, ["--disable-version-check", ...args], { ...options, input }));
  return {
    async seal(path, secret, values) {
      const types = ["--input-type", "json", "--output-type", "yaml"];
      const result = await sops(
        ["encrypt", ...types, "--filename-override", path],
        formatPlain(secret, values),
      );
      if (result.exitCode === 0) return result.stdout;
      throw failure(path, result);
    },
    async open(path, text) {
      const types = ["--input-type", "yaml", "--output-type", "json"];
      const result = await sops(["decrypt", ...types, "--filename-override", path], text);
      if (result.exitCode === 0) return parseSealed(result.stdout, path);
      throw failure(path, result);
    },
    async hasKeyOf(recipient) {
      const types = ["--input-type", "json", "--output-type", "json", "--filename-override", "probe.json"];
      // No rule of .sops.yaml is for it.
      const withoutRules = ["--config", "/dev/null", "encrypt", "--age", recipient, ...types];
      const sealed = await sops(withoutRules, '{"probe":"any"}');
      return sealed.exitCode === 0 && (await sops(["decrypt", ...types], sealed.stdout)).exitCode === 0;
    },
  };
}

/**
 * The environment for sops: of its own variables only those that say where private keys are. Others, such as
 * SOPS_AGE_RECIPIENTS and SOPS_CONFIG, win over `.sops.yaml`: it would seal for somebody else and say nothing.
 */
export function sopsEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const isWanted = (name: string) =>
    !name.startsWith("SOPS_") || /^SOPS_AGE_(KEY|SSH_PRIVATE_KEY)(_|$)/.test(name);
  return Object.fromEntries(Object.entries(env).filter(([name]) => isWanted(name)));
}

/** One line for what sops says. Its output is not kept as the cause: it may hold a value. */
function failure(path: string, { stderr, exitCode }: RunResult): CommandError {
  if (/no matching creation rules found/.test(stderr))
    return new RefusedError(
      `${path}: no rule of .sops.yaml is for it`,
      "sealed files are overlays/<environment>/<app>/<secret>.sops.yaml",
    );
  if (
    /MAC mismatch|message authentication failed|Could not decrypt value|Error walking tree|hash does not match/i.test(
      stderr,
    )
  )
    return new RefusedError(
      `${path} has been changed since it was sealed`,
      "restore it from Git, or seal it again",
    );
  if (/sops metadata not found/.test(stderr))
    return new RefusedError(`${path} is not encrypted`, "seal it, and change every value that it shows");
  if (/Failed to get the data key|no identity matched|failed to load age identities/i.test(stderr))
    return new NoKeyError(
      `no private key here opens ${path}`,
      "point SOPS_AGE_KEY_FILE to one of its recipients' keys: `npm run keys` lists them",
    );
  if (/malformed recipient|unknown recipient type/.test(stderr))
    return new RefusedError(
      `.sops.yaml has a recipient for ${path} that is no public key of age`,
      "copy it again, all of it: `npm run keys` lists them",
    );
  const lines = stderr.trim().split("\n");
  return new ExternalError(`sops fails on ${path}: ${lines.at(-1) || `exit code ${exitCode}`}`);
}
