/** What an environment has had of an app: the history of one file of the deployed branch, and how people point into it. */
import pLimit from "p-limit";
import { moment } from "../duration.ts";
import { CommandError, ExternalError, RefusedError, UsageError } from "../errors.ts";
import type { LogEntry, Remote, RemoteFile } from "../git/remote.ts";
import { parseDate } from "../parse-date.ts";
import { type ImagePin, pinnedImage } from "../tree/kustomize.ts";
import type { HoldPlace } from "./hold.ts";
import { imageCommit, parseRelease, type Release, releaseName, releasePath } from "./release.ts";

/** A file whose history is looked at, and what is read out of it. */
export interface Kept<T> extends HoldPlace {
  path: string;
  /** `release` or `image`, for messages. */
  what: string;
  /** @throws CommandError when the text is damaged */
  read(text: string): T;
  /** Two with the same key are the same to whoever runs them. */
  key(content: T): string;
  /** The commit of the app's own repository that its image was built from; undefined when there is none. */
  tag(content: T): string | undefined;
  /** In short, for people. */
  name(content: T): string;
}

interface Term {
  /** The commit of the deployed branch that brought it, when, and by whom. */
  commit: string;
  date: Date;
  author: string;
}

export interface GoodVersion<T> extends Term {
  kind: "good";
  content: T;
  /** As the newest of the commits has it that brought this content. */
  file: RemoteFile;
}

/** Something that nobody can go back to, in one line. */
export interface BadVersion extends Term {
  kind: "bad";
  fault: string;
}

/** What an environment had from one change of the file to the next. */
export type Version<T> = GoodVersion<T> | BadVersion;

/** How a person says which version is meant. */
export type Target =
  | { kind: "back"; count: number }
  | { kind: "date"; date: Date }
  /** The first digits of a commit of this repository, or of an image's tag. */
  | { kind: "named"; digits: string };

/** Files read at a time: each is two short runs of git. */
const AT_ONCE = 8;

/** The releases that an environment has had of an app. */
export function keptRelease({ environment, app }: HoldPlace): Kept<Release> {
  const path = releasePath(environment, app);
  return {
    environment,
    app,
    path,
    what: "release",
    read: (text) => parseRelease(text, path),
    key: ({ image, body }) => `${image}\n${body}`,
    tag: imageCommit,
    name: releaseName,
  };
}

/**
 * The images that the first environment has had of an app: it keeps no releases.
 * @param image path of the image in the registry
 */
export function keptImage({ environment, app }: HoldPlace, image: string): Kept<ImagePin> {
  const path = `overlays/${environment}/${app}/kustomization.yaml`;
  return {
    environment,
    app,
    path,
    what: "image",
    read: (text) => pinnedImage(text, path, `registry/${image}`),
    key: ({ tag, digest }) => `${tag}@${digest}`,
    tag: ({ tag }) => tag,
    name: ({ tag }) => tag.slice(0, 7),
  };
}

/**
 * Reads a history, the newest first. Neighbours with the same content are one; a damaged or missing file is one of its own.
 * @param remote fetched with its history
 */
export async function* versions<T>(
  remote: Pick<Remote, "log" | "read">,
  kept: Kept<T>,
): AsyncGenerator<Version<T>, undefined> {
  const log = await remote.log([kept.path]);
  const limit = pLimit(AT_ONCE);
  let run: Version<T> | undefined;
  for (let index = 0; index < log.length; index += AT_ONCE) {
    const chunk = log.slice(index, index + AT_ONCE);
    for (const version of await Promise.all(
      chunk.map((entry) => limit(async () => versionAt(remote, kept, entry))),
    )) {
      if (run !== undefined && isSame(kept, run, version)) {
        run = { ...run, commit: version.commit, date: version.date, author: version.author };
        continue;
      }
      if (run !== undefined) yield run;
      run = version;
    }
  }
  if (run !== undefined) yield run;
  return undefined;
}

