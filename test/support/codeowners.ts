/**
 * CODEOWNERS as GitHub reads it: patterns of .gitignore without `!`, `[ ]` and `\#`; the last line that fits decides.
 * Source: docs.github.com, "About code owners", syntax.
 */

/** The owners of a path; none where no line fits, or the last one names nobody. */
export function ownersOf(codeowners: string, path: string): string[] {
  const rules = codeowners
    .split("\n")
    .map((line) => line.replace(/(^|\s)#.*$/, "").trim())
    .filter((line) => line !== "")
    .map((line) => line.split(/\s+/));
  const [, ...owners] = rules.findLast(([pattern = ""]) => patternOf(pattern).test(path)) ?? [];
  return owners;
}

function patternOf(pattern: string): RegExp {
  const parts = pattern.replace(/^\//, "").replace(/\/$/, "").split("/");
  // With a slash before its end it is about the root, without one about every directory.
  const isAnchored = pattern.startsWith("/") || parts.length > 1;
  const body = parts.map((part, index) => {
    if (part === "**") return index === parts.length - 1 ? ".*" : "(?:.*/)?";
    const text = part
      .replaceAll(/[.+^${}()|[\]\\]/g, String.raw`\$&`)
      .replaceAll("*", "[^/]*")
      .replaceAll("?", "[^/]");
    return index === parts.length - 1 ? text : `${text}/`;
  });
  // `docs/` is what is in the directory, `docs/*` its own files only, and everything else a file or a directory.
  const isDirect = parts.length > 1 && parts.at(-1) === "*";
  const end = pattern.endsWith("/") ? "/.*" : isDirect ? "" : "(?:/.*)?";
  return new RegExp(`^${isAnchored ? "" : "(?:.*/)?"}${body.join("")}${end}$`);
}
