/** How releases have come to an environment: how many, how fast, and how many were taken back. From Git alone. */
import type { GitHistory } from "../git/history.ts";
import { median } from "../median.ts";
import type { HoldPlace } from "../release/hold.ts";
import { releaseAt, releasePath } from "../release/release.ts";
import { type Deployed, isRollback } from "./behind.ts";

/** A release that a commit of the deployed branch brought to an environment. */
export interface Deployment {
  app: string;
  at: Date;
  /** Seconds since the commit that it was rendered from, which is when the first environment had it; undefined: not known. */
  leadSeconds: number | undefined;
  /** Seconds until it was rolled back; undefined: it was not. */
  restoredSeconds: number | undefined;
}

/**
 * The releases that came to an environment, rollbacks left out, the newest first.
 * @param git a repository
 * @param deployed its history
 * @param since older ones are left out
 */
export async function deploymentsOf(
  git: GitHistory,
  place: HoldPlace,
  deployed: Deployed,
  since: Date,
): Promise<Deployment[]> {
  const { environment, app } = place;
  const releases = deployed.releases(environment, app);
  const found: Deployment[] = [];
  let rollbackAt: Date | undefined;
  for (const [index, { commit, date, digest }] of releases.entries()) {
    if (date < since) break;
    if (await isRollback(git, place, releases, index)) {
      rollbackAt = date;
      continue;
    }
    const restoredSeconds = rollbackAt === undefined ? undefined : secondsBetween(date, rollbackAt);
    rollbackAt = undefined;
    if (digest === undefined) continue;
    const release = await releaseAt(git, commit, releasePath(environment, app));
    const renderedAt = deployed.dateOf(release?.commit ?? "");
    const leadSeconds = renderedAt === undefined ? undefined : secondsBetween(renderedAt, date);
    found.push({ app, at: date, leadSeconds, restoredSeconds });
  }
  return found;
}

function secondsBetween(from: Date, to: Date): number {
  return Math.max(0, (to.getTime() - from.getTime()) / 1000);
}

export interface Delivery {
  /** The Monday that the week begins with, in UTC: `2026-11-23`; undefined for all of the time. */
  week: string | undefined;
  deployments: number;
  rolledBack: number;
  /** Medians in seconds; null where there is nothing to tell. */
  leadSeconds: number | null;
  restoreSeconds: number | null;
}

const WEEK_MS = 7 * 24 * 3600 * 1000;
/** A Monday. */
const MONDAY_MS = Date.UTC(2024, 0, 1);

/** The Monday, 0 o'clock in UTC, of the week that a moment is in. */
export function mondayOf(date: Date): Date {
  return new Date(MONDAY_MS + Math.floor((date.getTime() - MONDAY_MS) / WEEK_MS) * WEEK_MS);
}

/** The Monday that some weeks begin with, the one of now among them. */
export function beginOf(weeks: number, now: Date): Date {
  return new Date(mondayOf(now).getTime() - (weeks - 1) * WEEK_MS);
}

/**
 * Sums deployments up by weeks, the newest first, and in all.
 * @param since the beginning of the first week
 */
export function sumUp(
  deployments: readonly Deployment[],
  { since, now }: { since: Date; now: Date },
): { weeks: Delivery[]; all: Delivery } {
  const weeks: Delivery[] = [];
  for (let monday = mondayOf(now); monday >= since; monday = new Date(monday.getTime() - WEEK_MS)) {
    const own = deployments.filter(({ at }) => mondayOf(at).getTime() === monday.getTime());
    weeks.push(sumOf(own, monday.toISOString().slice(0, 10)));
  }
  return { weeks, all: sumOf(deployments, undefined) };
}

function sumOf(deployments: readonly Deployment[], week: string | undefined): Delivery {
  const restored = deployments.flatMap(({ restoredSeconds }) => restoredSeconds ?? []);
  return {
    week,
    deployments: deployments.length,
    rolledBack: restored.length,
    leadSeconds: median(deployments.flatMap(({ leadSeconds }) => leadSeconds ?? [])) ?? null,
    restoreSeconds: median(restored) ?? null,
  };
}
