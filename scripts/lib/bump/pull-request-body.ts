/** What a bump writes to be read again: the branch, the commit's message; and the pull request's title and body. */
import { inert } from "../cli/markdown.ts";
import type { ImageValue } from "../tree/kustomization.ts";

/** Where an image was bumped. */
export interface BumpPlace {
  environment: string;
  app: string;
}

/** What the commit of a bump says about itself. */
export interface BumpRecord extends BumpPlace {
  image: ImageValue;
  /** When the command was called: of two calls for one app, the later one counts. */
  askedAt: Date;
}

export interface BumpText {
  title: string;
  /** Of the pull request. */
  body: string;
  /** The record, as the last lines of the commit's message. */
  trailers: string[];
}

/** Why the registry was not asked for the image; undefined when it was, and has it. */
export type Unverified = string | undefined;

const BRANCH = /^bump\/([a-z0-9-]+)\/([a-z0-9-]+)$/;
const RECORD =
  /^Bump: ([a-z0-9-]+)\/([a-z0-9-]+) ([0-9a-f]{40})(?:@(sha256:[0-9a-f]{64}))?\nAsked: (\d{4}-\d\d-\d\dT[\d:.]+Z)\s*$/m;

/** The branch of a bump: one for each app, so that a newer call updates the older one's pull request. */
export function formatBumpBranch({ environment, app }: BumpPlace): string {
  return `bump/${environment}/${app}`;
}

/** The inverse of `formatBumpBranch`; undefined for any other branch. */
export function parseBumpBranch(branch: string): BumpPlace | undefined {
  const [, environment, app] = BRANCH.exec(branch) ?? [];
  return environment === undefined || app === undefined ? undefined : { environment, app };
}

/**
 * Writes the texts of a bump.
 * @param record what it is
 * @param options.before the tag that is replaced, with its digest if it has one
 * @param options.source pages of the app's source repository
 */
export function bumpText(
  record: BumpRecord,
  options: { before: string; source: string; unverified: Unverified },
): BumpText {
  const { app, environment, image, askedAt } = record;
  const { source, unverified } = options;
  const before = options.before.split("@")[0] ?? "";
  const title = `${app}: ${image.tag.slice(0, 7)} in ${environment}`;
  const isCommit = /^[0-9a-f]{40}$/.test(before);
  const compared = isCommit ? `${source}/compare/${before}...${image.tag}` : `${source}/commit/${image.tag}`;
  const lines = [
    compared,
    "",
    `From: ${isCommit ? before : inert(before)}`,
    `To: ${image.tag}`,
    ...(image.digest === undefined ? [] : [`Digest: ${image.digest}`]),
    `Image in the registry: ${unverified === undefined ? "found" : `not verified, ${unverified}`}`,
  ];
  const body = lines.join("\n");
  const pinned = image.digest === undefined ? image.tag : `${image.tag}@${image.digest}`;
  const trailers = [`Bump: ${environment}/${app} ${pinned}`, `Asked: ${askedAt.toISOString()}`];
  return { title, body, trailers };
}

/** What the message of a bump's commit says: its record, and title and body of its pull request. */
export interface ParsedBump extends BumpRecord {
  title: string;
  body: string;
}

/** Reads a commit's message; undefined when no bump wrote it. */
export function parseBump(message: string): ParsedBump | undefined {
  const [, environment, app, tag, digest, asked] = RECORD.exec(message) ?? [];
  const askedAt = new Date(asked ?? Number.NaN);
  if (environment === undefined || app === undefined || tag === undefined || Number.isNaN(askedAt.getTime()))
    return undefined;
  const [title = "", ...rest] = (message.split("\n\nBump: ")[0] ?? "").split("\n\n");
  const image = { tag, ...(digest === undefined ? {} : { digest }) };
  return { environment, app, image, askedAt, title, body: rest.join("\n\n") };
}

/**
 * Whether another bump of the same app was asked for later than this one.
 * @param now a date after it is of a clock that runs ahead, and does not count: it would be in the way of all who come later.
 * Undefined for a bump that is known to have come meanwhile
 */
export function isLater(other: BumpRecord, { askedAt }: BumpRecord, now: Date | undefined): boolean {
  return other.askedAt > askedAt && (now === undefined || other.askedAt <= now);
}
