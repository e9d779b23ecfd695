/** Patterns for names, as Argo CD reads them (github.com/gobwas/glob without separators). */

/**
 * Makes a regular expression of a pattern: `*` any characters, `?` one, `[a-c]`, `[abc]` and `[!abc]` one of a class,
 * `{a,b}` alternatives, `\` takes the next character as it is.
 * @returns undefined for a pattern that Argo CD cannot read, and therefore lets match nothing
 */
export function nameGlob(pattern: string): RegExp | undefined {
  let source = "";
  let depth = 0;
  for (let index = 0; index < pattern.length; index += 1) {
    const char = pattern.charAt(index);
    if (char === "\\") {
      index += 1;
      if (index === pattern.length) return undefined;
      source += literal(pattern.charAt(index));
    } else if (char === "[") {
      const read = readClass(pattern.slice(index));
      if (read === undefined) return undefined;
      source += read.source;
      index += read.length - 1;
    } else if (char === "*") source += "[^]*";
    else if (char === "?") source += "[^]";
    else if (char === "{") {
      depth += 1;
      source += "(?:";
    } else if (char === "}" && depth > 0) {
      depth -= 1;
      source += ")";
    } else if (char === "," && depth > 0) source += "|";
    else source += literal(char);
  }
  return depth === 0 ? new RegExp(`^${source}$`) : undefined;
}

function literal(char: string): string {
  return /\w/.test(char) ? char : `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** A class at the start of a text: a range `[a-c]`, or a list in which a dash is a dash. */
function readClass(text: string): { source: string; length: number } | undefined {
  const [start, not] = /^\[(!?)/.exec(text) ?? [""];
  const rest = text.slice(start.length);
  const open = not === "" ? "[" : "[^";
  if (rest.charAt(1) === "-") {
    const [range, low = "", high = ""] = /^([^])-([^])\]/.exec(rest) ?? [];
    if (range === undefined || low > high) return undefined;
    return { source: `${open}${literal(low)}-${literal(high)}]`, length: start.length + range.length };
  }
  const [list, characters = ""] = /^((?:[^\]\\]|\\[^])+)\]/.exec(rest) ?? [];
  if (list === undefined) return undefined;
  const items = characters
    .replaceAll(/\\([^])/g, "$1")
    .split("")
    .map(literal);
  return { source: `${open}${items.join("")}]`, length: start.length + list.length };
}
