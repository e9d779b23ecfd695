/** How a person's value comes in: from a terminal without echo, or as bytes from a file or standard input. */
import { once } from "node:events";
import type { Readable } from "node:stream";
import type { ReadStream } from "node:tty";
import { stripVTControlCharacters } from "node:util";
import { RefusedError } from "../errors.ts";

/** Asks for one line, which is not shown. */
export type Ask = (question: string) => Promise<string>;

/**
 * Lets a terminal be asked without echo; afterwards it is as it was.
 * @param input the terminal; it cannot be read again afterwards
 * @param output where the questions go
 */
export async function withHiddenInput<T>(
  input: ReadStream,
  output: NodeJS.WritableStream,
  action: (ask: Ask) => Promise<T>,
): Promise<T> {
  input.setRawMode(true);
  const typed = characters(input);
  try {
    return await action(async (question) => {
      output.write(question);
      const line = await readLine(typed);
      output.write("\n");
      return line;
    });
  } finally {
    input.setRawMode(false);
    await typed.return(undefined);
  }
}

async function* characters(input: ReadStream): AsyncGenerator<string, undefined> {
  input.setEncoding("utf8");
  // What an arrow key sends, and what terminals put around something pasted, is no text.
  for await (const chunk of input) yield* stripVTControlCharacters(String(chunk));
  return undefined;
}

const ENTER = ["\r", "\n"];
const [INTERRUPT, END, BACKSPACE, DELETE, KILL] = ["\x03", "\x04", "\b", "\x7f", "\x15"] as const;

async function readLine(typed: AsyncGenerator<string, undefined>): Promise<string> {
  let line: string[] = [];
  for (;;) {
    const { value: key, done } = await typed.next();
    if (done === true || key === END)
      throw new RefusedError("the prompt was left without an answer", "run it again");
    if (ENTER.includes(key)) return line.join("");
    // Without echo the terminal makes no signal of it.
    if (key === INTERRUPT) process.kill(process.pid, "SIGINT");
    else if (key === BACKSPACE || key === DELETE) line = line.slice(0, -1);
    else if (key === KILL) line = [];
    else if (key === "\t" || !/\p{Cc}/u.test(key)) line.push(key);
  }
}

/**
 * Asks for a value twice.
 * @throws RefusedError when it is empty, or the second one differs
 */
export async function askTwice(ask: Ask, question: string): Promise<string> {
  const value = await ask(`${question}: `);
  if (value === "") return value;
  if ((await ask("  again: ")) === value) return value;
  throw new RefusedError(
    "the two differ, so nothing was sealed",
    "run it again; a value of several lines comes from --from-file or standard input",
  );
}

/**
 * Waits until somebody presses Enter on a terminal.
 * @param input the terminal; another program can read it afterwards
 * @returns false when the terminal's input has ended, as by Ctrl-D
 */
export async function waitForEnter(input: Readable): Promise<boolean> {
  const first = new AbortController();
  const line = once(input, "data", first).then(() => true);
  const end = once(input, "end", first).then(() => false);
  input.resume();
  try {
    return await Promise.race([line, end]);
  } finally {
    first.abort();
    input.pause();
  }
}

/**
 * Reads bytes as they are.
 * @param what they are, for messages
 * @param limit in bytes; not more than that is kept in memory
 * @throws RefusedError when there are none, or more
 */
export async function readBytes(input: Readable, what: string, limit: number): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of input) {
    chunks.push(Buffer.from(chunk));
    size += chunks.at(-1)?.length ?? 0;
    if (size > limit)
      throw new RefusedError(`${what} has more than the ${limit} bytes that a Secret holds`, "shorten it");
  }
  const bytes = Buffer.concat(chunks);
  if (size > 0 && !bytes.equals(Buffer.from("\n"))) return bytes;
  throw new RefusedError(
    `${what} is empty`,
    "did the program before it fail? A value that is to be empty is written with --edit",
  );
}

/** Whether a value is one line with a newline that a program has put behind it. */
export function hasStrayNewline(value: Uint8Array): boolean {
  return value.indexOf(0x0a) === value.length - 1 && value.length > 0;
}
