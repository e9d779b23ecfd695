/** What came to which environment when, and how far one is behind another: read once for all apps, from Git alone. */
import type { Commit, GitHistory } from "../git/history.ts";
import type { HoldPlace } from "../release/hold.ts";
import { releasePath } from "../release/release.ts";
import { type DigestArrival, readDigests } from "../release/release-history.ts";

/**
 * The releases of one app in one environment, the newest first, by the digests of their bodies. The first environment keeps
 * none: there each commit that changed what it builds is one, by its own name.
 */
export type Releases = readonly DigestArrival[];

export interface Deployed {
  releases(environment: string, app: string): Releases;
  /** When a commit of the deployed branch came; undefined when it is none of them. */
  dateOf(commit: string): Date | undefined;
  /** How many commits of the deployed branch came after one of them; undefined when it is none of them. */
  positionOf(commit: string): number | undefined;
}

/**
 * Reads the history of a branch: a handful of runs of git, however many apps there are.
 * @param git a repository
 * @param tip the newest commit that counts
 * @param first the environment that builds the live base
 * @param places of releases
 * @throws ExternalError when git fails
 */
export async function readDeployed(
  git: GitHistory,
  tip: string,
  first: string,
  places: readonly HoldPlace[],
): Promise<Deployed> {
  const paths = places.map(({ environment, app }) => releasePath(environment, app));
  const chain = await git.log([], { from: tip });
  const [isShallow, arrivals, pins, bases] = await Promise.all([
    git.isShallow(),
    readDigests(git, chain, paths),
    git.changes([`:(glob)overlays/${first}/*/kustomization.yaml`], { from: tip, matching: "newTag|digest" }),
    git.changes(["base"], { from: tip }),
  ]);
  const positions = new Map(chain.map(({ commit }, position) => [commit, position]));
  const dates = new Map(chain.map(({ commit, date }) => [commit, date]));
  // By app, or `components`: what changed the live base, or the image that it has in the first environment.
  const live = new Map<string, Set<string>>();
  const add = (app = "", commit: string) => live.set(app, (live.get(app) ?? new Set()).add(commit));
  for (const { commit, files } of pins) for (const { path } of files) add(path.split("/")[2], commit);
  for (const { commit, files } of bases) for (const { path } of files) add(path.split("/")[1], commit);
  const isLive = (app: string, { commit }: Commit) =>
    live.get(app)?.has(commit) === true || live.get("components")?.has(commit) === true;
  // What the oldest commit of a shallow clone has may have come at any time before.
  const unknown = isShallow ? chain.at(-1)?.commit : undefined;
  return {
    releases(environment, app) {
      const found: Releases =
        environment === first
          ? chain.filter((one) => isLive(app, one)).map((one) => ({ ...one, digest: one.commit }))
          : (arrivals.get(releasePath(environment, app)) ?? []);
      return found.filter(({ commit }) => commit !== unknown);
    },
    dateOf: (commit) => dates.get(commit),
    positionOf: (commit) => positions.get(commit),
  };
}

/**
 * The newest rollback: a commit that says so, as `npm run rollback` does, or has merged one that does. Anybody can write that
 * line: it is a rollback only together with what it brings, a release that the environment has had before.
 */
export async function lastRollback(
  git: GitHistory,
  { environment, app }: HoldPlace,
  releases: Releases,
): Promise<Commit | undefined> {
  for (const [index, release] of releases.entries())
    if (await isRollback(git, { environment, app }, releases, index)) return release;
  return undefined;
}

/** Whether one of an environment's releases was a rollback. @param index of it */
export async function isRollback(
  git: GitHistory,
  { environment, app }: HoldPlace,
  releases: Releases,
  index: number,
): Promise<boolean> {
  const { commit, digest } = releases[index] ?? {};
  if (commit === undefined || digest === undefined) return false;
  if (!digestsOf(releases.slice(index + 1)).has(digest)) return false;
  const says = new RegExp(`^Rollback: ${environment} ${app} `, "m");
  return says.test(await git.git(["log", "--format=%B", `${commit}^..${commit}`]));
}

/**
 * How many other releases an environment has had of an app since the one that the next environment has.
 * @param lower those of the environment that has them first
 * @param here the one of the next environment
 * @returns 0 when it is the same; undefined when that environment never had it, as far as the history goes
 */
export function releasesBehind(lower: Releases, here: string): number | undefined {
  const last = lower.findIndex(({ digest }) => digest === here);
  return last === -1 ? undefined : digestsOf(lower.slice(0, last)).size;
}

function digestsOf(releases: Releases): Set<string> {
  return new Set(releases.flatMap(({ digest }) => digest ?? []));
}
