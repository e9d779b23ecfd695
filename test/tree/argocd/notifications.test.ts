import { afterAll, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { z } from "zod";
import { readSettings } from "../../../scripts/lib/tree/settings.ts";
import { ROOT } from "../support.ts";
import { argocdAdmin, only, render } from "./support.ts";

const admin = await argocdAdmin();
afterAll(async () => admin[Symbol.asyncDispose]());
const settings = await readSettings(ROOT);
const configMap = only(await render("argocd/config"), "ConfigMap", "argocd-notifications-cm");
const config = await admin.file("cm.yaml", configMap);

const SYNCED = "1".repeat(40);
const ASKED_FOR = "2".repeat(40);
const triggers = ["on-deploying", "on-deployed-healthy", "on-degraded", "on-sync-failed"];
const Notification = z.object({
  webhook: z.object({
    "commit-status": z.object({ method: z.string(), path: z.string(), body: z.string() }),
  }),
});

/** What GitHub and Gitea both take. */
const Body = z.strictObject({
  state: z.enum(["pending", "success", "failure", "error"]),
  context: z.string(),
  description: z.string(),
  target_url: z.url(),
});

interface State {
  phase?: string;
  message?: string;
  health?: string;
  sync?: string;
  /** The revision is known only when the sync has begun. */
  begun?: boolean;
}

let count = 0;

async function application({ phase, message, health, sync, begun = true }: State): Promise<string> {
  count += 1;
  const operationState = {
    phase,
    message,
    startedAt: "2026-01-01T00:00:00Z",
    operation: { sync: { revision: ASKED_FOR } },
    ...(begun ? { syncResult: { revision: SYNCED } } : {}),
  };
  return admin.file(`${count}.yaml`, {
    apiVersion: "argoproj.io/v1alpha1",
    kind: "Application",
    metadata: {
      name: "prod-eu-user-service",
      namespace: "argocd",
      labels: { cluster: "prod-eu", app: "user-service" },
    },
    spec: { source: { repoURL: "https://git.acme.dev/shop/gitops.git" } },
    status: {
      ...(health === undefined ? {} : { health: { status: health } }),
      ...(sync === undefined ? {} : { sync: { status: sync } }),
      ...(phase === undefined ? {} : { operationState }),
    },
  });
}

async function statusOf(state: State) {
  const args = ["commit-status", await application(state), "--config-map", config, "--secret", ":empty"];
  const { stdout } = await admin.run("notifications", "template", "notify", ...args);
  const { method, path, body } = Notification.parse(parse(stdout)).webhook["commit-status"];
  return { method, path, body: Body.parse(JSON.parse(body)) };
}

async function fired(state: State): Promise<string[]> {
  const file = await application(state);
  const names: string[] = [];
  for (const name of triggers) {
    const { stdout } = await admin.run(
      "notifications",
      "trigger",
      "run",
      name,
      file,
      "--config-map",
      config,
      "--secret",
      ":empty",
    );
    if (!/^CONDITION/m.test(stdout)) throw new Error(`${name}: ${stdout}`);
    if (/ true\s*$/m.test(stdout)) names.push(name);
  }
  return names;
}

/** What decides whether a trigger has reported already. */
function conditionOf(name: string): string {
  const conditions = z.tuple([
    z.object({ oncePer: z.string(), send: z.tuple([z.literal("commit-status")]) }),
  ]);
  return conditions.parse(parse(configMap.data?.[`trigger.${name}`] ?? ""))[0].oncePer;
}

/** The key of a report, by the real engine: it prints whether a condition holds, so the key is made the condition. */
async function keyOf(
  name: string,
  lastTransitionTime: string | undefined,
  notified: string[] | undefined,
): Promise<string | undefined> {
  count += 1;
  const id = count;
  const keys = (notified ?? []).map((key) => [`${key}[0].hash:commit-status:`, 1767225600]);
  const annotation = { "notified.notifications.argoproj.io": JSON.stringify(Object.fromEntries(keys)) };
  const file = await admin.file(`key-${id}.yaml`, {
    apiVersion: "argoproj.io/v1alpha1",
    kind: "Application",
    metadata: { name: "x", namespace: "argocd", ...(notified && { annotations: annotation }) },
    status: { health: { lastTransitionTime }, operationState: { startedAt: "2026-01-01T00:00:00Z" } },
  });
  const times = ["2026-01-01T08:00:00Z ", " ", ""].map((time) => `${time}2026-01-01T00:00:00Z`);
  const when = times.map((time) => ({
    when: `(${conditionOf(name)}) == '${time}'`,
    send: ["commit-status"],
  }));
  const asking = { ...configMap, data: { ...configMap.data, [`trigger.${name}`]: stringify(when) } };
  const { stdout } = await admin.run(
    "notifications",
    "trigger",
    "run",
    name,
    file,
    "--config-map",
    await admin.file(`key-${id}-cm.yaml`, asking),
    "--secret",
    ":empty",
  );
  const answers = stdout.split("\n").filter((line) => / (true|false)\s*$/.test(line));
  if (answers.length !== times.length) throw new Error(stdout);
  return times.find((_, index) => / true\s*$/.test(answers[index] ?? ""));
}

describe("a commit status", () => {
  it("goes to the commit that was deployed, in the repository it came from", async () => {
    expect(await statusOf({ phase: "Succeeded", health: "Healthy", sync: "Synced" })).toEqual({
      method: "POST",
      path: `/repos/shop/gitops/statuses/${SYNCED}`,
      body: {
        state: "success",
        context: "argocd/prod-eu/user-service",
        description: "synced and healthy",
        target_url: `https://argocd.${settings.domain}/applications/argocd/prod-eu-user-service`,
      },
    });
  });

  it("goes to the commit that was asked for, as long as the sync has not begun", async () => {
    const { path } = await statusOf({ phase: "Error", message: "no", health: "Healthy", begun: false });
    expect(path).toBe(`/repos/shop/gitops/statuses/${ASKED_FOR}`);
  });

  it.concurrent.each([
    [{ phase: "Running", health: "Degraded" }, "pending", "syncing"],
    [{ phase: "Succeeded", health: "Degraded" }, "failure", "synced, but degraded"],
    [
      { phase: "Failed", health: "Healthy", message: 'it said "no"\nand left' },
      "failure",
      'sync failed: it said "no" and left',
    ],
    [{ phase: "Error", health: "Healthy", message: "a\\b" }, "error", "sync error: a\\b"],
  ])("of %o is %s: %s", async (state, expected, description) => {
    expect((await statusOf(state)).body).toMatchObject({ state: expected, description });
  });

  it("has no longer a description than a forge takes", async () => {
    const { body } = await statusOf({ phase: "Failed", health: "Healthy", message: "x".repeat(1000) });
    expect(body.description).toHaveLength(140);
  });
});

describe("the triggers", () => {
  it.concurrent.each<[State, string[]]>([
    [{}, []],
    [{ phase: "Running", health: "Healthy", sync: "OutOfSync" }, ["on-deploying"]],
    [{ phase: "Succeeded", health: "Healthy", sync: "Synced" }, ["on-deployed-healthy"]],
    [{ phase: "Succeeded", health: "Healthy", sync: "OutOfSync" }, []],
    [{ phase: "Succeeded", health: "Progressing", sync: "Synced" }, []],
    [{ phase: "Succeeded", health: "Degraded", sync: "Synced" }, ["on-degraded"]],
    [{ phase: "Failed", health: "Healthy", sync: "OutOfSync" }, ["on-sync-failed"]],
    [{ phase: "Error", health: "Degraded", sync: "Unknown" }, ["on-sync-failed"]],
  ])("at %o: %s", async (state, names) => {
    expect(await fired(state)).toEqual(names);
  });

  it("that speak of a sync report once for each", () => {
    for (const name of ["on-deploying", "on-sync-failed"])
      expect(conditionOf(name)).toEqual("app.status?.operationState?.startedAt");
  });

  const STARTED = "2026-01-01T00:00:00Z";
  const CHANGED = "2026-01-01T08:00:00Z";
  const EARLIER = "2025-12-31T00:00:00Z";
  it.concurrent.each<[string, string, string | undefined, string[] | undefined, string]>([
    ["first", "on-deployed-healthy", CHANGED, undefined, STARTED],
    ["first", "on-deployed-healthy", CHANGED, [`${STARTED}:on-deploying:`], STARTED],
    ["again after a scaling", "on-deployed-healthy", CHANGED, [`${STARTED}:on-deployed-healthy:`], STARTED],
    [
      "again after it was degraded",
      "on-deployed-healthy",
      CHANGED,
      [`${EARLIER} ${STARTED}:on-degraded:`],
      `${CHANGED} ${STARTED}`,
    ],
    [
      "first after it was degraded in an earlier sync",
      "on-deployed-healthy",
      CHANGED,
      [`${EARLIER} ${EARLIER}:on-degraded:`],
      STARTED,
    ],
    ["each time it becomes so", "on-degraded", CHANGED, undefined, `${CHANGED} ${STARTED}`],
    ["without a time", "on-degraded", undefined, undefined, ` ${STARTED}`],
  ])("that speak of health report it %s: %s", async (_, name, lastTransitionTime, notified, expected) => {
    expect(await keyOf(name, lastTransitionTime, notified)).toBe(expected);
  });

  it("are those that every application subscribes to", async () => {
    const { spec } = only(await render("overlays/dev"), "ApplicationSet");
    for (const name of triggers) {
      const key = `notifications.argoproj.io/subscribe.${name}.commit-status`;
      expect(spec).toHaveProperty(["template", "metadata", "annotations", key], "");
    }
  });
});

describe("the service", () => {
  it("is the forge's API, with a token that is not in Git", () => {
    expect(parse(configMap.data?.["service.webhook.commit-status"] ?? "")).toEqual({
      url: settings.forgeAPI,
      headers: [
        { name: "Authorization", value: "token $forge-token" },
        { name: "Content-Type", value: "application/json" },
      ],
    });
  });
});
