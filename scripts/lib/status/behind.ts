/** What came to which environment when, and how far one is behind another: read once for all apps, from Git alone. */
import type { GitHistory } from "../git/history.ts";

/** A commit of the deployed branch that brought an environment another release of an app. */
export interface Arrival {
  commit: string;
  at: Date;
  /** How many commits of the deployed branch came after it. */
  position: number;
  /** Of the release's body; undefined in the first environment, which keeps no releases, and when the app was removed. */
  digest: string | undefined;
  /** Whether it is a rollback: says so, as `npm run rollback` does, and brings what the environment has had before. */
  isRollback: boolean;
}

export interface Arrivals {
  /** The newest first. */
  of(environment: string, app: string): readonly Arrival[];
  /** How many commits of the deployed branch came after one of them; undefined when it is none of them. */
  positionOf(commit: string): number | undefined;
}

interface Commit {
  commit: string;
  parents: string[];
  at: Date;
  message: string;
}

/**
 * Reads the history of a branch: a handful of runs of git, however many apps there are.
 * @param git a repository
 * @param tip the newest commit that counts
 * @param first the environment that builds the live base
 * @throws ExternalError when git fails
 */
export async function readArrivals(git: GitHistory, tip: string, first: string): Promise<Arrivals> {
  const commits = await readCommits(git, tip);
  const chain = firstParents(commits, tip);
  const positions = new Map(chain.map(({ commit }, position) => [commit, position]));
  // What the oldest commit of a shallow clone has may have come at any time before.
  const compared = (await git.isShallow()) ? chain.slice(0, -1) : chain;
  const pairs = compared.map(({ commit, parents }) => [commit, ...parents.slice(0, 1)].join(" "));
  const diff = async (...args: string[]) =>
    git.git(["diff-tree", "--stdin", "-r", "--root", "--no-renames", ...args], {
      input: `${pairs.join("\n")}\n`,
    });
  const [releases, pins, bases] = await Promise.all([
    diff("-p", "-U0", "-G^# digest: ", "--", ":(glob)overlays/*/*/release.yaml"),
    diff("--name-only", "-GnewTag|digest", "--", `:(glob)overlays/${first}/*/kustomization.yaml`),
    diff("--name-only", "--", "base"),
  ]);
  const arrived = releaseChanges(releases);
  const changed = liveChanges(pins, bases);

  const arrival = (key: string, { commit: name, digest }: Change, all: readonly Change[]): Arrival[] => {
    const commit = commits.get(name);
    const position = positions.get(name);
    if (commit === undefined || position === undefined) return [];
    const isBack = all.some(
      (other) =>
        digest !== undefined && other.digest === digest && (positions.get(other.commit) ?? 0) > position,
    );
    const isRollback = isBack && messagesOf(commit).some((message) => saysRollback(message, key));
    return [{ commit: name, at: commit.at, position, digest, isRollback }];
  };
  /** Its own message, and those of the branch that it merged. */
  const messagesOf = ({ message, parents: [, merged = ""] }: Commit): string[] => [
    message,
    ...firstParents(commits, merged, (commit) => !positions.has(commit)).map((commit) => commit.message),
  ];
  return {
    of(environment, app) {
      const key = `${environment}/${app}`;
      const found = environment === first ? [...changed(app)] : (arrived.get(key) ?? []);
      return found
        .flatMap((change) => arrival(key, change, found))
        .toSorted((one, other) => one.position - other.position);
    },
    positionOf: (commit) => positions.get(commit),
  };
}

/** All commits, also those that were merged: their messages say what a merge brought. */
async function readCommits(git: GitHistory, tip: string): Promise<Map<string, Commit>> {
  const format = "--format=%H%x00%P%x00%cI%x00%B%x00";
  const log = await git.git(["log", format, tip]);
  const fields = log.split("\0");
  const commits = new Map<string, Commit>();
  for (let index = 0; index + 3 < fields.length; index += 4) {
    const [commit = "", parents = "", at = "", message = ""] = fields.slice(index, index + 4);
    const name = commit.trim();
    commits.set(name, {
      commit: name,
      parents: parents.split(" ").filter((parent) => parent !== ""),
      at: new Date(at),
      message,
    });
  }
  return commits;
}

/** The newest first, as far as a test passes. */
function firstParents(
  commits: ReadonlyMap<string, Commit>,
  tip: string,
  belongs: (commit: string) => boolean = () => true,
): Commit[] {
  const chain: Commit[] = [];
  for (
    let next = commits.get(tip);
    next !== undefined && belongs(next.commit);
    next = commits.get(next.parents[0] ?? "")
  ) {
    chain.push(next);
  }
  return chain;
}

/** Anybody can write that line: it is a rollback only together with what it brings. */
function saysRollback(message: string, place: string): boolean {
  const [environment, app] = place.split("/");
  return new RegExp(`^Rollback: ${environment} ${app} `, "m").test(message);
}

const COMMIT = /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/;
const DIGEST = "+# digest: ";

interface Change {
  commit: string;
  digest: string | undefined;
}

/** What `git diff-tree -p` says about releases, by environment and app. Lines of a release begin with + or -. */
function releaseChanges(patch: string): Map<string, Change[]> {
  const changes = new Map<string, Change[]>();
  let commit = "";
  let change: Change | undefined;
  for (const line of patch.split("\n")) {
    if (COMMIT.test(line)) commit = line;
    const key = /^diff --git a\/overlays\/(\S+)\/release\.yaml /.exec(line)?.[1];
    if (key !== undefined) {
      change = { commit, digest: undefined };
      changes.set(key, [...(changes.get(key) ?? []), change]);
    }
    if (change !== undefined && line.startsWith(DIGEST)) change.digest ??= line.slice(DIGEST.length);
  }
  return changes;
}

/** What changed an app's live release: its image pin, its base, or what all bases share. */
function liveChanges(pins: string, bases: string): (app: string) => Iterable<Change> {
  const changed = new Map<string, Set<string>>();
  for (const [text, place] of [
    [pins, 2],
    [bases, 1],
  ] as const) {
    let commit = "";
    for (const line of text.split("\n")) {
      const app = line.split("/")[place];
      if (COMMIT.test(line)) commit = line;
      else if (app !== undefined) changed.set(app, (changed.get(app) ?? new Set()).add(commit));
    }
  }
  const of = (name: string) => changed.get(name) ?? new Set();
  return (app) =>
    [...new Set([...of(app), ...of("components")])].map((commit) => ({ commit, digest: undefined }));
}

/**
 * How many other releases an environment has had of an app since the one that the next environment has.
 * @param lower the arrivals in the environment that has them first
 * @param here the release of the next one: its body's digest, and the position of the commit it was rendered from
 * @returns 0 when it is the same; undefined when that environment never had it, as far as the history goes
 */
export function releasesBehind(
  lower: { arrivals: readonly Arrival[]; isLive: boolean },
  here: { digest: string; position: number | undefined },
): number | undefined {
  const { arrivals, isLive } = lower;
  if (isLive) {
    const { position } = here;
    return position === undefined
      ? undefined
      : arrivals.filter((arrival) => arrival.position < position).length;
  }
  const last = arrivals.findIndex(({ digest }) => digest === here.digest);
  if (last === -1) return undefined;
  return new Set(arrivals.slice(0, last).flatMap(({ digest }) => digest ?? [])).size;
}
