/**
 * Freezes: a promotion waits as long as Argo CD would refuse the sync that follows it, by the sync windows of the app's
 * AppProject. The rule is Argo CD's own: SyncWindows.Matches and CanSync in its types.go.
 */
import { join } from "node:path";
import { z } from "zod";
import { parseGoDuration } from "../duration.ts";
import { RefusedError } from "../errors.ts";
import { exists } from "../file.ts";
import { parseManifests } from "../manifests/manifest.ts";
import { build } from "../tree/kustomize.ts";
import { wildcard } from "../wildcard.ts";
import { lastTime, parseSchedule, type Schedule } from "./cron.ts";

const names = z.array(z.string()).default([]);
const patterns = names.refine(
  (list) => list.every((pattern) => !/[[\]{}\\]/.test(pattern)),
  "holds a pattern with more than * and ?",
);
/** Argo CD takes `Deny` for no kind at all, and an unknown time zone for UTC: refused rather than overlooked. */
export const SyncWindow = z.strictObject({
  kind: z.enum(["allow", "deny"]),
  schedule: z.string().superRefine((text, context) => {
    const fault = parseSchedule(text);
    if (typeof fault === "string") context.addIssue(`"${text}" is no schedule: ${fault}`);
  }),
  duration: z
    .string()
    .refine((text) => parseGoDuration(text) !== undefined, "not a duration such as 8h, 30m or 1h30m"),
  timeZone: z.string().default("").refine(isTimeZone, "not a time zone such as Europe/Berlin"),
  /** Patterns of Applications' names, `<cluster>-<app>`. */
  applications: patterns,
  clusters: patterns,
  namespaces: patterns,
  /** Whether all of applications, clusters and namespaces that are given must match; else one of them is enough. */
  andOperator: z.boolean().default(false),
  description: z.string().optional(),
  /** Whether a person may start a sync all the same. */
  manualSync: z.boolean().default(false),
  syncOverrun: z.boolean().optional(),
});
const Project = z.object({
  kind: z.literal("AppProject"),
  metadata: z.object({ name: z.string() }),
  spec: z.object({ syncWindows: z.array(SyncWindow).nullish() }),
});

export type SyncWindow = z.infer<typeof SyncWindow>;

/** Argo CD knows a zone by its exact name only. */
function isTimeZone(name: string): boolean {
  if (name === "") return true;
  if (!/^[A-Za-z]/.test(name)) return false;
  try {
    const known = new Intl.DateTimeFormat("en", { timeZone: name }).resolvedOptions().timeZone;
    return known === name || known.toLowerCase() !== name.toLowerCase();
  } catch {
    return false;
  }
}

/**
 * Reads an environment's sync windows as Argo CD gets them: rendered.
 * @param root directory with `overlays/`
 * @returns them by the name of the AppProject
 * @throws RefusedError for a window that Argo CD would not read as it is meant
 */
export async function readSyncWindows(
  kustomize: string,
  root: string,
  environment: string,
): Promise<Map<string, SyncWindow[]>> {
  const overlay = `overlays/${environment}`;
  if (!(await exists(join(root, overlay, "kustomization.yaml")))) return new Map();
  const manifests = parseManifests(await build(kustomize, join(root, overlay)));
  const projects = manifests.filter(({ kind }) => kind === "AppProject");
  return new Map(
    projects.map((manifest) => {
      const { name } = manifest.metadata;
      const { data, error } = Project.safeParse(manifest);
      if (data !== undefined) return [name, data.spec.syncWindows ?? []];
      const issue = error.issues[0];
      const fault = `${issue?.path.join(".")}: ${issue?.message}`;
      throw new RefusedError(`${overlay}: the AppProject ${name}: ${fault}`, "correct the sync window");
    }),
  );
}

/** An app in an environment, as sync windows speak of it. */
export interface FreezeTarget {
  app: string;
  namespace: string;
  environment: string;
  /** Whether Argo CD syncs it by itself; else a person starts the sync. */
  syncsItself: boolean;
}

/** Why Argo CD would not sync. */
export interface Freeze {
  /** The window that denies, or one of those that would allow and are closed. */
  window: SyncWindow;
  /** When it ends, together with windows of the same schedule that follow without a gap; undefined: it takes several to tell. */
  until: Date | undefined;
  /** Whether time alone ends it. */
  ends: boolean;
}

/**
 * The freeze that an app is under, on any of its clusters.
 * @param windows those of its AppProject
 */
