/** Which releases an environment has had of an app: what the first parents of the deployed branch have brought to one file. */
import { sha256 } from "../digest.ts";
import { CommandError, ExternalError } from "../errors.ts";
import type { Commit, GitHistory } from "../git/history.ts";
import { bodyOf } from "./release.ts";

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

/** Contents that are read at a time, by one run of git: their texts are not kept. */
const AT_ONCE = 500;

/** What releases are compared by where nothing else of them matters: the digest of what is applied. */
export function keptDigest(path: string): Kept<string> {
  return { path, read: (text) => sha256(bodyOf(text)), key: (digest) => digest };
}

/**
 * What came to some files, by path, the newest first. Needs the whole history.
 * @param from the newest commit that counts; the branch's tip by default
 */
export async function readArrivals(
  git: GitHistory,
  paths: readonly string[],
  from?: string,
): Promise<Map<string, Arrival[]>> {
  const arrivals = new Map(paths.map((path): [string, Arrival[]] => [path, []]));
  for (const { files, ...commit } of await git.changes(paths, from === undefined ? {} : { from })) {
    for (const { path, after } of files) arrivals.get(path)?.push({ ...commit, blob: after });
  }
  return arrivals;
}

/**
 * The same with what was in them. Neighbours with the same content are one; a damaged or missing file is one of its own.
 * @param from the newest commit that counts; the branch's tip by default
 */
export async function readVersions<T>(
  git: GitHistory,
  kept: readonly Kept<T>[],
  from?: string,
): Promise<Map<string, Version<T>[]>> {
  const versions = new Map(kept.map(({ path }): [string, Version<T>[]] => [path, []]));
  const arrivals = await readArrivals(git, [...versions.keys()], from);
  const all = kept.flatMap((file) => (arrivals.get(file.path) ?? []).map((arrival) => ({ file, arrival })));
  for (let start = 0; start < all.length; start += AT_ONCE) {
    const some = all.slice(start, start + AT_ONCE);
    const texts = await git.texts(some.flatMap(({ arrival }) => arrival.blob ?? []));
    for (const { file, arrival } of some) {
      const runs = versions.get(file.path) ?? [];
      const version = versionOf(file, arrival, texts);
      const run = runs.at(-1);
      const { commit, date, author } = version;
      if (run !== undefined && isSame(file, run, version))
        runs.splice(-1, 1, { ...run, commit, date, author });
      else runs.push(version);
    }
  }
  return versions;
}

/** What a commit has of a file, whether it changed it or not. */
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
