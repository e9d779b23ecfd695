/** How a demo looks: on a terminal with colours and a line that moves while it waits, in a log as plain lines. */
import { styleText } from "node:util";

/** What text is written to, such as `process.stdout`. */
export interface Screen {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

export interface Narrator {
  /** A step begins. */
  step(number: number, of: number, title: string, sentence: string): void;
  /** What somebody types. */
  command(line: string): void;
  /** A line that a command prints. */
  output(line: string, stream: "stdout" | "stderr"): void;
  /** Something is done. */
  done(line: string): void;
  /** What is waited for, and how it is; the same place until something else is written. Not in a log. */
  waiting(line: string): void;
  /** Where no line moves, one now and then says that it is still waited. */
  still(line: string): void;
  /** An empty line. */
  space(): void;
  /** Plain text, wrapped. */
  text(paragraph: string): void;
  /** Ends a line that moves, so that somebody else can write. */
  rest(): void;
}

const INDENT = "   ";
const WIDEST = 100;
const FRAMES = ["⠋", "⠙", "⠸", "⠴", "⠦", "⠇"];

/**
 * @param screen where it is written
 * @param hasColours whether it may be coloured
 */
export function narrate(screen: Screen, hasColours: boolean): Narrator {
  const moves = screen.isTTY === true;
  const style: typeof styleText = (format, text) =>
    hasColours ? styleText(format, text, { validateStream: false }) : text;
  let frame = 0;
  let isMoving = false;

  const clear = () => {
    if (isMoving) screen.write("\r\u001B[K");
    isMoving = false;
  };
  const line = (text: string) => {
    clear();
    screen.write(`${text}\n`);
  };
  // A terminal that does not know its width says 0.
  const columns = () => screen.columns || WIDEST;
  const width = () => Math.min(columns(), WIDEST);

  return {
    step(number, of, title, sentence) {
      line("");
      line(style(["bold", "cyan"], `${String(number).padStart(2)}/${of}  ${title}`));
      for (const part of wrap(sentence, width() - INDENT.length)) line(`${INDENT}${part}`);
    },
    command(typed) {
      line("");
      line(`${INDENT}${style("bold", `$ ${typed}`)}`);
    },
    output(text, stream) {
      const [, margin = "", words = ""] = /^(\s*)(.*)$/.exec(text) ?? [];
      // A terminal would go on at its edge, and in the middle of a word. Who reads a log may choose.
      const room = moves ? columns() - INDENT.length - margin.length : Number.POSITIVE_INFINITY;
      for (const part of wrap(words, room)) {
        line(part === "" ? "" : `${INDENT}${margin}${style(stream === "stderr" ? "yellow" : "dim", part)}`);
      }
    },
    done(text) {
      line(`${INDENT}${style("green", "✔")} ${text}`);
    },
    waiting(text) {
      if (!moves) return;
      frame = (frame + 1) % FRAMES.length;
      // A line that is broken by the terminal could not be taken back.
      const shown = `${INDENT}${FRAMES[frame]} ${text}`.slice(0, columns() - 1);
      screen.write(`\r\u001B[K${shown}`);
      isMoving = true;
    },
    still(text) {
      if (!moves) line(`${INDENT}${text}`);
    },
    space: () => line(""),
    text(paragraph) {
      for (const part of wrap(paragraph, width())) line(part);
    },
    rest: clear,
  };
}

/** Breaks a text between words into lines of at most `width` characters; a longer word has its own line. */
export function wrap(text: string, width: number): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const last = lines.at(-1) ?? "";
    const longer = last === "" ? word : `${last} ${word}`;
    if (last === "" || longer.length <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}
