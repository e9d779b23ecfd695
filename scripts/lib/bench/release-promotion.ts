/** How long a promotion takes, in a repository with many apps, a history and what Argo CD has reported. */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import pLimit from "p-limit";
import { ExternalError } from "../errors.ts";
import type { Repository } from "../forge/address.ts";
import { formatPromotionBranch } from "../promotion/text.ts";
import { formatContext } from "../promotion/verdict.ts";
import { FORGE_USER } from "../sandbox/forge.ts";
import { lastWord, runCommand } from "./command.ts";
import { ask, gitUrl, publish, type TemporaryForge } from "./forge.ts";
import { carry, carryAll, pin, type Tree, writeSources, writeTree } from "./release-tree.ts";

export interface PromotionSize {
  readonly apps: number;
  readonly changed: number;
  /** Of the deployed branch. */
  readonly commits: number;
}

/** Seconds that each run took. */
export interface PromotionTimes extends PromotionSize {
  readonly from: string;
  readonly to: string;
  readonly dryRun: readonly number[];
  /** A run that opens the pull request. */
  readonly opened: readonly number[];
  /** The same call again. */
  readonly unchanged: readonly number[];
}

const OWNER = "shop";
/** Commits between two images of a service. */
const COMMITS_PER_IMAGE = 5;
/** In how many promotions the changed releases have come to the environment that is promoted from. */
const ARRIVALS = 3;
/** Commits of the deployed branch since then. */
const SINCE = 20;
/** Calls at the same time. */
const PARALLEL = 4;

/**
 * Builds such a repository on the forge and promotes in it.
 * @param options.model this repository
 * @param options.directory an empty directory
 * @throws ExternalError when a promotion fails, or does something else than it should
 */
