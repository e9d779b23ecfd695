/** Which release of which app is where, as rows: from Git and the forge. */
import { join } from "node:path";
import pLimit from "p-limit";
import { sha256 } from "../digest.ts";
import { readIfThere } from "../file.ts";
import type { Forge } from "../forge/forge.ts";
import type { GitHistory } from "../git/history.ts";
import { type Hold, isInForce, readHolds } from "../release/hold.ts";
import { imageCommit, liveImage, parseRelease, releaseName, releasePath } from "../release/release.ts";
import { type App, findApps, readCatalogue } from "../tree/catalogue.ts";
import { readEnvironments } from "../tree/environment.ts";
import { allOverlays } from "../tree/overlays.ts";
import { type Deployed, lastRollback, type Releases, readDeployed, releasesBehind } from "./behind.ts";
import type { ChangeKind, OpenChange } from "./changes.ts";

/** One app in one environment, on one cluster where Argo CD was asked: what `npm run status -- --json` prints. */
export interface StatusRow {
  app: string;
  env: string;
  /** Null when Argo CD was not asked, or has no application for it. */
  cluster: string | null;
  /** In short: the first digits of the image's commit, or `base` and those of the commit that changed the base last. */
  release: string | null;
  /** Path, tag and digest of the app's own image, without a registry; null for an app that has none. */
  image: string | null;
  /** The commit of the deployed branch that brought the release here, and when. */
  commit: string | null;
  since: string | null;
  /**
   * How many other releases the environment before has had since this one; null in the first environment, and when that one
   * never had it.
   */
  behind: number | null;
  /** How many commits of the app's own repository that makes; null when nobody asked, or they cannot be counted. */
  commitsBehind: number | null;
  /** As Argo CD says; null when it was not asked. */
  sync: string | null;
  health: string | null;
  /** Whether nothing but sealed Secrets is deployed; null when Argo CD was not asked, and Git alone does not say so. */
  isEmpty: boolean | null;
  /** The commit of this repository that Argo CD compared the cluster with. */
  revision: string | null;
  /** The app's own images that run on the cluster, with their registry. */
  running: string[];
  /** Open ones that would change it; null when no forge was asked. */
  pullRequests: { number: number; kind: ChangeKind; url: string }[] | null;
  /** Those in force: what must not come back, why, by whom and until when. */
  holds: {
    image: string | null;
    digest: string;
    reason: string;
    by: string;
    since: string;
    until: string | null;
  }[];
  /** Those that fire for it; null when no Alertmanager was asked. */
  alerts: { name: string; severity: string; summary: string }[] | null;
  /** The newest rollback: the commit of the deployed branch, and when. */
  lastRollback: { commit: string; at: string } | null;
}

export interface Status {
  /** In the order in which a release passes through them. */
  environments: string[];
  /** By app, then by environment. */
  rows: StatusRow[];
  /** What could not be found out, a line each. */
  notes: string[];
}

/** Calls of the forge at the same time. */
const PARALLEL_CALLS = 8;

/**
 * Finds out what a commit of the deployed branch has in which environment, and since when.
 * @param query.git a repository with the history of the commit
 * @param query.apps only these; none for all
 * @param query.changes from `openChanges`; undefined when no forge was asked
 * @param query.sources counts commits in the apps' own repositories; undefined to leave that out
 * @throws UsageError for an unknown app; RefusedError for a file of the tree that is damaged
 */
export async function readStatus(query: {
  git: GitHistory;
  commit: string;
  apps: readonly string[];
  changes: readonly OpenChange[] | undefined;
  sources: Pick<Forge, "compare"> | undefined;
  now: Date;
}): Promise<Status> {
  const { git, commit, changes, now } = query;
  return git.withTree(commit, ["apps", "overlays"], async (tree) => {
    const apps = findApps(await readCatalogue(tree), query.apps);
    const environments = (await readEnvironments(tree)).map(({ name }) => name);
    const holds = (await readHolds(tree)).filter((hold) => isInForce(hold, now));
    const overlays = new Set(await allOverlays(tree));
    const cells = apps.flatMap((app) => environments.map((env) => ({ app, env })));
    const found = await Promise.all(
      cells
        .filter(({ app, env }) => overlays.has(`overlays/${env}/${app.app}`))
        .map(async (cell) => ({
          ...cell,
          ...(await releaseIn(tree, cell.app, cell.env, environments[0])),
        })),
    );
    const places = found.map(({ app, env }) => ({ environment: env, app: app.app }));
    const deployed = await readDeployed(git, commit, environments[0] ?? "", places);
    const rows = await Promise.all(
      found.map(async (cell) =>
        rowOf(cell, {
          git,
          deployed,
          environments,
          holds: holds.filter((hold) => hold.environment === cell.env && hold.app === cell.app.app),
          changes: changes?.filter(
            ({ env, apps: changed }) => env === cell.env && changed.includes(cell.app.app),
          ),
        }),
      ),
    );
    const notes =
      query.sources === undefined ? [] : await countCommits(rows, found, environments, query.sources);
    return { environments, rows, notes };
  });
}

