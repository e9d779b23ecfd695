/**
 * A hold is a file, too: `overlays/<env>/<app>/hold.yaml`, beside the release that a rollback went back to. It names the
 * releases that must not come back.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { glob } from "tinyglobby";
import { stringify } from "yaml";
import { z } from "zod";
import { DIGEST, sha256 } from "../digest.ts";
import { readDocument } from "../document.ts";
import { RefusedError } from "../errors.ts";
import { parseDate } from "../parse-date.ts";
import type { Release } from "./release.ts";

export interface HoldPlace {
  environment: string;
  app: string;
}

export interface Hold {
  /** Of the release's body. */
  digest: string;
  /** The image that is at fault, as a release names it; undefined when it is not the image. */
  image: string | undefined;
  /** One line. */
  reason: string;
  /** Who rolled back. */
  by: string;
  since: Date;
  /** It ends then; undefined when somebody has to lift it. */
  until: Date | undefined;
}

const NO_IMAGE = "none";

const moment = z.string().transform((text, context) => {
  const parsed = parseDate(text);
  if (parsed !== undefined) return parsed;
  context.addIssue({ code: "custom", message: "not a date such as 2026-11-20 or 2026-11-20T14:00Z" });
  return z.NEVER;
});

const HoldFile = z.strictObject({
  environment: z.string(),
  app: z.string(),
  holds: z
    .array(
      z.strictObject({
        digest: z.string().regex(DIGEST, "not sha256: and 64 lower-case hexadecimal digits"),
        image: z.string().regex(/^\S+$/, "not an image, or none"),
        reason: z.string().min(1, "empty"),
        by: z.string().min(1, "empty"),
        since: moment,
        until: moment.optional(),
      }),
    )
    .min(1, "names no release: remove the file"),
});

/** Where an environment keeps an app's holds, relative to the root. */
export function holdPath({ environment, app }: HoldPlace): string {
  return `overlays/${environment}/${app}/hold.yaml`;
}

/** The text of a hold file; `parseHolds` is its inverse. */
export function formatHolds({ environment, app }: HoldPlace, list: readonly Hold[]): string {
  const entries = list.map(({ digest, image, reason, by, since, until }) => ({
    digest,
    image: image ?? NO_IMAGE,
    reason,
    by,
    since: since.toISOString(),
    ...(until === undefined ? {} : { until: until.toISOString() }),
  }));
  return [
    "# Written by `npm run rollback`. What is named here does not come back: `npm run promote` refuses it.",
    `# To lift it: npm run unhold ${environment} ${app}`,
    stringify({ environment, app, holds: entries }, { lineWidth: 0 }),
  ].join("\n");
}

/**
 * Reads a hold file.
 * @param text its content
 * @param file its path, which says whose it is
 * @throws RefusedError with file and line when it is not one, or is another app's
 */
export function parseHolds(text: string, file: string): Hold[] {
  const { environment, app, holds: list } = readDocument(text, file, HoldFile);
  if (file !== holdPath({ environment, app }))
    throw new RefusedError(
      `${file} is about ${app} in ${environment}`,
      "remove it, or put it where it belongs",
    );
  return list.map((hold) => ({
    ...hold,
    image: hold.image === NO_IMAGE ? undefined : hold.image,
    until: hold.until,
  }));
}

/**
 * Reads the holds of a tree: all of them, or those of one environment or one app in it.
 * @param root a directory that has `overlays`
 * @throws RefusedError with file and line, for the first that is damaged
 */
export async function readHolds(root: string, environment = "*", app = "*"): Promise<(HoldPlace & Hold)[]> {
  const files = (await glob(holdPath({ environment, app }), { cwd: root })).sort();
  const read = files.map(async (file) => {
    const [, ofEnvironment = "", ofApp = ""] = file.split("/");
    const text = await readFile(join(root, file), "utf8");
    return parseHolds(text, file).map((hold) => ({ environment: ofEnvironment, app: ofApp, ...hold }));
  });
  return (await Promise.all(read)).flat();
}

/** Whether a hold has not ended. */
export function isInForce({ until }: Hold, now: Date): boolean {
  return until === undefined || now < until;
}

/** Whether a hold is about a release: that very one, or any with the image that is at fault, whatever is around it. */
export function isAbout(hold: Hold, release: Pick<Release, "body" | "image">): boolean {
  if (hold.digest === sha256(release.body)) return true;
  return hold.image !== undefined && release.image !== undefined && sameImage(hold.image, release.image);
}

/** Whether a hold keeps a release out now. */
export function holds(hold: Hold, release: Pick<Release, "body" | "image">, now: Date): boolean {
  return isInForce(hold, now) && isAbout(hold, release);
}

/** A release of an app that a hold keeps out. */
export interface HeldRelease {
  app: string;
  release: Release;
  hold: Hold;
}

/** Those of some releases for an environment that its holds keep out now. */
export function findHeld(
  list: readonly (Hold & { app: string })[],
  releases: readonly Omit<HeldRelease, "hold">[],
  now: Date,
): HeldRelease[] {
  return releases.flatMap(({ app, release }) => {
    const hold = list.find((candidate) => candidate.app === app && holds(candidate, release, now));
    return hold === undefined ? [] : [{ app, release, hold }];
  });
}

/** The tag is the commit that was built: it is the same image, whether its digest is pinned beside it or not. */
function sameImage(a: string, b: string): boolean {
  return a.split("@")[0] === b.split("@")[0];
}
