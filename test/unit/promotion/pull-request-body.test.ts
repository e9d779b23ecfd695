import { assert, property, stringMatching, uniqueArray } from "fast-check";
import { describe, expect, it } from "vitest";
import { cutBody, inert } from "../../../scripts/lib/cli/markdown.ts";
import type { Verdict } from "../../../scripts/lib/promotion/health.ts";
import {
  formatPromotionBranch,
  parsePromotionBranch,
  promotionBody,
  promotionTitle,
} from "../../../scripts/lib/promotion/pull-request-body.ts";
import type { Refusal, Review, ReviewedStep } from "../../../scripts/lib/promotion/review.ts";
import type { Release } from "../../../scripts/lib/release/release.ts";

const ADDRESS = {
  api: "https://api.github.com",
  web: "https://github.com",
  git: "https://github.com/shop/gitops.git",
  owner: "shop",
  name: "gitops",
};
const NOW = new Date("2026-11-20T12:00:00Z");
const OLD = "a".repeat(40);
const NEW = "b".repeat(40);

const name = stringMatching(/^[a-z][a-z0-9-]{0,38}[a-z0-9]$/);

describe("the branch", () => {
  it("says what it promotes: apps in any order and number of times are the same", () => {
    assert(
      property(name, name, uniqueArray(name, { maxLength: 8 }), (from, to, apps) => {
        const branch = formatPromotionBranch({ from, to, apps });
        expect(formatPromotionBranch({ from, to, apps: [...apps.toReversed(), ...apps] })).toBe(branch);
        const list = apps.toSorted();
        const isLong = list.join("+").length > 100;
        expect(parsePromotionBranch(branch)).toEqual({ from, to, apps: isLong ? undefined : list });
        // A name of a file, in every file system and forge.
        expect(Math.max(...branch.split("/").map((part) => part.length))).toBeLessThanOrEqual(100);
      }),
    );
  });

  it("of lists that are too long differs when they do", () => {
    const apps = Array.from({ length: 40 }, (_, index) => `service-${index}`);
    const branches = [apps, apps.slice(1), apps.slice(2), [...apps.slice(1), "other"]].map((list) =>
      formatPromotionBranch({ from: "staging", to: "prod", apps: list }),
    );
    expect(new Set(branches).size).toBe(4);
    expect(branches[0]).toMatch(/^promote\/staging\/prod\/40-apps-[0-9a-f]{12}$/);
  });

  it.each([
    [[], "promote/staging/prod/_all"],
    [["web"], "promote/staging/prod/web"],
    [["web", "api"], "promote/staging/prod/api+web"],
  ])("of %j is as the documentation says", (apps, branch) => {
    expect(formatPromotionBranch({ from: "staging", to: "prod", apps })).toBe(branch);
  });

  it.each([
    "main",
    "promote/staging/prod",
    "promote/staging/prod/",
    "promote/staging/prod/web/x",
    "promote/staging/prod/Web",
    "promote/staging/prod/web\n",
    "promote/staging/prod/web+",
    "promote/staging/prod/+",
    "x/promote/staging/prod/web",
    "bump/dev/web",
  ])("%j is none", (branch) => {
    expect(parsePromotionBranch(branch)).toBeUndefined();
  });
});

function releaseOf(app: string, tag: string | undefined): Release {
  const image = tag === undefined ? undefined : `ecommerce/${app}:${tag}`;
  return { app, image, from: "dev", commit: "c".repeat(40), body: `kind: ${app}\n` };
}

const PROVEN: Verdict = {
  kind: "proven",
  since: NOW,
  clusters: [
    { cluster: "staging-eu", since: NOW },
    { cluster: "staging-us", since: NOW },
  ],
};

function step(app: string, more: Partial<ReviewedStep> = {}): ReviewedStep {
  return {
    app,
    path: `overlays/prod/${app}/release.yaml`,
    change: "changed",
    before: releaseOf(app, OLD),
    after: releaseOf(app, NEW),
    owners: ["team"],
    namespace: "shop",
    source: `ecommerce/${app}`,
    rendered: { before: "", after: "" },
    difference: [],
    commits: undefined,
    evidence: PROVEN,
    ...more,
  };
}

function commits(total: number, subject: string, shown = total): ReviewedStep["commits"] {
  const list = Array.from({ length: shown }, (_, index) => ({ sha: `${index}`.padEnd(40, "d"), subject }));
  return { kind: "commits", commits: list, total };
}

function review(steps: readonly ReviewedStep[], more: Partial<Review> = {}): Review {
  return {
    from: "staging",
    to: "prod",
    apps: [],
    base: "e".repeat(40),
    target: { name: "prod", promotesFrom: "staging", soakSeconds: 0, syncsItself: false },
    steps,
    total: 0,
    overtaken: [],
    heldBack: [],
    refusals: [],
    warnings: [],
    ...more,
  };
}

