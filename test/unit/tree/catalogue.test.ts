import { describe, expect, it } from "vitest";
import { readCatalogue } from "../../../scripts/lib/tree/catalogue.ts";
import { smallTree, temporary, write } from "../../support/tree.ts";

describe("the catalogue", () => {
  it("is read in the order of the names", async () => {
    const root = await temporary();
    await write(root, smallTree());
    expect(await readCatalogue(root)).toEqual([
      { app: "disk", namespace: "shop", kind: "store", owners: ["data"], secrets: [] },
      {
        app: "web",
        namespace: "shop",
        kind: "service",
        image: "shop/web",
        source: "shop/web",
        owners: ["web"],
        secrets: [],
      },
    ]);
  });

  it("has an app before those whose names begin with its own", async () => {
    const root = await temporary();
    const store = (app: string) => `app: ${app}\nnamespace: a1\nkind: store\nowners: [x1]\n`;
    await write(root, { "apps/web-cache.yaml": store("web-cache"), "apps/web.yaml": store("web") });
    expect((await readCatalogue(root)).map(({ app }) => app)).toEqual(["web", "web-cache"]);
  });

  it.each([
    [
      "a field that nobody knows",
      "app: web\nnamespace: a1\nkind: store\nowners: [x1]\nowner: me\n",
      /^apps\/web\.yaml:1: .*owner/,
    ],
    [
      "a kind that is none",
      "app: web\nnamespace: a1\nkind: thing\nowners: [x1]\n",
      /^apps\/web\.yaml:3: kind: /,
    ],
    [
      "a service without an image",
      "app: web\nnamespace: a1\nkind: service\nowners: [x1]\nsource: a/b\n",
      /^apps\/web\.yaml:1: image: /,
    ],
    ["a store with an image", "app: web\nnamespace: a1\nkind: store\nowners: [x1]\nimage: a/b\n", /image/],
    [
      "nobody who owns it",
      "app: web\nnamespace: a1\nkind: store\nowners: []\n",
      /^apps\/web\.yaml:4: owners: /,
    ],
    [
      "an image with a tag",
      "app: web\nkind: service\nnamespace: a1\nimage: a/b:1\nsource: a/b\nowners: [x1]\n",
      /:4: image: not an image path/,
    ],
    [
      "a key of a Secret that comes from nowhere",
      "app: web\nnamespace: a1\nkind: store\nowners: [x1]\nsecrets:\n  - name: s\n    keys:\n      k: {}\n",
      /^apps\/web\.yaml:\d: secrets\.0: not a Secret with its keys/,
    ],
    [
      "a Secret with keys that is the same as another one",
      "app: web\nnamespace: a1\nkind: store\nowners: [x1]\nsecrets:\n  - name: s\n    sameAs: a/b\n    keys:\n      k: { fixed: x }\n",
      /^apps\/web\.yaml:\d: secrets\.0: not a Secret with its keys/,
    ],
    ["broken YAML", "app: web\n  kind: [\n", /^apps\/web\.yaml:\d+: /],
    [
      "another app's name",
      "app: other\nnamespace: a1\nkind: store\nowners: [x1]\n",
      /^apps\/web\.yaml is about other$/,
    ],
  ])("refuses %s, with file and line", async (_, text, message) => {
    const root = await temporary();
    await write(root, { "apps/web.yaml": text });
    await expect(readCatalogue(root)).rejects.toThrow(message);
  });
});
