import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sha256 } from "../../../scripts/lib/digest.ts";
import {
  formatHolds,
  type Hold,
  holdPath,
  holds,
  parseHolds,
  readHolds,
} from "../../../scripts/lib/release/hold.ts";
import { SHA, temporary, write } from "../../support/tree.ts";

const PLACE = { environment: "live", app: "web" };
const FILE = "overlays/live/web/hold.yaml";
const BODY = "kind: Pod\n";
const SINCE = new Date("2026-11-22T03:04:05.678Z");
const UNTIL = new Date("2026-12-01T00:00:00.000Z");
const HOLD: Hold = {
  digest: sha256(BODY),
  image: `shop/web:${SHA}`,
  reason: "checkout fails",
  by: "Ada",
  since: SINCE,
  until: UNTIL,
};

const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/);
const hex = (length: number) => fc.stringMatching(new RegExp(`^[0-9a-f]{${length}}$`));
const date = fc.date({
  noInvalidDate: true,
  min: new Date("0001-01-01T00:00Z"),
  max: new Date("9999-12-31T23:59Z"),
});
const hold: fc.Arbitrary<Hold> = fc.record({
  digest: hex(64).map((digits) => `sha256:${digits}`),
  image: fc.option(
    fc
      .tuple(name, hex(40), fc.option(hex(64)))
      .map(([path, tag, digest]) => `shop/${path}:${tag}${digest ? `@sha256:${digest}` : ""}`),
    { nil: undefined },
  ),
  reason: fc.string({ unit: "binary", minLength: 1 }),
  by: fc.string({ unit: "grapheme", minLength: 1 }),
  since: date,
  until: fc.option(date, { nil: undefined }),
});

describe("a hold file", () => {
  it("is read as it was written, whatever the reason says", () => {
    fc.assert(
      fc.property(
        fc.record({ environment: name, app: name }),
        fc.array(hold, { minLength: 1, maxLength: 3 }),
        (place, any) => {
          expect(parseHolds(formatHolds(place, any), holdPath(place))).toEqual(any);
        },
      ),
    );
  });

  it("says who writes it, what it holds, and how to lift it", () => {
    const base = { ...HOLD, image: undefined, until: undefined, reason: "yes: #1" };
    expect(formatHolds(PLACE, [HOLD, base])).toBe(
      [
        "# Written by `npm run rollback`. What is named here does not come back: `npm run promote` refuses it.",
        "# To lift it: npm run unhold live web",
        "environment: live",
        "app: web",
        "holds:",
        `  - digest: ${sha256(BODY)}`,
        `    image: shop/web:${SHA}`,
        "    reason: checkout fails",
        "    by: Ada",
        "    since: 2026-11-22T03:04:05.678Z",
        "    until: 2026-12-01T00:00:00.000Z",
        `  - digest: ${sha256(BODY)}`,
        "    image: none",
        '    reason: "yes: #1"',
        "    by: Ada",
        "    since: 2026-11-22T03:04:05.678Z",
        "",
      ].join("\n"),
    );
  });

  it("may end on a day that a person wrote", () => {
    const text = formatHolds(PLACE, [HOLD]).replace(UNTIL.toISOString(), "2026-12-24");
    expect(parseHolds(text, FILE)[0]?.until).toEqual(new Date("2026-12-24T00:00Z"));
  });

  it.each<[string, (text: string) => string, string]>([
    [
      "a digest that is cut off",
      (text) => text.replace(/(digest: sha256:.{8}).*/, "$1"),
      `${FILE}:6: holds.0.digest: not sha256: and 64 lower-case hexadecimal digits`,
    ],
    [
      "a day that does not exist",
      (text) => text.replace(UNTIL.toISOString(), "2026-02-30"),
      `${FILE}:11: holds.0.until: not a date such as 2026-11-20 or 2026-11-20T14:00Z`,
    ],
    [
      "a time without its zone",
      (text) => text.replace(UNTIL.toISOString(), "2026-12-01T10:00"),
      `${FILE}:11: holds.0.until: not a date`,
    ],
    ["no reason", (text) => text.replace("checkout fails", '""'), `${FILE}:8: holds.0.reason: empty`],
    [
      "an image in two words",
      (text) => text.replace("shop/web:", "shop web:"),
      `${FILE}:7: holds.0.image: not`,
    ],
    ["a word of its own", (text) => text.replace("until:", "till:"), `${FILE}:6: holds.0: Unrecognized key`],
    [
      "no release",
      (text) => text.replace(/holds:[^]*/, "holds: []\n"),
      `${FILE}:5: holds: names no release: remove the file`,
    ],
    ["broken YAML", (text) => text.replace("by: Ada", 'by: "Ada'), `${FILE}:12: Missing closing "quote`],
    ["another app", (text) => text.replace("app: web", "app: disk"), `${FILE} is about disk in live`],
    ["nothing", () => "", `${FILE}:1: `],
  ])("is refused with %s", (_, damage, message) => {
    expect(() => parseHolds(damage(formatHolds(PLACE, [HOLD])), FILE)).toThrow(message);
  });
});

describe("a hold", () => {
  const release = { image: HOLD.image, body: BODY };
  const before = new Date(UNTIL.getTime() - 1);

  it.each<[string, boolean, Partial<Hold>, Partial<typeof release>, Date]>([
    ["the very release", true, {}, {}, before],
    ["the image in another release", true, {}, { body: "kind: Job\n" }, before],
    [
      "the image in another release, now with its digest",
      true,
      {},
      { body: "kind: Job\n", image: `shop/web:${SHA}@sha256:${"0".repeat(64)}` },
      before,
    ],
    ["the release alone, when the image is not at fault", true, { image: undefined }, {}, before],
    ["the image, when it is not at fault", false, { image: undefined }, { body: "kind: Job\n" }, before],
    ["another release", false, {}, { body: "kind: Job\n", image: "shop/web:1" }, before],
    ["a release without an image", false, {}, { body: "kind: Job\n", image: undefined }, before],
    ["the release once the hold has ended", false, {}, {}, UNTIL],
    ["the release for ever, when it has no end", true, { until: undefined }, {}, new Date("2999-01-01")],
  ])("about %s keeps it out: %s", (_, expected, about, other, now) => {
    expect(holds({ ...HOLD, ...about }, { ...release, ...other }, now)).toBe(expected);
  });
});

describe("the holds of a tree", () => {
  it("are all of them, or those of an environment or app, each with its place", async () => {
    const root = await temporary();
    expect(await readHolds(root)).toEqual([]);
    const place = { environment: "test", app: "disk" };
    await write(root, { [FILE]: formatHolds(PLACE, [HOLD]), [holdPath(place)]: formatHolds(place, [HOLD]) });
    expect(await readHolds(root)).toEqual([
      { ...PLACE, ...HOLD },
      { ...place, ...HOLD },
    ]);
    expect(await readHolds(root, "test")).toEqual([{ ...place, ...HOLD }]);
    expect(await readHolds(root, "live", "disk")).toEqual([]);
  });

  it("are refused, with the file, when one is damaged", async () => {
    const root = await temporary();
    await write(root, { [FILE]: "app: web\n" });
    await expect(readHolds(root)).rejects.toThrow(`${FILE}:1: environment: `);
  });
});
