import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { plaintextFindings } from "../../../scripts/lib/plaintext/plaintext.ts";

/** Files of a corpus: after a first line, each is `=== <path>` and its text. */
async function corpus(name: string): Promise<{ path: string; text: string }[]> {
  const all = await readFile(new URL(`corpus/${name}.txt`, import.meta.url), "utf8");
  return all
    .split(/^=== /m)
    .slice(1)
    .map((part) => {
      const end = part.indexOf("\n");
      return { path: part.slice(0, end), text: part.slice(end + 1) };
    });
}

const [bad, good] = [await corpus("bad"), await corpus("good")];

it("the corpus is worth its name", () => {
  expect(bad.length).toBeGreaterThanOrEqual(25);
  expect(good.length).toBeGreaterThanOrEqual(25);
});

describe("is found", () => {
  it.each(bad)("in $path", ({ path, text }) => {
    const found = plaintextFindings(path, text);
    expect(found).not.toEqual([]);
    // Never the value itself.
    expect(JSON.stringify(found)).not.toMatch(/correct-horse|Y29ycmVj|kX9v|KEY-1QQ|MIGHAg/);
  });

  it.each(bad)("in $path with the line ends of Windows", ({ path, text }) => {
    expect(plaintextFindings(path, text.replaceAll("\n", "\r\n"))).not.toEqual([]);
  });
});

describe.each([
  ["with a mark", (text: string) => `\ufeff${text}`],
  ["without one", (text: string) => text],
])("in UTF-16 %s", (_, mark) => {
  it.each([
    ["the lower byte first", (bytes: Buffer) => bytes],
    ["the higher byte first", (bytes: Buffer) => bytes.swap16()],
  ])("and %s, all of it is found", (__, order) => {
    for (const { path, text } of bad) {
      const bytes = order(Buffer.from(mark(text), "utf16le"));
      // As files and blobs are read.
      expect(plaintextFindings(path, bytes.toString("utf8")), path).not.toEqual([]);
    }
  });
});

it.each(good)("nothing is found in $path", ({ path, text }) => {
  expect(plaintextFindings(path, text)).toEqual([]);
});

it("the line is the value's", () => {
  const text = "kind: Secret\nmetadata:\n  name: db\nstringData:\n  user: ''\n  password: hunter2\n";
  expect(plaintextFindings("a.yaml", text)).toMatchObject([
    { path: "a.yaml", line: 6, what: "a Secret with the value of password in clear" },
  ]);
});

it.each([
  [
    "a patch inside of a kustomization",
    "operations/kustomization.yaml",
    [8, "a patch with the value of password in clear"],
  ],
  [
    "a patch on one line",
    "operations-data/kustomization.yaml",
    [3, "a patch with the value of password in clear"],
  ],
  ["a patch of its own", "db-bytes.patch.json", [1, "a patch with the value of key in clear"]],
  [
    "a key that a patch has to escape",
    "operations-6902/kustomization.yaml",
    [4, "a patch with the value of pass/word in clear"],
  ],
  ["a map that is merged", "merged.yaml", [2, "a Secret with the value of password in clear"]],
  ["a fence", "docs/flow.md", [7, "a Secret with the value of password in clear"]],
  ["a here-document", "apply-json.sh", [2, "a Secret with the value of password in clear"]],
  ["JSON of several lines", "secret-json.md", [6, "a Secret with the value of password in clear"]],
])("the line is the value's in %s", (_, name, [line, what]) => {
  const { path = "", text = "" } = bad.find((file) => file.path.endsWith(name)) ?? {};
  expect(plaintextFindings(path, text)).toMatchObject([{ line, what }]);
});

it("a reason is asked for", () => {
  const text = (mark: string) =>
    `kind: Secret\nstringData:\n  password: hunter2 # gitops:not-a-secret${mark}\n`;
  expect(plaintextFindings("a.yaml", text(""))).toHaveLength(1);
  expect(plaintextFindings("a.yaml", text(" the demo's"))).toEqual([]);
});
