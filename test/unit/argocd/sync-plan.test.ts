import { describe, expect, it } from "vitest";
import { syncPlan, syncsRoot } from "../../../scripts/lib/argocd/sync-plan.ts";
import { UsageError } from "../../../scripts/lib/errors.ts";
import type { App } from "../../../scripts/lib/tree/catalogue.ts";

const service = (app: string): App => ({
  app,
  namespace: "microservices",
  kind: "service",
  owners: ["shop"],
  secrets: [],
  image: `ecommerce/${app}`,
  source: `example/${app}`,
});
const catalogue: App[] = [
  service("order-service"),
  { app: "postgresql", namespace: "data", kind: "store", owners: ["data"], secrets: [] },
  {
    app: "foundation",
    namespace: "microservices",
    kind: "foundation",
    secrets: [],
    owners: ["platform"],
  },
  { app: "storage", namespace: "data", kind: "platform", owners: ["platform"], secrets: [] },
  service("user-service"),
];
const ENVIRONMENTS = [{ name: "dev" }, { name: "prod" }];

describe("the plan of a sync", () => {
  it("brings the foundation before the platform before stores before services", () => {
    expect(syncPlan("prod", [], ENVIRONMENTS, catalogue)).toEqual([
      { title: "foundation", apps: ["foundation"] },
      { title: "platform", apps: ["storage"] },
      { title: "store", apps: ["postgresql"] },
      { title: "service", apps: ["order-service", "user-service"] },
    ]);
  });

  it("has no steps for what was not asked for", () => {
    expect(syncPlan("dev", ["user-service"], ENVIRONMENTS, catalogue)).toEqual([
      { title: "service", apps: ["user-service"] },
    ]);
  });

  it.each([
    ["test", [], "there is no environment test; there are dev, prod"],
    [
      "prod",
      ["user-service", "cart"],
      "there is no app cart; there are order-service, postgresql, foundation, storage, user-service",
    ],
  ])("refuses %s %j", (env, apps, message) => {
    const [line, hint] = message.split("; ");
    const plan = () => syncPlan(env, apps, ENVIRONMENTS, catalogue);
    expect(plan).toThrow(UsageError);
    expect(plan).toThrow(expect.objectContaining({ message: line, hint }));
  });
});

it.each([
  ["all of an environment that waits for people", false, [], true],
  ["some apps of it", false, ["user-service"], false],
  // Their roots no role but the administrators' may start: test/tree/argocd/rbac.test.ts.
  ["all of an environment that syncs by itself", true, [], false],
])("the root is synced with %s: %s %j %s", (_, syncsItself, names, expected) => {
  expect(syncsRoot({ syncsItself }, names)).toBe(expected);
});
