/** A repository on the real forge whose environments have releases, and what Argo CD would report about them. */
import { cp, mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { inject } from "vitest";
import { z } from "zod";
import { sha256 } from "../../scripts/lib/digest.ts";
import { applyPromotion, checkoutHistory, planPromotion } from "../../scripts/lib/promotion/plan.ts";
import { formatHolds, holdPath } from "../../scripts/lib/release/hold.ts";
import { repositoryRoot } from "../../scripts/lib/repository.ts";
import { cacheDir } from "../../scripts/lib/tools/cache.ts";
import { resolveTool } from "../../scripts/lib/tools/resolve.ts";
import { waitFor } from "../../scripts/lib/wait.ts";
import { commit, git, settings, smallTree, temporary, write } from "../support/tree.ts";
import {
  ask,
  askAs,
  commandLine,
  history,
  OLD,
  OWNER,
  publish,
  pullRequests,
  push,
  type Result,
  type TestRepository,
} from "./support.ts";

async function kustomize(): Promise<string> {
  return (await resolveTool("kustomize")).path;
}

/** An environment of the small tree, with another time to soak. */
export function soaking(
  name: string,
  promotesFrom: string | undefined,
  soak: string,
): Record<string, string> {
  const from = promotesFrom === undefined ? "" : `  promotesFrom: ${promotesFrom}\n`;
  return {
    [`overlays/${name}/environment.yaml`]: `kind: ConfigMap\ndata:\n  name: ${name}\n${from}  soak: ${soak}\n`,
  };
}

/** Another service for the small tree. */
export function service(app: string): Record<string, string> {
  const released = "resources:\n  - release.yaml\n";
  return {
    [`apps/${app}.yaml`]: `app: ${app}\nnamespace: shop\nkind: service\nimage: shop/${app}\nsource: shop/${app}\nowners:\n  - ${app}\n`,
    [`base/${app}/kustomization.yaml`]: "resources:\n  - pod.yaml\n",
    [`base/${app}/pod.yaml`]: pod(app),
    [`overlays/dev/${app}/kustomization.yaml`]: pinned(app),
    [`overlays/test/${app}/kustomization.yaml`]: released,
    [`overlays/live/${app}/kustomization.yaml`]: released,
  };
}

/** The base of a service, with more in its container. */
export function pod(app: string, more = ""): string {
  return `apiVersion: v1\nkind: Pod\nmetadata:\n  name: ${app}\nspec:\n  containers:\n    - name: app\n      image: registry/shop/${app}\n${more}`;
}

/** Two services, where one is not enough. */
export const TWO = service("api");

/** Checkouts that are copied, since rendering takes a while; by the files put over those of the small tree. */
const templates = new Map<string, Promise<string>>();

/** The releases of the first environment in all the others, on main. Nothing has to soak. */
export async function promotable(
  files: Record<string, string> = {},
  directory?: string,
): Promise<TestRepository> {
  const key = JSON.stringify(files);
  const template = templates.get(key) ?? makeTemplate(files);
  templates.set(key, template);
  const root = directory ?? (await temporary());
  await cp(await template, root, { recursive: true });
  return publish(root);
}

async function makeTemplate(files: Record<string, string>): Promise<string> {
  const root = await mkdtemp(join(inject("templates"), "template-"));
  const nothingSoaks = { ...soaking("dev", undefined, "0s"), ...soaking("test", "dev", "0s") };
  await write(root, { ...smallTree(), ...nothingSoaks, ...files });
  await git(root, "init", "--quiet", "--initial-branch=main");
  await commit(root);
  await carry(root, "dev", "test");
  await carry(root, "test", "live");
  return root;
}

/** Puts releases into an environment, as merged promotions do. */
export async function carry(root: string, from: string, to: string): Promise<string> {
  const plan = await planPromotion({
    root,
    history: await checkoutHistory(root),
    from,
    to,
    apps: [],
    kustomize,
  });
  await applyPromotion(root, plan);
  return commit(root);
}

/**
 * Puts files on main, and pins images in dev and carries them up to an environment.
 * @param branch another one than main, for what is on top of it
 * @returns the commit that brought them
 */
export async function deliver(
  repo: TestRepository,
  to: "dev" | "test",
  images: Record<string, string>,
  files: Record<string, string> = {},
  branch = "main",
): Promise<string> {
  await history(repo.root, "checkout", "--quiet", "--force", "--detach", "origin/main");
  const pins = Object.entries(images).map(([app, tag]) => [
    `overlays/dev/${app}/kustomization.yaml`,
    pinned(app, tag),
  ]);
  await write(repo.root, { ...Object.fromEntries(pins), ...files });
  let newest = await commit(repo.root);
  if (to === "test") newest = await carry(repo.root, "dev", "test");
  await push(repo.root, branch);
  return newest;
}

/** The same, and reported as healthy. */
export async function release(
  repo: TestRepository,
  images: Record<string, string>,
  files: Record<string, string> = {},
  branch = "main",
): Promise<string> {
  const newest = await deliver(repo, "test", images, files, branch);
  await healthy(repo, newest, "test", ["web", "disk", ...Object.keys(images)]);
  return newest;
}

/** dev's overlay of a service, as the small tree has it. */
export function pinned(app: string, tag = OLD): string {
  return `resources:\n  - ../../../base/${app}\nimages:\n  - name: registry/shop/${app}\n    newTag: "${tag}"\n`;
}

/** Posts a commit status as Argo CD's notifications do. */
export async function report(
  { api }: TestRepository,
  commitId: string,
  context: string,
  state: string,
  description = "synced and healthy",
  token = inject("token"),
): Promise<void> {
  await askAs(token, `${api}/statuses/${commitId}`, "POST", { context, state, description });
}

/** Reports apps as healthy in an environment of one cluster. */
export async function healthy(
  repo: TestRepository,
  commitId: string,
  environment: string,
  apps: readonly string[],
): Promise<void> {
  for (const app of new Set(apps)) await report(repo, commitId, `argocd/${environment}/${app}`, "success");
}

/** With the forge's token, and the tools that are built already. */
export function environmentOf(extra: Record<string, string> = {}): Record<string, string> {
  const tools = cacheDir(process.env, repositoryRoot());
  return { FORGE_TOKEN: inject("token"), TOOLS_CACHE: tools, ...extra };
}

/** Runs `promote` as a process of its own. */
export async function promote({ root }: TestRepository, ...args: string[]): Promise<Result> {
  return commandLine("promote", root, args, environmentOf());
}

/** Merges a pull request as a person does, with the forge's own message where none is given; its branch stays. */
export async function merge(
  { api }: TestRepository,
  number: number,
  how: "merge" | "squash" = "merge",
  message = "",
): Promise<void> {
  const merged = async () => {
    // The forge finds out first whether it can be merged.
    await ask(`${api}/pulls/${number}/merge`, "POST", { Do: how, MergeMessageField: message }).catch(
      (error: unknown) => {
        if (!String(error).includes("try again later")) throw error;
      },
    );
    const Pull = z.object({ merged: z.boolean() });
    return Pull.parse(await ask(`${api}/pulls/${number}`)).merged || undefined;
  };
  await waitFor(`#${number} is merged`, merged, { everyMs: 100 });
}

/** Waits until no pull request is open: a forge closes that of a deleted branch by itself, but not in the same moment. */
export async function noneIsOpen(repo: TestRepository): Promise<void> {
  const look = async () => (await pullRequests(repo)).every(({ state }) => state !== "open") || undefined;
  await waitFor("no pull request is open", look);
}

/** The names of a pull request's labels. */
export async function labelsOf({ api }: TestRepository, number: number): Promise<string[]> {
  const Labels = z.array(z.object({ name: z.string() }));
  const labels = Labels.parse(await ask(`${api}/issues/${number}/labels`));
  return labels.map(({ name }) => name).toSorted();
}

/** A directory that is no checkout, from which commands reach the repository at another address or another branch. */
export async function callerOf(
  { name }: TestRepository,
  options: { url?: string; branch?: string },
): Promise<string> {
  const { url = inject("forge"), branch = "main" } = options;
  const root = await temporary();
  const text = settings(`${url}/${OWNER}/${name}.git`, `${url}/api/v1`);
  await write(root, {
    "argocd/settings/settings.yaml": text.replace("revision: main", `revision: ${branch}`),
  });
  return root;
}

/** What keeps the image of an app out of an environment. */
export function heldBack(
  environment: string,
  app: string,
  tag: string,
  until?: Date,
): Record<string, string> {
  const place = { environment, app };
  const hold = {
    digest: sha256(""),
    image: `shop/${app}:${tag}`,
    reason: "it loses orders",
    by: "Ada",
    since: new Date("2026-01-01T00:00Z"),
    until,
  };
  return { [holdPath(place)]: formatHolds(place, [hold]) };
}

/** A window that is always active. */
export const FROZEN = {
  "overlays/live/kustomization.yaml": "resources:\n  - project.yaml\n",
  "overlays/live/project.yaml": `apiVersion: argoproj.io/v1alpha1
kind: AppProject
metadata:
  name: live-service
spec:
  syncWindows:
    - kind: deny
      schedule: "* * * * *"
      duration: 1h
      applications: ["*"]
`,
};
