/** Who tells what became of a deployment: the forge, from the commit statuses it keeps; or Argo CD itself. */
import pLimit from "p-limit";
import { type Application, type Argocd, listApplications } from "../argocd/argocd.ts";
import type { CommitStatus, Forge } from "../forge/forge.ts";
import { clustersOf, formatContext, type Reports } from "./verdict.ts";

/**
 * Tells what was reported on some apps.
 * @param windows by app: the commits of the deployed branch since the one that brought its release, the newest first
 * @param earlier some commits before all of these: a cluster that reported on one of them, and is silent now, counts
 */
export type ReportSource = (
  windows: ReadonlyMap<string, readonly string[]>,
  earlier: readonly string[],
) => Promise<{
  /** The environment's clusters, as far as they have reported anything. */
  clusters: readonly string[];
  /** By app, the oldest commit first. */
  reports: ReadonlyMap<string, readonly Reports[]>;
  /** What was not looked at, if anything. */
  warnings: readonly string[];
}>;

/** Calls at the same time. */
const PARALLEL = 8;
/** Of each release the commits right after it came and the newest are asked for: a report is on the commit of a sync. */
const FIRST = 20;
const NEWEST = 20;

/** The commit statuses that Argo CD's notifications have posted: needs no access to any cluster. */
export function statusSource(
  forge: Forge,
  environment: string,
  environments: readonly string[],
): ReportSource {
  return async (windows, earlier) => {
    const asked = new Set([...[...windows.values()].flatMap(chosen), ...earlier]);
    const call = pLimit(PARALLEL);
    const found = new Map<string, readonly CommitStatus[]>();
    await Promise.all(
      [...asked].map((commit) => call(async () => found.set(commit, await forge.statuses(commit)))),
    );
    const contexts = [...found.values()].flatMap((statuses) => statuses.map(({ context }) => context));
    const reports = [...windows].map(([app, window]) => {
      const answered = window.filter((commit) => found.has(commit)).toReversed();
      return [app, answered.map((commit) => ({ commit, statuses: found.get(commit) ?? [] }))] as const;
    });
    const longest = Math.max(...[...windows.values()].map((window) => window.length));
    const warning = `reports were looked for on the ${FIRST} first and ${NEWEST} newest commits since a release came, not on all ${longest}`;
    return {
      clusters: clustersOf(environment, environments, contexts),
      reports: new Map(reports),
      warnings: longest > FIRST + NEWEST ? [warning] : [],
    };
  };
}

function chosen(window: readonly string[]): string[] {
  return [...window.slice(0, NEWEST), ...window.slice(-FIRST)];
}

/** Argo CD's own word, in the form of the reports it would have posted. */
export function argocdSource(argocd: Argocd, environment: string): ReportSource {
  return async (windows) => {
    const applications = await listApplications(argocd, environment);
    const reports = [...windows].map(([app, window]) => {
      const own = applications.filter((application) => application.app === app);
      const since = new Set(window);
      const statuses = own.map((application) => reportOf(application, since));
      return [app, [{ commit: window.at(-1) ?? "", statuses }]] as const;
    });
    const clusters = [...new Set(applications.map(({ cluster }) => cluster))].toSorted();
    return { clusters, reports: new Map(reports), warnings: [] };
  };
}

/** @param window the commits that have the release */
function reportOf(
  { app, cluster, sync, health, message, deployments, healthSince, revision }: Application,
  window: ReadonlySet<string>,
): CommitStatus {
  const since = deployments.find((deployment) => window.has(deployment.revision))?.at;
  const at = new Date(Math.max(since?.getTime() ?? 0, healthSince?.getTime() ?? 0));
  const context = formatContext({ cluster, app });
  const description = `${sync} ${health}${message === "" ? "" : `: ${message}`}`;
  const isSynced = sync === "Synced" && window.has(revision);
  const state = health === "Degraded" ? "failure" : isSynced && health === "Healthy" ? "success" : "pending";
  return { context, state, description, at, url: undefined };
}
