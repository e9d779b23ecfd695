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
const COMPARED = "4".repeat(40);
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
  /** What the sync has in its result: nothing at first, and no commit after a comparison that failed. */
  result?: { revision: string } | undefined;
  /** What was asked for: a retry takes it away. */
  asked?: string;
  /** Whether an attempt has failed and the next one is waited for. */
  waiting?: boolean;
  /** Keys of what was reported before. */
  notified?: readonly string[];
  /** The commit that was deployed last. */
  last?: string;
}

const STARTED = "2026-01-01T00:00:00Z";
/** When the sync before began. */
const EARLIER = "2025-12-31T00:00:00Z";
const DEPLOYED = "3".repeat(40);

/** What the controller notes about its reports. */
function annotationsOf(keys: readonly string[]): Record<string, string> {
  const notified = Object.fromEntries(keys.map((key) => [`${key}[0].hash:commit-status:`, 1767225600]));
  return { "notified.notifications.argoproj.io": JSON.stringify(notified) };
}

let count = 0;

async function application(state: State): Promise<string> {
  const { phase, message, health, sync, asked = ASKED_FOR, waiting = false, notified, last } = state;
  const result = "result" in state ? state.result : { revision: SYNCED };
  count += 1;
  const operationState = {
    phase,
    message,
    startedAt: STARTED,
    operation: { sync: asked === "" ? {} : { revision: asked } },
    ...(result === undefined ? {} : { syncResult: result }),
    ...(waiting ? { finishedAt: "2026-01-01T00:00:05Z" } : {}),
  };
  return admin.file(`${count}.yaml`, {
    apiVersion: "argoproj.io/v1alpha1",
    kind: "Application",
    metadata: {
      name: "prod-eu-user-service",
      namespace: "argocd",
      labels: { cluster: "prod-eu", app: "user-service" },
      ...(notified && { annotations: annotationsOf(notified) }),
    },
    spec: { source: { repoURL: "https://git.acme.dev/shop/gitops.git" } },
    status: {
      ...(health === undefined ? {} : { health: { status: health } }),
      ...(sync === undefined ? {} : { sync: { status: sync, revision: COMPARED } }),
      ...(last === undefined ? {} : { history: [{ revision: last, deployStartedAt: EARLIER }] }),
      ...(phase === undefined ? {} : { operationState }),
    },
  });
}

async function statusOf(state: State, template = "commit-status") {
  const args = [template, await application(state), "--config-map", config, "--secret", ":empty"];
  const { stdout } = await admin.run("notifications", "template", "notify", ...args);
  const { method, path, body } = Notification.parse(parse(stdout)).webhook["commit-status"];
  return { method, path, body: Body.parse(JSON.parse(body)) };
}

/** The templates that are sent, as `<trigger> <number of its condition>`; the number is left away for the first one. */
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
    const conditions = stdout.split("\n").filter((line) => / (true|false)\s*$/.test(line));
    if (conditions.length === 0) throw new Error(`${name}: ${stdout}`);
    names.push(
      ...conditions.flatMap((line, index) =>
        / true\s*$/.test(line) ? [index === 0 ? name : `${name} ${index}`] : [],
      ),
    );
  }
  return names;
}

/** What decides whether a trigger's first condition has reported already. */
function conditionOf(name: string): string {
  const condition = z.object({ oncePer: z.string(), send: z.tuple([z.literal("commit-status")]) });
  return z
    .tuple([condition])
    .rest(z.unknown())
    .parse(parse(configMap.data?.[`trigger.${name}`] ?? ""))[0].oncePer;
}

