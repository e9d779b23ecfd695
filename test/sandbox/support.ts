/** The running sandbox, as its user sees it. */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { inject } from "vitest";
import { type Application, listApplications } from "../../scripts/lib/argocd/applications.ts";
import { messageOf } from "../../scripts/lib/errors.ts";
import { type RunResult, run, tryRun } from "../../scripts/lib/exec.ts";
import { findSandbox } from "../../scripts/lib/sandbox/variables.ts";
import { readCatalogue } from "../../scripts/lib/tree/catalogue.ts";
import { type WaitOptions, waitFor } from "../../scripts/lib/wait.ts";
import { newcomer, startSandbox } from "./setup.ts";

export const root = inject("root");
export const home = inject("home");
const crds = inject("crds");
export const startOutput = await startSandbox({ root, home, crds });
export const work = join(root, ".sandbox/work");

const variables = (await findSandbox(root, {}))?.variables;
if (variables === undefined) throw new Error("the sandbox has no .sandbox/env");
export const env: NodeJS.ProcessEnv = { ...newcomer(home), ...variables };

/** In the order of promotion. */
export const ENVIRONMENTS = ["dev", "staging", "prod"] as const;

/** A command of the repository, called in the clone by its user. */
export async function npm(...args: string[]): Promise<RunResult> {
  return tryRun("npm", ["--silent", ...args], { cwd: root, env: { ...newcomer(home), ...crds } });
}

export async function kubectl(context: string, ...args: string[]): Promise<string> {
  return run("kubectl", ["--context", context, ...args], { env });
}

/** Where Argo CD keeps its own objects. */
export async function hub(...args: string[]): Promise<string> {
  return kubectl("hub", "--namespace", "argocd", ...args);
}

/** Has ApplicationSets look at Git and at their clusters now; they learn of a push within half a minute. */
export async function refresh(...applicationSets: string[]): Promise<void> {
  const name = "argocd.argoproj.io/application-set-refresh";
  // One that failed keeps the annotation: the same value again would change nothing.
  await hub("annotate", "applicationsets", ...applicationSets, `${name}-`);
  await hub("annotate", "applicationsets", ...applicationSets, `${name}=true`);
}

export async function applications(): Promise<Application[]> {
  return listApplications({ program: "argocd", env });
}

/** The application of an app on a cluster, such as `dev-redis`; undefined when Argo CD has none. */
export async function applicationOf(name: string): Promise<Application | undefined> {
  return (await applications()).find((application) => application.name === name);
}

/** The same as `npm` in the work clone, with the variables of `.sandbox/env`. */
export async function npmInWork(args: readonly string[], input = ""): Promise<RunResult> {
  return tryRun("npm", ["--silent", "run", ...args], { cwd: work, env, input });
}

/** Brings prod up. When all files run, the first one has done so; one that runs alone may need it. */
export async function ensureProd(): Promise<void> {
  const prod = (await applications()).filter((application) => application.env === "prod");
  if (prod.every(({ sync }) => sync === "Synced")) return;
  const { exitCode, stderr } = await npm("run", "sync", "prod");
  if (exitCode !== 0) throw new Error(stderr);
}

/** Changes the text of a file in the work clone. */
export async function edit(path: string, change: (text: string) => string): Promise<void> {
  const file = join(work, path);
  await writeFile(file, change(await readFile(file, "utf8")));
}

/** Commits everything in the work clone and pushes it to the forge's main branch; returns the commit. */
export async function push(message: string): Promise<string> {
  await git("add", "--all");
  await git("commit", "--quiet", "-m", message);
  return pushed();
}

/** Takes the newest commit of the work clone back, on the forge's main branch too; returns the commit that does. */
export async function revert(): Promise<string> {
  await git("revert", "--no-edit", "HEAD");
  return pushed();
}

async function pushed(): Promise<string> {
  await git("push", "--quiet");
  return (await git("rev-parse", "HEAD")).trim();
}

async function git(...args: string[]): Promise<string> {
  return run("git", args, { cwd: work, env });
}

export async function until<T>(what: string, look: () => Promise<T | undefined>, seconds = 60): Promise<T> {
  return waitOrTell(what, look, { quietMs: seconds * 1000 });
}

/** Waits; a wait that ends without an answer tells how the clusters are, too: nobody can look at them later. */
async function waitOrTell<T>(
  what: string,
  look: () => Promise<T | undefined>,
  options: WaitOptions,
): Promise<T> {
  return waitFor(what, look, options).catch(async (error: unknown) => {
    throw new Error([messageOf(error), ...(await troubles())].join("\n"), { cause: error });
  });
}

interface Listed {
  readonly items: readonly {
    readonly metadata: {
      readonly namespace?: string;
      readonly name: string;
      readonly deletionTimestamp?: string;
    };
    readonly spec: { readonly unschedulable?: boolean; readonly nodeName?: string };
    readonly status: { readonly conditions?: readonly { type: string; status: string; message?: string }[] };
  }[];
}

