/** Promotion as data: which release files of an environment change. Nothing here writes but `applyPromotion`. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import pLimit from "p-limit";
import { RefusedError, UsageError } from "../errors.ts";
import { exists, readIfThere } from "../file.ts";
import { headCommit, refuseHidden, uncommitted } from "../git/checkout.ts";
import { GitHistory } from "../git/history.ts";
import { parseManifests } from "../manifests/manifest.ts";
import { obstaclesIn, refuseObstacles } from "../release/promotable.ts";
import {
  formatRelease,
  parseRelease,
  type Release,
  releasePath,
  renderInputs,
  renderRelease,
} from "../release/release.ts";
import { type App, findApps, readCatalogue } from "../tree/catalogue.ts";
import { type Environment, findEnvironment, readEnvironments } from "../tree/environment.ts";

export interface PromotionStep {
  app: string;
  /** The file to write, relative to the root. */
  path: string;
  /** `refreshed`: the same content, but the head names a commit that is not in the history. */
  change: "new" | "changed" | "refreshed" | "unchanged";
  before: Release | undefined;
  /** What the file holds afterwards; its old head stays when the content does. */
  after: Release;
}

export interface PromotionPlan {
  from: string;
  to: string;
  steps: PromotionStep[];
  /** Apps that nobody named, and that the target has no overlay of yet. */
  absent: string[];
}

/** What a tree is a state of. */
export interface History {
  /** The commit that a release names which is rendered from these paths of the tree. */
  commitOf(paths: readonly string[]): Promise<string>;
  /** Whether a commit is one that the branch of the tree has stood at. */
  contains(commit: string): Promise<boolean>;
  /** @throws RefusedError when one of these paths is not as the commit has it */
  refuseChanged(paths: readonly string[]): Promise<void>;
}

/**
 * A checkout as a state of its HEAD.
 * @throws RefusedError where that cannot be seen, or there is none
 */
export async function checkoutHistory(root: string): Promise<History> {
  await refuseHidden(root);
  const head = await headCommit(root);
  const git = new GitHistory(root);
  const stoodAt = await git.stoodAt(head);
  return {
    // Not HEAD, which may be on a branch that is squashed when it is merged.
    commitOf: async (paths) => (await git.log(paths, { limit: 1 }))[0]?.commit ?? head,
    contains: async (commit) => stoodAt.has(commit),
    async refuseChanged(paths) {
      const [first, ...others] = await uncommitted(root, paths);
      if (first === undefined) return;
      throw new RefusedError(
        `${first}${others.length === 0 ? "" : ` and ${others.length} more`}: not committed`,
        "a release names the commit it comes from: commit first",
      );
    },
  };
}

/** At most this many renderings at once: kustomize takes a core each. */
const PARALLEL = 4;

/**
 * Finds out what a promotion changes, and changes nothing.
 * @param options.root directory with the repository's tree
 * @param options.history what the tree is a state of
 * @param options.apps names of the apps; none means all that the source environment has
 * @param options.kustomize gives the path of the program; called only when the call is in order
 * @throws UsageError for an unknown environment or app, or a way that skips a level
 * @throws RefusedError when the source is not committed, a release is not promotable, the target has no overlay, or a release file is damaged
 */
