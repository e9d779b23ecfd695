import { afterAll, describe, expect, it } from "vitest";
import { DEMANDING, UPDATE_ERROR } from "../../../scripts/lib/secrets/secret-type.ts";
import { argocdAdmin, only, render } from "./support.ts";

const admin = await argocdAdmin();
afterAll(async () => admin[Symbol.asyncDispose]());
const config = await admin.file(
  "argocd-cm.yaml",
  only(await render("argocd/config"), "ConfigMap", "argocd-cm"),
);

let count = 0;

async function healthOf(
  apiVersion: string,
  kind: string,
  status: object | undefined,
  spec: object = {},
): Promise<string> {
  count += 1;
  const metadata = { name: "x", namespace: "y", generation: 2 };
  const file = await admin.file(`${count}.yaml`, {
    apiVersion,
    kind,
    metadata,
    spec,
    ...(status === undefined ? {} : { status }),
  });
  const { stdout } = await admin.run(
    "settings",
    "resource-overrides",
    "health",
    file,
    "--argocd-cm-path",
    config,
  );
  return /^STATUS: (\S+)\n(?:MESSAGE: (.*))?/.exec(stdout)?.slice(1).join(": ") ?? stdout;
}

describe("the health of a SopsSecret", () => {
  it.concurrent.each([
    ["without a status", undefined, "Progressing: waiting for sops-secrets-operator"],
    ["with an empty one", { message: "" }, "Progressing: waiting for sops-secrets-operator"],
    ["decrypted", { message: "Healthy" }, "Healthy: Healthy"],
    ["suspended", { message: "Reconciliation is suspended" }, "Suspended: Reconciliation is suspended"],
    ["that cannot be decrypted", { message: "Decryption error" }, "Degraded: Decryption error"],
    [
      "with a Secret of somebody else",
      { message: "Child secret is not owned by controller error" },
      /^Degraded: Child/,
    ],
  ])("%s", async (_, status, health) => {
    expect(await healthOf("isindir.github.com/v1alpha3", "SopsSecret", status)).toMatch(health);
  });
});

describe("a SopsSecret whose Secret was not updated, as the operator says,", () => {
  const health = async (template: object) =>
    healthOf(
      "isindir.github.com/v1alpha3",
      "SopsSecret",
      { message: UPDATE_ERROR },
      { secretTemplates: [template] },
    );

  it.concurrent.each(DEMANDING)("is perhaps right when it has the type %s", async (type) => {
    expect(await health({ name: "x", type })).toBe(
      `Degraded: ${UPDATE_ERROR}: it may be right all the same, seal it without its type ${type}`,
    );
  });

  it.concurrent.each([{ name: "x" }, { name: "x", type: "example.com/token" }])(
    "is not right as %o",
    async (template) => {
      expect(await health(template)).toBe(
        `Degraded: ${UPDATE_ERROR}: does its Secret have another type? Delete that, and the operator makes it anew`,
      );
    },
  );
});

describe("the health of an autoscaler", () => {
  const condition = (type: string, status: string, reason: string, minutesAgo = 0) => ({
    type,
    status,
    reason,
    message: `it is ${reason}`,
    lastTransitionTime: new Date(Date.now() - minutesAgo * 60_000).toISOString().replace(/\.\d+Z/, "Z"),
  });
  const able = condition("AbleToScale", "True", "ReadyForNewScale");
  const noMetrics = (minutesAgo: number) =>
    condition("ScalingActive", "False", "FailedGetResourceMetric", minutesAgo);

  it.concurrent.each([
    ["without a status", undefined, "Progressing: Waiting to Autoscale"],
    ["able to scale", { conditions: [able] }, "Healthy: it is ReadyForNewScale"],
    ["with pods too new for metrics", { conditions: [able, noMetrics(1)] }, /^Healthy: no metrics yet/],
    [
      "without metrics for long",
      { conditions: [able, noMetrics(6)] },
      /^Degraded: it is FailedGetResourceMetric/,
    ],
    [
      "that cannot find its target",
      { conditions: [condition("AbleToScale", "False", "FailedGetScale")] },
      "Degraded: it is FailedGetScale",
    ],
    [
      "that has its metrics again",
      { conditions: [able, condition("ScalingActive", "True", "ValidMetricFound")] },
      "Healthy: it is ReadyForNewScale",
    ],
  ])("%s", async (_, status, health) => {
    expect(await healthOf("autoscaling/v2", "HorizontalPodAutoscaler", status)).toMatch(health);
  });
});

