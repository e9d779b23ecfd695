/** A repository like this one, with any number of services and a history of deliveries behind it. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { glob } from "tinyglobby";
import { RefusedError } from "../errors.ts";
import { run } from "../exec.ts";
import { applyPromotion, checkoutHistory, planPromotion } from "../promotion/plan.ts";
import { formatRelease, imageCommit, parseRelease, releasePath } from "../release/release.ts";
import { type App, readCatalogue } from "../tree/catalogue.ts";
import { readEnvironments } from "../tree/environment.ts";
import { pinnedImage } from "../tree/kustomize.ts";
import { SETTINGS_FILE, withSettings } from "../tree/settings.ts";
import { gitEnvironment } from "./forge.ts";

/** What stands in this repository once, whatever the number of its services. */
const SHARED = ["argocd/**", "base/components/**", "base/transformers/**", "overlays/*/*.yaml"];

export interface TreeOptions {
  /** The repository whose first service is the model of all, and whose environments they go through. */
  model: string;
  /** An empty directory. */
  root: string;
  /** How many services. */
  apps: number;
  /** Values of argocd/settings. */
  settings: Readonly<Record<string, string>>;
  /** Where all services come from, `owner/name`. */
  source: string;
}

/** The tree, and how to change it. */
export interface Tree {
  readonly root: string;
  /** Names of the services. */
  readonly apps: readonly string[];
  /** In the order in which a release passes through them. */
  readonly environments: readonly string[];
}

/**
 * Writes the tree and commits it: the first environment has every service, the others have no release yet.
 * @throws RefusedError when the model has no service, or too few environments for a promotion
 */
export async function writeTree(options: TreeOptions): Promise<Tree> {
  const { model, root, settings, source } = options;
  const service = await modelService(model);
  const environments = (await readEnvironments(model)).map(({ name }) => name);
  if (environments.length < 2) throw new RefusedError("overlays has one environment only", "add another one");
  const width = String(options.apps).length;
  const apps = Array.from(
    { length: options.apps },
    (_, index) => `service-${String(index + 1).padStart(width, "0")}`,
  );

  for (const path of await glob(SHARED, { cwd: model, dot: true })) {
    const text = await readFile(join(model, path), "utf8");
    if (path === SETTINGS_FILE) await put(root, path, withSettings(text, settings));
    else if (/^overlays\/[^/]+\/environment\.yaml$/.test(path))
      await put(root, path, withSettings(text, { soak: "0s" }, path));
    else await put(root, path, text);
  }
  const own = await glob(
    [`base/${service.app}/**`, `overlays/*/${service.app}/**`, `apps/${service.app}.yaml`],
    {
      cwd: model,
      ignore: ["**/release.yaml", "**/hold.yaml"],
    },
  );
  for (const path of own) {
    const text = await readFile(join(model, path), "utf8");
    for (const app of apps) {
      const named = (value: string) => value.replaceAll(service.app, app);
      const from = /^source: .*$/m;
      await put(
        root,
        named(path),
        path.startsWith("apps/") ? named(text).replace(from, `source: ${source}`) : named(text),
      );
    }
  }
  await git(root, "init", "--quiet", "--initial-branch=main");
  await git(root, "add", "--all");
  await git(root, "commit", "--quiet", "--message", "The tree");
  return { root, apps, environments };
}

async function modelService(model: string): Promise<App> {
  const service = (await readCatalogue(model)).find(({ kind }) => kind === "service");
  if (service !== undefined) return service;
  throw new RefusedError("apps/*.yaml has no service that could be the model", "add one");
}

/** The file that pins a service's image in the first environment. */
export function pinPath({ environments }: Pick<Tree, "environments">, app: string): string {
  return `overlays/${environments[0]}/${app}/kustomization.yaml`;
}

/**
 * Pins images in the first environment, and commits.
 * @param tags by service
 * @returns the commit
 */
export async function pin(tree: Tree, tags: ReadonlyMap<string, string>): Promise<string> {
  const changed = [];
  for (const [app, tag] of tags) {
    const path = pinPath(tree, app);
    const text = await readFile(join(tree.root, path), "utf8");
    const name = /^ *- name: (registry\/\S+)$/m.exec(text)?.[1] ?? "";
    await put(tree.root, path, text.replace(pinnedImage(text, path, name).tag, tag));
    changed.push(path);
  }
  return commit(tree, `${[...tags.keys()].join(", ")} in ${tree.environments[0]}`, changed);
}

/** Carries all releases from one environment to the next as `promote` does, rendered, and commits. */
export async function carryAll(
  { root }: Tree,
  way: { from: string; to: string; kustomize: string },
): Promise<void> {
  const { from, to } = way;
  const history = await checkoutHistory(root);
  const kustomize = async () => way.kustomize;
  await applyPromotion(root, await planPromotion({ root, history, from, to, apps: [], kustomize }));
  await git(root, "add", "--all");
  await git(root, "commit", "--quiet", "--message", `All from ${from} to ${to}`);
}

/**
 * Carries the releases of some services into an environment, and commits. Into the second one as `promote` would render them,
 * of which only the tag differs; into those after it from the one before.
 * @param tags by service, what the first environment pins
 * @returns the commit
 */
export async function carry(tree: Tree, to: string, tags: ReadonlyMap<string, string>): Promise<string> {
  const { root, environments } = tree;
  const level = environments.indexOf(to);
  const head = (await git(root, "rev-parse", "HEAD")).trim();
  for (const [app, tag] of tags) {
    const path = releasePath(environments[Math.max(level - 1, 1)] ?? "", app);
    const text = await readFile(join(root, path), "utf8");
    await put(root, releasePath(to, app), level === 1 ? withImageTag(text, path, tag, head) : text);
  }
  return commit(
    tree,
    `${tags.size} to ${to}`,
    [...tags.keys()].map((app) => releasePath(to, app)),
  );
}

function withImageTag(text: string, path: string, tag: string, commitId: string): string {
  const release = parseRelease(text, path);
  const before = imageCommit(release) ?? "";
  const body = release.body.replaceAll(before, tag);
  return formatRelease({ ...release, image: release.image?.replace(before, tag), body, commit: commitId });
}

async function commit({ root }: Tree, message: string, paths: readonly string[]): Promise<string> {
  await git(root, "commit", "--quiet", "--message", message, "--", ...paths);
  return (await git(root, "rev-parse", "HEAD")).trim();
}

/**
 * Makes a repository with a number of empty commits: the sources from which images would be built.
 * @returns the commits, the oldest first
 */
export async function writeSources(root: string, commits: number): Promise<string[]> {
  await git(root, "init", "--quiet", "--initial-branch=main");
  const stream = Array.from({ length: commits }, (_, index) => {
    const subject = `Change ${index + 1} of the sources`;
    return `commit refs/heads/main\ncommitter bench <bench@ecommerce-gitops.invalid> ${1_700_000_000 + index} +0000\ndata ${subject.length}\n${subject}\n`;
  });
  await run("git", ["fast-import", "--quiet"], { cwd: root, env: gitEnvironment(), input: stream.join("") });
  return (await git(root, "rev-list", "--reverse", "main")).trim().split("\n");
}

async function git(root: string, ...args: string[]): Promise<string> {
  return run("git", args, { cwd: root, env: gitEnvironment() });
}

async function put(root: string, path: string, text: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), text);
}
