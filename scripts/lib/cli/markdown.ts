/** Markdown as forges show it. */

/** Characters of a pull request's body: GitHub takes 65,536; Gitea more. */
const LONGEST_BODY = 60_000;

/**
 * The body of a pull request, no longer than a forge takes it.
 * @param whole where all of the change is shown; undefined: a command shows it
 */
export function cutBody(body: string, whole: string | undefined): string {
  if (body.length <= LONGEST_BODY) return body;
  const rest = whole === undefined ? "`npm run diff` shows the whole change" : `[the whole change](${whole})`;
  return `${body.slice(0, body.lastIndexOf("\n", LONGEST_BODY))}\n\n… and more: ${rest}\n`;
}

/** What reorders, hides or ends a line, and halves of characters. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
/** What forges look for in any text, each to be cut in two behind its first character; the digest of an image stays whole. */
const JOINTS = [
  // A mention, or a commit of another repository.
  /@(?!sha256:)|(?<!\w)@/,
  // An issue, a pull request; what follows "fixes" and the like. GH-1 is the first one's other name.
  /[#!](?=\d)|(?<=[A-Za-z])-(?=\d)/,
  // The address of any of them.
  /:(?=\/)/,
  // An order to leave the checks out.
  /\[(?=\s*(?:skip|no|ci|actions?)\b)/,
];
const JOINT = new RegExp(JOINTS.map(({ source }) => source).join("|"), "gi");

/**
 * Text that others have written, as code: a forge finds no markup, mention or reference in it. Zero-width spaces are for the
 * message of a merge: a forge may copy the text there, and backticks mean nothing there.
 */
export function inert(text: string): string {
  return code(text.replaceAll(INVISIBLE, visible).replaceAll(JOINT, "$&\u200B"));
}

/** A row of a table; a cell cannot hold the character that ends it. */
export function tableRow(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll("|", "¦")).join(" | ")} |`;
}

/** A table. @param rows a cell for each heading */
export function markdownTable(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  return [headings, headings.map(() => "---"), ...rows].map(tableRow).join("\n");
}

function visible(char: string): string {
  return `\\u{${char.codePointAt(0)?.toString(16)}}`;
}

/** A code span: between more backticks than the text has in a row. */
function code(text: string): string {
  const longest = Math.max(0, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = "`".repeat(longest + 1);
  const pad = text === "" || /^`|`$|^ .*[^ ].* $/.test(text) ? " " : "";
  return `${fence}${pad}${text}${pad}${fence}`;
}