describe("the health of a kind of APISIX", () => {
  const condition = (status: string, observedGeneration?: number) => ({
    type: "Accepted",
    status,
    message: `it is ${status}`,
    ...(observedGeneration === undefined ? {} : { observedGeneration }),
  });
  const route = async (status: object | undefined) => healthOf("apisix.apache.org/v2", "ApisixRoute", status);
  const trafficPolicy = async (status: object) =>
    healthOf("apisix.apache.org/v1alpha1", "BackendTrafficPolicy", status);
  const WAITING = "Progressing: waiting for apisix-ingress-controller";

  it.concurrent.each([
    ["without a status", undefined, WAITING],
    ["without conditions", {}, WAITING],
    ["accepted", { conditions: [condition("True", 2)] }, "Healthy: it is True"],
    [
      "accepted, by a controller that names no generation",
      { conditions: [condition("True")] },
      "Healthy: it is True",
    ],
    ["accepted before the last change", { conditions: [condition("True", 1)] }, WAITING],
    ["refused", { conditions: [condition("False", 2)] }, "Degraded: it is False"],
    ["refused before the last change", { conditions: [condition("False", 1)] }, WAITING],
    ["not decided", { conditions: [condition("Unknown", 2)] }, WAITING],
    [
      "with conditions of other types only",
      { conditions: [{ ...condition("True", 2), type: "Synced" }] },
      WAITING,
    ],
  ])("a route %s", async (_, status, health) => {
    expect(await route(status)).toBe(health);
  });

  it.concurrent.each([
    ["accepted everywhere", [condition("True", 2)], [condition("True", 2)], "Healthy: it is True"],
    ["refused somewhere", [condition("True", 2)], [condition("False", 2)], "Degraded: it is False"],
    ["not yet seen somewhere", [condition("True", 2)], [], WAITING],
  ])("a policy %s", async (_, one, other, health) => {
    expect(await trafficPolicy({ ancestors: [{ conditions: one }, { conditions: other }] })).toBe(health);
  });

  it("waits on a policy that applies to nothing yet", async () => {
    expect(await trafficPolicy({ ancestors: [] })).toBe(WAITING);
  });

  it.concurrent.each(["GatewayProxy", "PluginConfig"])(
    "is good for a %s, which has no status",
    async (kind) => {
      expect(await healthOf("apisix.apache.org/v1alpha1", kind, undefined)).toBe("Healthy: has no status");
    },
  );
});

describe("the health of an ApplicationSet", () => {
  const condition = (type: string, status: string) => ({ type, status, message: `it is ${type}` });
  const made = condition("ResourcesUpToDate", "True");
  const resource = (status: string) => ({ name: "dev-web", status });
  it.concurrent.each([
    ["without a status", undefined, "Progressing: waiting for the ApplicationSet controller"],
    ["without conditions", {}, "Progressing: waiting for the ApplicationSet controller"],
    [
      "that has made its applications",
      { conditions: [made], resources: [resource("Synced")] },
      "Healthy: it is Res",
    ],
    [
      "whose applications wait",
      { conditions: [made], resources: [resource("OutOfSync")] },
      "Healthy: it is Res",
    ],
    [
      "whose application is new",
      { conditions: [made], resources: [{ name: "dev-web" }] },
      "Healthy: it is Res",
    ],
    [
      "with one that cannot be compared",
      { conditions: [made], resources: [resource("Synced"), resource("Unknown")] },
      "Degraded: dev-web cannot be compared with Git",
    ],
    [
      "that cannot make them",
      { conditions: [condition("ResourcesUpToDate", "False")] },
      "Degraded: it is Res",
    ],
    [
      "that has failed",
      { conditions: [made, condition("ErrorOccurred", "True")] },
      "Degraded: it is ErrorOccurred",
    ],
    ["that failed before", { conditions: [condition("ErrorOccurred", "False"), made] }, "Healthy: it is Res"],
  ])("%s", async (_, status, health) => {
    expect(await healthOf("argoproj.io/v1alpha1", "ApplicationSet", status)).toMatch(health);
  });
});

describe("the health of an Application", () => {
  it.concurrent.each([
    ["that is not compared yet", undefined, "Progressing: "],
    ["that is well", { health: { status: "Healthy" } }, "Healthy: "],
    ["that is not", { health: { status: "Degraded", message: "no pods" } }, "Degraded: no pods"],
  ])("%s", async (_, status, health) => {
    expect(await healthOf("argoproj.io/v1alpha1", "Application", status)).toBe(health);
  });
});
