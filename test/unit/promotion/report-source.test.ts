import { describe, expect, it } from "vitest";
import { argocdSource, statusSource } from "../../../scripts/lib/promotion/report-source.ts";
import { listed, standInForArgocd } from "../../support/argocd.ts";

const commit = (digit: string) => digit.repeat(40);
const [OLD, ARRIVAL, LATER, UNKNOWN] = [commit("0"), commit("1"), commit("2"), commit("3")] as const;
const DAY = (day: number) => `2026-11-${String(day).padStart(2, "0")}T12:00:00Z`;
/** The release came with ARRIVAL; LATER is the newest commit. */
const WINDOW = [LATER, ARRIVAL];
const HISTORY = [
  { revision: OLD, deployedAt: DAY(1) },
  { revision: ARRIVAL, deployedAt: DAY(2) },
  { revision: LATER, deployedAt: DAY(3) },
];
const PLACE = { app: "web", environment: "test", cluster: "test" };

async function ask(applications: readonly unknown[], apps = ["web"]) {
  const { program, answer } = await standInForArgocd("0");
  await answer(applications);
  const source = argocdSource({ program, env: process.env }, "test");
  return source(new Map(apps.map((app) => [app, WINDOW])), []);
}

describe("a forge as the source of reports", () => {
  const source = (account: string | undefined, context = "argocd/test/web") => {
    const status = {
      context,
      state: "success" as const,
      description: "",
      at: new Date(),
      url: undefined,
      account,
    };
    const forge = { statuses: async () => [status] };
    const options = { environment: "test", environments: ["dev", "test"], reporter: "Argo-CD[bot]" };
    return statusSource(forge, options)(new Map([["web", [ARRIVAL]]]), []);
  };

  it.each(["Argo-CD[bot]", "argo-cd[bot]"])("counts what %s has posted", async (account) => {
    const { clusters, reports, remarks } = await source(account);
    expect({ clusters, count: reports.get("web")?.[0]?.statuses.length }).toEqual({
      clusters: ["test"],
      count: 1,
    });
    expect(remarks).toEqual(new Map());
  });

  it.each([
    ["mallory", "mallory"],
    ["argo-cd", "argo-cd"],
    ["", ""],
    [undefined, "an account that is gone"],
  ])("does not count what %s has posted, and says so", async (account, name) => {
    const { clusters, reports, remarks } = await source(account);
    expect({ clusters, count: reports.get("web")?.[0]?.statuses.length }).toEqual({ clusters: [], count: 0 });
    expect(remarks.get("web")).toBe(
      `statuses of ${name} do not count, only those of Argo-CD[bot] (reporter in argocd/settings/settings.yaml)`,
    );
  });

  it.each(["ci/build", "argocd/test/api", "argocd/dev/web"])("says nothing of %s", async (context) => {
    expect((await source("mallory", context)).remarks).toEqual(new Map());
  });
});

describe("Argo CD as the source of reports", () => {
  it.each<[string, Parameters<typeof listed>[1], typeof HISTORY, string, number]>([
    [
      "synced and healthy: since the first deployment that has it",
      { revision: LATER },
      HISTORY,
      "success",
      2,
    ],
    ["healthy since a later time", { revision: LATER, since: DAY(4) }, HISTORY, "success", 4],
    ["healthy since before it came", { revision: LATER, since: DAY(1) }, HISTORY, "success", 2],
    ["degraded", { revision: LATER, health: "Degraded", since: DAY(5) }, HISTORY, "failure", 5],
    ["progressing", { revision: LATER, health: "Progressing" }, HISTORY, "pending", 2],
    ["out of sync", { revision: LATER, sync: "OutOfSync" }, HISTORY, "pending", 2],
    ["synced to what was there before", { revision: OLD }, HISTORY.slice(0, 1), "pending", 0],
    ["synced, and never deployed: it was refused", { revision: LATER }, HISTORY.slice(0, 1), "pending", 0],
    ["synced to a commit that nobody knows", { revision: UNKNOWN }, HISTORY, "pending", 2],
  ])("%s", async (_, status, history, state, day) => {
    const { clusters, reports, warnings } = await ask([listed(PLACE, status, history)]);
    expect({ clusters, warnings }).toEqual({ clusters: ["test"], warnings: [] });
    expect(reports.get("web")).toMatchObject([
      {
        commit: ARRIVAL,
        statuses: [{ context: "argocd/test/web", state, at: new Date(day === 0 ? 0 : DAY(day)) }],
      },
    ]);
  });

  it("knows the clusters on which an app is not, and each app by itself", async () => {
    const second = { ...PLACE, cluster: "test-2" };
    const { clusters, reports } = await ask(
      [
        listed(second, { revision: LATER }, HISTORY),
        listed({ ...PLACE, app: "disk" }, { revision: OLD }, HISTORY.slice(0, 1)),
      ],
      ["web", "disk"],
    );
    expect(clusters).toEqual(["test", "test-2"]);
    expect(reports.get("web")).toMatchObject([
      { statuses: [{ context: "argocd/test-2/web", state: "success" }] },
    ]);
    expect(reports.get("disk")).toMatchObject([
      { statuses: [{ context: "argocd/test/disk", state: "pending" }] },
    ]);
  });
});
