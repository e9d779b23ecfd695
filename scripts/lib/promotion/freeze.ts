/**
 * Freezes: an environment is frozen while a `kind: deny` sync window of its AppProject is active, for Argo CD and for
 * promotions alike. Whether a window is active is decided as Argo CD does it (SyncWindows.active in its types.go).
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { glob } from "tinyglobby";
import { type Document, LineCounter, parseAllDocuments } from "yaml";
import { z } from "zod";
import { parseGoDuration } from "../duration.ts";
import { RefusedError } from "../errors.ts";
import { lastTime, parseSchedule, type Schedule } from "./cron.ts";
import { nameGlob } from "./glob.ts";

/** A `kind: deny` window, as it stands in a file. */
export interface DenyWindow {
  /** Relative to the root. */
  file: string;
  line: number;
  schedule: string;
  duration: string;
  /** IANA name. */
  timeZone: string;
  /** Patterns of Applications' names, `<cluster>-<app>`. */
  applications: string[];
  /** Patterns of clusters' names. */
  clusters: string[];
  namespaces: string[];
  /** Whether all of applications, clusters and namespaces that are given must match; else one of them is enough. */
  andOperator: boolean;
  description: string | undefined;
}

/** A window that is active. */
export interface Freeze extends DenyWindow {
  /** When it ends, together with windows of the same schedule that follow without a gap; undefined: not within a year. */
  until: Date | undefined;
}

const names = z.array(z.string()).default([]);
/** `Kind` and `Deny` with capitals would freeze nothing, here as in Argo CD: refused rather than overlooked. */
const Window = z.strictObject({
  kind: z.enum(["allow", "deny"]),
  schedule: z.string().superRefine((text, context) => {
    const fault = parseSchedule(text);
    if (typeof fault === "string") context.addIssue(`"${text}" is no schedule: ${fault}`);
  }),
  duration: z
    .string()
    .refine((text) => parseGoDuration(text) !== undefined, "not a duration such as 8h, 30m or 1h30m"),
  timeZone: z.string().default("").refine(isTimeZone, "not a time zone such as Europe/Berlin"),
  applications: names.refine(areGlobs, "holds a pattern that is not one"),
  clusters: names.refine(areGlobs, "holds a pattern that is not one"),
  namespaces: names.refine(areGlobs, "holds a pattern that is not one"),
  andOperator: z.boolean().default(false),
  description: z.string().optional(),
  manualSync: z.boolean().optional(),
  syncOverrun: z.boolean().optional(),
});
const Windows = z.array(Window);

function areGlobs(patterns: readonly string[]): boolean {
  return patterns.every((pattern) => nameGlob(pattern) !== undefined);
}

/** Argo CD knows a zone by its exact name only, and takes UTC for any other. */
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
 * Reads the windows in which an environment is frozen.
 * @param root directory with `overlays/`
 * @param environment its name
 * @returns the deny windows in the order of the file
 * @throws RefusedError with file and line for a window that Argo CD would not read as it is meant, or in a second place
 */
export async function readDenyWindows(root: string, environment: string): Promise<DenyWindow[]> {
  const files = (await glob(`overlays/${environment}/*.{yaml,yml}`, { cwd: root })).sort();
  if (files.length === 0) throw new RefusedError(`overlays/${environment} has no YAML files`);
  const places = [];
  for (const file of files) places.push(...windowsIn(await readFile(join(root, file), "utf8"), file));
  const [first, second] = places;
  if (first !== undefined && second !== undefined) {
    throw new RefusedError(
      `${second.file}:${second.line}: sync windows stand in ${first.file} already, and one list replaces the other`,
      "put all windows into one file",
    );
  }
  return first?.windows ?? [];
}

interface Place {
  file: string;
  line: number;
  windows: DenyWindow[];
}

/** The lists of sync windows in a file; there may be several documents. */
function windowsIn(text: string, file: string): Place[] {
  const lines = new LineCounter();
  const places: Place[] = [];
  for (const document of documentsOf(text, lines)) {
    const syntax = document.errors[0];
    if (syntax !== undefined) {
      const reason = syntax.message.split("\n")[0] ?? "";
      throw new RefusedError(`${file}:${lines.linePos(syntax.pos[0]).line}: ${reason}`);
    }
    const value: unknown = document.toJS();
    if (!JSON.stringify(value ?? null).includes("syncWindows")) continue;
    const list: unknown = document.getIn(["spec", "syncWindows"]);
    const line = lineAt(document, ["spec", "syncWindows"], lines);
    if (list === undefined || document.get("kind") !== "AppProject") {
      throw new RefusedError(
        `${file}:${line}: syncWindows that are not the spec.syncWindows of an AppProject`,
        "put them into a patch of the AppProject in a file of its own",
      );
    }
    places.push({ file, line, windows: denyWindows(document, file, lines) });
  }
  return places;
}

function documentsOf(text: string, lineCounter: LineCounter): Document[] {
  const documents = parseAllDocuments(text, { lineCounter });
  return "empty" in documents ? [] : documents;
}

