import { describe, expect, it } from "vitest";
import { type FreezeTarget, freezeOf, type SyncWindow } from "../../../scripts/lib/promotion/freeze.ts";

const window = (parts: Partial<SyncWindow> = {}): SyncWindow => ({
  kind: "deny",
  schedule: "0 17 * * 5",
  duration: "8h",
  timeZone: "",
  applications: ["*"],
  clusters: [],
  namespaces: [],
  andOperator: false,
  manualSync: false,
  ...parts,
});
const target: FreezeTarget = {
  app: "payment-service",
  namespace: "microservices",
  environment: "prod",
  syncsItself: false,
};

/** Until when a window denies syncs; undefined when it does not. */
function until(parts: Partial<SyncWindow>, now: string): string | undefined {
  const freeze = freezeOf([window(parts)], target, new Date(now));
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
  ])("denies syncs %s", (_, now, end) => {
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

// The same rules are compared with those of the real Argo CD in test/sandbox/4-refusals.test.ts.
describe("an app is frozen", () => {
  const FRIDAY_EVENING = new Date("2026-03-13T18:00:00Z");
  const OPEN = window({ kind: "allow" });
  const CLOSED = window({ kind: "allow", schedule: "0 8 * * 1-4" });

  it.each<[string, Partial<SyncWindow>, boolean]>([
    ["with every application", {}, true],
    ["on another of its clusters", { applications: ["prod-eu-payment-service"] }, true],
    ["by a pattern", { applications: ["web", "*-payment-servic?"] }, true],
    ["by a pattern that is a name to the letter", { applications: ["prod.payment-service"] }, false],
    ["with another app", { applications: ["prod-user-service"] }, false],
    ["with its cluster", { applications: [], clusters: ["prod-eu"] }, true],
    ["with a cluster of another environment", { applications: [], clusters: ["staging-eu"] }, false],
    ["with a cluster whose name only begins alike", { applications: [], clusters: ["production"] }, false],
    ["with its namespace", { applications: [], namespaces: ["micro*"] }, true],
    ["by one or the other", { applications: ["nothing"], namespaces: ["microservices"] }, true],
    [
      "by one and not the other",
      { applications: ["*"], namespaces: ["data"], clusters: ["prod"], andOperator: true },
      false,
    ],
    ["by both", { applications: ["*"], namespaces: ["microservices"], andOperator: true }, true],
    ["by nothing", { applications: [] }, false],
    ["by nothing and nothing", { applications: [], andOperator: true }, false],
  ])("%s: %j %s", (_, parts, isFrozen) => {
    expect(freezeOf([window(parts)], target, FRIDAY_EVENING) !== undefined).toBe(isFrozen);
  });

  it.each<[string, SyncWindow[], "allow" | "deny" | undefined]>([
    ["not in an allow window", [OPEN], undefined],
    ["outside of its only allow window", [CLOSED], "allow"],
    ["not where one of two allow windows is open", [CLOSED, OPEN], undefined],
    ["in a deny window within an allow window", [OPEN, window()], "deny"],
    ["not outside of an allow window of another app", [{ ...CLOSED, applications: ["web"] }], undefined],
    ["not where a person may sync all the same", [window({ manualSync: true })], undefined],
    ["not outside of an allow window in which one may", [{ ...CLOSED, manualSync: true }], undefined],
    ["where one of two windows denies it to persons too", [window({ manualSync: true }), window()], "deny"],
  ])("%s", (_, windows, kind) => {
    expect(freezeOf(windows, target, FRIDAY_EVENING)?.window.kind).toBe(kind);
  });

  it("where Argo CD syncs by itself, whatever a person may", () => {
    const automated = { ...target, syncsItself: true };
    expect(freezeOf([window({ manualSync: true })], automated, FRIDAY_EVENING)).toBeDefined();
  });

  it.each<[string, SyncWindow[], boolean]>([
    ["time ends", [window(), CLOSED], true],
    ["the next open window ends", [CLOSED], true],
    ["nothing ends", [window({ schedule: "0 0 * * *", duration: "24h" })], false],
  ])("for a time that nobody can tell, and that %s", (_, windows, ends) => {
    expect(freezeOf(windows, target, FRIDAY_EVENING)).toMatchObject({ until: undefined, ends });
  });
});
