import {
  assert,
  constantFrom,
  date,
  oneof,
  property,
  record,
  string,
  stringMatching,
  tuple,
} from "fast-check";
import { describe, expect, it } from "vitest";
import { parseImage } from "../../../scripts/lib/bump/plan.ts";
import {
  bumpText,
  formatBumpBranch,
  isLater,
  parseBump,
  parseBumpBranch,
} from "../../../scripts/lib/bump/pull-request-body.ts";
import { forgeAddress } from "../../../scripts/lib/forge/address.ts";
import { commitMessage } from "../../../scripts/lib/pull-request/branch.ts";
import { SHA } from "../../support/tree.ts";

const SOURCE = "https://forge/shop/web";
const DIGITS = Array.from("0123456789abcdef");
const hex = (length: number) =>
  string({ unit: constantFrom(...DIGITS), minLength: length, maxLength: length });
const name = stringMatching(/^[a-z][a-z0-9-]{0,38}[a-z0-9]$/);
const records = record({
  environment: name,
  app: name,
  image: oneof(
    hex(40).map((tag) => ({ tag })),
    tuple(hex(40), hex(64)).map(([tag, digest]) => ({ tag, digest: `sha256:${digest}` })),
  ),
  askedAt: date({ min: new Date("2000-01-01"), max: new Date("2999-12-31"), noInvalidDate: true }),
});

describe("what a bump writes to be read again", () => {
  it("is a branch that names its app", () => {
    assert(
      property(name, name, (environment, app) => {
        const branch = formatBumpBranch({ environment, app });
        expect(parseBumpBranch(branch)).toEqual({ environment, app });
      }),
    );
    expect(formatBumpBranch({ environment: "dev", app: "web" })).toBe("bump/dev/web");
  });

  it.each(["main", "bump/dev", "bump/dev/web/x", "bump/dev/Web", "x/bump/dev/web", "bump/dev/web\n"])(
    "does not take %j for one",
    (branch) => {
      expect(parseBumpBranch(branch)).toBeUndefined();
    },
  );

  it("is a message that names the image and when it was asked for, and has the pull request's text", () => {
    assert(
      property(records, oneof(hex(40), constantFrom("latest", "v1")), (bump, before) => {
        const text = bumpText(bump, { before, source: SOURCE, unverified: undefined });
        const message = commitMessage({ ...text, summary: text.body })("sha256:0");
        expect(parseBump(message)).toEqual({ ...bump, title: text.title, body: text.body });
      }),
    );
  });

  it("compares with what was there, if that was a commit", () => {
    const bump = { environment: "dev", app: "web", image: { tag: SHA }, askedAt: new Date(0) };
    const text = (before: string) => bumpText(bump, { before, source: SOURCE, unverified: undefined });
    const compared = text("f".repeat(40));
    expect(compared.title).toBe("web: 0123456 in dev");
    expect(compared.body).toContain(`https://forge/shop/web/compare/${"f".repeat(40)}...${SHA}\n`);
    expect(text(`${"f".repeat(40)}@sha256:${"0".repeat(64)}`)).toMatchObject({ body: compared.body });
    expect(text("latest").body).toContain(`/shop/web/commit/${SHA}\n`);
    // Somebody has written it, and it stands in the message of a commit, too.
    expect(text("x\n\nFixes #1").body).toContain("\nFrom: `x\\u{a}\\u{a}Fixes #\u200B1`\n");
  });

  it("says whether the registry has the image, and which", () => {
    const image = { tag: SHA, digest: `sha256:${"a".repeat(64)}` };
    const bump = { environment: "dev", app: "web", image, askedAt: new Date(0) };
    const text = (unverified: string | undefined) =>
      bumpText(bump, { before: "x", source: SOURCE, unverified });
    for (const [unverified, line] of [
      [undefined, "found"],
      ["the sandbox has no registry", "not verified, the sandbox has no registry"],
    ] as const) {
      expect(text(unverified).body).toMatch(
        new RegExp(`\\nDigest: ${image.digest}\\nImage in the registry: ${line}$`),
      );
    }
  });

  it("is not seen in a message that somebody wrote", () => {
    expect(parseBump("web: 0123456 in dev\n")).toBeUndefined();
    expect(parseBump(`x\n\nBump: dev/web ${SHA}\nAsked: 2026-99-99T00:00:00.000Z\n`)).toBeUndefined();
  });
});

describe("of two bumps", () => {
  it.each<[string, number, number | undefined, boolean]>([
    ["asked for before", -1, 0, false],
    ["asked for in the same moment", 0, 5, false],
    ["asked for after", 1, 5, true],
    ["dated in the future", 10, 5, false],
    ["dated in the future that has come meanwhile", 10, undefined, true],
  ])("one %s is the later one or not", (_, seconds, now, expected) => {
    const asked = (at: number) => ({
      environment: "dev",
      app: "web",
      image: { tag: SHA },
      askedAt: new Date(at * 1000),
    });
    const clock = now === undefined ? undefined : new Date(now * 1000);
    expect(isLater(asked(seconds), asked(0), clock)).toBe(expected);
  });
});

describe("the image that a bump is asked for", () => {
  it("is a commit, and a digest if it is known", () => {
    const digest = `sha256:${"a".repeat(64)}`;
    expect(parseImage("1".repeat(40), undefined)).toEqual({ tag: "1".repeat(40) });
    expect(parseImage(SHA, digest)).toEqual({ tag: SHA, digest });
  });

  it.each([
    [SHA.slice(0, 7), undefined, /^0123456 has 7 digits, a commit has 40$/],
    [`${SHA}0`, undefined, /has 41 digits, a commit has 40$/],
    [SHA.toUpperCase(), undefined, /has upper-case digits$/],
    ["main", undefined, /^"main" is not a commit$/],
    ["", undefined, /^"" is not a commit$/],
    [`${SHA}\n`, undefined, /is not a commit$/],
    [SHA, "a".repeat(64), /is not a digest$/],
    [SHA, `sha256:${"A".repeat(64)}`, /is not a digest$/],
    [SHA, "", /^"" is not a digest$/],
  ])("is not %j with digest %j", (sha, digest, message) => {
    expect(() => parseImage(sha, digest)).toThrow(message);
    expect(() => parseImage(sha, digest)).toThrow(expect.objectContaining({ exitCode: 2 }));
  });
});

describe("the address of a forge", () => {
  it.each([
    [
      "https://github.com/shop/gitops.git",
      "https://api.github.com",
      "https://github.com",
      "https://github.com/shop/gitops.git",
    ],
    [
      "git@github.com:shop/gitops.git",
      "https://api.github.com",
      "https://github.com",
      "https://github.com/shop/gitops.git",
    ],
    [
      "ssh://git@ghe.test/shop/gitops",
      "https://ghe.test/api/v3",
      "https://ghe.test",
      "https://ghe.test/shop/gitops.git",
    ],
    [
      "https://me:password@gitea.test/git/shop/gitops",
      "https://gitea.test/git/api/v1",
      "https://gitea.test/git",
      "https://gitea.test/git/shop/gitops",
    ],
  ])("of %s is without a credential", (repoURL, forgeAPI, web, git) => {
    expect(forgeAddress({ repoURL, forgeAPI })).toEqual({
      api: forgeAPI,
      web,
      git,
      owner: "shop",
      name: "gitops",
    });
  });
});
