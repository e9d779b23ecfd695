/** What a rollback, and the lifting of its hold, say: on the terminal and in their pull requests. */

import { inert, tableRow } from "../cli/markdown.ts";
import { table } from "../cli/table.ts";
import { inWords, moment } from "../duration.ts";
import { describeChanges } from "../manifests/change-report.ts";
import type { OvertakenPromotion } from "../promotion/open.ts";
import type { Proposal } from "../pull-request/propose.ts";
import { type Hold, holdPath } from "../release/hold.ts";
import { imageCommit, type Release, releaseName, releasePath } from "../release/release.ts";
import type { Version } from "../release/release-history.ts";
import type { ListedVersion, Place, RollbackPlan, UnholdPlan } from "./rollback.ts";

/**
 * The pull request of a rollback. The same rollback gives the same text, whenever it is written.
 * @param web base of the forge's pages, below which the source repositories are
 */
export function rollbackProposal(plan: RollbackPlan, web: string): Proposal {
  const { place, branch, to, changes } = plan;
  const { environment, app } = namesOf(place);
  return {
    branch,
    base: place.base,
    changes,
    title: `${environment}: ${app} back to ${releaseName(to.content)}`,
    body: rollbackBody(plan, web),
    trailers: [`Rollback: ${environment} ${app} ${to.commit}`],
    labels: ["rollback", `env/${environment}`],
    reviewers: place.app.owners,
  };
}

function rollbackBody(plan: RollbackPlan, web: string): string {
  const { place, from, to, reason, hold, carried, overtaken, notes, difference } = plan;
  const { environment, app } = namesOf(place);
  const compared = comparison(plan, web);
  const rows = [from, to].map((version, index) => {
    const cells = [nameOf(version), moment(version.date), version.commit.slice(0, 7), inert(version.author)];
    return tableRow([index === 0 ? "from" : "to", ...cells]);
  });
  const parts = [
    `Puts \`${releasePath(environment, app)}\` back as commit ${to.commit} brought it, byte for byte.`,
    [`| | release | in ${environment} since | commit | by |`, "|---|---|---|---|---|", ...rows].join("\n"),
    `Why: ${inert(reason)}`,
    compared === undefined ? "" : `What this takes back: ${compared}`,
    `## Hold\n\n${[...holdLines(plan), ...notes.map(inert)].map((line) => `- ${line}`).join("\n")}`,
    `## After the merge\n\n${nextStep(place, "markdown")}`,
    difference.length === 0 ? "" : `## What changes\n\n${describeChanges(difference, "markdown")}`,
  ];
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;

  function holdLines({ lifted }: RollbackPlan): string[] {
    return [
      hold === undefined
        ? `nothing new is held: \`npm run promote\` may bring ${nameOf(from)} back`
        : `${nameOf(from)} does not come back to ${environment} ${untilOf(hold)}: \`${holdPath({ environment, app })}\` names it. \`npm run unhold ${environment} ${app}\` lifts it`,
      ...carried.map((other) => `${heldName(other)} is held as well: ${inert(other.reason)}`),
      ...lifted.map((other) => `${nameOf(to)} is not held any more; it was: ${inert(other.reason)}`),
      ...overtaken.map(
        (promotion) => `${wouldBring(promotion)}: close it, or the next promotion to ${environment} does`,
      ),
    ];
  }
}

/** What a rollback changes, for the terminal. */
export function describeRollback(plan: RollbackPlan, web: string, now: Date): string {
  const { place, from, to, reason, hold, carried, lifted, overtaken, difference, notes } = plan;
  const { environment, app } = namesOf(place);
  const rows = [from, to].map((version, index) => [
    index === 0 ? "from" : "to",
    nameOf(version),
    `${moment(version.date)} (${ageOf(version, now)})`,
    version.commit.slice(0, 7),
    version.author,
  ]);
  const compared = comparison(plan, web);
  return [
    table([`${environment}: ${app}`, "RELEASE", `IN ${environment} SINCE`, "COMMIT", "BY"], rows),
    "",
    ...(difference.length === 0 ? [] : [describeChanges(difference, "text"), ""]),
    ...(compared === undefined ? [] : [`takes back: ${compared}`]),
    `why: ${reason}`,
    hold === undefined
      ? "hold: none"
      : `hold: ${nameOf(from)} ${untilOf(hold)}, npm run unhold ${environment} ${app} lifts it`,
    ...carried.map((other) => `hold: ${heldName(other)} as well: ${other.reason}`),
    ...lifted.map((other) => `lifts the hold on ${nameOf(to)}: ${other.reason}`),
    ...overtaken.map(
      (promotion) =>
        `note: ${wouldBring(promotion)}; close it, or the next promotion to ${environment} does: ${promotion.url}`,
    ),
    ...notes.map((note) => `note: ${note}`),
    "",
  ].join("\n");
}

