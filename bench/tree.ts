/** A repository like this one, with any number of services. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { glob } from "tinyglobby";
import { RefusedError } from "../scripts/lib/errors.ts";
import { run } from "../scripts/lib/exec.ts";
import { applyPromotion, checkoutHistory, planPromotion } from "../scripts/lib/promotion/plan.ts";
import { readCatalogue } from "../scripts/lib/tree/catalogue.ts";
import { readEnvironments } from "../scripts/lib/tree/environment.ts";
import { pinnedImage } from "../scripts/lib/tree/kustomize.ts";
import { SETTINGS_FILE, withSettings } from "../scripts/lib/tree/settings.ts";
import { gitEnvironment } from "../test/support/gitea.ts";

/** The files that do not depend on the number of services. */
const SHARED = ["argocd/**", "base/components/**", "base/transformers/**", "overlays/*/*.yaml"];
/** Besides, what a whole tree has: the other apps, whose Secrets the services share. */
const WHOLE = ["apps/**", "base/**", "overlays/**", "sandbox/crds/**", ".sops.yaml"];

export interface Tree {
  readonly root: string;
  /** Names of the services. */
  readonly apps: readonly string[];
  /** In the order in which a release passes through them. */
  readonly environments: readonly string[];
}

/**
 * Writes the tree and commits it: the first environment has every service, the others have no release yet.
 * @param options.model the repository whose first service is the model of all, and whose environments they go through
 * @param options.root an empty directory
 * @param options.count how many services
 * @param options.settings values of argocd/settings
 * @param options.source the repository that all services come from, `owner/name`
 * @param options.isWhole whether the model's other apps are in it, too, with their releases
 */
export async function writeTree(options: {
  model: string;
  root: string;
  count: number;
  settings: Readonly<Record<string, string>>;
  source: string;
  isWhole?: boolean;
}): Promise<Tree> {
  const { model, root, count, settings, source, isWhole = false } = options;
  const service = (await readCatalogue(model)).find(({ kind }) => kind === "service");
  if (service === undefined) throw new RefusedError("apps/*.yaml has no service for a model", "add one");
  const environments = (await readEnvironments(model)).map(({ name }) => name);
  const apps = Array.from({ length: count }, (_, index) => `service-${String(index + 1).padStart(3, "0")}`);
  for (const path of await glob(isWhole ? [...SHARED, ...WHOLE] : SHARED, { cwd: model, dot: true })) {
    const text = await readFile(join(model, path), "utf8");
    if (path === SETTINGS_FILE) await put(root, path, withSettings(text, settings));
    else if (path.endsWith("/environment.yaml"))
      await put(root, path, path.startsWith("overlays/") ? withSettings(text, { soak: "0s" }, path) : text);
    else await put(root, path, text);
  }
  const own = await glob(
    [`base/${service.app}/**`, `overlays/*/${service.app}/**`, `apps/${service.app}.yaml`],
    { cwd: model, ignore: ["**/release.yaml", "**/hold.yaml"] },
  );
  for (const path of own) {
    const text = (await readFile(join(model, path), "utf8")).replace(/^source: .*$/m, `source: ${source}`);
    for (const app of apps)
      await put(root, path.replaceAll(service.app, app), text.replaceAll(service.app, app));
  }
  await git(root, "init", "--quiet", "--initial-branch=main");
  const tree = { root, apps, environments };
  await commitAll(tree, "The tree");
  return tree;
}

/** The file that pins a service's image in the first environment. */
export function pinPath({ environments }: Tree, app: string): string {
  return `overlays/${environments[0]}/${app}/kustomization.yaml`;
}

/** Pins images in the first environment, and commits. @param tags by service */
export async function pin(tree: Tree, tags: ReadonlyMap<string, string>): Promise<void> {
  for (const [app, tag] of tags) {
    const path = pinPath(tree, app);
    const text = await readFile(join(tree.root, path), "utf8");
    const name = /^ *- name: (registry\/\S+)$/m.exec(text)?.[1] ?? "";
    await put(tree.root, path, text.replace(pinnedImage(text, path, name).tag, tag));
  }
  await commitAll(tree, `${[...tags.keys()].join(", ")} in ${tree.environments[0]}`);
}

/** Promotes as `npm run promote -- --local` does, and commits. @returns the commit */
export async function carry(
  tree: Tree,
  { from, to, kustomize }: { from: string; to: string; kustomize: string },
): Promise<string> {
  const { root } = tree;
  const history = await checkoutHistory(root);
  const plan = { root, history, from, to, apps: [], kustomize: async () => kustomize };
  await applyPromotion(root, await planPromotion(plan));
  return commitAll(tree, `All from ${from} to ${to}`);
}

/** Makes a repository of empty commits: the sources of the images. @returns the commits, the oldest first */
export async function writeSources(root: string, commits: number): Promise<string[]> {
  await git(root, "init", "--quiet", "--initial-branch=main");
  const stream = Array.from({ length: commits }, (_, index) => {
    const subject = `Change ${index + 1} of the sources`;
    return `commit refs/heads/main\ncommitter bench <bench@ecommerce-gitops.invalid> ${1_700_000_000 + index} +0000\ndata ${subject.length}\n${subject}\n`;
  });
  await run("git", ["fast-import", "--quiet"], { cwd: root, env: gitEnvironment(), input: stream.join("") });
  return (await git(root, "rev-list", "--reverse", "main")).trim().split("\n");
}

/** Commits everything. @returns the commit */
export async function commitAll({ root }: Tree, message: string): Promise<string> {
  await git(root, "add", "--all");
  await git(root, "commit", "--quiet", "--message", message);
  return (await git(root, "rev-parse", "HEAD")).trim();
}

async function git(root: string, ...args: string[]): Promise<string> {
  return run("git", args, { cwd: root, env: gitEnvironment() });
}

/** Writes a file, and the directories above it. */
export async function put(root: string, path: string, text: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), text);
}
