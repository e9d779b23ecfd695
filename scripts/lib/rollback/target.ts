/** The releases and images that a rollback can return to, and the ways in which people name one. */
import { moment } from "../duration.ts";
import { RefusedError, UsageError } from "../errors.ts";
import type { Remote } from "../git/remote.ts";
import { parseDate } from "../parse-date.ts";
import type { HoldPlace } from "../release/hold.ts";
import { imageCommit, parseRelease, type Release, releaseName, releasePath } from "../release/release.ts";
import {
  type GoodVersion,
  isSame,
  type Kept,
  readVersions,
  type Version,
  versionAt,
} from "../release/release-history.ts";
import { type ImagePin, pinnedImage } from "../tree/kustomize.ts";

/** A file that is put back, and what it is called. */
export interface Restorable<T> extends Kept<T>, HoldPlace {
  /** `release` or `image`, for messages. */
  what: string;
  /** The commit of the app's own repository that its image was built from; undefined when there is none. */
  tag(content: T): string | undefined;
  /** In short, for people. */
  name(content: T): string;
}

/** How a person says which version is meant. */
export type Target =
  | { kind: "back"; count: number }
  | { kind: "date"; date: Date }
  /** The first digits of a commit of this repository, or of an image's tag. */
  | { kind: "named"; digits: string };

/** The releases that an environment has had of an app. */
export function keptRelease({ environment, app }: HoldPlace): Restorable<Release> {
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
export function keptImage({ environment, app }: HoldPlace, image: string): Restorable<ImagePin> {
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
  kept: Restorable<T>,
  target: Target,
  isOut: (content: T) => boolean,
): Promise<{ now: Version<T>; found: GoodVersion<T> }> {
  const { environment, app, what } = kept;
  const all = await readVersions(remote, kept);
  const [now] = all;
  if (now === undefined)
    throw new RefusedError(
      `${environment} has never had a ${what} of ${app}`,
      `there is no ${kept.path} in the history`,
    );
  const refuse = (message: string) => new RefusedError(message, known(kept, all));
  const search = { remote, kept, all, refuse };
  const found =
    target.kind === "back"
      ? findBack(search, now, target.count, isOut)
      : target.kind === "date"
        ? findAt(search, target.date)
        : await findNamed(search, target.digits);
  if (found.kind === "bad")
    throw refuse(`${environment} cannot go back to ${found.commit.slice(0, 7)}: ${found.fault}`);
  if (isSame(kept, now, found))
    throw refuse(
      `${environment} has ${kept.name(found.content)} of ${app} now: there is nothing to roll back`,
    );
  return { now, found };
}

interface Search<T> {
  remote: Remote;
  kept: Restorable<T>;
  /** The one of now first. */
  all: readonly Version<T>[];
  /** Says, besides, what there is. */
  refuse: (message: string) => RefusedError;
}

function findBack<T>(
  { all, kept, refuse }: Search<T>,
  now: Version<T>,
  count: number,
  isOut: (content: T) => boolean,
): Version<T> {
  const passed = all.filter((version) => counts(kept, now, version, isOut));
  const found = passed[count - 1];
  if (found !== undefined) return found;
  const { environment, app, what } = kept;
  throw refuse(
    passed.length === 0
      ? `${environment} has had no other ${what} of ${app} to go back to`
      : `${environment} can go ${passed.length} back with ${app}, not ${count}`,
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

function findAt<T>({ all, kept, refuse }: Search<T>, date: Date): Version<T> {
  const found = all.find((version) => version.date <= date);
  if (found !== undefined) return found;
  throw refuse(`${kept.environment} had no ${kept.what} of ${kept.app} yet at ${moment(date)}`);
}

async function findNamed<T>(search: Search<T>, digits: string): Promise<Version<T>> {
  const { remote, kept, all, refuse } = search;
  const [commit, another] = await commitsOf(remote, digits);
  if (another !== undefined)
    throw refuse(`${remote.branch} has several commits ${digits}…: give more digits`);
  if (commit === undefined) return findTagged(search, digits);
  const there = await versionAt(remote, kept, { commit, date: new Date(0), author: "" });
  const found = all.find((version) => isSame(kept, version, there));
  if (found !== undefined) return found;
  const fault = there.kind === "bad" ? there.fault : `never had its ${kept.what}`;
  throw refuse(`${kept.environment} cannot go back to ${commit.slice(0, 7)}: ${fault}`);
}

function findTagged<T>({ remote, kept, all, refuse }: Search<T>, digits: string): Version<T> {
  const { environment, app, what } = kept;
  const found = new Map<string, Version<T>>();
  for (const version of all) {
    const tag = version.kind === "good" ? kept.tag(version.content) : undefined;
    if (tag?.startsWith(digits) === true && !found.has(tag)) found.set(tag, version);
  }
  const [version, another] = found.values();
  if (another !== undefined)
    throw refuse(`${environment} has had several images ${digits}… of ${app}: give more digits`);
  if (version !== undefined) return version;
  throw refuse(
    `${remote.branch} has no commit ${digits}, and ${environment} has had no ${what} of ${app} with that image`,
  );
}

/** The commits whose names begin like this, and that the deployed branch has stood at. */
async function commitsOf(remote: Remote, digits: string): Promise<string[]> {
  const stoodAt = await remote.stoodAt(`refs/remotes/origin/${remote.branch}`);
  return [...stoodAt].filter((commit) => commit.startsWith(digits));
}

/** How many releases a refusal names. */
const NAMED = 4;

function known<T>(kept: Restorable<T>, all: readonly Version<T>[]): string {
  const newest = all.slice(0, NAMED);
  const names = newest.flatMap((version) =>
    version.kind === "good" ? [`${kept.name(version.content)} of ${moment(version.date)}`] : [],
  );
  const list = names.length === 0 ? "" : `: ${names.join(", ")}${newest.length === NAMED ? ", …" : ""}`;
  return `npm run rollback ${kept.environment} ${kept.app} -- --list shows what there is${list}`;
}
