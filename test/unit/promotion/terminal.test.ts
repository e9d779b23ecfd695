import { describe, expect, it } from "vitest";
import type { Review, ReviewedStep } from "../../../scripts/lib/promotion/review.ts";
import { describeOutcome, describeReview } from "../../../scripts/lib/promotion/terminal.ts";

const NOW = new Date("2026-11-20T12:00:00Z");

function step(app: string, more: Partial<ReviewedStep> = {}): ReviewedStep {
  const release = (tag: string) => ({
    app,
    image: `shop/${app}:${tag.repeat(40)}`,
    from: "dev",
    commit: "c".repeat(40),
    body: "",
  });
  return {
    app,
    path: `overlays/live/${app}/release.yaml`,
    change: "changed",
    before: release("a"),
    after: release("b"),
    owners: [],
    namespace: "shop",
    source: `shop/${app}`,
    rendered: { before: "a: 1\n", after: "a: 2\n" },
    difference: [
      {
        id: "Pod web",
        kind: "Pod",
        change: "changed",
        fields: [{ path: "spec.x", before: "1", after: "2", risk: "image" }],
        risks: ["image", "other"],
        rolls: [],
      },
      { id: "Role web", kind: "Role", change: "added", fields: [], risks: ["rbac"], rolls: [] },
    ],
    commits: { kind: "commits", commits: [], total: 7 },
    evidence: { kind: "proven", since: new Date(NOW.getTime() - 5_400_000), clusters: [] },
    ...more,
  };
}

function review(more: Partial<Review> = {}): Review {
  return {
    from: "test",
    to: "live",
    apps: [],
    base: "e".repeat(40),
    target: { name: "live", promotesFrom: "test", soakSeconds: 0, syncsItself: false },
    steps: [],
    total: 2,
    overtaken: [],
    heldBack: [],
    refusals: [],
    warnings: [],
    ...more,
  };
}

describe("a review in the terminal", () => {
  it("is one line when nothing changes", async () => {
    expect(await describeReview(review(), { now: NOW, difference: true, overridden: false })).toBe(
      "test -> live at eeeeeee: 0 of 2 apps change\n\n",
    );
  });

  it("is a table, the worst risk first, and sections for what there is", async () => {
    const hold = {
      digest: "",
      image: undefined,
      reason: "it loses orders",
      by: "Ada",
      since: NOW,
      until: undefined,
    };
    const text = await describeReview(
      review({
        total: 6,
        steps: [
          step("web"),
          step("disk", { before: undefined, difference: [], commits: undefined, evidence: undefined }),
          step("api", {
            commits: { kind: "unreadable", reason: "403" },
            evidence: {
              kind: "unproven",
              state: "silent",
              reason: "x",
              way: "y",
              opensItself: true,
              readyAt: undefined,
            },
          }),
        ],
        heldBack: [{ app: "cart", hold }],
        refusals: [{ fact: "api: x", way: "y", mayOverride: true, opensItself: true }],
        warnings: ["never together"],
      }),
      { now: NOW, difference: false, overridden: true },
    );
    expect(text).toBe(
      [
        "test -> live at eeeeeee: 3 of 6 apps change",
        "",
        "APP   live     GETS     COMMITS     CHANGES             HEALTHY IN test",
        "web   aaaaaaa  bbbbbbb  7           rbac, image, other  for 1 h 30 min",
        "disk  -        bbbbbbb  -           -                   the same content",
        "api   aaaaaaa  bbbbbbb  unreadable  rbac, image, other  not proven",
        "",
        "Held back",
        "  cart: it loses orders (Ada); npm run unhold live cart",
        "",
        "Closed gates",
        "  api: x; y",
        "",
        "Mind",
        "  never together",
        "",
        "",
      ].join("\n"),
    );
  });

  it.each([
    [1, ""],
    [2, "Closed gates\n  api: x; y\n  api: x; y\n\n"],
  ])("leaves a gate to the last line when it is the only one (%i)", async (count, section) => {
    const refusals = Array.from({ length: count }, () => ({
      fact: "api: x",
      way: "y",
      mayOverride: true,
      opensItself: true,
    }));
    const style = { now: NOW, difference: false, overridden: false };
    const [first, ...rest] = (await describeReview(review({ refusals }), style)).split("\n\n");
    expect(first).toBe("test -> live at eeeeeee: 0 of 2 apps change");
    expect(rest.join("\n\n")).toBe(section);
  });

  it("has the rendered difference when it is asked for", async () => {
    const text = await describeReview(review({ steps: [step("web")] }), {
      now: NOW,
      difference: true,
      overridden: false,
    });
    expect(text).toContain("\nweb\nrights (RBAC)\n  added Role web\n");
    expect(text).toContain("--- a/live/web\n+++ b/live/web\n@@ -1 +1 @@\n-a: 1\n+a: 2\n");
  });
});

describe("what comes next", () => {
  const pull = { number: 3, url: "http://forge/3", change: "opened" as const };

  it.each([
    [true, "merge it, and Argo CD syncs live\n"],
    [false, "merge it, then: npm run sync live\n"],
  ])("follows from whether the target syncs by itself (%s)", (syncsItself, next) => {
    const target = { name: "live", promotesFrom: "test", soakSeconds: 0, syncsItself };
    expect(
      describeOutcome({ kind: "proposed", review: review({ target }), commit: "x", pull, notes: ["a", "b"] }),
    ).toBe(`note: a\nnote: b\nopened: #3 http://forge/3\n${next}`);
  });

  it("is nothing after a dry run, or when nothing is left", () => {
    expect(describeOutcome({ kind: "reviewed" })).toBe("nothing was changed: a dry run\n");
    expect(describeOutcome({ kind: "nothing", closed: undefined })).toBe("nothing to promote\n");
    const closed = { number: 3, url: "" };
    expect(describeOutcome({ kind: "nothing", closed })).toBe("nothing to promote; #3 is closed\n");
  });
});
