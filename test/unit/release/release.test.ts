import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatRelease, parseRelease, type Release } from "../../../scripts/lib/release/release.ts";
import { SHA } from "../../support/tree.ts";

const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/);
const hex = (length: number) => fc.stringMatching(new RegExp(`^[0-9a-f]{${length}}$`));
const release: fc.Arbitrary<Release> = fc.record({
  app: name,
  image: fc.option(
    fc
      .tuple(name, hex(40), fc.option(hex(64)))
      .map(([path, tag, digest]) => `shop/${path}:${tag}${digest ? `@sha256:${digest}` : ""}`),
    { nil: undefined },
  ),
  from: name,
  commit: hex(40),
  body: fc.string({ unit: "binary" }),
});

const whole: Release = {
  app: "web",
  image: `shop/web:${SHA}`,
  from: "dev",
  commit: SHA,
  body: "kind: Pod\n",
};

describe("a release file", () => {
  it("is read as it was written, whatever its content", () => {
    fc.assert(
      fc.property(release, (any) => {
        expect(parseRelease(formatRelease(any), "r.yaml")).toEqual(any);
      }),
    );
  });

  it("is written as it was read", () => {
    const text = formatRelease(whole);
    expect(formatRelease(parseRelease(text, "r.yaml"))).toBe(text);
  });

  it("says in its head what it is", () => {
    expect(formatRelease(whole)).toBe(
      [
        "# A release: written by `npm run promote`, never by hand.",
        "# app: web",
        `# image: shop/web:${SHA}`,
        "# from: dev",
        `# commit: ${SHA}`,
        "# digest: sha256:af0e5d10555f1d22187ec68b0d9945d404e48ef4fd0ab333f0d6e7cd4c0db89b",
        "kind: Pod",
        "",
      ].join("\n"),
    );
  });

  it.each([
    [
      "an edit of its content",
      (text: string) => text.replace("Pod", "Job"),
      "r.yaml:6: the content is not the one this digest names",
    ],
    ["another title", (text: string) => `\n${text}`, "r.yaml:1: not the head of a release"],
    [
      "a missing line",
      (text: string) => text.replace(/# from: .*\n/, ""),
      'r.yaml:4: not a line "# from: …"',
    ],
    [
      "a short commit",
      (text: string) => text.replace(/(# commit: .{7}).*/, "$1"),
      'r.yaml:5: not a line "# commit: …"',
    ],
    [
      "line ends of another system",
      (text: string) => text.replaceAll("\n", "\r\n"),
      "r.yaml:1: not the head of a release",
    ],
    ["nothing at all", () => "", "r.yaml:1: not the head of a release"],
  ])("is refused with %s", (_, change, message) => {
    expect(() => parseRelease(change(formatRelease(whole)), "r.yaml")).toThrow(message);
  });
});