function denyWindows(document: Document, file: string, lines: LineCounter): DenyWindow[] {
  const path = ["spec", "syncWindows"];
  const value: unknown = document.toJS();
  const parsed = z.object({ spec: z.object({ syncWindows: Windows.nullable() }) }).safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const field = (issue?.path ?? []).filter((key) => typeof key !== "symbol");
    const where = `${file}:${lineAt(document, field, lines)}`;
    throw new RefusedError(`${where}: ${field.join(".")}: ${issue?.message ?? "not valid"}`);
  }
  return (parsed.data.spec.syncWindows ?? []).flatMap((window, index) => {
    const { kind, manualSync: _manual, syncOverrun: _overrun, timeZone, description, ...rest } = window;
    if (kind === "allow") return [];
    const line = lineAt(document, [...path, index], lines);
    return [{ file, line, ...rest, timeZone: timeZone || "UTC", description }];
  });
}

/** The line of the field at the path, or of the nearest parent that is there. */
function lineAt(document: Document, path: readonly (string | number)[], lines: LineCounter): number {
  for (let length = path.length; length > 0; length -= 1) {
    const node: unknown = document.getIn(path.slice(0, length), true);
    if (typeof node === "object" && node !== null && "range" in node && Array.isArray(node.range))
      return lines.linePos(Number(node.range[0])).line;
  }
  return lines.linePos(document.contents?.range?.[0] ?? 0).line;
}

/**
 * The freezes an environment is under, for all its apps or some; `freezeOf` tells for one.
 * @param root directory with `overlays/`
 * @throws RefusedError as `readDenyWindows` does
 */
export async function activeFreezes(root: string, environment: string, now: Date): Promise<Freeze[]> {
  return activeAt(await readDenyWindows(root, environment), now);
}

/**
 * The windows that are active.
 * @param now the moment to ask about; at its very start and its very end a window is not active
 */
export function activeAt(windows: readonly DenyWindow[], now: Date): Freeze[] {
  return windows.flatMap((window) => {
    const schedule = parseSchedule(window.schedule);
    const length = parseGoDuration(window.duration);
    if (typeof schedule === "string" || length === undefined)
      throw new RefusedError(`${window.file}:${window.line}: not a sync window`);
    // As in Argo CD, all is reckoned on the zone's wall clock: a change to summer time shortens a window.
    const wall = now.getTime() + offset(window.timeZone, now);
    const start = lastTime(schedule, wall - length, wall - 1);
    if (start === undefined) return [];
    const end = endOf(schedule, start, length, wall);
    return [{ ...window, until: end === undefined ? undefined : fromWall(end, window.timeZone) }];
  });
}

const YEAR_MS = 366 * 86_400_000;

function endOf(schedule: Schedule, start: number, length: number, wall: number): number | undefined {
  for (let last = start; ; ) {
    const end = last + length;
    if (end - wall > YEAR_MS) return undefined;
    const next = lastTime(schedule, last, end);
    if (next === undefined) return end;
    last = next;
  }
}

/** What a zone's clock is ahead of UTC, in milliseconds. */
function offset(timeZone: string, at: Date): number {
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone,
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

/** An app in an environment, for windows that are not about everything. */
export interface FreezeTarget {
  app: string;
  namespace: string;
  clusters: readonly string[];
}

/** The first of some active windows that an app is under, on any of its clusters. */
export function freezeOf(freezes: readonly Freeze[], target: FreezeTarget): Freeze | undefined {
  return freezes.find((freeze) =>
    target.clusters.some((cluster) =>
      concerns(freeze, `${cluster}-${target.app}`, cluster, target.namespace),
    ),
  );
}

/**
 * The clusters of an environment that active windows may be about: the one with its name, and those that patterns such as
 * `prod-eu-*` or `prod-eu` speak of.
 */
export function clustersNamed(freezes: readonly Freeze[], environment: string, app: string): string[] {
  const named = freezes.flatMap(({ applications, clusters }) => [
    ...applications
      .map((pattern) => pattern.replace(/\*$/, app))
      .filter((name) => name.endsWith(`-${app}`))
      .map((name) => name.slice(0, -app.length - 1)),
    ...clusters,
  ]);
  const own = named.filter((cluster) => cluster.startsWith(`${environment}-`));
  return [...new Set([environment, ...own])];
}

/** SyncWindows.Matches of Argo CD; a window without any pattern is about nothing. */
function concerns(window: DenyWindow, application: string, cluster: string, namespace: string): boolean {
  const pairs: [string[], string][] = [
    [window.applications, application],
    [window.clusters, cluster],
    [window.namespaces, namespace],
  ];
  const answers = pairs
    .filter(([patterns]) => patterns.length > 0)
    .map(([patterns, name]) => patterns.some((pattern) => nameGlob(pattern)?.test(name)));
  return window.andOperator ? answers.length > 0 && answers.every(Boolean) : answers.some(Boolean);
}
