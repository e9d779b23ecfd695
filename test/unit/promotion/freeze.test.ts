import { describe, expect, it } from "vitest";
import { RefusedError } from "../../../scripts/lib/errors.ts";
import {
  activeAt,
  activeFreezes,
  clustersNamed,
  type DenyWindow,
  freezeOf,
  readDenyWindows,
} from "../../../scripts/lib/promotion/freeze.ts";
import { temporary, write } from "../../support/tree.ts";

const window = (parts: Partial<DenyWindow> = {}): DenyWindow => ({
  file: "overlays/prod/sync-windows.patch.yaml",
  line: 9,
  schedule: "0 17 * * 5",
  duration: "8h",
  timeZone: "UTC",
  applications: ["*"],
  clusters: [],
  namespaces: [],
  andOperator: false,
  description: undefined,
  ...parts,
});

/** Until when a window is active at a moment; undefined when it is not. */
function until(parts: Partial<DenyWindow>, now: string): string | undefined {
  const [freeze] = activeAt([window(parts)], new Date(now));
  return freeze && (freeze.until?.toISOString().replace(".000", "") ?? "for ever");
}

describe("a deny window", () => {
  // 2026-03-13 is a Friday.
  it.each([
    ["before it", "2026-03-13T16:59:59.999Z", undefined],
    ["at its start", "2026-03-13T17:00:00Z", undefined],
    ["right after its start", "2026-03-13T17:00:00.001Z", "2026-03-14T01:00:00Z"],
    ["over midnight", "2026-03-14T00:30:00Z", "2026-03-14T01:00:00Z"],
    ["right before its end", "2026-03-14T00:59:59.999Z", "2026-03-14T01:00:00Z"],
    ["at its end", "2026-03-14T01:00:00Z", undefined],
    ["on another day", "2026-03-12T18:00:00Z", undefined],
  ])("%s", (_, now, end) => {
    expect(until({}, now)).toBe(end);
  });

  it.each([
    // In winter Berlin is an hour ahead, New York five behind.
    ["Europe/Berlin", "0 8 * * *", "2h", "2026-01-15T06:59:00Z", undefined],
    ["Europe/Berlin", "0 8 * * *", "2h", "2026-01-15T07:01:00Z", "2026-01-15T09:00:00Z"],
    ["Europe/Berlin", "0 8 * * *", "2h", "2026-07-15T06:01:00Z", "2026-07-15T08:00:00Z"],
    ["America/New_York", "0 22 * * *", "4h", "2026-01-16T03:30:00Z", "2026-01-16T07:00:00Z"],
    ["Asia/Kolkata", "30 9 * * *", "30m", "2026-01-15T04:15:00Z", "2026-01-15T04:30:00Z"],
    // Summer time begins on 2026-03-29 at 02:00 in Berlin, which becomes 03:00: four hours of the clock are three.
    ["Europe/Berlin", "0 1 29 3 *", "4h", "2026-03-29T00:30:00Z", "2026-03-29T03:00:00Z"],
    ["Europe/Berlin", "0 1 29 3 *", "4h", "2026-03-29T02:59:00Z", "2026-03-29T03:00:00Z"],
    ["Europe/Berlin", "0 1 29 3 *", "4h", "2026-03-29T03:01:00Z", undefined],
    ["Europe/Berlin", "0 23 28 3 *", "150m", "2026-03-29T00:00:00Z", "2026-03-29T00:30:00Z"],
    // It ends on 2026-10-25 at 03:00, which becomes 02:00: four hours of the clock are five.
    ["Europe/Berlin", "0 1 25 10 *", "4h", "2026-10-25T03:59:00Z", "2026-10-25T04:00:00Z"],
  ])("in %s at %s for %s, at %s", (timeZone, schedule, duration, now, end) => {
    expect(until({ timeZone, schedule, duration }, now)).toBe(end);
  });

  it.each([
    ["that overlaps with its next one", "0 * * * 1", "90m", "2026-03-09T05:10:00Z", "2026-03-10T00:30:00Z"],
    ["that the next one follows", "0 0 20-31 12 *", "24h", "2026-12-24T12:00:00Z", "2027-01-01T00:00:00Z"],
    ["without an end", "0 0 * * *", "24h", "2026-12-24T12:00:00Z", "for ever"],
    ["of many days", "0 0 20 12 *", "336h", "2027-01-01T12:00:00Z", "2027-01-03T00:00:00Z"],
  ])("%s", (_, schedule, duration, now, end) => {
    expect(until({ schedule, duration }, now)).toBe(end);
  });
});