/** The key of a report, by the real engine: it prints whether a condition holds, so the key is made the condition. */
async function keyOf(
  name: string,
  lastTransitionTime: string | undefined,
  notified: string[] | undefined,
): Promise<string | undefined> {
  count += 1;
  const id = count;
  const file = await admin.file(`key-${id}.yaml`, {
    apiVersion: "argoproj.io/v1alpha1",
    kind: "Application",
    metadata: { name: "x", namespace: "argocd", ...(notified && { annotations: annotationsOf(notified) }) },
    status: {
      health: { lastTransitionTime },
      operationState: { startedAt: STARTED, syncResult: { revision: SYNCED } },
    },
  });
  const times = [`2026-01-01T08:00:00Z ${STARTED}`, ` ${STARTED}`, STARTED, `${STARTED} ${SYNCED}`];
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

  const begun = [`${EARLIER} ${DEPLOYED}:on-deploying:`, `${STARTED} ${SYNCED}:on-deploying:`];
  it.concurrent.each<[string, Partial<State>, string]>([
    ["asked for, as long as the sync has not begun", { result: undefined }, ASKED_FOR],
    ["asked for, when it cannot be compared", { result: { revision: "" } }, ASKED_FOR],
    [
      "begun with, when a retry cannot compare",
      { result: { revision: "" }, asked: "", notified: begun },
      SYNCED,
    ],
  ])("goes to the commit that was %s", async (_, state, revision) => {
    const { path } = await statusOf({ phase: "Error", message: "no", health: "Healthy", ...state });
    expect(path).toBe(`/repos/shop/gitops/statuses/${revision}`);
  });

  it.concurrent.each([
    ["commit-status-recovered", COMPARED, "success", "healthy, and nothing to sync"],
    ["commit-status-overtaken", DEPLOYED, "error", "overtaken by the next sync before it was healthy"],
  ])("that ends another one, %s, goes to %s", async (template, revision, state, description) => {
    expect(
      await statusOf({ phase: "Error", sync: "Synced", health: "Healthy", last: DEPLOYED }, template),
    ).toEqual({
      method: "POST",
      path: `/repos/shop/gitops/statuses/${revision}`,
      body: {
        state,
        context: "argocd/prod-eu/user-service",
        description,
        target_url: `https://argocd.${settings.domain}/applications/argocd/prod-eu-user-service`,
      },
    });
  });

  it.concurrent.each([
    [{ phase: "Running", health: "Degraded" }, "pending", "syncing"],
    [
      {
        phase: "Running",
        waiting: true,
        message: "it said no. Retrying attempt #1 at 2026-01-01T00:00:10Z.",
      },
      "failure",
      "sync failed, Argo CD tries again: it said no. Retrying attempt #1 at 2026-01-01T00:00:10Z.",
    ],
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

const PENDING = `${EARLIER} ${DEPLOYED}:on-deploying:`;

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
    // Nobody knows yet which commit a retry takes.
    [{ phase: "Running", result: undefined, asked: "" }, []],
    [{ phase: "Running", waiting: true, result: { revision: "" } }, ["on-sync-failed 1"]],
    [{ phase: "Running", waiting: true }, ["on-deploying", "on-sync-failed 1"]],
    // A sync that applied something has failed for a reason; one that did not is over when Git has what is there.
    [{ phase: "Error", health: "Healthy", sync: "Synced" }, ["on-sync-failed"]],
    [
      { phase: "Error", health: "Healthy", sync: "Synced", result: { revision: "" } },
      ["on-deployed-healthy 1", "on-sync-failed"],
    ],
    [{ phase: "Error", health: "Healthy", sync: "Unknown", result: { revision: "" } }, ["on-sync-failed"]],
    // The sync before has begun, and nobody has seen its end.
    [{ phase: "Running", last: DEPLOYED, notified: [PENDING] }, ["on-deploying", "on-deploying 1"]],
    [{ phase: "Running", last: SYNCED, notified: [PENDING] }, ["on-deploying"]],
    [
      { phase: "Running", last: DEPLOYED, notified: [PENDING, `${EARLIER}:on-deployed-healthy:`] },
      ["on-deploying"],
    ],
    [
      { phase: "Running", last: DEPLOYED, notified: [`${EARLIER} ${EARLIER}:on-degraded:`] },
      ["on-deploying"],
    ],
    [{ phase: "Succeeded", health: "Progressing", last: DEPLOYED, notified: [PENDING] }, []],
  ])("at %o: %s", async (state, names) => {
    expect(await fired(state)).toEqual(names);
  });

  const CHANGED = "2026-01-01T08:00:00Z";
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
    ["once for each sync", "on-sync-failed", CHANGED, undefined, STARTED],
    ["once for each commit that a sync takes", "on-deploying", CHANGED, undefined, `${STARTED} ${SYNCED}`],
  ])("report %s: %s", async (_, name, lastTransitionTime, notified, expected) => {
    expect(await keyOf(name, lastTransitionTime, notified)).toBe(expected);
  });

  it.concurrent.each<[string, object, string, string[], boolean[]]>([
    ["is made", { status: "Healthy" }, COMPARED, [], [false, false]],
    ["cannot be made", { status: "Degraded" }, COMPARED, [], [true, false]],
    ["cannot be made, before the first comparison", { status: "Degraded" }, "", [], [false, false]],
    [
      "is made again",
      { status: "Healthy" },
      COMPARED,
      [`x ${COMPARED}:on-applications-broken:`],
      [false, true],
    ],
  ])(
    "of an environment tell on its root's commit when an application %s",
    async (_, health, revision, notified, expected) => {
      count += 1;
      const metadata = {
        name: "root-dev",
        namespace: "argocd",
        labels: { environment: "dev" },
        annotations: annotationsOf(notified),
      };
      const file = await admin.file(`root-${count}.yaml`, {
        apiVersion: "argoproj.io/v1alpha1",
        kind: "Application",
        metadata,
        spec: { source: { repoURL: "https://git.acme.dev/shop/gitops.git" } },
        status: { health: { ...health, lastTransitionTime: STARTED }, sync: { status: "Synced", revision } },
      });
      const from = ["--config-map", config, "--secret", ":empty"];
      const { stdout } = await admin.run(
        "notifications",
        "trigger",
        "run",
        "on-applications-broken",
        file,
        ...from,
      );
      const answers = stdout.split("\n").flatMap((line) => / (true|false)\s*$/.exec(line)?.[1] ?? []);
      expect(answers).toEqual(expected.map(String));
      if (!expected.includes(true)) return;
      const notify = await admin.run(
        "notifications",
        "template",
        "notify",
        "commit-status-environment",
        file,
        ...from,
      );
      const { path, body } = Notification.parse(parse(notify.stdout)).webhook["commit-status"];
      expect(path).toBe(`/repos/shop/gitops/statuses/${COMPARED}`);
      const [isBroken] = expected;
      expect(Body.parse(JSON.parse(body))).toMatchObject({
        context: "argocd/dev",
        state: isBroken === true ? "failure" : "success",
        target_url: `https://argocd.${settings.domain}/applications/argocd/root-dev`,
      });
    },
  );

  // The root may be healthy before it is compared with the commit that fixes it.
  it("of an environment tell on every commit that its root is compared with", () => {
    const conditions = z
      .array(z.object({ oncePer: z.string() }))
      .parse(parse(configMap.data?.["trigger.on-applications-broken"] ?? ""));
    for (const { oncePer } of conditions) expect(oncePer).toContain("app.status.sync.revision");
  });

  it("of an environment are what its root subscribes to", async () => {
    const { metadata } = only(await render("overlays/dev"), "Application");
    const key = "notifications.argoproj.io/subscribe.on-applications-broken.commit-status";
    expect(metadata.annotations).toHaveProperty([key], "");
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
