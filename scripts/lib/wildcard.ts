/** Patterns with `*` and `?`. */

/**
 * A pattern as an expression for the whole of a text.
 * @param star what `*` stands for; `?` is one character
 */
export function wildcard(pattern: string, star: ".*" | "[^/]*"): RegExp {
  const source = pattern.replaceAll(/[^\w*?]/g, String.raw`\$&`).replaceAll("?", ".");
  return new RegExp(`^${source.replaceAll("*", star)}$`, "s");
}
