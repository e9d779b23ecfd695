/** When each of some releases came to its environment, and whether it has been proven there since. */
import { join } from "node:path";
import pLimit from "p-limit";
import { CommandError } from "../errors.ts";
import type { Commit, GitHistory } from "../git/history.ts";
import { releasePath, renderInputs } from "../release/release.ts";
import { readDigests } from "../release/release-history.ts";
import type { Environment } from "../tree/environment.ts";
import { inputDirectories } from "../tree/inputs.ts";
import { build } from "../tree/kustomize.ts";
import { SETTINGS_FILE } from "../tree/settings.ts";
import { parseContext, type Verdict, verdictOf } from "./health.ts";
import type { PromotionStep } from "./plan.ts";
import type { ReportSource } from "./report-source.ts";

export interface Evidence {
  /** By app. */
  verdicts: ReadonlyMap<string, Verdict>;
  /** What was not looked at, if anything. */
  warnings: readonly string[];
}

/** How many changes of its files an environment is followed back through. */
const FOLLOWED = 20;

interface Query {
  environment: Environment;
  base: string;
  steps: readonly PromotionStep[];
  kustomize: string;
  now: Date;
}

/**
 * Collects the evidence for some releases.
 * @param source who tells what became of them; undefined where nobody's word counts, because the settings name no account
 * @param options.environment the one that has them
 * @param options.base the commit of the deployed branch up to which history counts
 * @param options.steps releases that have changed for the target
 * @param options.kustomize path of the program
 */
export async function collectEvidence(
  remote: GitHistory,
  source: ReportSource | undefined,
  options: Query,
): Promise<Evidence> {
  const { environment, base, now } = options;
  // A release whose head alone is renewed has been proven as what it is.
  const steps = options.steps.filter(({ change }) => change !== "refreshed");
  if (steps.length === 0) return { verdicts: new Map(), warnings: [] };
  if (source === undefined)
    return { verdicts: new Map(steps.map(({ app }) => [app, NOBODY_COUNTS])), warnings: [] };
  const isLive = environment.promotesFrom === undefined;
  const log = await remote.log([], { from: base });
  const newest = isLive
    ? await changesOf(remote, environment, steps, base)
    : await arrivalsOf(remote, environment, steps, log);
  const history = log.map(({ commit }) => commit);
  const placeOf = (commit: string | undefined) => history.indexOf(commit ?? base);
  const judge = async (arrivals: ReadonlyMap<string, string>): Promise<Evidence> => {
    const windows = [...arrivals].map(
      ([app, commit]) => [app, history.slice(0, placeOf(commit) + 1)] as const,
    );
    const longest = Math.max(...windows.map(([, window]) => window.length));
    const earlier = await changesBefore(remote, environment, history[longest - 1] ?? base);
    const { clusters, reports, remarks, warnings } = await source(new Map(windows), earlier);
    const found = windows.map(([app]) => {
      const arrivedAt = log[placeOf(newest.get(app))]?.date ?? now;
      const query = { environment, app, clusters, reports: reports.get(app) ?? [], arrivedAt, now };
      return { app, verdict: verdictOf(query), remark: remarks.get(app) };
    });
    const verdicts = found.map(({ app, verdict, remark }) => {
      if (verdict.kind === "proven" || remark === undefined) return [app, verdict] as const;
      return [app, { ...verdict, reason: `${verdict.reason}; ${remark}` }] as const;
    });
    const remarked = found.flatMap(({ app, verdict, remark }) =>
      verdict.kind === "proven" && remark !== undefined ? [`${app}: ${remark}`] : [],
    );
    return { verdicts: new Map(verdicts), warnings: [...warnings, ...remarked] };
  };

  const evidence = await judge(newest);
  const silent = steps.filter(({ app }) => {
    const verdict = evidence.verdicts.get(app);
    return verdict?.kind === "unproven" && verdict.state === "silent";
  });
  const older = await pLimit(PARALLEL).map(silent, async ({ app }) => {
    const before = history.slice(placeOf(newest.get(app)) + 1);
    return [app, await reportedBefore(remote, source, options, app, before)] as const;
  });
  const arrivals = older.flatMap(([app, commit]) => (commit === undefined ? [] : [[app, commit] as const]));
  if (arrivals.length === 0) return evidence;
  const more = await judge(new Map(arrivals));
  return {
    verdicts: new Map([...evidence.verdicts, ...more.verdicts]),
    warnings: [...new Set([...evidence.warnings, ...more.warnings])],
  };
}

