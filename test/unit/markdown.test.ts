/** What others have written does nothing on a forge, neither in a pull request nor in the message of its merge. */
import { assert, constantFrom, oneof, property, string } from "fast-check";
import { describe, expect, it } from "vitest";
import { inert, tableRow } from "../../scripts/lib/cli/markdown.ts";

/** What forges look for in a text that is no Markdown: GitHub's documentation, and modules/references of Gitea. */
const FOUND = [
  /(?:^|\W)@[-\w]/,
  /@[0-9a-f]{7}/i,
  /[#!]\d/,
  /\bGH-\d/i,
  /\b[A-Z]{1,10}-\d/,
  /:\/\//,
  /\[(?:skip|no|ci|actions?)\b/i,
];

/** The text that a span of code holds, as CommonMark reads it; undefined when the text is anything else than one span. */
function codeIn(markdown: string): string | undefined {
  const [, fence = "", inner = ""] = /^(`+)(.+)\1$/.exec(markdown) ?? [];
  const isWhole =
    /^[^`]/.test(inner) && /[^`]$/.test(inner) && [...inner.matchAll(/`+/g)].every(([run]) => run !== fence);
  const isPadded = /^ .*[^ ].* $/.test(inner);
  return isWhole ? inner.slice(isPadded ? 1 : 0, isPadded ? -1 : undefined) : undefined;
}

/** The inverse of `inert`. */
function original(markdown: string): string | undefined {
  return codeIn(markdown)
    ?.replaceAll("\u200B", "")
    .replaceAll(/\\u\{([0-9a-f]+)\}/g, (_, hex: string) => String.fromCodePoint(Number.parseInt(hex, 16)));
}

describe("text that others have written", () => {
  it.each<[string, string]>([
    ["a mention of a person", "Thanks @ada"],
    ["a mention of a team", "cc @shop/web, (@shop/all)"],
    ["an order to a bot", "@dependabot merge"],
    ["a word that closes", "Fixes #1, closes shop/web#2 and resolves: #3"],
    ["a word that closes, with an address", "Closes https://forge.shop.test/shop/gitops/issues/1"],
    ["a pull request of Gitea", "See !1 and shop/web!2"],
    ["an issue by its other name", "fixes GH-1, resolves SHOP-12"],
    ["a commit of another repository", "as in shop/web@4b1f0c2"],
    ["an order to leave the checks out", "[skip ci] [CI skip] [no ci] [ skip actions] [actions skip]"],
    ["HTML", "<img src=x onerror=1> <details><summary>x</summary> <!-- "],
    ["links and images", "[x](https://a.test) ![x](//a.test/x.png) <https://a.test> www.a.test"],
    ["a table", "a | b |\n|---|---|"],
    ["fences", "``` ```` ` a"],
    ["a fence of its own", "`@ada`"],
    ["headings, quotes, tasks", "# x\n> y\n- [ ] z\n1. a\n===\n---"],
    ["formulas, emoji, strokes", "$\\sqrt{@ada}$ $`x`$ :tada: ~~x~~ **y** _z_ \\"],
    ["a title that ends", '[x]: https://a.test "x'],
    ["lines", "one\r\n\r\n@ada\u2028#1\u2029!2\u0085#3\v#4"],
    [
      "characters that reorder or hide",
      "\u202E#1 \u2066x\u2069 @\u200Bada @\u00ADada \u{E0041} \uFEFF\u0000\u001B[2J",
    ],
    ["half a character", "\uD83D#1 \uDE00"],
    ["blanks", "   "],
  ])("is one span of code, and no more: %s", (_, text) => {
    expect(original(inert(text))).toBe(text);
    expect(FOUND.filter((pattern) => pattern.test(inert(text)))).toEqual([]);
  });

  it("is so whatever it is", () => {
    const nasty = constantFrom(...Array.from("@#!-:/[]`|<> \n\\aG1"), "skip ci", "GH", "https:", "sha256:");
    const text = oneof(string({ unit: nasty, minLength: 1 }), string({ unit: "binary", minLength: 1 }));
    assert(
      property(text, (given) => {
        const markdown = inert(given);
        expect(markdown).not.toMatch(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]|(?!\u200B)\p{Cf}/u);
        expect(FOUND.filter((pattern) => pattern.test(markdown))).toEqual([]);
        expect(original(markdown)).toBe(given);
      }),
    );
  });

  it("keeps what a person copies: names, dates, the digest of an image", () => {
    const text = `web on staging since 2026-11-20 12:00 has registry.shop.test/shop/web@sha256:${"a".repeat(64)}`;
    expect(inert(text)).toBe(`\`${text}\``);
  });

  it("cannot end a cell of a table", () => {
    expect(tableRow(["a", inert("b | c")])).toBe("| a | `b ¦ c` |");
  });
});
