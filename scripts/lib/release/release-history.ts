/** Which releases an environment has had of an app: what the first parents of the deployed branch have brought to one file. */
import { CommandError, ExternalError } from "../errors.ts";
import type { Commit, GitHistory } from "../git/history.ts";

/** A commit of the deployed branch that changed a file; a merged pull request is one. */
export interface Arrival extends Commit {
  /** Git's name of the bytes that it brought; undefined when it removed the file. */
  blob: string | undefined;
}

/** A file whose history is looked at, and what is read out of it. */
export interface Kept<T> {
  path: string;
  /** @throws CommandError when the text is damaged */
  read(text: string): T;
  /** Two with the same key are the same to whoever runs them. */
  key(content: T): string;
}

export interface GoodVersion<T> extends Commit {
  kind: "good";
  /** As the newest of the commits has it that brought this content. */
  content: T;
}

/** Something that nobody can go back to, in one line. */
export interface BadVersion extends Commit {
  kind: "bad";
  fault: string;
}

/** What an environment had from one change of the file to the next. */
export type Version<T> = GoodVersion<T> | BadVersion;

/**
 * The commits that changed a file, the newest first. Needs the whole history.
 * @param from the newest commit that counts; the branch's tip by default
 */
export async function readArrivals(git: GitHistory, path: string, from?: string): Promise<Arrival[]> {
  const log = await git.changes([path], from === undefined ? {} : { from });
  return log.flatMap(({ files, ...commit }) => files.map(({ after }) => ({ ...commit, blob: after })));
}

/** The same with what was in it. Neighbours with the same content are one; a damaged or missing file is one of its own. */
export async function readVersions<T>(git: GitHistory, file: Kept<T>): Promise<Version<T>[]> {
  const arrivals = await readArrivals(git, file.path);
  const texts = await git.texts(arrivals.flatMap(({ blob }) => blob ?? []));
  const versions: Version<T>[] = [];
  for (const arrival of arrivals) {
    const version = versionOf(file, arrival, texts);
    const newer = versions.at(-1);
    const { commit, date, author } = version;
    if (newer !== undefined && isSame(file, newer, version))
      versions.splice(-1, 1, { ...newer, commit, date, author });
    else versions.push(version);
  }
  return versions;
}

/** The version of a file at a commit, which need not have changed it. */
export async function versionAt<T>(git: GitHistory, file: Kept<T>, commit: Commit): Promise<Version<T>> {
  const blob = (await git.entries(commit.commit, [file.path])).get(file.path)?.blob;
  return versionOf(file, { ...commit, blob }, await git.texts(blob === undefined ? [] : [blob]));
}

function versionOf<T>(
  file: Kept<T>,
  { blob, ...commit }: Arrival,
  texts: ReadonlyMap<string, string>,
): Version<T> {
  const bad = (fault: string): Version<T> => ({ ...commit, kind: "bad", fault });
  if (blob === undefined) return bad(`there was no ${file.path}`);
  const text = texts.get(blob);
  if (text === undefined) return bad(`${file.path} is not UTF-8`);
  try {
    return { ...commit, kind: "good", content: file.read(text) };
  } catch (error) {
    if (error instanceof CommandError && !(error instanceof ExternalError)) return bad(error.message);
    throw error;
  }
}

/** Whether two versions are the same to whoever runs them. */
export function isSame<T>(file: Kept<T>, a: Version<T>, b: Version<T>): boolean {
  return a.kind === "good" && b.kind === "good" && file.key(a.content) === file.key(b.content);
}

/** A commit that brought another release, and the digest of what is applied; undefined when it removed the release. */
export interface DigestArrival extends Commit {
  digest: string | undefined;
}

const DIGEST = "# digest: ";

/**
 * The same for many releases, by their digests, which git itself looks for: their texts may be gigabytes.
 * @param chain the commits of the deployed branch, the newest first
 * @returns by path, the newest first
 */
export async function readDigests(
  git: GitHistory,
  chain: readonly Commit[],
  paths: readonly string[],
): Promise<Map<string, DigestArrival[]>> {
  const found = new Map(paths.map((path): [string, DigestArrival[]] => [path, []]));
  if (paths.length === 0) return found;
  const commits = new Map(chain.map((commit) => [commit.commit, commit]));
  // Each with its parent on the branch.
  const pairs = chain.map(({ commit }, index) => [commit, chain[index + 1]?.commit ?? ""].join(" ").trim());
  const plain = ["--no-renames", "--no-ext-diff", "--no-textconv", "-p", "-U0", `-G^${DIGEST}`];
  const args = ["diff-tree", "--stdin", "-r", "--root", ...plain, "--", ...paths];
  const patch = await git.git(args, { input: `${pairs.join("\n")}\n` });
  let commit: Commit | undefined;
  let arrival: DigestArrival | undefined;
  // Lines of a release begin with + or -.
  for (const line of patch.split("\n")) {
    commit = commits.get(line) ?? commit;
    const path = /^diff --git a\/(\S+) /.exec(line)?.[1];
    if (path !== undefined && commit !== undefined) {
      arrival = { ...commit, digest: undefined };
      found.get(path)?.push(arrival);
    }
    if (arrival !== undefined && line.startsWith(`+${DIGEST}`))
      arrival.digest ??= line.slice(DIGEST.length + 1);
  }
  return found;
}
