import { describe, expect, it } from "vitest";
import { pinnedImage } from "../../../scripts/lib/tree/kustomize.ts";
import { SHA } from "../../support/tree.ts";

const images = (entry: string) => `resources:\n  - a\nimages:\n  - name: registry/shop/web\n    ${entry}\n`;

describe("the image a kustomization pins", () => {
  it("is its tag, and its digest where there is one", () => {
    expect(pinnedImage(images(`newTag: "${SHA}"`), "k.yaml", "registry/shop/web")).toEqual({
      name: "registry/shop/web",
      tag: SHA,
      digest: undefined,
    });
  });

  const digest = `sha256:${"a".repeat(64)}`;
  it.each([
    ["behind its tag", `newTag: "${SHA}@${digest}"`],
    ["in a field of its own", `newTag: "${SHA}"\n    digest: ${digest}`],
  ])("has its digest %s", (_, entry) => {
    const pin = { name: "registry/shop/web", tag: SHA, digest };
    expect(pinnedImage(images(entry), "k.yaml", "registry/shop/web")).toEqual(pin);
  });

  it("is refused with a digest in both places", () => {
    const twice = images(`newTag: "${SHA}@${digest}"\n    digest: ${digest}`);
    expect(() => pinnedImage(twice, "k.yaml", "registry/shop/web")).toThrow(
      "k.yaml pins registry/shop/web by two digests",
    );
  });

  it.each([
    ["short", '"0123456"'],
    ["upper-case", `"${SHA.toUpperCase()}"`],
    ["a moving tag", "latest"],
    ["with half a digest", `"${SHA}@sha256:abc"`],
    ["digits without quotes, which YAML takes for a number", "0123456789012345678901234567890123456789"],
  ])("is refused when its tag is %s", (_, tag) => {
    const read = () => pinnedImage(images(`newTag: ${tag}`), "k.yaml", "registry/shop/web");
    expect(read).toThrow(/^k\.yaml:5: images\.0\.newTag: /);
  });

  it("is missed when there is none", () => {
    expect(() => pinnedImage("resources:\n  - a\n", "k.yaml", "registry/shop/web")).toThrow(
      "k.yaml pins no image registry/shop/web",
    );
  });
});