describe("a freeze", () => {
  const target = { app: "payment-service", namespace: "microservices", clusters: ["prod", "prod-eu"] };

  it.each<[string, Partial<DenyWindow>, boolean]>([
    ["of every application", {}, true],
    ["of the app on any of its clusters", { applications: ["prod-eu-payment-service"] }, true],
    ["of the app by a pattern", { applications: ["web", "*-payment-*"] }, true],
    ["of another app", { applications: ["prod-user-service"] }, false],
    ["of a cluster", { applications: [], clusters: ["prod-eu"] }, true],
    ["of another cluster", { applications: [], clusters: ["prod-us"] }, false],
    ["of a namespace", { applications: [], namespaces: ["micro*"] }, true],
    ["of one or the other", { applications: ["nothing"], namespaces: ["microservices"] }, true],
    [
      "of one and the other",
      { applications: ["*"], namespaces: ["data"], clusters: ["prod"], andOperator: true },
      false,
    ],
    ["of both", { applications: ["*"], namespaces: ["microservices"], andOperator: true }, true],
    ["of nothing", { applications: [] }, false],
    ["of nothing and nothing", { applications: [], andOperator: true }, false],
  ])("%s", (_, parts, isFrozen) => {
    const freezes = activeAt([window(parts)], new Date("2026-03-13T18:00:00Z"));
    expect(freezeOf(freezes, target) !== undefined).toBe(isFrozen);
  });

  it.each<[string, Partial<DenyWindow>, string[]]>([
    ["the one with the environment's name", {}, ["prod"]],
    ["one in a pattern for all its apps", { applications: ["prod-eu-*"] }, ["prod", "prod-eu"]],
    ["one in the name of the app there", { applications: ["prod-us-payment-service"] }, ["prod", "prod-us"]],
    ["one by its own name", { applications: [], clusters: ["prod-ap"] }, ["prod", "prod-ap"]],
    ["none of another environment", { applications: ["staging-eu-*"] }, ["prod"]],
  ])("may be about %s", (_, parts, clusters) => {
    const freezes = activeAt([window(parts)], new Date("2026-03-13T18:00:00Z"));
    expect(clustersNamed(freezes, "prod", "payment-service")).toEqual(clusters);
  });
});

const project = (windows: string): string =>
  `apiVersion: argoproj.io/v1alpha1\nkind: AppProject\nmetadata:\n  name: prod\nspec:\n  syncWindows:${windows}\n`;
const deny = (field: string): string =>
  project(`\n    - kind: deny\n      schedule: 0 17 * * 5\n      duration: 8h\n      ${field}`);

async function tree(files: Record<string, string>): Promise<string> {
  const root = await temporary();
  const under = Object.entries(files).map(([name, text]) => [`overlays/prod/${name}`, text]);
  await write(root, { "overlays/prod/environment.yaml": "kind: ConfigMap\n", ...Object.fromEntries(under) });
  return root;
}