/** What one commit has of it; `bad` where there is nothing, too. */
async function versionAt<T>(
  remote: Pick<Remote, "read">,
  kept: Kept<T>,
  { commit, date, author }: Omit<LogEntry, "subject">,
): Promise<Version<T>> {
  const term = { commit, date, author };
  try {
    const file = await remote.read(commit, kept.path);
    if (file === undefined) return { ...term, kind: "bad", fault: `there was no ${kept.path}` };
    return { ...term, kind: "good", content: kept.read(file.text), file };
  } catch (error) {
    if (error instanceof CommandError && !(error instanceof ExternalError))
      return { ...term, kind: "bad", fault: error.message };
    throw error;
  }
}

/** Whether two versions are the same to whoever runs them. */
export function isSame<T>(kept: Kept<T>, a: Version<T>, b: Version<T>): boolean {
  return a.kind === "good" && b.kind === "good" && kept.key(a.content) === kept.key(b.content);
}

/**
 * Reads how a person says which version is meant.
 * @param text a number, a date, or the first digits of a commit; nothing means one back
 * @throws UsageError when it is none of them
 */
export function parseTarget(text = "1"): Target {
  const date = parseDate(text);
  if (date !== undefined) return { kind: "date", date };
  if (/^[1-9]\d{0,5}$/.test(text)) return { kind: "back", count: Number(text) };
  if (/^[0-9a-f]{7,40}$/.test(text)) return { kind: "named", digits: text };
  const hint =
    "give a number (2: two back), a date (2026-11-20, 2026-11-20T14:00Z) or a commit (7 to 40 digits)";
  if (/^[0-9a-fA-F]{7,40}$/.test(text))
    throw new UsageError(`--to ${text} has upper-case digits`, "commits are lower-case");
  throw new UsageError(`--to "${text}" is no release`, hint);
}

/**
 * Finds the version that is there now, and the one that is meant.
 * @param remote fetched with its history
 * @param isOut contents that do not count when versions are counted back
 * @throws RefusedError when there is none, more than one, it is the one of now, or it is damaged
 */
export async function findVersion<T>(
  remote: Remote,
  kept: Kept<T>,
  target: Target,
  isOut: (content: T) => boolean,
): Promise<{ now: Version<T>; found: GoodVersion<T> }> {
  const { environment, app, what } = kept;
  const walk = replayed(versions(remote, kept));
  const [now] = await take(walk(), 1);
  if (now === undefined)
    throw new RefusedError(
      `${environment} has never had a ${what} of ${app}`,
      `there is no ${kept.path} in the history`,
    );
  const refuse = async (message: string) => new RefusedError(message, known(kept, await take(walk(), NAMED)));
  const search = { remote, kept, now, walk, isOut, refuse };
  const found = await (target.kind === "back"
    ? findBack(search, target.count)
    : target.kind === "date"
      ? findAt(search, target.date)
      : findNamed(search, target.digits));
  if (found.kind === "bad")
    throw await refuse(`${environment} cannot go back to ${found.commit.slice(0, 7)}: ${found.fault}`);
  if (isSame(kept, now, found))
    throw await refuse(
      `${environment} has ${kept.name(found.content)} of ${app} now: there is nothing to roll back`,
    );
  return { now, found };
}

/** Lets a generator be gone through several times, each item made once. */
function replayed<T>(source: AsyncGenerator<T>): () => AsyncGenerator<T> {
  const made: T[] = [];
  return async function* () {
    for (let index = 0; ; index += 1) {
      if (index === made.length) {
        const next = await source.next();
        if (next.done === true) return;
        made.push(next.value);
      }
      const item = made[index];
      if (item !== undefined) yield item;
    }
  };
}

interface Search<T> {
  remote: Remote;
  kept: Kept<T>;
  now: Version<T>;
  /** All versions, the one of now first. */
  walk: () => AsyncGenerator<Version<T>>;
  isOut: (content: T) => boolean;
  /** Says, besides, what there is. */
  refuse: (message: string) => Promise<RefusedError>;
}