const NOBODY_COUNTS: Verdict = {
  kind: "unproven",
  state: "silent",
  reason: `no commit status counts, since ${SETTINGS_FILE} does not say who reports`,
  way: "put the account of Argo CD's token there, as reporter",
  opensItself: false,
  readyAt: undefined,
};

/** How many older changes of the environment are asked for the clusters that it has. */
const EARLIER = 5;

/** The commits before one that changed what an environment runs, as far as they are asked. */
async function changesBefore(
  remote: GitHistory,
  { name, promotesFrom }: Environment,
  commit: string,
): Promise<string[]> {
  const paths = [`overlays/${name}`, ...(promotesFrom === undefined ? ["base"] : [])];
  const log = await remote.log(paths, { from: commit, limit: EARLIER + 1 });
  return log.flatMap((entry) => (entry.commit === commit ? [] : [entry.commit])).slice(0, EARLIER);
}

/** Logs, or renderings, at the same time. */
const PARALLEL = 4;

/** By app, the newest commit that may have changed what the first environment runs. */
async function changesOf(
  remote: GitHistory,
  { name }: Environment,
  steps: readonly PromotionStep[],
  base: string,
): Promise<Map<string, string>> {
  const found = await pLimit(PARALLEL).map(steps, async ({ app }) => {
    const paths = [...renderInputs(app, name), `overlays/${name}/${app}`];
    const [newest] = await remote.log(paths, { from: base, limit: 1 });
    return [app, newest?.commit ?? base] as const;
  });
  return new Map(found);
}

/**
 * The newest change of what an app is built from here that somebody has reported on, if the environment renders the app there
 * as it does now: since then Argo CD has had nothing to sync, and reports nothing. Of what nobody has reported on, no cluster
 * has got anything.
 * @param before the commits before the one that nobody has reported on, the newest first
 * @returns undefined when it was rendered otherwise, or nothing was reported on the newest changes
 */
async function reportedBefore(
  remote: GitHistory,
  source: ReportSource,
  { environment, base, kustomize }: Query,
  app: string,
  before: readonly string[],
): Promise<string | undefined> {
  const [from] = before;
  if (from === undefined) return undefined;
  const overlay = `overlays/${environment.name}/${app}`;
  const changes = await remote.log(inputDirectories(overlay), { from, limit: FOLLOWED });
  let first = 0;
  for (const { commit } of changes) {
    const last = before.indexOf(commit);
    const { clusters, reports } = await source(new Map([[app, before.slice(first, last + 1)]]), []);
    const subjects = (reports.get(app) ?? []).flatMap(({ statuses }) =>
      statuses.map(({ context }) => parseContext(context)),
    );
    if (subjects.some((subject) => subject?.app === app && clusters.includes(subject.cluster))) {
      const render = async (at: string) => renderingAt(remote, overlay, at, kustomize);
      const [then, now] = await Promise.all([render(commit), render(base)]);
      return then !== undefined && then === now ? commit : undefined;
    }
    first = last + 1;
  }
  return undefined;
}

/** What Argo CD applies of an overlay at a commit; undefined when it cannot be rendered. */
async function renderingAt(
  remote: GitHistory,
  overlay: string,
  commit: string,
  kustomize: string,
): Promise<string | undefined> {
  const directories = inputDirectories(overlay);
  const files = [...(await remote.entries(commit, directories)).keys()];
  const there = directories.filter((directory) => files.some((file) => file.startsWith(`${directory}/`)));
  try {
    return await remote.withTree(commit, there, async (root) => build(kustomize, join(root, overlay)));
  } catch (error) {
    if (error instanceof CommandError) return undefined;
    throw error;
  }
}

/** By app, the commit of the deployed branch that brought its release; a new head around the same content is none. */
async function arrivalsOf(
  remote: GitHistory,
  { name }: Environment,
  steps: readonly PromotionStep[],
  log: readonly Commit[],
): Promise<Map<string, string>> {
  const places = steps.map(({ app }) => [app, releasePath(name, app)] as const);
  const arrivals = await readDigests(
    remote,
    log,
    places.map(([, path]) => path),
  );
  return new Map(places.map(([app, path]) => [app, (arrivals.get(path)?.[0] ?? log[0])?.commit ?? ""]));
}