export async function planPromotion(options: {
  root: string;
  history: History;
  from: string;
  to: string;
  apps: readonly string[];
  kustomize: () => Promise<string>;
}): Promise<PromotionPlan> {
  const { root, history, from, to } = options;
  const source = checkWay(await readEnvironments(root), from, to);
  const chosen = await chooseApps(root, from, options.apps);
  const there = await Promise.all(chosen.map(({ app }) => exists(join(root, overlayIn(to, app)))));
  const absent = chosen.filter((_, index) => there[index] !== true).map(({ app }) => app);
  const [lacking] = absent;
  if (lacking !== undefined && options.apps.length > 0)
    throw new RefusedError(`there is no ${overlayIn(to, lacking)}`, "add the app's overlay there first");
  const apps = chosen.filter(({ app }) => !absent.includes(app));
  const live = source.promotesFrom === undefined;
  const inputs = apps.flatMap((app) => (live ? renderInputs(app.app, from) : [releasePath(from, app.app)]));
  await history.refuseChanged([...new Set(inputs)]);
  const kustomize = live ? await options.kustomize() : "";
  const steps = await pLimit(PARALLEL).map(apps, async (app) => {
    const after = live
      ? await renderRelease({
          root,
          app,
          from,
          commit: await history.commitOf(renderInputs(app.app, from)),
          kustomize,
        })
      : await mustRead(root, from, app.app);
    refuseObstacles(obstaclesIn(`overlays/${from}/${app.app}`, parseManifests(after.body)));
    return step(root, history, to, after);
  });
  return { from, to, steps, absent };
}

/** Writes what a plan changes; files that stay as they are are not touched. */
export async function applyPromotion(root: string, plan: PromotionPlan): Promise<void> {
  for (const { change, path, after } of plan.steps) {
    if (change !== "unchanged") await writeFile(join(root, path), formatRelease(after));
  }
}

function checkWay(environments: readonly Environment[], from: string, to: string): Environment {
  const source = findEnvironment(environments, from);
  const target = findEnvironment(environments, to);
  if (target.promotesFrom === from) return source;
  if (from === to) throw new UsageError(`${from} to ${to} is no promotion`, wayTo(target));
  throw new UsageError(`a promotion does not go from ${from} to ${to}`, wayTo(target));
}

function wayTo({ name, promotesFrom }: Environment): string {
  return promotesFrom === undefined
    ? `${name} follows the base by itself`
    : `${name} takes releases from ${promotesFrom}`;
}

async function chooseApps(root: string, from: string, names: readonly string[]): Promise<App[]> {
  const catalogue = await readCatalogue(root);
  const chosen = findApps(catalogue, names);
  const there = await Promise.all(chosen.map(({ app }) => exists(join(root, overlayIn(from, app)))));
  const absent = chosen.find((_, index) => names.length > 0 && there[index] !== true);
  if (absent !== undefined)
    throw new RefusedError(`${from} has no ${absent.app}`, `add overlays/${from}/${absent.app} first`);
  return chosen.filter((_, index) => there[index] === true);
}

async function step(root: string, history: History, to: string, after: Release): Promise<PromotionStep> {
  const path = releasePath(to, after.app);
  const before = await read(root, to, after.app);
  const change = await compare(history, before, after);
  return { app: after.app, path, change, before, after: change === "unchanged" && before ? before : after };
}

async function compare(
  history: History,
  before: Release | undefined,
  after: Release,
): Promise<PromotionStep["change"]> {
  if (before === undefined) return "new";
  if (before.body !== after.body || before.image !== after.image) return "changed";
  return (await history.contains(before.commit)) ? "unchanged" : "refreshed";
}

async function read(root: string, environment: string, app: string): Promise<Release | undefined> {
  const path = releasePath(environment, app);
  const text = await readIfThere(join(root, path));
  if (text === undefined) return undefined;
  const release = parseRelease(text, path);
  if (release.app === app) return release;
  throw new RefusedError(
    `${path}:2: a release of ${release.app}`,
    "restore it from Git, or remove it and promote again",
  );
}

async function mustRead(root: string, environment: string, app: string): Promise<Release> {
  const release = await read(root, environment, app);
  if (release !== undefined) return release;
  throw new RefusedError(
    `there is no ${releasePath(environment, app)}`,
    "promote the app to that environment first",
  );
}

function overlayIn(environment: string, app: string): string {
  return `overlays/${environment}/${app}/kustomization.yaml`;
}

/** What a person reads about apps that a promotion leaves out. */
export function describeAbsent({ to, absent }: Pick<PromotionPlan, "to" | "absent">): string[] {
  if (absent.length === 0) return [];
  return [`${to} has no overlay yet of ${absent.join(", ")}: docs/new-service.md says how it gets one`];
}
