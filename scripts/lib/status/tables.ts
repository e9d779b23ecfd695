/** What is where, for people: a table for a terminal, and one in Markdown. */
import type { Application } from "../argocd/applications.ts";
import { inert, markdownTable } from "../cli/markdown.ts";
import { table } from "../cli/table.ts";
import { moment } from "../duration.ts";
import { imageCommit } from "../release/release.ts";
import { withApplications } from "./applications.ts";
import type { OpenChange } from "./changes.ts";
import { type Status, type StatusRow } from "./status.ts";

/** What is said below the table. */
export interface Below {
  /** Where it comes from, in one line. */
  source: string;
  changes: readonly OpenChange[];
  now: Date;
}

interface Mark {
  text: string;
  /** What such marks mean, where they do not speak for themselves. */
  legend?: string;
}

/** A line an app, a column an environment or cluster; below it what the marks mean, and what there is to say. */
export function describeStatus(status: Status, { source, changes, now }: Below): string {
  const { headings, rows } = grid(status, (row) => cell(row, status, now).join(" "));
  const pulls = changes.map(({ number, title, url }) => `#${number}  ${title}  ${url}`);
  const below = [legend(status, now), pulls, held(status), alarmed(status), [source, ...status.notes]];
  return `${[table(headings, rows), ...below.filter((lines) => lines.length > 0).map((lines) => lines.join("\n"))].join("\n\n")}\n`;
}

/** The same for a pull request's comment or a job's summary. */
export function statusMarkdown(status: Status, { source, changes, now }: Below): string {
  const { headings, rows } = grid(status, (row) => {
    const [name = "", ...others] = cell(row, status, now);
    return [`\`${name}\``, ...others].join(" ");
  });
  const pulls = changes.map(({ number, title, url }) => `[#${number}](${url}) ${inert(title)}`);
  const below = [
    ...legend(status, now),
    ...pulls,
    ...held(status).map(inert),
    ...alarmed(status).map(inert),
    source,
    ...status.notes.map(inert),
  ];
  return `${markdownTable(headings, rows)}\n\n${below.map((text) => `- ${text.replaceAll(/ +/g, " ")}`).join("\n")}\n`;
}

/** What Argo CD has, without a look into Git. */
export function statusTable(applications: readonly Application[], environments: readonly string[]): string {
  const status = withApplications({ environments: [...environments], rows: [], notes: [] }, applications);
  const now = new Date(0);
  const { headings, rows } = grid(status, (row) => cell(row, status, now).join(" "));
  const below = legend(status, now);
  return [table(headings, rows), ...(below.length > 0 ? ["", ...below] : [])].join("\n");
}

function grid(
  { environments, rows }: Status,
  text: (row: StatusRow) => string,
): { headings: string[]; rows: string[][] } {
  const column = ({ cluster, env }: StatusRow) => cluster ?? env;
  const place = ({ env }: StatusRow) => environments.indexOf(env);
  const columns = [...new Set(rows.toSorted((one, other) => place(one) - place(other)).map(column))];
  const apps = [...new Set(rows.map(({ app }) => app))].toSorted();
  const cells = new Map(rows.map((row) => [`${row.app}/${column(row)}`, text(row)]));
  return {
    headings: ["app", ...columns],
    rows: apps.map((app) => [app, ...columns.map((name) => cells.get(`${app}/${name}`) ?? "-")]),
  };
}

function cell(row: StatusRow, status: Status, now: Date): string[] {
  const { release, since, sync, health } = row;
  // Nothing is known from Git, or nothing was promoted yet.
  const name = release ?? (runs(row) || (sync === null ? "none" : ""));
  const state = sync === null ? "" : [sync, health].join(" ");
  const age = since === null ? "" : ageOf(since, now);
  return [name, age, state, ...marks(row, status, now).map(({ text }) => text)].filter((part) => part !== "");
}

function marks(row: StatusRow, { environments }: Status, now: Date): Mark[] {
  const { env, release, isEmpty, behind, commitsBehind, pullRequests, holds, lastRollback, running, alerts } =
    row;
  const isFirst = environments.indexOf(env) <= 0;
  const found: Mark[] = [];
  if (isEmpty === true) {
    found.push({
      text: "empty",
      legend: "empty  nothing but sealed Secrets is deployed, so Healthy says nothing",
    });
  }
  const other = runs(row);
  if (
    release !== null &&
    other !== "" &&
    !running.some((image) => imageCommit({ image })?.startsWith(release))
  ) {
    found.push({ text: `runs ${other}`, legend: "runs  the cluster still runs this image" });
  }
  if (behind !== null && behind > 0) {
    const commits = commitsBehind === null ? "" : ` (${commitsBehind})`;
    found.push({
      text: `↓${behind}${commits}`,
      legend: `↓     so many releases behind the environment before${commits && " (so many commits of its own repository)"}`,
    });
  }
  if (!isFirst && release !== null && behind === null) {
    found.push({
      text: "↓?",
      legend: "↓?    the environment before never had this release, as far as Git knows",
    });
  }
  if (alerts !== null && alerts.length > 0) found.push({ text: `!${alerts.length}` });
  if (holds.length > 0) found.push({ text: "hold" });
  if (lastRollback !== null) {
    found.push({ text: `↺${ageOf(lastRollback.at, now)}`, legend: "↺     rolled back, so long ago" });
  }
  return [...found, ...(pullRequests ?? []).map(({ number }) => ({ text: `#${number}` }))];
}

/** The first digits of what runs on the cluster. */
function runs({ running }: StatusRow): string {
  return running.flatMap((image) => imageCommit({ image })?.slice(0, 7) ?? [])[0] ?? "";
}

function legend(status: Status, now: Date): string[] {
  return [
    ...new Set(
      status.rows.flatMap((row) => marks(row, status, now).flatMap(({ legend: text }) => text ?? [])),
    ),
  ];
}

function held({ rows }: Status): string[] {
  const lines = rows.flatMap(({ app, env, holds }) =>
    holds.map(({ reason, by, until }) => {
      const end =
        until === null ? `npm run unhold ${env} ${app} lifts it` : `until ${moment(new Date(until))}`;
      return `hold  ${app} in ${env}: ${reason} (${by}; ${end})`;
    }),
  );
  return [...new Set(lines)];
}

function alarmed({ rows }: Status): string[] {
  const lines = rows.flatMap(({ app, env, alerts }) =>
    (alerts ?? []).map(
      ({ name, severity, summary }) => `!  ${app} in ${env}: ${name} (${severity}): ${summary}`,
    ),
  );
  return [...new Set(lines)];
}

const UNITS = [
  ["d", 86_400],
  ["h", 3600],
  ["m", 60],
] as const;

/** How long ago, in the largest unit that fits: `3d`, `2h`, `12m`, `45s`. */
function ageOf(since: string, now: Date): string {
  const seconds = Math.max(0, Math.floor((now.getTime() - Date.parse(since)) / 1000));
  const unit = UNITS.find(([, size]) => seconds >= size);
  return unit === undefined ? `${seconds}s` : `${Math.floor(seconds / unit[1])}${unit[0]}`;
}
