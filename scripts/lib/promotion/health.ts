/**
 * Whether a release is proven in an environment, from nothing but the commit statuses that Argo CD's notifications post:
 * `argocd/<cluster>/<app>` on the commit that a sync deployed.
 */
import { inWords, moment } from "../duration.ts";
import type { CommitStatus } from "../forge/forge.ts";
import type { Environment } from "../tree/environment.ts";

/** What a commit status is about. */
export interface Subject {
  cluster: string;
  app: string;
}

/** The context of a cluster's and app's commit status; `parseContext` is its inverse. */
export function formatContext({ cluster, app }: Subject): string {
  return `argocd/${cluster}/${app}`;
}

/** What a commit status is about; undefined when something else than Argo CD posted it. */
export function parseContext(context: string): Subject | undefined {
  const [, cluster, app] = /^argocd\/([^/]+)\/([^/]+)$/.exec(context) ?? [];
  return cluster === undefined || app === undefined ? undefined : { cluster, app };
}

/**
 * The clusters of an environment that some commit statuses name: `<env>` or `<env>-<anything>`, where the longest name of an
 * environment wins.
 * @param environments the names of all environments
 * @returns sorted, each once
 */
export function clustersOf(
  environment: string,
  environments: readonly string[],
  contexts: readonly string[],
): string[] {
  const clusters = new Set(contexts.flatMap((context) => parseContext(context)?.cluster ?? []));
  return [...clusters].filter((cluster) => environmentOf(cluster, environments) === environment).sort();
}

function environmentOf(cluster: string, environments: readonly string[]): string | undefined {
  return environments
    .filter((name) => cluster === name || cluster.startsWith(`${name}-`))
    .sort((one, other) => other.length - one.length)[0];
}

/** What the forge has on a commit. */
export interface Reports {
  commit: string;
  /** The newest first, as a forge lists them. */
  statuses: readonly CommitStatus[];
}

export type Verdict =
  | {
      kind: "proven";
      /** Since when it has been healthy on all clusters. */
      since: Date;
      clusters: { cluster: string; since: Date }[];
    }
  | {
      kind: "unproven";
      /** What the worst cluster does. */
      state: "failed" | "deploying" | "silent" | "soaking";
      /** What is so, without the app. */
      reason: string;
      /** What can be done about it. */
      way: string;
      /** Whether it will be proven in time, with nothing done about it. */
      opensItself: boolean;
      /** When it will have soaked, if nothing happens until then; only while `soaking`. */
      readyAt: Date | undefined;
    };

/** What is asked, and what is known. */
interface Query {
  environment: Pick<Environment, "name" | "soakSeconds" | "syncsItself">;
  app: string;
  /** The environment's clusters, from `clustersOf`. */
  clusters: readonly string[];
  /**
   * The commits from the one that brought the release, the oldest first, to the newest; what was reported on older ones was
   * about another release.
   */
  reports: readonly Reports[];
  /** When the release came. */
  arrivedAt: Date;
  now: Date;
}

/**
 * Judges whether an app's release is proven in an environment: on every cluster, the latest report is a success, and there has
 * been no failure for as long as it has to soak. A sync in between changes nothing as long as it succeeds.
 */
export function verdictOf(query: Query): Verdict {
  const { environment, app, clusters, reports, now } = query;
  const facts = clusters.map((cluster) =>
    factOf(cluster, historyOf(reports, formatContext({ cluster, app }))),
  );
  const faults = facts.filter(({ state }) => state !== "healthy");
  if (facts.length > 0 && faults.length === 0) return soaked(facts, environment, now);
  return unproven(faults, facts.length, query);
}

/** What a cluster's reports come to. */
interface Fact {
  cluster: string;
  state: "failed" | "deploying" | "silent" | "healthy";
  since: Date;
  /** Of the report since when it is so. */
  description: string;
}

/** The reports of one context, the oldest first. Forges count seconds: of the same second, the one listed as newer is. */
function historyOf(reports: readonly Reports[], context: string): CommitStatus[] {
  return reports
    .flatMap(({ statuses }) => statuses.toReversed())
    .filter((status) => status.context === context)
    .sort((one, other) => one.at.getTime() - other.at.getTime());
}