async function findBack<T>(search: Search<T>, count: number): Promise<Version<T>> {
  const { walk, now, kept, isOut, refuse } = search;
  let passed = 0;
  for await (const version of walk()) {
    if (!counts(kept, now, version, isOut)) continue;
    passed += 1;
    if (passed === count) return version;
  }
  const { environment, app, what } = kept;
  throw await refuse(
    passed === 0
      ? `${environment} has had no other ${what} of ${app} to go back to`
      : `${environment} can go ${passed} back with ${app}, not ${count}`,
  );
}

/** Whether a version counts when versions are counted back: one can go there, and it is not where one is. */
export function counts<T>(
  kept: Kept<T>,
  now: Version<T>,
  version: Version<T>,
  isOut: (content: T) => boolean,
): boolean {
  return version.kind === "good" && !isSame(kept, now, version) && !isOut(version.content);
}

async function findAt<T>({ walk, kept, refuse }: Search<T>, date: Date): Promise<Version<T>> {
  for await (const version of walk()) {
    if (version.date <= date) return version;
  }
  throw await refuse(`${kept.environment} had no ${kept.what} of ${kept.app} yet at ${moment(date)}`);
}

async function findNamed<T>(search: Search<T>, digits: string): Promise<Version<T>> {
  const { remote, kept, walk, refuse } = search;
  const [commit, another] = await commitsOf(remote, digits);
  if (another !== undefined)
    throw await refuse(`${remote.branch} has several commits ${digits}…: give more digits`);
  if (commit === undefined) return findTagged(search, digits);
  const there = await versionAt(remote, kept, { commit, date: new Date(0), author: "" });
  for await (const version of walk()) {
    if (isSame(kept, version, there)) return version;
  }
  const fault = there.kind === "bad" ? there.fault : `never had its ${kept.what}`;
  throw await refuse(`${kept.environment} cannot go back to ${commit.slice(0, 7)}: ${fault}`);
}

async function findTagged<T>(search: Search<T>, digits: string): Promise<Version<T>> {
  const { remote, kept, walk, refuse } = search;
  const { environment, app, what } = kept;
  const found = new Map<string, Version<T>>();
  for await (const version of walk()) {
    const tag = version.kind === "good" ? kept.tag(version.content) : undefined;
    if (tag?.startsWith(digits) === true && !found.has(tag)) found.set(tag, version);
  }
  const [version, another] = [...found.values()];
  if (another !== undefined)
    throw await refuse(`${environment} has had several images ${digits}… of ${app}: give more digits`);
  if (version !== undefined) return version;
  throw await refuse(
    `${remote.branch} has no commit ${digits}, and ${environment} has had no ${what} of ${app} with that image`,
  );
}

/** The commits whose names begin like this, and that the deployed branch has stood at. */
async function commitsOf(remote: Remote, digits: string): Promise<string[]> {
  const { stdout: objects } = await remote.tryGit(["rev-parse", `--disambiguate=${digits}`]);
  if (objects.trim() === "") return [];
  const check = ["cat-file", "--batch-check=%(objectname) %(objecttype)"];
  const { stdout } = await remote.tryGit(check, { input: objects });
  const commits = [...stdout.matchAll(/^([0-9a-f]+) commit$/gm)].map(([, commit = ""]) => commit);
  if (commits.length === 0) return [];
  const stoodAt = await remote.stoodAt(`refs/remotes/origin/${remote.branch}`);
  return commits.filter((commit) => stoodAt.has(commit));
}

/** The first few of what a generator gives. */
export async function take<T>(source: AsyncGenerator<T>, count: number): Promise<T[]> {
  const taken: T[] = [];
  for await (const item of source) {
    taken.push(item);
    if (taken.length === count) break;
  }
  return taken;
}

/** How many releases a refusal names. */
const NAMED = 4;

function known<T>(kept: Kept<T>, newest: readonly Version<T>[]): string {
  const names = newest.flatMap((version) =>
    version.kind === "good" ? [`${kept.name(version.content)} of ${moment(version.date)}`] : [],
  );
  const list = names.length === 0 ? "" : `: ${names.join(", ")}${newest.length === NAMED ? ", …" : ""}`;
  return `npm run rollback ${kept.environment} ${kept.app} -- --list shows what there is${list}`;
}
