/** What a promotion writes to be read again: its branch; and the title and body of its pull request. */
import { createHash } from "node:crypto";
import { inert, tableRow } from "../cli/markdown.ts";
import type { Forge } from "../forge/forge.ts";
import { describeChanges } from "../manifests/change-report.ts";
import { imageCommit, type Release, releaseName } from "../release/release.ts";
import type { Review, ReviewedStep } from "./review.ts";

/** Which promotion a branch is for. */
export interface PromotionScope {
  from: string;
  to: string;
  /** The apps that were named; none for the whole environment. */
  apps: readonly string[];
}

const WHOLE = "_all";
/** Longer lists of apps are named by their digest: forges and file systems have limits on the names of branches. */
const LONGEST_LIST = 100;
const BRANCH = /^promote\/([a-z0-9-]+)\/([a-z0-9-]+)\/(_all|[a-z0-9-]+(?:\+[a-z0-9-]+)*)$/;

/** The branches of promotions, for a fetch. */
export const PROMOTIONS = "promote/*";

/** The branch of a promotion: one for each pair of environments and choice of apps, so that there is one pull request for it. */
export function formatPromotionBranch({ from, to, apps }: PromotionScope): string {
  const names = [...new Set(apps)].toSorted();
  const list = names.join("+");
  const digest = createHash("sha256").update(list).digest("hex").slice(0, 12);
  const scope = list === "" ? WHOLE : list.length > LONGEST_LIST ? `${names.length}-apps-${digest}` : list;
  return `promote/${from}/${to}/${scope}`;
}

/** The inverse of `formatPromotionBranch`, but for a list that was too long: its apps are unknown. Undefined for other branches. */
export function parsePromotionBranch(
  branch: string,
): { from: string; to: string; apps: readonly string[] | undefined } | undefined {
  const [, from, to, scope] = BRANCH.exec(branch) ?? [];
  if (from === undefined || to === undefined || scope === undefined) return undefined;
  if (scope === WHOLE) return { from, to, apps: [] };
  return { from, to, apps: /^\d/.test(scope) ? undefined : scope.split("+") };
}

/** `3 apps`, or the one app's name and release. */
export function promotionTitle({ from, to, steps }: Pick<Review, "from" | "to" | "steps">): string {
  const [only, ...others] = steps;
  const what =
    only !== undefined && others.length === 0
      ? `${only.app} ${releaseName(only.after)}`
      : `${steps.length} apps`;
  return `Promote ${what} from ${from} to ${to}`;
}

/**
 * The body of the pull request, in Markdown; the longest parts stand at its end. The same promotion gives the same text, whenever
 * it is written.
 * @param override why closed gates were passed, if they were
 */
export function promotionBody(
  review: Review,
  address: Forge["address"],
  override: string | undefined,
): string {
  const { from, to, target, steps, refusals, warnings, heldBack } = review;
  const names = steps.map(({ app }) => app);
  const sync = target.syncsItself
    ? `Argo CD syncs ${to} by itself.`
    : `${to} waits for a human: \`npm run sync ${to} ${few(names)}\``;
  const sections = [
    `Carries ${steps.length === 1 ? "a release" : `${steps.length} releases`} from ${from} to ${to}.`,
    override === undefined
      ? ""
      : `## Overridden\n\n${quote(override)}\n\n${bullets(refusals.map(({ fact }) => inert(fact)))}`,
    table(review, address),
    warnings.length === 0 ? "" : `## Mind\n\n${bullets(warnings.map(inert))}`,
    heldBack.length === 0
      ? ""
      : `## Held back\n\n${bullets(heldBack.map(({ app, hold }) => `${app}: ${inert(`${hold.reason} (${hold.by})`)}; \`npm run unhold ${to} ${app}\` lifts it`))}`,
    `## Evidence\n\n${evidence(review)}`,
    `## After the merge\n\n${sync}\n\nBack: \`npm run rollback ${to} <app>\`${steps.length === 1 ? `, here \`npm run rollback ${to} ${names[0]}\`` : ""}.`,
    `## What changes in ${to}, once rendered\n\n${changes(review)}`,
    commits(steps),
  ];
  return `${sections.filter((section) => section !== "").join("\n\n")}\n`;
}

function table({ steps, to }: Review, { web }: Forge["address"]): string {
  const link = (text: string, url: string) => `[${text}](${web}/${url})`;
  const rows = steps.map((step) =>
    tableRow([
      step.app,
      image(step, step.before, link),
      image(step, step.after, link),
      comparison(step, link),
    ]),
  );
  return [tableRow(["app", `${to} has`, "gets", ""]), "|---|---|---|---|", ...rows].join("\n");
}

type Link = (text: string, path: string) => string;

function image({ source }: ReviewedStep, release: Release | undefined, link: Link): string {
  if (release === undefined) return "–";
  const tag = imageCommit(release);
  const name = `\`${releaseName(release)}\``;
  return source === undefined || tag === undefined ? name : link(name, `${source}/commit/${tag}`);
}

function comparison({ source, before, after, commits: found }: ReviewedStep, link: Link): string {
  const [old, tag] = [before && imageCommit(before), imageCommit(after)];
  if (source === undefined || tag === undefined || old === undefined) return "";
  if (old === tag) return "same image, other manifests";
  const count =
    found?.kind === "commits" ? `${found.total} commit${found.total === 1 ? "" : "s"}` : "compare";
  return link(count, `${source}/compare/${old}...${tag}`);
}

function changes({ steps }: Review): string {
  const described = steps.map(({ app, difference }) =>
    difference.length === 0
      ? `- ${app}: nothing but the release's head`
      : `### ${app}\n\n${describeChanges(difference, "markdown")}`,
  );
  return described.join("\n\n");
}

/** How many commits of one app are listed. */
const LISTED = 50;

function commits(steps: readonly ReviewedStep[]): string {
  const listed = steps.flatMap(({ app, source, commits: found }) => {
    if (found === undefined) return [];
    if (found.kind === "unreadable")
      return [`### ${app}\n\n${source} cannot be read: ${inert(found.reason)}`];
    const shown = found.commits.slice(0, LISTED);
    const lines = shown.map(({ sha, subject }) => `\`${sha.slice(0, 7)}\` ${inert(subject)}`);
    const more = found.total - shown.length;
    if (more > 0) lines.push(`… and ${more} more that are not listed here`);
    return lines.length === 0 ? [] : [`### ${app}\n\n${bullets(lines)}`];
  });
  return listed.length === 0 ? "" : `## Commits\n\n${listed.join("\n\n")}`;
}

function evidence({ steps, from }: Review): string {
  return bullets(
    steps.map(({ app, evidence: verdict }) => {
      if (verdict === undefined) return `${app}: the same content, nothing to prove`;
      if (verdict.kind === "unproven") return `${app}: **not proven**: ${inert(verdict.reason)}`;
      const clusters = verdict.clusters.map(({ cluster }) => cluster).join(", ");
      return `${app}: healthy in ${from} (${clusters}) since ${verdict.since.toISOString()}`;
    }),
  );
}

function few(names: readonly string[]): string {
  return names.length > 8 ? "" : names.join(" ");
}

function bullets(lines: readonly string[]): string {
  return lines.map((line) => `- ${line}`).join("\n");
}

function quote(text: string): string {
  return text
    .split("\n")
    .map((line) => (line.trim() === "" ? ">" : `> ${inert(line)}`))
    .join("\n");
}
