/** Who tells what became of a deployment: the forge, from the commit statuses it keeps; or Argo CD itself. */
import pLimit from "p-limit";
import { type Application, type Argocd, listApplications } from "../argocd/applications.ts";
import type { CommitStatus, Forge } from "../forge/forge.ts";
import { SETTINGS_FILE } from "../tree/settings.ts";
import { clustersOf, formatContext, parseContext, type Reports } from "./health.ts";

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
  /** By app, what was reported and does not count, if anything. */
  remarks: ReadonlyMap<string, string>;
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
  forge: Pick<Forge, "statuses">,
  options: { environment: string; environments: readonly string[]; reporter: string },
): ReportSource {
  const { environment, environments, reporter } = options;
  const call = pLimit(PARALLEL);
  // A source is asked several times: for the windows, and for what lies before them.
  const known = new Map<string, Promise<readonly CommitStatus[]>>();
  const ask = async (commit: string): Promise<readonly CommitStatus[]> => {
    const answer = known.get(commit) ?? call(async () => forge.statuses(commit));
    known.set(commit, answer);
    return answer;
  };
  return async (windows, earlier) => {
    const asked = [...new Set([...[...windows.values()].flatMap(chosen), ...earlier])];
    const found = new Map(
      await Promise.all(asked.map(async (commit) => [commit, await ask(commit)] as const)),
    );
    const statusesOf = (commit: string) => countedStatuses(found.get(commit) ?? [], reporter);
    const reports = [...windows].map(([app, window]) => {
      const answered = window.filter((commit) => found.has(commit)).toReversed();
      return [app, answered.map((commit) => ({ commit, statuses: statusesOf(commit) }))] as const;
    });
    const remarks = [...windows].flatMap(([app, window]) => {
      const own = window
        .flatMap((commit) => found.get(commit) ?? [])
        .filter(({ context }) => {
          const isHere = clustersOf(environment, environments, [context]).length > 0;
          return isHere && parseContext(context)?.app === app;
        });
      const remark = foreignRemark(own, reporter);
      return remark === undefined ? [] : [[app, remark] as const];
    });
    const longest = Math.max(...[...windows.values()].map((window) => window.length));
    const warning = `reports were looked for on the ${FIRST} first and ${NEWEST} newest commits since a release came, not on all ${longest}`;
    const contexts = asked.flatMap((commit) => statusesOf(commit).map(({ context }) => context));
    return {
      clusters: clustersOf(environment, environments, contexts),
      reports: new Map(reports),
      remarks: new Map(remarks),
      warnings: longest > FIRST + NEWEST ? [warning] : [],
    };
  };
}

/**
 * The statuses that are Argo CD's word. A token of anybody else may post the same context.
 * @param reporter the account that the settings name
 */
export function countedStatuses(statuses: readonly CommitStatus[], reporter: string): CommitStatus[] {
  // Forges take a name in small and capital letters for the same.
  return statuses.filter(({ account }) => account?.toLowerCase() === reporter.toLowerCase());
}

/** What is to be said of statuses that others have posted in Argo CD's name. */
function foreignRemark(statuses: readonly CommitStatus[], reporter: string): string | undefined {
  const counted = new Set(countedStatuses(statuses, reporter));
  const others = statuses.filter((status) => !counted.has(status));
  if (others.length === 0) return undefined;
  const accounts = new Set(others.map(({ account }) => account ?? "an account that is gone"));
  return `statuses of ${[...accounts].toSorted().join(", ")} do not count, only those of ${reporter} (reporter in ${SETTINGS_FILE})`;
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
    return { clusters, reports: new Map(reports), remarks: new Map(), warnings: [] };
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
  // What was never deployed is Synced, too, after the API server has refused it (`compareAnew`).
  const isSynced = sync === "Synced" && window.has(revision) && since !== undefined;
  const state = health === "Degraded" ? "failure" : isSynced && health === "Healthy" ? "success" : "pending";
  return { context, state, description, at, url: undefined, account: undefined };
}
