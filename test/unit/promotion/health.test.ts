import {
  array,
  assert,
  constantFrom,
  integer,
  oneof,
  property,
  string,
  stringMatching,
  tuple,
} from "fast-check";
import { describe, expect, it } from "vitest";
import type { CommitStatus } from "../../../scripts/lib/forge/forge.ts";
import {
  clustersOf,
  formatContext,
  parseContext,
  type Reports,
  type Verdict,
  verdictOf,
} from "../../../scripts/lib/promotion/health.ts";

describe("the context of a commit status", () => {
  const name = stringMatching(/^[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?$/);

  it("is read as it was written", () => {
    assert(
      property(name, name, (cluster, app) => {
        expect(parseContext(formatContext({ cluster, app }))).toEqual({ cluster, app });
      }),
    );
  });

  it("is written as it was read", () => {
    assert(
      property(oneof(string(), stringMatching(/^argocd\/[a-z/-]*$/)), (context) => {
        const subject = parseContext(context);
        expect(subject === undefined ? context : formatContext(subject)).toBe(context);
      }),
    );
  });

  it.each([
    "ci/build",
    "argocd/prod",
    "argocd//web",
    "argocd/prod/",
    "argocd/prod/web/x",
    "Argocd/prod/web",
    "",
  ])("is not %s", (context) => {
    expect(parseContext(context)).toBeUndefined();
  });
});

describe("the clusters of an environment", () => {
  const contexts = [
    "argocd/prod/web",
    "argocd/prod-eu/web",
    "argocd/prod-eu/api",
    "argocd/prod-test/web",
    "argocd/prod-test-2/web",
    "argocd/production/web",
    "argocd/dev/web",
    "ci/prod-us/web",
  ];

  it.each([
    ["prod", ["prod", "prod-eu"]],
    ["prod-test", ["prod-test", "prod-test-2"]],
    ["dev", ["dev"]],
    ["staging", []],
  ])("%s: %s", (environment, clusters) => {
    const names = ["dev", "staging", "prod", "prod-test"];
    expect(clustersOf(environment, names, contexts)).toEqual(clusters);
  });
});

const NOON = Date.parse("2026-01-31T12:00:00Z");
const minute = (minutes: number): Date => new Date(NOON + minutes * 60_000);

/** `success@3 eu`: a success on prod-eu, three minutes after noon; without a cluster on prod. */
function status(text: string, app = "web"): CommitStatus {
  const [, state = "", minutes = "", cluster] = /^(\w+)@(-?[\d.]+)(?: (\w+))?$/.exec(text) ?? [];
  if (state !== "success" && state !== "pending" && state !== "failure" && state !== "error")
    throw new Error(text);
  const context = formatContext({ cluster: cluster === undefined ? "prod" : `prod-${cluster}`, app });
  const description = state === "failure" ? "synced, but degraded" : `a ${state}`;
  return { context, state, description, at: minute(Number(minutes)), url: undefined, account: undefined };
}

/** Commits with their statuses in the order of time; a forge lists the newest first. */
function reports(...commits: string[][]): Reports[] {
  return commits.map((texts, index) => ({
    commit: String(index).repeat(40),
    statuses: texts.map((text) => status(text)).toReversed(),
  }));
}

function judge(
  seen: readonly Reports[],
  parts: { clusters?: string[]; soakSeconds?: number; now?: number; syncsItself?: boolean } = {},
): Verdict {
  const { clusters = ["prod"], soakSeconds = 1800, now = 60, syncsItself = true } = parts;
  return verdictOf({
    environment: { name: "prod", soakSeconds, syncsItself },
    app: "web",
    clusters,
    reports: seen,
    arrivedAt: minute(0),
    now: minute(now),
  });
}

describe("a release is proven", () => {
  it.each<[string, string[][], number]>([
    ["when it has been healthy for long enough", [["pending@0", "success@1"]], 1],
    ["to the second", [["success@30"]], 30],
    ["by the first success, not by the latest", [["success@1", "success@20", "success@59"]], 1],
    ["across syncs that went well", [["success@1", "pending@50", "success@51"]], 1],
    ["across commits", [["success@1"], ["pending@40", "success@41"]], 1],
    [
      "after a failure, from the next success on",
      [["success@1", "failure@10", "success@20", "success@59"]],
      20,
    ],
    [
      "after the last of several failures",
      [["failure@1", "success@5", "failure@10", "success@20", "success@59"]],
      20,
    ],
    ["after a failed sync", [["error@1", "pending@2", "success@3"]], 3],
    ["when success and pending are of the same second", [["pending@1", "success@1"]], 1],
    ["when a commit and the next report in the same second", [["failure@1"], ["success@1"]], 1],
    ["whichever commit was reported on last", [["success@20"], ["failure@10"]], 20],
  ])("%s", (_, commits, since) => {
    expect(judge(reports(...commits))).toEqual({
      kind: "proven",
      since: minute(since),
      clusters: [{ cluster: "prod", since: minute(since) }],
    });
  });

  it("when every cluster has been healthy for long enough, since the last of them is", () => {
    const seen = reports(["success@1", "success@5 eu"], ["failure@10 eu", "success@20 eu"]);
    expect(judge(seen, { clusters: ["prod", "prod-eu"] })).toEqual({
      kind: "proven",
      since: minute(20),
      clusters: [
        { cluster: "prod", since: minute(1) },
        { cluster: "prod-eu", since: minute(20) },
      ],
    });
  });

  it("at once where nothing has to soak", () => {
    expect(judge(reports(["success@60"]), { soakSeconds: 0 })).toMatchObject({ kind: "proven" });
  });
});

const TWO = ["prod", "prod-eu"];

describe("a release is not proven", () => {
  it.each<[string, string[][], string, string]>([
    ["when nobody has reported on it", [[]], "silent", "no cluster of prod has reported on it yet (prod)"],
    [
      "while it is being deployed",
      [["pending@59"]],
      "deploying",
      "is being deployed on prod (pending since 2026-01-31 12:59:00 UTC)",
    ],
    [
      "while it is being deployed again, since the first attempt",
      [["success@1", "pending@57"], ["pending@58"]],
      "deploying",
      "is being deployed on prod (pending since 2026-01-31 12:57:00 UTC)",
    ],
    [
      "when it has failed",
      [["success@1", "failure@40", "failure@41"]],
      "failed",
      "failed on prod since 2026-01-31 12:40:00 UTC: synced, but degraded",
    ],
    [
      "when its sync has failed",
      [["pending@1", "error@2"]],
      "failed",
      "failed on prod since 2026-01-31 12:02:00 UTC: a error",
    ],
    [
      "when it has been healthy for too short",
      [["pending@55", "success@56"]],
      "soaking",
      "healthy on prod since 2026-01-31 12:56:00 UTC, and has to soak for 30 min (ready at 2026-01-31 13:26:00 UTC)",
    ],
    [
      "one second too early",
      [["success@30.017"]],
      "soaking",
      "healthy on prod since 2026-01-31 12:30:01 UTC, and has to soak for 30 min (ready at 2026-01-31 13:00:01 UTC)",
    ],
    [
      "when it has recovered just now",
      [["success@1", "failure@50", "pending@51", "success@55"]],
      "soaking",
      "healthy on prod since 2026-01-31 12:55:00 UTC, and has to soak for 30 min (ready at 2026-01-31 13:25:00 UTC)",
    ],
    [
      "when the forge's clock is ahead",
      [["success@61"]],
      "soaking",
      "healthy on prod since 2026-01-31 13:01:00 UTC, and has to soak for 30 min (ready at 2026-01-31 13:31:00 UTC)",
    ],
  ])("%s", (_, commits, state, reason) => {
    expect(judge(reports(...commits))).toMatchObject({ kind: "unproven", state, reason });
  });

  it.each<[string, string[], string, string]>([
    ["one has not reported", ["success@1"], "silent", "1 of 3 clusters has not reported: prod-us"],
    [
      "one has failed and another is at it",
      ["failure@2", "pending@3 us"],
      "failed",
      "failed on prod since 2026-01-31 12:02:00 UTC: synced, but degraded; is being deployed on prod-us (pending since 2026-01-31 12:03:00 UTC)",
    ],
    [
      "one is healthy for too short",
      ["success@1", "success@55 us"],
      "soaking",
      "healthy on prod-us since 2026-01-31 12:55:00 UTC, and has to soak for 30 min (ready at 2026-01-31 13:25:00 UTC)",
    ],
  ])("when of three clusters %s", (_, texts, state, reason) => {
    const verdict = judge(reports(["success@1 eu", ...texts]), { clusters: ["prod", "prod-eu", "prod-us"] });
    expect(verdict).toMatchObject({ kind: "unproven", state, reason });
  });

  it("on the word of another app, another cluster or another program", () => {
    const others = [
      status("success@1", "api"),
      status("success@1 eu"),
      { ...status("success@1"), context: "ci/prod/web" },
    ];
    expect(judge([{ commit: "0".repeat(40), statuses: others }])).toMatchObject({ state: "silent" });
  });

  it("when no cluster is known", () => {
    expect(judge(reports(["success@1"]), { clusters: [] })).toMatchObject({
      kind: "unproven",
      reason: "no cluster of prod has reported on it yet",
    });
  });

  const START = "start a sync that reports with `npm run sync prod web`";
  const AGAIN = "start the sync again with `npm run sync prod web`";
  it.each<[string, string[], Parameters<typeof judge>[1], boolean, string]>([
    ["has just come", [], { now: 14 }, true, "wait until Argo CD has synced it in prod"],
    ["is silent for longer than Argo CD takes", [], { now: 15 }, false, START],
    ["came to where a person starts each sync", [], { now: 14, syncsItself: false }, false, START],
    [
      "is silent on one cluster of two",
      ["success@1"],
      { now: 14, clusters: TWO },
      true,
      "wait until Argo CD has",
    ],
    ["stays silent on one cluster of two", ["success@1"], { clusters: TWO }, false, START],
    ["is being synced", ["pending@1"], { now: 60 }, true, "wait until the sync is over"],
    ["is being synced for longer than a sync takes", ["pending@1"], { now: 61 }, false, AGAIN],
    [
      "is being synced on one cluster, and stays silent on another",
      ["pending@50"],
      { clusters: TWO },
      false,
      AGAIN,
    ],
    [
      "failed",
      ["failure@1"],
      { now: 2 },
      false,
      "fix it there, release another image, try again with `npm run sync prod web`",
    ],
    ["soaks", ["success@1"], { now: 2 }, true, "wait until 2026-01-31 12:31:00 UTC"],
  ])("and says whether time will prove it, when it %s", (_, texts, parts, opensItself, way) => {
    expect(judge(reports(texts), parts)).toMatchObject({ opensItself, way: expect.stringContaining(way) });
  });

  it("and says when it will be, while it soaks", () => {
    expect(judge(reports(["success@56"]))).toMatchObject({
      readyAt: minute(86),
      way: "wait until 2026-01-31 13:26:00 UTC",
    });
    expect(judge(reports(["failure@56"]))).toMatchObject({ readyAt: undefined });
  });
});

it("a release that is proven stays so until something is reported, and one that soaks becomes so", () => {
  const texts = array(
    tuple(constantFrom("success", "pending", "failure", "error"), integer({ min: 0, max: 100 })),
  );
  assert(
    property(texts, integer({ min: 0, max: 60 }), (entries, soakMinutes) => {
      const sorted = entries.toSorted(([, one], [, other]) => one - other);
      const seen = reports(sorted.map(([state, at]) => `${state}@${at}`));
      const early = judge(seen, { now: 100, soakSeconds: soakMinutes * 60 });
      const late = judge(seen, { now: 160, soakSeconds: soakMinutes * 60 });
      const isGood = sorted.at(-1)?.[0] === "success";
      expect(late.kind).toBe(isGood ? "proven" : "unproven");
      expect(early.kind === "proven" ? late : early).toEqual(early);
    }),
  );
});