/** Nodes and pods of all clusters that are not ready, and the last lines of the programs that should make them so. */
async function troubles(): Promise<string[]> {
  const listed = ENVIRONMENTS.map(async (cluster) => {
    const list: Listed = JSON.parse(await kubectl(cluster, "get", "nodes,pods", "-A", "-o", "json"));
    const objects = list.items.flatMap(({ metadata, spec, status }) => {
      const failed = (status.conditions ?? []).filter(
        (one) => (one.type === "Ready" || one.type === "PodScheduled") && one.status !== "True",
      );
      const words = [
        ...failed.map(({ type, message = "" }) => `not ${type} ${message}`),
        ...(metadata.deletionTimestamp === undefined ? [] : [`deleted ${metadata.deletionTimestamp}`]),
        ...(spec.unschedulable === true ? ["cordoned"] : []),
      ];
      if (words.length === 0) return [];
      return [
        `${cluster} ${metadata.namespace ?? "node"} ${metadata.name} ${spec.nodeName ?? ""}: ${words.join(", ")}`,
      ];
    });
    if (objects.length === 0) return [];
    const logs = ["kwok", "scheduler", "controller-manager"].map(async (program) =>
      run("tail", ["-n", "3", join(root, ".sandbox/logs", `${cluster}-${program}.log`)]),
    );
    return [...objects, ...(await Promise.all(logs))];
  });
  const settled = await Promise.allSettled(listed);
  return settled.flatMap((one) => (one.status === "fulfilled" ? one.value : [messageOf(one.reason)]));
}

/** Waits until an application is as expected; a wait that ends without it says how the application is. */
async function untilApplication(
  name: string,
  state: string,
  isSo: (application: Application) => boolean,
  seconds = 60,
): Promise<Application> {
  let found: Application | undefined;
  const look = async () => {
    found = await applicationOf(name);
    return found !== undefined && isSo(found) ? found : undefined;
  };
  const lastWord = () =>
    found === undefined
      ? "Argo CD has none of that name"
      : [found.sync, found.health, found.operation, found.message, found.operationMessage, found.images].join(
          " ",
        );
  return waitOrTell(`${name} ${state}`, look, { quietMs: seconds * 1000, lastWord });
}

const isHealthy = ({ sync, health }: Application) => sync === "Synced" && health === "Healthy";
const isAt = ({ revision }: Application, expected?: string) =>
  expected === undefined || revision === expected;

/** Waits until an application is Synced and Healthy, at a commit if one is given. */
export async function untilHealthy(name: string, revision?: string, seconds?: number): Promise<Application> {
  const isSo = (one: Application) => isHealthy(one) && isAt(one, revision);
  return untilApplication(name, "is Synced and Healthy", isSo, seconds);
}

/** Waits until an application is OutOfSync, at a commit if one is given. */
export async function untilOutOfSync(name: string, revision?: string): Promise<void> {
  await untilApplication(name, "is OutOfSync", (one) => one.sync === "OutOfSync" && isAt(one, revision));
}

/** Waits until an application is Synced and Healthy, and runs one image only: that with this tag. */
export async function untilRuns(name: string, tag: string, seconds?: number): Promise<void> {
  // Pods of the release before are counted until they are gone.
  const isSo = (one: Application) =>
    isHealthy(one) && one.images.length === 1 && one.images[0]?.includes(tag) === true;
  await untilApplication(name, `runs ${tag}`, isSo, seconds);
}

/** Everything the sandbox generated that nobody else may know. */
export async function secretValues(): Promise<string[]> {
  const sandbox = join(root, ".sandbox");
  const state: { credentials: Record<string, string> } = JSON.parse(
    await readFile(join(sandbox, "state.json"), "utf8"),
  );
  const keyFiles = await readdir(join(sandbox, "data/keys"));
  const keys = await Promise.all(
    keyFiles.map(async (file) => readFile(join(sandbox, "data/keys", file), "utf8")),
  );
  const privateKeys = keys.flatMap((text) => text.match(/^AGE-SECRET-KEY-\S+$/gm) ?? []);
  const sealed = await Promise.all(
    ENVIRONMENTS.map(async (context) => {
      const list: { items: { data: Record<string, string> }[] } = JSON.parse(
        await kubectl(context, "get", "secrets", "-A", "-o", "json"),
      );
      return list.items.flatMap(({ data }) =>
        Object.values(data).map((value) => Buffer.from(value, "base64").toString()),
      );
    }),
  );
  // The catalogue says them to everybody, such as the roles of a user.
  const fixed = (await readCatalogue(root)).flatMap(({ secrets }) =>
    secrets.flatMap((secret) => ("keys" in secret ? Object.values(secret.keys) : [])),
  );
  const known = new Set(fixed.map((key) => ("fixed" in key ? key.fixed : undefined)));
  // What is shorter is a name, and no secret.
  const values = sealed.flat().filter((value) => value.length >= 32 && !known.has(value));
  const tokens = [env["FORGE_TOKEN"], env["ARGOCD_AUTH_TOKEN"]].filter((token) => token !== undefined);
  return [...new Set([...Object.values(state.credentials), ...privateKeys, ...values, ...tokens])];
}
