import {
  type Arbitrary,
  array,
  assert,
  boolean,
  constantFrom,
  integer,
  nat,
  oneof,
  option,
  pre,
  property,
  record,
  string,
  tuple,
} from "fast-check";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { withImage } from "../../../scripts/lib/tree/kustomization.ts";
import { SHA } from "../../support/tree.ts";

const NEW = "89abcdef0123456789abcdef0123456789abcdef";
const NAME = "registry/shop/web";
const DIGEST = `sha256:${"a".repeat(64)}`;

function kustomization(entry: string): string {
  return `resources:\n  - a # first\nimages:\n  - name: registry/shop/other\n    newTag: "1"\n  ${entry}\n`;
}

describe("pinning an image", () => {
  const hexDigits = Array.from("0123456789abcdef");
  const hex = string({ unit: constantFrom(...hexDigits), minLength: 40, maxLength: 40 });
  const digests = string({ unit: constantFrom(...hexDigits), minLength: 64, maxLength: 64 }).map(
    (digits) => `sha256:${digits}`,
  );
  const oldTag = oneof(
    hex,
    tuple(hex, digests).map(([tag, digest]) => `${tag}@${digest}`),
    constantFrom("latest", "v1.2", "0123", "1e10", "1234567e5", "~", "true"),
  );
  const wanted = record({ tag: hex, digest: option(digests, { nil: undefined }) });
  const words = string({ unit: "grapheme", maxLength: 300 }).filter(
    (text) => !/[\r\n\uFFFD\uFEFF]/.test(text),
  );
  const noise = array(
    oneof(
      words.map((text) => `# ${text}`),
      constantFrom("", "   ", "#", "  # indented, with 'quotes' and \"more\": {[ &a *b"),
    ),
    { maxLength: 3 },
  );
  const quote = constantFrom("", '"', "'");
  const entry = record({
    style: constantFrom("name first", "tag first", "flow", "apart"),
    quote,
    tag: oldTag,
    comment: option(words),
    gap: constantFrom(" ", "   ", " &anchor "),
    between: noise,
  });
  const file = record({
    eol: constantFrom("\n", "\r\n"),
    mark: constantFrom("", "\uFEFF", "---\n"),
    isLast: boolean(),
    indent: constantFrom("", "  ", "    "),
    endsInLine: boolean(),
    head: noise,
    tail: noise,
    others: array(entry, { maxLength: 3 }),
    at: nat({ max: 3 }),
    target: entry,
    long: integer({ min: 1, max: 2000 }),
  });

  /** The lines of an entry, and which of them has the tag. */
  function linesOf(name: string, indent: string, { style, quote: q, tag, comment, gap, between }: Entry) {
    const own = gap.includes("&") ? ` &t-${name.replaceAll("/", "-")} ` : gap;
    const value = `newTag:${own}${q}${tag}${q}`;
    const end = comment === null ? "" : ` # ${comment}`;
    if (style === "flow") return [`${indent}- { name: ${name}, ${value} }${end}`];
    if (style === "tag first") return [`${indent}- ${value}${end}`, ...between, `${indent}  name: "${name}"`];
    if (style === "apart") return [`${indent}-`, `${indent}    name: ${name}`, `${indent}    ${value}${end}`];
    return [`${indent}- name: '${name}'  # its name`, ...between, `${indent}  ${value}${end}`];
  }
  type Entry = (typeof entry extends Arbitrary<infer T> ? T : never) & object;
  type File = (typeof file extends Arbitrary<infer T> ? T : never) & object;

  function textOf({
    eol,
    mark,
    isLast,
    indent,
    endsInLine,
    head,
    tail,
    others,
    at,
    target,
    long,
  }: File): string {
    const entries = others.map((other, index) => linesOf(`registry/shop/other-${index}`, indent, other));
    entries.splice(at, 0, linesOf(NAME, indent, target));
    const images = ["images:", ...entries.flat()];
    const rest = [
      "resources:",
      `  - &base "../${"x".repeat(long)}"`,
      "  - *base",
      "patches: [{patch: '- op: remove', target: {kind: A}}]",
      "commonAnnotations:",
      "  text: |",
      "    - name: registry/shop/web",
      `      newTag: "${SHA}"`,
    ];
    const lines = [...head, ...(isLast ? [...rest, ...images] : [...images, ...rest]), ...tail];
    return mark + lines.join(eol) + (endsInLine ? eol : "");
  }

  it("changes the tag's line and no other byte, whatever the file looks like", () => {
    assert(
      property(file, wanted, (shape, image) => {
        pre(shape.target.tag.split("@")[0] !== image.tag);
        const tag = image.digest === undefined ? image.tag : `${image.tag}@${image.digest}`;
        const text = textOf(shape);
        const { text: result, changes, before } = withImage(text, "k.yaml", NAME, image);
        const [change] = changes;
        const lines = text.split("\n");
        const old = `${shape.target.quote}${shape.target.tag}${shape.target.quote}`;
        const quoted = shape.target.quote === "'" ? `'${tag}'` : `"${tag}"`;
        expect(changes).toHaveLength(1);
        expect(before).toBe(shape.target.tag);
        const line = (change?.line ?? 0) - 1;
        const start = lines[line]?.indexOf(old, lines[line].indexOf("newTag:")) ?? -1;
        expect(start).toBeGreaterThan(0);
        lines[line] = `${lines[line]?.slice(0, start)}${quoted}${lines[line]?.slice(start + old.length)}`;
        expect(result).toBe(lines.join("\n"));
        // A second time there is nothing left to do.
        expect(withImage(result, "k.yaml", NAME, image)).toMatchObject({ text: result, changes: [] });
        // And back: what was quoted comes back byte for byte.
        const back = withImage(result, "k.yaml", NAME, { tag: before }).text;
        expect(back).toBe(shape.target.quote === "" ? back : text);
      }),
      { numRuns: 200 },
    );
  });

  it("is understood by a YAML reader as that and nothing else", () => {
    assert(
      property(file, wanted, (shape, image) => {
        pre(shape.target.tag.split("@")[0] !== image.tag);
        const tag = image.digest === undefined ? image.tag : `${image.tag}@${image.digest}`;
        const text = textOf(shape);
        const expected = parse(text);
        expected.images.find(({ name }: { name: string }) => name === NAME).newTag = tag;
        expect(parse(withImage(text, "k.yaml", NAME, image).text)).toEqual(expected);
      }),
    );
  });

  it("quotes what YAML would take for a number", () => {
    const digits = "1".repeat(40);
    const text = kustomization(`- name: ${NAME}\n    newTag: ${digits}`);
    const edit = withImage(text, "k.yaml", NAME, { tag: digits });
    expect(edit.text).toBe(text.replace(digits, `"${digits}"`));
    expect(edit.before).toBe(digits);
  });

  it("changes the digest, too, where the entry has one", () => {
    const text = kustomization(`- name: ${NAME}\n    newTag: "${SHA}"\n    digest: sha256:old # why`);
    const edit = withImage(text, "k.yaml", NAME, { tag: NEW, digest: DIGEST });
    expect(edit.text).toBe(text.replace(SHA, NEW).replace("sha256:old", `"${DIGEST}"`));
    expect(edit.changes.map(({ line }) => line)).toEqual([7, 8]);
  });

  it.each([
    ["adds a digest to the tag that is there", SHA, { tag: SHA, digest: DIGEST }, `${SHA}@${DIGEST}`],
    ["replaces the digest of the tag", `${SHA}@sha256:1`, { tag: SHA, digest: DIGEST }, `${SHA}@${DIGEST}`],
    ["takes the digest of another tag away", `${SHA}@${DIGEST}`, { tag: NEW }, NEW],
    ["keeps the digest of the same tag", `${SHA}@${DIGEST}`, { tag: SHA }, `${SHA}@${DIGEST}`],
  ])("%s", (_, is, image, becomes) => {
    const text = kustomization(`- name: ${NAME}\n    newTag: "${is}"`);
    const edit = withImage(text, "k.yaml", NAME, image);
    expect(edit.text).toBe(text.replace(is, becomes));
    expect(edit.changes).toHaveLength(is === becomes ? 0 : 1);
  });

  const pinned = `- name: ${NAME}\n    newTag: "${SHA}"`;
  it.each([
    [
      "a conflict",
      `a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> x\n`,
      /^k\.yaml:2: the marker of a merge/,
    ],
    ["the rest of a conflict", `${kustomization(pinned)}=======\r\n`, /^k\.yaml:8: the marker of a merge/],
    ["broken YAML", "images: [\n", /^k\.yaml:\d: /],
    [
      "a key that is there twice",
      `${kustomization(pinned)}images: []\n`,
      /^k\.yaml:8: Map keys must be unique/,
    ],
    ["bad indentation", `${kustomization(pinned)}   - x\n`, /^k\.yaml:8: /],
    ["two documents", `a: 1\n---\nb: 1\n`, /^k\.yaml has 2 YAML documents$/],
    ["nothing", "", /^k\.yaml has 0 YAML documents$/],
    ["a list", "- a\n", /^k\.yaml pins no image registry\/shop\/web$/],
    ["no images", "resources:\n  - a\n", /^k\.yaml pins no image registry\/shop\/web$/],
    [
      "another image",
      kustomization("- name: registry/shop/webs"),
      /^k\.yaml pins no image registry\/shop\/web$/,
    ],
    [
      "two entries",
      kustomization(`${pinned}\n  ${pinned}`),
      /^k\.yaml:8: registry\/shop\/web is pinned a second time, first in line 6$/,
    ],
    ["no tag", kustomization(`- name: ${NAME}`), /^k\.yaml:6: the image registry\/shop\/web has no newTag$/],
    [
      "an empty tag",
      kustomization(`- name: ${NAME}\n    newTag:`),
      /^k\.yaml:\d: newTag is not a value on its line$/,
    ],
    [
      "a tag of two lines",
      kustomization(`- name: ${NAME}\n    newTag: "a\n      b"`),
      /^k\.yaml:7: newTag is not a/,
    ],
    [
      "a block",
      kustomization(`- name: ${NAME}\n    newTag: >-\n      a`),
      /^k\.yaml:7: newTag is not a value/,
    ],
    [
      "an alias",
      kustomization(`- &o {name: o, newTag: &t "1"}\n  - name: ${NAME}\n    newTag: *t`),
      /^k\.yaml:\d: newTag is not a value/,
    ],
    [
      "an anchor that others use",
      kustomization(`- name: ${NAME}\n    newTag: &t "1"\n  - {name: o, newTag: *t}`),
      /^k\.yaml:7: something else in the file depends on this value$/,
    ],
    [
      "a digest beside it",
      kustomization(`${pinned}\n    digest: ${DIGEST}`),
      /^k\.yaml:6: .* pinned by digest, too$/,
    ],
  ])("refuses %s", (_, text, message) => {
    const edit = () => withImage(text, "k.yaml", NAME, { tag: NEW });
    expect(edit).toThrow(message);
    expect(edit).toThrow(expect.objectContaining({ exitCode: 3, hint: expect.any(String) }));
  });
});
