/** What `npm run promote` prints. */

import { table } from "../cli/table.ts";
import { inWords } from "../duration.ts";
import { risksOf } from "../manifests/change.ts";
import { describeChanges, renderedDiffs } from "../manifests/change-report.ts";
import { describeProposal } from "../pull-request/propose.ts";
import { releaseName } from "../release/release.ts";
import { carriedBy } from "./open.ts";
import { describeAbsent, type PromotionPlan } from "./plan.ts";
import type { PromoteOutcome } from "./promote.ts";
import type { Refusal, Review, ReviewedStep } from "./review.ts";

/**
 * A review as a table of what changes, what is in the way and what to mind.
 * @param options.now for how long something has been so
 * @param options.difference with the rendered difference, object by object
 * @param options.overridden whether closed gates are to be passed
 */
export async function describeReview(
  review: Review,
  options: { now: Date; difference: boolean; overridden: boolean },
): Promise<string> {
  const { from, to, base, steps, total, heldBack, refusals, warnings } = review;
  const parts = [`${from} -> ${to} at ${base.slice(0, 7)}: ${steps.length} of ${total} apps change`];
  if (steps.length > 0) {
    const rows = steps.map((step) => [
      step.app,
      step.before === undefined ? "-" : releaseName(step.before),
      releaseName(step.after),
      countOf(step),
      risksOf(step.difference).join(", ") || "-",
      proofOf(step, options.now),
    ]);
    parts.push(table(["APP", to, "GETS", "COMMITS", "CHANGES", `HEALTHY IN ${from}`], rows));
  }
  if (heldBack.length > 0) {
    parts.push(
      section(
        "Held back",
        heldBack.map(({ app, hold }) => `${app}: ${hold.reason} (${hold.by}); npm run unhold ${to} ${app}`),
      ),
    );
  }
  // Without a dry run each of them is closed, which is said then.
  if (review.overtaken.length > 0 && options.difference) {
    parts.push(
      section(
        "Overtaken by a hold",
        review.overtaken.map(({ number, held }) => `#${number} carries ${carriedBy(held)}`),
      ),
    );
  }
  // One alone is what the command ends with: not twice.
  const isSaidLater = refusals.length === 1 && !options.difference && !options.overridden;
  if (refusals.length > 0 && !isSaidLater) parts.push(section("Closed gates", refusals.map(gate)));
  if (warnings.length > 0) parts.push(section("Mind", warnings));
  if (options.difference) {
    const diffs = await renderedDiffs(
      steps.map(({ app, rendered }) => ({ label: `${to}/${app}`, ...rendered })),
    );
    for (const [index, { app, difference }] of steps.entries()) {
      if (difference.length > 0) parts.push(`${app}\n${describeChanges(difference, "text")}`);
      parts.push(diffs[index] ?? "");
    }
  }
  return `${parts.filter((part) => part !== "").join("\n\n")}\n\n`;
}

/** The last line of a promotion: what there is now, and what comes next. */
export function describeOutcome(outcome: PromoteOutcome): string {
  if (outcome.kind === "reviewed") return "nothing was changed: a dry run\n";
  if (outcome.kind === "not now") return `not now: ${gate(outcome)}\n`;
  if (outcome.kind === "nothing") {
    const closed = outcome.closed === undefined ? "" : `; #${outcome.closed.number} is closed`;
    return `nothing to promote${closed}\n`;
  }
  const { review } = outcome;
  const next = review.target.syncsItself
    ? `merge it, and Argo CD syncs ${review.to}`
    : `merge it, then: npm run sync ${review.to}`;
  return [...describeProposal(outcome), next, ""].join("\n");
}

/** A plan of release files in a checkout. */
export function describePlan(plan: PromotionPlan): string {
  const { from, to, steps } = plan;
  const rows = steps.map(({ app, change, before, after }) => [
    app,
    change,
    before === undefined ? "-" : releaseName(before),
    releaseName(after),
  ]);
  const written = steps.filter(({ change }) => change !== "unchanged").length;
  const end = written === 0 ? "nothing to do" : `${written} differ; review them with git diff, then commit`;
  const lines = [table(["APP", `${from} -> ${to}`, "BEFORE", "AFTER"], rows), ...describeAbsent(plan), end];
  return `${lines.join("\n")}\n`;
}

function countOf({ commits }: ReviewedStep): string {
  if (commits === undefined) return "-";
  return commits.kind === "commits" ? String(commits.total) : "unreadable";
}

function proofOf({ evidence }: ReviewedStep, now: Date): string {
  if (evidence === undefined) return "the same content";
  if (evidence.kind === "unproven") return "not proven";
  return `for ${inWords((now.getTime() - evidence.since.getTime()) / 1000)}`;
}

function gate({ fact, way }: Pick<Refusal, "fact" | "way">): string {
  return `${fact}; ${way}`;
}

function section(title: string, lines: readonly string[]): string {
  return [title, ...lines.map((line) => `  ${line}`)].join("\n");
}