export function freezeOf(
  windows: readonly SyncWindow[],
  target: FreezeTarget,
  now: Date,
): Freeze | undefined {
  for (const cluster of clustersNamed(windows, target)) {
    const own = windows.filter((window) => concerns(window, cluster, target));
    const active = own.filter((window) => isActive(window, now));
    const denying = active.filter(({ kind }) => kind === "deny");
    const allowing = own.filter(({ kind }) => kind === "allow");
    const isOpen = denying.length === 0 && active.length > 0;
    const refusing = denying.length > 0 ? denying : isOpen ? [] : allowing;
    const [window] = refusing;
    if (window === undefined) continue;
    if (!target.syncsItself && refusing.every(({ manualSync }) => manualSync)) continue;
    const end = window.kind === "allow" ? undefined : endOf(window, now);
    const ends = window.kind === "allow" || end !== undefined;
    return { window, until: allowing.length > 0 ? undefined : end, ends };
  }
  return undefined;
}

/** On the zone's wall clock, as Argo CD reckons: a change to summer time shortens a window. */
function lastStart(
  window: SyncWindow,
  now: Date,
): { schedule: Schedule; length: number; wall: number; start: number | undefined } {
  const schedule = parseSchedule(window.schedule);
  const length = parseGoDuration(window.duration);
  if (typeof schedule === "string" || length === undefined)
    throw new Error("windows are read with a schedule");
  const wall = now.getTime() + offset(window.timeZone, now);
  return { schedule, length, wall, start: lastTime(schedule, wall - length, wall - 1) };
}

/** At its very start and its very end a window is not active. */
function isActive(window: SyncWindow, now: Date): boolean {
  return lastStart(window, now).start !== undefined;
}

const YEAR_MS = 366 * 86_400_000;

/** The end of an active window; undefined: not within a year. */
function endOf(window: SyncWindow, now: Date): Date | undefined {
  const { schedule, length, wall, start } = lastStart(window, now);
  for (let last = start ?? wall; ; ) {
    const end = last + length;
    if (end - wall > YEAR_MS) return undefined;
    const next = lastTime(schedule, last, end);
    if (next === undefined) return fromWall(end, window.timeZone);
    last = next;
  }
}

/** What a zone's clock is ahead of UTC, in milliseconds. */
function offset(timeZone: string, at: Date): number {
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone: timeZone || "UTC",
    calendar: "iso8601",
    numberingSystem: "latn",
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  });
  const parts = new Map(format.formatToParts(at).map(({ type, value }) => [type, Number(value)]));
  const part = (type: Intl.DateTimeFormatPartTypes): number => parts.get(type) ?? 0;
  const wall = Date.UTC(
    part("year"),
    part("month") - 1,
    part("day"),
    part("hour"),
    part("minute"),
    part("second"),
  );
  return wall - Math.floor(at.getTime() / 1000) * 1000;
}

/** The moment at which a zone's clock shows a time. */
function fromWall(wall: number, timeZone: string): Date {
  const guess = new Date(wall - offset(timeZone, new Date(wall)));
  return new Date(wall - offset(timeZone, guess));
}

/**
 * The clusters of an environment that windows may be about: the one with its name, and those that patterns such as
 * `prod-eu-*` or `prod-eu` speak of.
 */
function clustersNamed(windows: readonly SyncWindow[], { app, environment }: FreezeTarget): string[] {
  const named = windows.flatMap(({ applications, clusters }) => [
    ...applications
      .map((pattern) => pattern.replace(/\*$/, app))
      .filter((name) => name.endsWith(`-${app}`))
      .map((name) => name.slice(0, -app.length - 1)),
    ...clusters,
  ]);
  const own = named.filter((cluster) => cluster.startsWith(`${environment}-`));
  return [...new Set([environment, ...own])];
}

/** A window without any pattern is about nothing. */
function concerns(window: SyncWindow, cluster: string, { app, namespace }: FreezeTarget): boolean {
  const pairs: [string[], string][] = [
    [window.applications, `${cluster}-${app}`],
    [window.clusters, cluster],
    [window.namespaces, namespace],
  ];
  const answers = pairs
    .filter(([list]) => list.length > 0)
    .map(([list, name]) => list.some((pattern) => wildcard(pattern, ".*").test(name)));
  return window.andOperator ? answers.length > 0 && answers.every(Boolean) : answers.some(Boolean);
}