interface Found {
  app: App;
  env: string;
  image: string | undefined;
  /** What a release file says; undefined in the first environment. */
  file: { digest: string; commit: string; isEmpty: boolean } | undefined;
  /** Whether there is nothing of the app yet. */
  isEmpty: boolean;
}

async function releaseIn(
  tree: string,
  app: App,
  env: string,
  first: string | undefined,
): Promise<Pick<Found, "image" | "file" | "isEmpty">> {
  if (env === first) {
    return { image: await liveImage(tree, app, env), file: undefined, isEmpty: false };
  }
  const path = releasePath(env, app.app);
  const text = await readIfThere(join(tree, path));
  if (text === undefined) return { image: undefined, file: undefined, isEmpty: true };
  const { image, commit, body } = parseRelease(text, path);
  const file = { digest: sha256(body), commit, isEmpty: body.trim() === "" };
  return { image, file, isEmpty: false };
}

async function rowOf(
  found: Found,
  around: {
    git: GitHistory;
    deployed: Deployed;
    environments: readonly string[];
    holds: readonly Hold[];
    changes: readonly OpenChange[] | undefined;
  },
): Promise<StatusRow> {
  const { app, env, image, file, isEmpty } = found;
  const { git, deployed, environments, holds, changes } = around;
  const [first = ""] = environments;
  const own = isEmpty ? [] : deployed.releases(env, app.app);
  const lower = environments[environments.indexOf(env) - 1];
  const base = baseOf(deployed.releases(first, app.app), file, deployed);
  const rollback = await lastRollback(git, { environment: env, app: app.app }, own);
  return {
    app: app.app,
    env,
    cluster: null,
    release:
      isEmpty || (image === undefined && base === undefined)
        ? null
        : releaseName({ image, commit: base ?? "" }),
    image: image ?? null,
    commit: own[0]?.commit ?? null,
    since: own[0]?.date.toISOString() ?? null,
    behind:
      lower === undefined || file === undefined
        ? null
        : (releasesBehind(deployed.releases(lower, app.app), lower === first ? (base ?? "") : file.digest) ??
          null),
    commitsBehind: null,
    sync: null,
    health: null,
    isEmpty: file?.isEmpty === true ? true : null,
    revision: null,
    running: [],
    pullRequests: changes?.map(({ number, kind, url }) => ({ number, kind, url })) ?? null,
    holds: holds.map(({ digest, image: held, reason, by, since, until }) => ({
      image: held ?? null,
      digest,
      reason,
      by,
      since: since.toISOString(),
      until: until?.toISOString() ?? null,
    })),
    alerts: null,
    lastRollback:
      rollback === undefined ? null : { commit: rollback.commit, at: rollback.date.toISOString() },
  };
}

/**
 * The commit that changed the base last: the same release has the same one everywhere, which is not so for the commit that it
 * was rendered from.
 */
function baseOf(live: Releases, file: Found["file"], deployed: Deployed): string | undefined {
  if (file === undefined) return live[0]?.commit;
  const position = deployed.positionOf(file.commit);
  if (position === undefined) return file.commit;
  return live.find(({ commit }) => (deployed.positionOf(commit) ?? 0) >= position)?.commit ?? file.commit;
}

/** @returns why some are not counted */
async function countCommits(
  rows: readonly StatusRow[],
  found: readonly Found[],
  environments: readonly string[],
  sources: Pick<Forge, "compare">,
): Promise<string[]> {
  const limit = pLimit(PARALLEL_CALLS);
  const notes = rows.map(async (row, index) => {
    const app = found[index]?.app;
    const lower = environments[environments.indexOf(row.env) - 1];
    const other = rows.find((candidate) => candidate.app === row.app && candidate.env === lower);
    const [here, there] = [row, other].map((at) => imageCommit({ image: at?.image ?? undefined }));
    if (app?.kind !== "service" || here === undefined || there === undefined) return [];
    if (here === there) {
      row.commitsBehind = 0;
      return [];
    }
    const answer = await limit(async () => sources.compare(app.source, here, there));
    if (answer.kind === "unreadable") return [`commits of ${app.source}: ${answer.reason}`];
    row.commitsBehind = answer.total;
    return [];
  });
  return [...new Set((await Promise.all(notes)).flat())];
}