function factOf(cluster: string, history: readonly CommitStatus[]): Fact {
  const latest = history.at(-1);
  if (latest === undefined) return { cluster, state: "silent", since: new Date(0), description: "" };
  const isFailure = ({ state }: CommitStatus): boolean => state === "failure" || state === "error";
  const lastFailure = history.findLastIndex(isFailure);
  const run = (state: Fact["state"], belongs: (status: CommitStatus) => boolean): Fact => {
    const before = history.findLastIndex((status) => !belongs(status));
    const first = history[before + 1] ?? latest;
    return { cluster, state, since: first.at, description: latest.description };
  };
  if (isFailure(latest)) return run("failed", isFailure);
  if (latest.state === "pending") return run("deploying", ({ state }) => state === "pending");
  const healthy = history.slice(lastFailure + 1).find(({ state }) => state === "success") ?? latest;
  return { cluster, state: "healthy", since: healthy.at, description: latest.description };
}

/** Argo CD looks for new commits every three minutes (argocd/config); it may have others to sync first. */
const PICKED_UP_MS = 15 * 60_000;
/** Ten attempts are 17 minutes (argocd/environment), and one that hangs is ended after 30 (argocd/config). */
const SYNCED_MS = 60 * 60_000;

const WORST = ["failed", "deploying", "silent"] as const;

function unproven(faults: readonly Fact[], total: number, query: Query): Verdict {
  const [state = "silent"] = WORST.filter((kind) => faults.some((fact) => fact.state === kind));
  const sentences = WORST.flatMap((kind) => {
    const those = faults.filter((fact) => fact.state === kind);
    if (kind !== "silent") return those.map((fact) => sentence(fact));
    return those.length === 0 && total > 0 ? [] : [silence(those, total, query.environment.name)];
  });
  const wait = whatToWaitFor(faults, query);
  const way = wait ?? wayOf(state, `npm run sync ${query.environment.name} ${query.app}`);
  const opensItself = wait !== undefined;
  return { kind: "unproven", state, reason: sentences.join("; "), way, opensItself, readyAt: undefined };
}

/** What to wait for, where waiting is enough. */
function whatToWaitFor(faults: readonly Fact[], { environment, arrivedAt, now }: Query): string | undefined {
  const isWithin = (since: Date, length: number) => now.getTime() - since.getTime() < length;
  const deploying = faults.filter(({ state }) => state === "deploying");
  if (faults.some(({ state }) => state === "failed")) return undefined;
  if (!deploying.every(({ since }) => isWithin(since, SYNCED_MS))) return undefined;
  if (faults.length > 0 && deploying.length === faults.length) return "wait until the sync is over";
  // Where a person starts each sync, nobody may ever do so.
  if (!environment.syncsItself || !isWithin(arrivedAt, PICKED_UP_MS)) return undefined;
  return `wait until Argo CD has synced it in ${environment.name}`;
}

function wayOf(state: (typeof WORST)[number], sync: string): string {
  if (state === "failed") return `fix it there, release another image, try again with \`${sync}\``;
  if (state === "deploying") return `start the sync again with \`${sync}\``;
  return `start a sync that reports with \`${sync}\``;
}

function silence(silent: readonly Fact[], total: number, environment: string): string {
  const names = silent.map(({ cluster }) => cluster).join(", ");
  if (silent.length < total) {
    const have = silent.length === 1 ? "has" : "have";
    return `${silent.length} of ${total} clusters ${have} not reported: ${names}`;
  }
  return `no cluster of ${environment} has reported on it yet${names === "" ? "" : ` (${names})`}`;
}

function sentence({ cluster, state, since, description }: Fact): string {
  if (state === "deploying") return `is being deployed on ${cluster} (pending since ${moment(since)})`;
  const text = description === "" ? "" : `: ${description}`;
  return `failed on ${cluster} since ${moment(since)}${text}`;
}

function soaked(
  facts: readonly Fact[],
  { soakSeconds }: Pick<Environment, "soakSeconds">,
  now: Date,
): Verdict {
  const times = facts.map(({ since }) => since.getTime());
  const since = new Date(Math.max(...times));
  const readyAt = new Date(since.getTime() + soakSeconds * 1000);
  if (now.getTime() >= readyAt.getTime()) {
    return {
      kind: "proven",
      since,
      clusters: facts.map(({ cluster, since: from }) => ({ cluster, since: from })),
    };
  }
  const youngest = facts.find((fact) => fact.since.getTime() === since.getTime())?.cluster ?? "";
  return {
    kind: "unproven",
    state: "soaking",
    reason: `healthy on ${youngest} since ${moment(since)}, and has to soak for ${inWords(soakSeconds)} (ready at ${moment(readyAt)})`,
    way: `wait until ${moment(readyAt)}`,
    opensItself: true,
    readyAt,
  };
}