describe("the windows of an environment", () => {
  it("are those of its AppProject that deny", async () => {
    const windows = `
    - kind: allow
      schedule: 0 8 * * 1-4
      duration: 8h
      manualSync: true
    # The weekend.
    - kind: deny
      schedule: 0 17 * * 5
      duration: 8h
      timeZone: Europe/Berlin
      applications: ["prod-*"]
      description: weekend
    - kind: deny
      schedule: 0 0 20 12 *
      duration: 336h`;
    const root = await tree({ "sync-windows.patch.yaml": `# Freezes.\n---\n${project(windows)}` });
    expect(await readDenyWindows(root, "prod")).toEqual([
      window({
        line: 14,
        timeZone: "Europe/Berlin",
        applications: ["prod-*"],
        description: "weekend",
      }),
      window({ line: 20, schedule: "0 0 20 12 *", duration: "336h", applications: [] }),
    ]);
    // 18:00 in Berlin.
    expect(await activeFreezes(root, "prod", new Date("2026-03-13T17:00:00Z"))).toMatchObject([{ line: 14 }]);
    expect(await activeFreezes(root, "prod", new Date("2026-03-12T17:00:00Z"))).toEqual([]);
  });

  it.each<[string, Record<string, string>]>([
    ["there is no list", {}],
    ["the list is empty", { "project.yaml": project(" []") }],
    ["only a comment speaks of them", { "kustomization.yaml": "# no syncWindows here\nresources: []\n" }],
    ["the file holds nothing", { "empty.yaml": "" }],
    ["an app has some", { "web/project.yaml": deny("") }],
  ])("are none where %s", async (_, files) => {
    expect(await readDenyWindows(await tree(files), "prod")).toEqual([]);
  });

  it.each<[string, Record<string, string>, string]>([
    [
      "a schedule that is none",
      { "a.yaml": project("\n    - kind: deny\n      schedule: every friday\n      duration: 8h") },
      'overlays/prod/a.yaml:8: spec.syncWindows.0.schedule: "every friday" is no schedule: 2 fields instead of 5',
    ],
    [
      "a duration that is none",
      { "a.yaml": project("\n    - kind: deny\n      schedule: 0 17 * * 5\n      duration: 1 day") },
      "overlays/prod/a.yaml:9: spec.syncWindows.0.duration: not a duration such as 8h, 30m or 1h30m",
    ],
    [
      "an unknown zone",
      { "a.yaml": deny("timeZone: Europe/Berlim") },
      "overlays/prod/a.yaml:10: spec.syncWindows.0.timeZone: not a time zone such as Europe/Berlin",
    ],
    [
      "a zone that Argo CD would take for UTC",
      { "a.yaml": deny("timeZone: europe/berlin") },
      "overlays/prod/a.yaml:10: spec.syncWindows.0.timeZone: not a time zone such as Europe/Berlin",
    ],
    ["an offset as a zone", { "a.yaml": deny('timeZone: "+01:00"') }, "not a time zone"],
    [
      "a pattern that is none",
      { "a.yaml": deny('applications: ["{prod"]') },
      "overlays/prod/a.yaml:10: spec.syncWindows.0.applications: holds a pattern that is not one",
    ],
    [
      "a kind with a capital",
      { "a.yaml": project("\n    - kind: Deny\n      schedule: 0 17 * * 5\n      duration: 8h") },
      "overlays/prod/a.yaml:7: spec.syncWindows.0.kind",
    ],
    ["an unknown field", { "a.yaml": deny("timezone: UTC") }, "overlays/prod/a.yaml:7: spec.syncWindows.0:"],
    ["no list", { "a.yaml": project(" friday") }, "overlays/prod/a.yaml:6: spec.syncWindows: "],
    ["broken YAML", { "a.yaml": "a: [1\nb: 2\n" }, "overlays/prod/a.yaml:"],
    [
      "two lists, of which one replaces the other",
      { "a.yaml": project(" []"), "b.yaml": deny("") },
      "overlays/prod/b.yaml:7: sync windows stand in overlays/prod/a.yaml already",
    ],
    [
      "windows in a patch within the kustomization",
      {
        "kustomization.yaml":
          "patches:\n  - patch: |\n      - op: add\n        path: /spec/syncWindows\n        value: []\n",
      },
      "overlays/prod/kustomization.yaml:1: syncWindows that are not the spec.syncWindows of an AppProject",
    ],
    [
      "windows of another kind",
      { "a.yaml": deny("").replace("AppProject", "Application") },
      "overlays/prod/a.yaml:7: syncWindows that are not",
    ],
  ])("are refused with %s", async (_, files, message) => {
    const reading = readDenyWindows(await tree(files), "prod");
    await expect(reading).rejects.toThrow(message);
    await expect(reading).rejects.toBeInstanceOf(RefusedError);
  });

  it("are not guessed for an environment that is not there", async () => {
    await expect(readDenyWindows(await temporary(), "prod")).rejects.toThrow(
      "overlays/prod has no YAML files",
    );
  });
});