const body = (subject: Review, override?: string) => promotionBody(subject, ADDRESS, override);

describe("the title", () => {
  it("names the one app and its release, or how many there are", () => {
    expect(promotionTitle(review([step("web")]))).toBe("Promote web bbbbbbb from staging to prod");
    const store = step("disk", { after: releaseOf("disk", undefined) });
    expect(promotionTitle(review([store]))).toBe("Promote disk base ccccccc from staging to prod");
    expect(promotionTitle(review([step("web"), step("api")]))).toBe("Promote 2 apps from staging to prod");
  });
});

describe("the body", () => {
  it("has a row for an app that is new, one without an image and one whose manifests alone change", () => {
    const text = body(
      review([
        step("web", { before: undefined }),
        step("api", { commits: commits(1, "One") }),
        step("disk", {
          source: undefined,
          before: releaseOf("disk", undefined),
          after: releaseOf("disk", undefined),
        }),
        step("cart", { before: releaseOf("cart", NEW) }),
      ]),
    );
    const at = (app: string, tag: string) =>
      `[\`${tag.slice(0, 7)}\`](https://github.com/ecommerce/${app}/commit/${tag})`;
    expect(text).toContain(`\n| web | – | ${at("web", NEW)} |  |\n`);
    expect(text).toContain(
      `\n| api | ${at("api", OLD)} | ${at("api", NEW)} | [1 commit](https://github.com/ecommerce/api/compare/${OLD}...${NEW}) |\n`,
    );
    expect(text).toContain("\n| disk | `base ccccccc` | `base ccccccc` |  |\n");
    expect(text).toContain(
      `\n| cart | ${at("cart", NEW)} | ${at("cart", NEW)} | same image, other manifests |\n`,
    );
  });

  it("says how many commits are not shown, and why a source cannot be read", () => {
    const text = body(
      review([
        step("web", { commits: commits(300, "Subject", 250) }),
        step("api", { commits: { kind: "unreadable", reason: "the forge answers 403" } }),
      ]),
    );
    expect(text).toContain("[300 commits](");
    expect(text.match(/^- `\w{7}` `Subject`$/gm)).toHaveLength(50);
    expect(text).toContain("\n- … and 250 more that are not listed here\n");
    expect(text).toContain("### api\n\necommerce/api cannot be read: `the forge answers 403`\n");
  });

  it("takes what others wrote for text: subjects, reports, reasons", () => {
    const nasty = "@team see #12 | [x](y) <img> `z` ~w~ *v* _u_ \\";
    const evidence: Verdict = {
      kind: "unproven",
      state: "failed",
      reason: nasty,
      way: "fix it",
      opensItself: false,
      readyAt: undefined,
    };
    const refusal: Refusal = { fact: `web: ${nasty}`, way: "wait", mayOverride: true, opensItself: true };
    const hold = {
      digest: "",
      image: undefined,
      reason: nasty,
      by: nasty,
      since: NOW,
      until: undefined,
    };
    const text = body(
      review([step("web", { commits: commits(1, nasty), evidence })], {
        refusals: [refusal],
        heldBack: [{ app: "api", hold }],
        warnings: [`mind ${nasty}`],
      }),
      `${nasty}\n\n## ${nasty}`,
    );
    expect(text).not.toContain("@team");
    expect(text).toContain(`\n> ${inert(nasty)}\n>\n> ${inert(`## ${nasty}`)}\n`);
    for (const written of [`web: ${nasty}`, `${nasty} (${nasty})`, nasty, `mind ${nasty}`]) {
      expect(text.split("\n").some((line) => line.startsWith("- ") && line.includes(inert(written)))).toBe(
        true,
      );
    }
  });

  it("of many apps is cut at the end of a line, with a link to the whole; reason and table come first", () => {
    const names = Array.from({ length: 100 }, (_, index) => `service-${index}`);
    const whole = body(
      review(names.map((app) => step(app, { commits: commits(50, "Change of something ".repeat(5)) }))),
      "all of it has to go",
    );
    const text = cutBody(whole, "https://forge/compare/main...promote");
    expect(text.length).toBeLessThan(65_536);
    const [kept = "", end] = text.split("\n\n… and more: ");
    expect(end).toBe("[the whole change](https://forge/compare/main...promote)\n");
    expect(whole.startsWith(`${kept}\n`)).toBe(true);
    expect(text).toContain("\n> `all of it has to go`\n");
    expect(names.filter((app) => !text.includes(`\n| ${app} |`))).toEqual([]);
    for (const title of ["## Evidence", "## After the merge", "## What changes in prod"])
      expect(text).toContain(title);
    expect(cutBody("short\n", "unused")).toBe("short\n");
  });

  it("is the same text whenever it is written", () => {
    expect(body(review([step("web")]))).toBe(body(review([step("web")])));
  });
});
