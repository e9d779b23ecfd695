/** When each of some releases came to its environment, and whether it has been proven there since. */
import pLimit from "p-limit";
import { CommandError } from "../errors.ts";
import type { Remote } from "../git/remote.ts";
import { bodyOf, releasePath, renderInputs, renderRelease } from "../release/release.ts";
import { readCatalogue } from "../tree/catalogue.ts";
import type { Environment } from "../tree/environment.ts";
import type { PromotionStep } from "./plan.ts";
import type { ReportSource } from "./report-source.ts";
import { type Verdict, verdictOf } from "./verdict.ts";

export interface Evidence {
  /** By app. */
  verdicts: ReadonlyMap<string, Verdict>;
  /** What was not looked at, if anything. */
  warnings: readonly string[];
}

/** How far back a release is followed through changes of its head only. */
const FOLLOWED = 20;
/** The same where each commit has to be rendered. */
const RENDERED = 5;

/**
 * Collects the evidence for some releases.
 * @param source who tells what became of them
 * @param options.environment the one that has them
 * @param options.base the commit of the deployed branch up to which history counts
 * @param options.steps releases that have changed for the target
 * @param options.kustomize path of the program
 */
export async function collectEvidence(
  remote: Remote,
  source: ReportSource,
  options: {
    environment: Environment;
    base: string;
    steps: readonly PromotionStep[];
    kustomize: string;
    now: Date;
  },
): Promise<Evidence> {
  const { environment, base, now } = options;
  // A release whose head alone is renewed has been proven as what it is.
  const steps = options.steps.filter(({ change }) => change !== "refreshed");
  if (steps.length === 0) return { verdicts: new Map(), warnings: [] };
  const isLive = environment.promotesFrom === undefined;
  const [log, newest] = await Promise.all([
    remote.log([], { from: base }),
    (isLive ? changesOf : arrivalsOf)(remote, environment, steps, base),
  ]);
  const history = log.map(({ commit }) => commit);
  const judge = async (arrivals: ReadonlyMap<string, string>): Promise<Evidence> => {
    const windows = [...arrivals].map(([app, commit]) => {
      const arrival = history.indexOf(commit);
      return [app, arrival === -1 ? history : history.slice(0, arrival + 1)] as const;
    });
    const longest = Math.max(...windows.map(([, window]) => window.length));
    const earlier = await changesBefore(remote, environment, history[longest - 1] ?? base);
    const { clusters, reports, warnings } = await source(new Map(windows), earlier);
    const verdicts = windows.map(([app]) => {
      const query = { environment, app, clusters, reports: reports.get(app) ?? [], now };
      return [app, verdictOf(query)] as const;
    });
    return { verdicts: new Map(verdicts), warnings };
  };

  const evidence = await judge(newest);
  const silent = steps.filter(({ app }) => {
    const verdict = evidence.verdicts.get(app);
    return isLive && verdict?.kind === "unproven" && verdict.state === "silent";
  });
  if (silent.length === 0) return evidence;
  const limit = pLimit(PARALLEL);
  const older = silent.map((step) =>
    limit(async () => [step.app, await renderedArrivalOf(remote, options, step)] as const),
  );
  const more = await judge(new Map(await Promise.all(older)));
  return {
    verdicts: new Map([...evidence.verdicts, ...more.verdicts]),
    warnings: [...new Set([...evidence.warnings, ...more.warnings])],
  };
}

/** How many older changes of the environment are asked for the clusters that it has. */
const EARLIER = 5;

/** The commits before one that changed what an environment runs, as far as they are asked. */
async function changesBefore(
  remote: Remote,
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
  remote: Remote,
  { name }: Environment,
  steps: readonly PromotionStep[],
  base: string,
): Promise<Map<string, string>> {
  const limit = pLimit(PARALLEL);
  const found = steps.map(({ app }) =>
    limit(async () => {
      const paths = [...renderInputs(app, name), `overlays/${name}/${app}`];
      const [newest] = await remote.log(paths, { from: base, limit: 1 });
      return [app, newest?.commit ?? base] as const;
    }),
  );
  return new Map(await Promise.all(found));
}

/**
 * The commit since which the base has been rendered as it is now. A change of a comment is a commit that nobody syncs, so
 * nobody reports on it.
 */
async function renderedArrivalOf(
  remote: Remote,
  { environment, base, kustomize }: { environment: Environment; base: string; kustomize: string },
  { app: name, after }: PromotionStep,
): Promise<string> {
  let arrival = base;
  const inputs = renderInputs(name, environment.name);
  const log = await remote.log(inputs, { from: base, limit: RENDERED });
  for (const { commit } of log) {
    const isSame = await rendersAs(remote, { environment, kustomize, commit, inputs }, name, after.body);
    if (!isSame) break;
    arrival = commit;
  }
  return arrival;
}

async function rendersAs(
  remote: Remote,
  options: { environment: Environment; kustomize: string; commit: string; inputs: readonly string[] },
  name: string,
  wanted: string,
): Promise<boolean> {
  const { environment, kustomize, commit, inputs } = options;
  try {
    return await remote.withTree(commit, inputs, async (root) => {
      const app = (await readCatalogue(root)).find((candidate) => candidate.app === name);
      if (app === undefined) return false;
      const { body } = await renderRelease({ root, app, from: environment.name, commit, kustomize });
      return body === wanted;
    });
  } catch (error) {
    // What could not be rendered then is not what is there now.
    if (error instanceof CommandError) return false;
    throw error;
  }
}

/** By app, the commit of the deployed branch that brought its release. */
async function arrivalsOf(
  remote: Remote,
  { name }: Environment,
  steps: readonly PromotionStep[],
  base: string,
): Promise<Map<string, string>> {
  const arrivals = new Map(steps.map(({ app }) => [app, base]));
  const log = await remote.changes(
    steps.map(({ app }) => releasePath(name, app)),
    { from: base },
  );
  // One step back for all at once: a release seldom came in more than one. The first two in one call.
  let open = steps.map(({ app, after }) => {
    const path = releasePath(name, app);
    const versions = log.flatMap(({ commit, files }) => {
      const file = files.find((candidate) => candidate.path === path);
      return file === undefined ? [] : [{ commit, blob: file.after }];
    });
    return { app, body: after.body, versions };
  });
  const textsOf = async (first: number, last: number) =>
    remote.texts(
      open.flatMap(({ versions }) => versions.slice(first, last + 1).flatMap(({ blob }) => blob ?? [])),
    );
  let texts = await textsOf(0, 1);
  for (let back = 0; back < FOLLOWED && open.length > 0; back += 1) {
    if (back > 1) texts = await textsOf(back, back);
    open = open.filter(({ app, body, versions }) => {
      const version = versions[back];
      const text = texts.get(version?.blob ?? "");
      // What is not a text is not this release, either.
      if (version === undefined || text === undefined || bodyOf(text) !== body) return false;
      arrivals.set(app, version.commit);
      return true;
    });
  }
  return arrivals;
}