export async function measurePromotion(
  forge: TemporaryForge,
  size: PromotionSize,
  options: { model: string; directory: string; kustomize: string; runs: number; say: (line: string) => void },
): Promise<PromotionTimes> {
  const { model, runs, say } = options;
  say(`a repository of ${size.apps} apps and ${size.commits} commits`);
  const repository = { owner: OWNER, name: `promotion-${size.apps}` };
  const tree = await build(forge, repository, size, options);
  const [from = "", to = ""] = tree.environments.slice(-2);
  const promote = async (expected: RegExp, ...args: string[]) => {
    const run = await runCommand(model, "promote", ["--root", tree.root, ...args, from, to], forge.token);
    const isComplete = run.stdout.includes(`: ${size.changed} of ${size.apps} apps change`);
    if (run.exitCode === 0 && isComplete && expected.test(run.stdout)) return run;
    throw new ExternalError(`promote ${args.join(" ")} does not what it should: ${lastWord(run)}`);
  };
  const dryRun: number[] = [];
  const opened: number[] = [];
  const unchanged: number[] = [];
  say(`promote ${from} ${to}: ${size.changed} of ${size.apps} apps, ${runs} times each`);
  for (let index = 0; index < runs; index += 1) {
    dryRun.push((await promote(/^nothing was changed: a dry run$/m, "--dry-run")).seconds);
    const run = await promote(/^opened: #\d+ /m);
    opened.push(run.seconds);
    unchanged.push((await promote(/^unchanged: #\d+ /m)).seconds);
    await takeBack(forge, repository, formatPromotionBranch({ from, to, apps: [] }), run.stdout);
  }
  return { ...size, from, to, dryRun, opened, unchanged };
}

/** So that the next run has to open it again. */
async function takeBack(
  forge: TemporaryForge,
  { owner, name }: Repository,
  branch: string,
  said: string,
): Promise<void> {
  const number = /^opened: #(\d+) /m.exec(said)?.[1] ?? "";
  await ask(forge, `/repos/${owner}/${name}/pulls/${number}`, "PATCH", { state: "closed" });
  await ask(forge, `/repos/${owner}/${name}/branches/${encodeURIComponent(branch)}`, "DELETE");
}

async function build(
  forge: TemporaryForge,
  repository: Repository,
  { apps, changed, commits }: PromotionSize,
  options: { model: string; directory: string; kustomize: string },
): Promise<Tree> {
  const { model, directory, kustomize } = options;
  const [sources, root] = [join(directory, "sources"), join(directory, "checkout")];
  for (const path of [sources, root]) await mkdir(path, { recursive: true });
  // A round is three commits: an image for an app, in each of the three levels.
  const last = changed + ARRIVALS + SINCE;
  const rounds = Math.max(0, Math.floor((commits - last) / 3));
  const images = await imagesOf(forge, sources, { apps, images: Math.ceil(rounds / apps) + 3, repository });

  const forgeAPI = `${forge.url}/api/v1`;
  const settings = { repoURL: gitUrl(forge, repository), forgeAPI, reporter: FORGE_USER };
  const tree = await writeTree({ model, root, apps, settings, source: images.source });
  const { environments } = tree;
  await pin(tree, new Map(tree.apps.map((app) => [app, images.next(app)])));
  for (const [level, to] of environments.entries()) {
    const from = environments[level - 1];
    if (from !== undefined) await carryAll(tree, { from, to, kustomize });
  }
  for (let round = 0; round < rounds; round += 1) {
    const app = tree.apps[round % apps] ?? "";
    const tags = new Map([[app, images.next(app)]]);
    await pin(tree, tags);
    for (const to of environments.slice(1)) await carry(tree, to, tags);
  }

  const reports: Report[] = [];
  const going = tree.apps.slice(0, changed);
  const tags = new Map(going.map((app) => [app, images.next(app)]));
  for (const [app, tag] of tags) await pin(tree, new Map([[app, tag]]));
  const share = Math.ceil(changed / ARRIVALS);
  for (let first = 0; first < changed; first += share) {
    const some = new Map([...tags].slice(first, first + share));
    for (const environment of environments.slice(1, -1)) {
      const commit = await carry(tree, environment, some);
      for (const app of some.keys()) reports.push({ commit, environment, app });
    }
  }
  for (let index = 0; index < SINCE; index += 1) {
    const app = tree.apps.at(-1 - (index % apps)) ?? "";
    const commit = await pin(tree, new Map([[app, images.next(app)]]));
    reports.push({ commit, environment: environments[0] ?? "", app });
  }
  await publish(forge, root, repository);
  await post(forge, repository, reports);
  return tree;
}

/** The repository that all services come from, and the commits from which images of a service were built. */
async function imagesOf(
  forge: TemporaryForge,
  root: string,
  options: { apps: number; images: number; repository: Repository },
): Promise<{ source: string; next: (app: string) => string }> {
  const { owner, name } = options.repository;
  const repository = { owner, name: `${name}-sources` };
  const commits = await writeSources(root, options.images * COMMITS_PER_IMAGE + SINCE * COMMITS_PER_IMAGE);
  await publish(forge, root, repository);
  const built = new Map<string, number>();
  return {
    source: `${owner}/${repository.name}`,
    next(app) {
      const number = built.get(app) ?? 0;
      built.set(app, number + 1);
      return commits[number * COMMITS_PER_IMAGE] ?? "";
    },
  };
}

/** A sync that Argo CD has reported. */
interface Report {
  commit: string;
  environment: string;
  app: string;
}

/** Each sync is reported twice: when it starts, and when all is well. In the sandbox a cluster has its environment's name. */
async function post(
  forge: TemporaryForge,
  { owner, name }: Repository,
  reports: readonly Report[],
): Promise<void> {
  const limit = pLimit(PARALLEL);
  const report = async ({ commit, environment, app }: Report) => {
    const context = formatContext({ cluster: environment, app });
    for (const [state, description] of [
      ["pending", "deploying"],
      ["success", "synced and healthy"],
    ]) {
      await ask(forge, `/repos/${owner}/${name}/statuses/${commit}`, "POST", { context, state, description });
    }
  };
  await Promise.all(reports.map((entry) => limit(async () => report(entry))));
}
