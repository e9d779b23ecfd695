/** A change of overlays as people and programs read it. The verdict stands first. */
import { cutBody, inert } from "../cli/markdown.ts";
import { describeChanges, renderedDiffs } from "../manifests/change-report.ts";
import { withoutSecrets } from "../manifests/secrets.ts";
import type { Diff, OverlayDiff } from "./diff.ts";
import { foldChanges } from "./fold.ts";
import { environmentsOf, type Verdict, verdictsOf } from "./verdict.ts";

/** The first line of the comment; `npm run comment` finds its own comment by it. */
export const MARKER = "<!-- ecommerce-gitops diff -->";

/** @param order of the environments */
export function asText(diff: Diff, order: readonly string[]): string {
  const parts = sectionsOf(diff, order).map(({ title, overlays, changes }) =>
    [
      title,
      ...overlays.map(({ overlay, fact }) => `  ${overlay} ${fact}`),
      ...indented(describeChanges(changes, "text")),
    ].join("\n"),
  );
  const verdicts = verdictsOf(diff, order).map(({ text }) => text);
  const notes = diff.unclear.map((fact) => `note: ${fact}; any change counts for it`);
  return [verdicts.join("\n"), ...parts, [summaryOf(diff), ...notes].join("\n")].join("\n\n");
}

/**
 * A comment for a pull request.
 * @param whole where all of it is shown, when a forge would not take the whole
 */
export function asMarkdown(diff: Diff, order: readonly string[], whole: string | undefined): string {
  const verdicts = verdictsOf(diff, order).map(
    ({ text, isDangerous }) => `- ${isDangerous ? "⚠️ " : ""}${bold(text)}`,
  );
  const parts = sectionsOf(diff, order).map(({ title, overlays, changes }) => {
    const lines = overlays.map(({ overlay, fact }) => `- ${inert(overlay)} ${inert(fact)}`).join("\n");
    const body = [lines, describeChanges(changes, "markdown")].filter((part) => part !== "").join("\n\n");
    return `<details><summary>${escape(inertLine(title))}</summary>\n\n${body}\n\n</details>`;
  });
  const notes = diff.unclear.map((fact) => `- note: ${inert(fact)}; any change counts for it`);
  const ends = [summaryOf(diff), ...(notes.length === 0 ? [] : [notes.join("\n")])];
  const body = [MARKER, verdicts.join("\n"), ...parts, ...ends].join("\n\n");
  return cutBody(`${body}\n`, whole);
}

/** One page, which loads nothing. */
export function asHtml(diff: Diff, order: readonly string[]): string {
  const verdicts = verdictsOf(diff, order);
  const parts = sectionsOf(diff, order).map(
    ({ title, overlays, changes }) =>
      `<details open><summary>${escape(title)}</summary><pre>${escape(
        [...overlays.map(({ overlay, fact }) => `${overlay} ${fact}`), describeChanges(changes, "text")].join(
          "\n",
        ),
      )}</pre></details>`,
  );
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>What the change does</title>
<style>
:root { color-scheme: light dark; font-family: system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
pre { overflow-x: auto; }
summary { font-weight: bold; cursor: pointer; }
</style>
<h1>What the change does</h1>
<ul>
${verdicts.map(({ text, isDangerous }) => `<li>${isDangerous ? "⚠️ " : ""}${escape(text)}</li>`).join("\n")}
</ul>
${parts.join("\n")}
<p>${escape(summaryOf(diff))}</p>
</html>
`;
}

/** For programs. */
export function asJson(
  diff: Diff,
  order: readonly string[],
): {
  base: string;
  verdicts: Verdict[];
  overlays: Omit<OverlayDiff, "rendered">[];
  total: number;
  isProven: boolean;
} {
  const overlays = diff.affected.map(({ overlay, environment, name, change, objects, problem }) => ({
    overlay,
    environment,
    name,
    change,
    objects,
    problem,
  }));
  return {
    base: diff.left,
    verdicts: verdictsOf(diff, order),
    overlays,
    total: diff.total,
    isProven: diff.isProven,
  };
}

/** The unified differences of all renderings; of what is sealed or secret, names only. */
export async function asPatch(diff: Diff): Promise<string> {
  const renderings = diff.affected.map(({ overlay, rendered: { before, after } }) => ({
    label: overlay,
    before: withoutSecrets(before),
    after: withoutSecrets(after),
  }));
  return (await renderedDiffs(renderings)).join("");
}

interface Section {
  title: string;
  /** Facts about whole overlays. */
  overlays: { overlay: string; fact: string }[];
  changes: ReturnType<typeof foldChanges>;
}

/** Environments that get the same changes share a section. */
function sectionsOf(diff: Diff, order: readonly string[]): Section[] {
  const changed = diff.affected.filter(({ change }) => change !== "unchanged");
  const sections = new Map<string, Section & { environments: string[] }>();
  for (const environment of environmentsOf(changed, order)) {
    const own = changed.filter((overlay) => overlay.environment === environment);
    const changes = foldChanges(own.flatMap(({ objects }) => objects));
    const overlays = own.flatMap(factsOf);
    const names = nameList(own.map(({ name }) => name || "its own objects"));
    const key = JSON.stringify([changes, overlays, names]);
    const section = sections.get(key) ?? { title: names, overlays, changes, environments: [] };
    section.environments.push(environment === "" ? "other" : environment);
    sections.set(key, section);
  }
  return [...sections.values()].map(({ environments, title, ...section }) => ({
    ...section,
    title: `${environments.join(" and ")}: ${title}`,
  }));
}

function factsOf({ overlay, change, problem }: OverlayDiff): Section["overlays"] {
  if (problem !== undefined) return [{ overlay, fact: problem }];
  return change === "added" || change === "removed" ? [{ overlay, fact: `is ${change}` }] : [];
}

/** How many names stand in a title. */
const NAMED = 8;

function nameList(names: readonly string[]): string {
  const more = names.length - NAMED;
  return `${names.slice(0, NAMED).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

function summaryOf({ left, files, total, affected, isProven }: Diff): string {
  const others = total - affected.length;
  const those = files === 1 ? "1 file differs" : `${files} files differ`;
  const built = `${affected.length} of ${total} overlays are built from ${files === 1 ? "it" : "them"}`;
  const rest = isProven ? "were rendered on both sides and do not differ" : "are not";
  return `since ${left.slice(0, 7)}: ${those}, and ${built}; the other ${others} ${rest}`;
}

function bold(text: string): string {
  const [subject = "", ...rest] = text.split(": ");
  return rest.length === 0 ? inertLine(subject) : `**${inertLine(subject)}**: ${inertLine(rest.join(": "))}`;
}

/** Names of directories come from the change. */
function inertLine(text: string): string {
  return /^[\w ,:'-]*$/.test(text) ? text : inert(text);
}

function indented(text: string): string[] {
  return text === "" ? [] : text.split("\n").map((line) => `  ${line}`);
}

function escape(text: string): string {
  return text.replaceAll(/[&<>"]/g, (char) => `&#${char.codePointAt(0)};`);
}