/** What is to be done once the pull request is merged. */
export function nextStep({ app, environment }: Place, format: "text" | "markdown"): string {
  const sync = `npm run sync ${environment.name} ${app.app}`;
  if (environment.syncsItself) return `Argo CD syncs ${environment.name} by itself`;
  return format === "text" ? sync : `\`${sync}\``;
}

/** The pull request that lifts the holds of an app. */
export function unholdProposal({ place, branch, lifted, changes, notes }: UnholdPlan): Proposal {
  const { environment, app } = namesOf(place);
  const held = lifted.map(
    (hold) =>
      `- ${heldName(hold)}: ${inert(hold.reason)} (${inert(hold.by)}, ${moment(hold.since)}${hold.until === undefined ? "" : `, until ${moment(hold.until)}`})`,
  );
  return {
    branch,
    base: place.base,
    changes,
    title: `${environment}: nothing of ${app} is held any more`,
    body: `Removes \`${holdPath({ environment, app })}\`: \`npm run promote\` may bring back to ${environment}:\n\n${[...held, ...notes.map((note) => `- ${inert(note)}`)].join("\n")}\n`,
    trailers: [`Unhold: ${environment} ${app}`],
    labels: ["unhold", `env/${environment}`],
    reviewers: place.app.owners,
  };
}

/** What a lifting changes, for the terminal. */
export function describeUnhold({ place, lifted, changes, notes }: UnholdPlan, now: Date): string {
  const { environment, app } = namesOf(place);
  if (changes.length === 0) return `nothing to lift: no release of ${app} is held in ${environment}\n`;
  const rows = lifted.map((hold) => [
    heldName(hold),
    moment(hold.since),
    hold.until === undefined ? "-" : `${moment(hold.until)}${hold.until <= now ? " (over)" : ""}`,
    hold.by,
    hold.reason,
  ]);
  return [
    ...(rows.length === 0 ? [] : [table([`${environment}: ${app}`, "SINCE", "UNTIL", "BY", "REASON"], rows)]),
    ...notes.map((note) => `note: ${note}`),
    "",
  ].join("\n");
}

/** The versions that a rollback can return to, for the terminal. */
export function describeVersions(
  { environment, app }: { environment: string; app: string },
  versions: readonly ListedVersion[],
  now: Date,
): string {
  if (versions.length === 0) return `${environment} has never had ${app}\n`;
  const rows = versions.map((version) => [
    version.back === undefined ? "-" : String(version.back),
    version.name,
    moment(version.date),
    ageOf(version, now),
    version.commit.slice(0, 7),
    version.author,
    version.state,
  ]);
  return `${table(["--to", `${environment}: ${app}`, "SINCE", "AGE", "COMMIT", "BY", ""], rows)}\n`;
}

function namesOf({ app, environment }: Place): { environment: string; app: string } {
  return { environment: environment.name, app: app.app };
}

function nameOf(version: Version<Release>): string {
  return version.kind === "good" ? releaseName(version.content) : "damaged";
}

function wouldBring({ number, held }: OvertakenPromotion): string {
  return `#${number} is open and would bring ${held.map(({ release }) => releaseName(release)).join(", ")} back`;
}

/** The digest says which release it was, where its image does not. */
function heldName({ image, digest }: Hold): string {
  const tag = image === undefined ? undefined : imageCommit({ image });
  return tag?.slice(0, 7) ?? digest.slice(0, "sha256:".length + 7);
}

function ageOf({ date }: { date: Date }, now: Date): string {
  return inWords((now.getTime() - date.getTime()) / 1000);
}

function untilOf({ until }: Hold): string {
  return until === undefined ? "until somebody lifts it" : `until ${moment(until)}`;
}

/** The commits of the source that are taken back: seen from the older one, whichever that is. */
function comparison({ place: { app }, from, to }: RollbackPlan, web: string): string | undefined {
  const left = from.kind === "good" ? imageCommit(from.content) : undefined;
  const back = imageCommit(to.content);
  if (app.kind !== "service" || left === undefined || back === undefined || left === back) return undefined;
  return `${web}/${app.source}/compare/${back}...${left}`;
}
