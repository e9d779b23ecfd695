/** Argo CD with many applications: what it renders anew, and how fast, when one of them changes. */
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { type Application, parseApplications } from "../scripts/lib/argocd/applications.ts";
import { ExternalError } from "../scripts/lib/errors.ts";
import { run } from "../scripts/lib/exec.ts";
import { gitEnv } from "../scripts/lib/sandbox/clone.ts";
import { type Layout, layoutOf } from "../scripts/lib/sandbox/layout.ts";
import { portOf, readState, type State } from "../scripts/lib/sandbox/state.ts";
import { readEnvironments } from "../scripts/lib/tree/environment.ts";
import { waitFor } from "../scripts/lib/wait.ts";
import type { BenchOptions, Figure } from "./figures.ts";
import { memoryBytes } from "./processes.ts";
import { type AskApplications, connectApplications, sandboxProcesses, withSandbox } from "./sandbox.ts";
import { put } from "./tree.ts";

/** With those of the tree. */
const APPLICATIONS = 300;
const NAMESPACE = "data";
/** ApplicationSets look at Git every 30 s here, and 250 applications are synced then. */
const PATIENCE = { everyMs: 2000, quietMs: 300_000 };
const LOOK_MS = 100;
/** By then the comparisons that follow a commit have ended. */
const SETTLE_MS = 20_000;

const List = z.object({ items: z.array(z.unknown()) });

interface Many {
  layout: Layout;
  state: State;
  ask: AskApplications;
  environments: readonly string[];
  /** Those that are added: each a map of configuration. */
  apps: readonly string[];
}

/** @throws RefusedError when the checkout has a sandbox @throws ExternalError when a step fails */
export async function benchArgocd(root: string, options: BenchOptions): Promise<Figure[]> {
  const { runs, say } = options;
  const layout = layoutOf(root);
  return withSandbox(root, options, async () => {
    const state = await readState(layout);
    if (state === undefined) throw new ExternalError("the sandbox has no state");
    const environments = (await readEnvironments(layout.work)).map(({ name }) => name);
    const ask = await connectApplications(layout);
    const present = (await applications(ask)).length;
    const count = Math.ceil((APPLICATIONS - present) / environments.length);
    const apps = Array.from({ length: count }, (_, index) => `many-${String(index + 1).padStart(3, "0")}`);
    const many = { layout, state, ask, environments, apps };
    const total = present + count * environments.length;
    say(`${total} applications`);
    await addApps(many);
    await waitFor(
      `Argo CD has synced ${apps.length} applications`,
      async () => (await syncedOf(many)) === apps.length || undefined,
      { ...PATIENCE, lastWord: async () => `${await syncedOf(many)} are Synced` },
    );
    await sleep(SETTLE_MS);
    const memory = await memoryBytes(await sandboxProcesses(layout));
    const seconds: number[] = [];
    const rendered: number[] = [];
    for (let index = 0; index < runs; index += 1) {
      say(`commit ${index + 1} of ${runs}`);
      rendered.push(
        await renderedIn(many, async () => {
          seconds.push(await changeOne(many, apps[index % apps.length] ?? ""));
          await sleep(SETTLE_MS);
        }),
      );
    }
    const idle = await renderedIn(many, async () => sleep(SETTLE_MS));
    return [
      { name: "applications", unit: "items", measured: [total], limit: Number.POSITIVE_INFINITY },
      {
        name: "a commit for one of them, until it is Synced in dev",
        unit: "s",
        measured: seconds,
        limit: 10,
      },
      {
        name: "manifests that the repo server is asked for then",
        unit: "items",
        measured: rendered,
        // The application of each environment, and the environment's root, which reports on each commit: compared, and synced.
        limit: 4 * environments.length,
      },
      { name: "the same without a commit", unit: "items", measured: [idle], limit: Number.POSITIVE_INFINITY },
      {
        name: "memory of all processes",
        unit: "GB",
        measured: [memory / 1e9],
        limit: Number.POSITIVE_INFINITY,
      },
    ];
  });
}

/** Applications of a map of configuration each: Argo CD has as much to do with them, and the clusters little. */
async function addApps({ layout, environments, apps }: Many): Promise<void> {
  for (const app of apps) {
    await put(
      layout.work,
      `apps/${app}.yaml`,
      `app: ${app}\nnamespace: ${NAMESPACE}\nkind: store\nowners:\n  - platform\n`,
    );
    await put(layout.work, `base/${app}/kustomization.yaml`, "resources:\n  - map.yaml\n");
    await put(layout.work, mapOf(app), map(app, "0"));
    for (const environment of environments)
      await put(
        layout.work,
        `overlays/${environment}/${app}/kustomization.yaml`,
        `resources:\n  - ../../../base/${app}\n`,
      );
  }
  await pushAll(layout, "Many applications");
}

function mapOf(app: string): string {
  return `base/${app}/map.yaml`;
}

function map(app: string, value: string): string {
  return `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${app}\n  namespace: ${NAMESPACE}\ndata:\n  value: "${value}"\n`;
}

/** @returns seconds from the push until the first environment has it */
async function changeOne({ layout, ask, environments }: Many, app: string): Promise<number> {
  await put(layout.work, mapOf(app), map(app, String(Date.now())));
  const commit = await pushAll(layout, `${app}: another value`);
  const began = performance.now();
  const name = `${environments[0]}-${app}`;
  await waitFor(
    `${name} is Synced`,
    async () => {
      const one = (await applications(ask)).find((application) => application.name === name);
      return (one?.sync === "Synced" && one.revision === commit) || undefined;
    },
    { everyMs: LOOK_MS },
  );
  return (performance.now() - began) / 1000;
}

async function pushAll(layout: Layout, message: string): Promise<string> {
  const git = async (...args: string[]) => run("git", args, { cwd: layout.work, env: gitEnv(layout) });
  await git("add", "--all");
  await git("commit", "--quiet", "-m", message);
  await git("push", "--quiet", "origin", "HEAD:main");
  return (await git("rev-parse", "HEAD")).trim();
}

async function applications(ask: AskApplications): Promise<Application[]> {
  const fields = "items.metadata.name,items.status.sync.status,items.status.sync.revision";
  const { items } = List.parse(JSON.parse(await ask(`?fields=${fields}`)));
  return parseApplications(JSON.stringify(items));
}

/** How many of the added ones are Synced in the first environment. */
async function syncedOf({ ask, environments, apps }: Many): Promise<number> {
  const names = new Set(apps.map((app) => `${environments[0]}-${app}`));
  const all = await applications(ask);
  return all.filter(({ name, sync }) => names.has(name) && sync === "Synced").length;
}

/** How many manifests the repo server is asked for meanwhile, by its own metrics. */
async function renderedIn({ state }: Many, during: () => Promise<unknown>): Promise<number> {
  const url = `http://127.0.0.1:${portOf(state, "argocd-repo-server-metrics")}/metrics`;
  const read = async () => {
    const text = await (await fetch(url)).text();
    const lines = text.matchAll(
      /^grpc_server_handled_total\{[^}]*grpc_method="GenerateManifest"[^}]*\} (\S+)$/gm,
    );
    return [...lines].reduce((sum, [, value]) => sum + Number(value), 0);
  };
  const before = await read();
  await during();
  return (await read()) - before;
}
