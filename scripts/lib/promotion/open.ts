/** Promotions that are open on the forge: which apps' releases they bring, and whether one of these is held. */
import { MovedError, messageOf, RefusedError } from "../errors.ts";
import type { Forge, PullRequest } from "../forge/forge.ts";
import type { Remote } from "../git/remote.ts";
import { withdraw } from "../pull-request/withdraw.ts";
import { findHeld, type HeldRelease, type Hold } from "../release/hold.ts";
import { type Release, releaseAt, releaseName, releasePath } from "../release/release.ts";
import { PROMOTIONS, parsePromotionBranch } from "./pull-request-body.ts";

/** An open promotion with releases that are held in its target. */
export interface OvertakenPromotion extends Pick<PullRequest, "number" | "url"> {
  branch: string;
  held: readonly HeldRelease[];
}

/** What it must not bring, for people. */
export function carriedBy(held: OvertakenPromotion["held"]): string {
  return held.map(({ app, release }) => `${app} ${releaseName(release)}`).join(", ");
}

/** The apps whose releases a branch changes in an environment. */
export async function promotedApps(remote: Remote, branch: string, to: string): Promise<string[]> {
  const tip = await remote.tip(branch);
  if (tip === undefined) return [];
  const { from } = await remote.ahead(branch, PROMOTIONS);
  const changed = from === undefined ? [] : await remote.changed(from, tip);
  const release = new RegExp(`^overlays/${to}/([^/]+)/release\\.yaml$`);
  return changed.flatMap((path) => release.exec(path)?.[1] ?? []);
}

/**
 * Finds the open promotions to an environment that a hold has overtaken: once merged, each would bring a held release back, also
 * one that the environment still has.
 * @param remote fetched with its history
 * @param held what is held there, or is going to be; without any, the forge is not asked
 * @returns the oldest first
 */
export async function overtakenPromotions(
  remote: Remote,
  forge: Pick<Forge, "listOpenPullRequests">,
  to: string,
  held: readonly (Hold & { app: string })[],
  now: Date,
): Promise<OvertakenPromotion[]> {
  if (held.length === 0) return [];
  const pulls = await forge.listOpenPullRequests(remote.branch);
  const open = pulls.filter(({ head }) => parsePromotionBranch(head)?.to === to);
  const tips = await Promise.all(open.map(async ({ head }) => remote.tip(head)));
  if (open.some(({ headCommit }, index) => headCommit !== tips[index])) await remote.fetch(PROMOTIONS);
  const found: OvertakenPromotion[] = [];
  for (const { number, url, head: branch } of open.toSorted((one, other) => one.number - other.number)) {
    const brought = findHeld(held, await releasesOf(remote, branch, to), now);
    if (brought.length > 0) found.push({ number, url, branch, held: brought });
  }
  return found;
}

async function releasesOf(
  remote: Remote,
  branch: string,
  to: string,
): Promise<{ app: string; release: Release }[]> {
  const tip = (await remote.tip(branch)) ?? "";
  const found = (await promotedApps(remote, branch, to)).map(async (app) => {
    // A damaged one brings nothing back; `npm run check` refuses it.
    const release = await releaseAt(remote, tip, releasePath(to, app));
    return release === undefined ? [] : [{ app, release }];
  });
  return (await Promise.all(found)).flat();
}

/**
 * Closes such a promotion, unless somebody else has commits on its branch or has just pushed to it.
 * @param reason for the comment
 * @returns what has become of it, in a line
 */
export async function closeOvertaken(
  remote: Remote,
  forge: Forge,
  { branch, number, url, held }: OvertakenPromotion,
  reason: string,
): Promise<string> {
  try {
    await withdraw(remote, forge, branch, reason);
    return `closed: #${number} carries ${carriedBy(held)}, which is held back: ${url}`;
  } catch (error) {
    if (error instanceof MovedError)
      return `note: #${number} stays open, somebody has just pushed to it; run it again`;
    if (error instanceof RefusedError) return `note: #${number} stays open: ${messageOf(error)}`;
    throw error;
  }
}
