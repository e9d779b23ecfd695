/** How a person's value comes in: from a terminal without echo, or as bytes from a file or standard input. */
import { on, once } from "node:events";
import { constants, createReadStream, openSync } from "node:fs";
import { stat } from "node:fs/promises";
import { Socket } from "node:net";
import type { Readable } from "node:stream";
import type { ReadStream } from "node:tty";
import { RefusedError } from "../../errors.ts";

/** Asks for one line, which is not shown. */
export type Ask = (question: string) => Promise<string>;

/**
 * Opens what holds a value. A pipe is read without blocking: a read that waits for a writer could not be interrupted.
 * @throws an error with a code when it cannot be opened
 */
export async function openValue(file: string): Promise<Readable> {
  if (!(await stat(file)).isFIFO()) return createReadStream(file);
  return new Socket({ fd: openSync(file, constants.O_RDONLY | constants.O_NONBLOCK), readable: true });
}

const ESCAPE = "\x1b";
/** The pieces of a paste come with less than this between them. */
const QUIET_MS = 200;

/**
 * Lets a terminal be asked without echo; afterwards it is as it was, and nothing that came meanwhile is left for the shell.
 * @param input the terminal
 * @param output where the questions go
 * @param onInterrupt takes what puts the terminal right
 */
export async function withHiddenInput<T>(
  input: ReadStream,
  output: NodeJS.WriteStream,
  onInterrupt: (undo: () => Promise<unknown>) => void,
  action: (ask: Ask) => Promise<T>,
): Promise<T> {
  const leave = async () => {
    await drain(input);
    input.setRawMode(false);
    input.pause();
  };
  onInterrupt(leave);
  input.setRawMode(true);
  input.setEncoding("utf8");
  const typed = keysOf(on(input, "data", { close: ["end"] }));
  try {
    return await action(async (question) => {
      output.write(question);
      const value = await readValue(typed);
      output.write("\n");
      return value;
    });
  } finally {
    await typed.return(undefined);
    await leave();
  }
}

/** Reads until nothing comes: the shell would take the rest of several lines that were pasted. */
async function drain(input: ReadStream): Promise<void> {
  await new Promise<void>((resolve) => {
    const quiet = setTimeout(resolve, QUIET_MS);
    input.on("data", () => quiet.refresh());
  });
}

/** The sequence that an arrow key and the like sends is no text. */
const CONTROL = new RegExp(`${ESCAPE}(?:\\[[0-?]*[ -/]*[@-~]|O[@-~])`, "g");

async function* keysOf(chunks: AsyncIterable<unknown[]>): AsyncGenerator<string, undefined> {
  for await (const [chunk] of chunks) yield* String(chunk).replaceAll(CONTROL, "");
  return undefined;
}

const ENTER = ["\r", "\n"];
const [INTERRUPT, END, BACKSPACE, DELETE, KILL] = ["\x03", "\x04", "\b", "\x7f", "\x15"] as const;
const NO_TEXT = /(?![\t\n])\p{Cc}/gu;

async function readValue(typed: AsyncGenerator<string, undefined>): Promise<string> {
  let value = "";
  for (;;) {
    const { value: key = END } = await typed.next();
    if (key === END) throw new RefusedError("the prompt was left without an answer", "run it again");
    if (ENTER.includes(key)) return value;
    if (key === INTERRUPT) {
      // Without echo the terminal makes no signal of it. The input behind it is no answer.
      process.kill(process.pid, "SIGINT");
      await new Promise(() => {});
    } else if (key === BACKSPACE || key === DELETE) value = value.replace(/.$/su, "");
    else if (key === KILL) value = "";
    else value += key.replace(NO_TEXT, "");
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
    "did the program before it fail? A value that is to be empty: --empty KEY",
  );
}

/** Whether a value is one line with a newline that a program has put behind it. */
export function hasStrayNewline(value: Uint8Array): boolean {
  return value.indexOf(0x0a) === value.length - 1 && value.length > 0;
}
