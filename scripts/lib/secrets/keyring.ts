/** A text with several private keys: one of them can be taken out of it. */
import { RefusedError } from "../errors.ts";
import { tryRun } from "../exec.ts";

export interface Keyring {
  /** Holds private keys. */
  text: string;
  /** Their public keys, in the order of the text. */
  recipients: readonly string[];
}

/**
 * Has age-keygen itself say whose the keys of a text are; a comment beside one may be wrong.
 * @param ageKeygen path of the age-keygen program
 * @param where the text is, for messages
 * @throws RefusedError when there is something in it that age-keygen does not know; it is not quoted
 */
export async function readKeyring(ageKeygen: string, text: string, where: string): Promise<Keyring> {
  const identities = text.split("\n").filter(isIdentity);
  if (identities.length === 0) return { text, recipients: [] };
  const { exitCode, stdout } = await tryRun(ageKeygen, ["-y"], { input: `${identities.join("\n")}\n` });
  const recipients = stdout.split("\n").filter((line) => line.startsWith("age1"));
  if (exitCode === 0 && recipients.length === identities.length) return { text, recipients };
  throw new RefusedError(
    `${where} holds something whose public key age-keygen cannot tell`,
    "move it elsewhere by hand; a plugin's key is such a thing",
  );
}

/** The text without some keys, and without what age-keygen has written above them; everything else stays as it is. */
export function withoutKeys({ text, recipients }: Keyring, gone: readonly string[]): string {
  const left: string[] = [];
  const rest = [...recipients];
  for (const line of text.split("\n")) {
    if (isIdentity(line) && gone.includes(rest.shift() ?? "")) {
      while (/^# (created|public key): /.test(left.at(-1) ?? "")) left.pop();
    } else {
      left.push(line);
    }
  }
  return left.join("\n");
}

/** Whatever is no comment: what is no key is found when age-keygen reads it. */
function isIdentity(line: string): boolean {
  return !/^\s*(#|$)/.test(line);
}
