/** Changes of renderings as people read them: in short by risk, and in full as a unified difference. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { inert } from "../cli/markdown.ts";
import { ExternalError } from "../errors.ts";
import { tryRun } from "../exec.ts";
import { ownEnvironment } from "../git/variables.ts";
import { withTemporaryDirectory } from "../temporary.ts";
import type { FieldChange, ObjectChange } from "./change.ts";
import { RISKS, type Risk, withoutPodPath } from "./risk.ts";

const TITLES: Record<Risk, string> = {
  immutable: "immutable field: the cluster refuses the change, somebody has to delete the object",
  deletion: "deletion",
  storage: "storage",
  rbac: "rights (RBAC)",
  security: "security context",
  network: "network",
  secret: "secret reference",
  configuration: "configuration",
  schedule: "schedule",
  resources: "resources",
  probes: "probes",
  replicas: "replicas",
  image: "image",
  other: "other",
};

/** How many lines of one risk are listed. */
const LISTED = 20;

/**
 * Describes changes, grouped by risk, the riskiest first. An object that is added stands under what it brings.
 * @param style `text` for a terminal, `markdown` for a pull request
 * @returns lines; an empty text when there are no changes
 */
export function describeChanges(changes: readonly ObjectChange[], style: "text" | "markdown"): string {
  const isMarkdown = style === "markdown";
  const code = isMarkdown ? inert : (text: string) => text;
  return RISKS.flatMap((risk) => {
    const lines = changes.flatMap((change) => linesOf(change, risk, code));
    if (lines.length === 0) return [];
    const more = lines.length - LISTED;
    const shown = more > 0 ? [...lines.slice(0, LISTED), `… and ${more} more`] : lines;
    const title = isMarkdown ? `**${TITLES[risk]}**` : TITLES[risk];
    const group = [title, ...shown.map((line) => `${isMarkdown ? "-" : " "} ${line}`)].join("\n");
    return [group];
  }).join(isMarkdown ? "\n\n" : "\n");
}

function linesOf(object: ObjectChange, risk: Risk, code: (text: string) => string): string[] {
  const id = code(object.id);
  if (object.change !== "changed") return object.risks[0] === risk ? [`${object.change} ${id}`] : [];
  const fields = object.fields.filter((field) => field.risk === risk);
  const lines = fields.map(
    (field) => `${id} ${code(withoutPodPath(object.kind, field.path))}${values(field, code)}`,
  );
  const isMain = object.risks[0] === risk;
  return isMain
    ? [...lines, ...object.rolls.map((user) => `${id} replaces the pods of ${code(user)}`)]
    : lines;
}

function values({ before, after }: FieldChange, code: (text: string) => string): string {
  if (before !== undefined && before === after) return " changes";
  if (before === undefined) return `: added ${code(after ?? "")}`;
  return after === undefined ? `: removed ${code(before)}` : `: ${code(before)} → ${code(after)}`;
}

/** Whatever somebody has configured, the text is the same. */
const PLAIN_DIFF = [
  "diff",
  "--no-index",
  "--no-prefix",
  "--no-color",
  "--no-ext-diff",
  "--no-textconv",
  "--unified=3",
  "--inter-hunk-context=0",
  "--diff-algorithm=histogram",
  "--abbrev=12",
];

/** A rendering of something, before and after a change. */
export interface Rendered {
  /** What it is about, such as `staging/user-service`; stands where the name of a file would. */
  label: string;
  /** An empty text where there was nothing. */
  before: string;
  after: string;
}

/**
 * The unified differences of renderings, as git writes them, all in one run.
 * @returns in their order; an empty text where nothing differs
 * @throws ExternalError when git fails
 */
export async function renderedDiffs(renderings: readonly Rendered[]): Promise<string[]> {
  if (renderings.length === 0) return [];
  return withTemporaryDirectory("diff-", async (directory) => {
    for (const { label, before, after } of renderings) {
      for (const [side, text] of [
        ["a", before],
        ["b", after],
      ] as const) {
        const path = join(directory, side, label);
        await mkdir(dirname(path), { recursive: true });
        await writeFile(path, text);
      }
    }
    const env = ownEnvironment(process.env, []);
    const { exitCode, stdout, stderr } = await tryRun("git", [...PLAIN_DIFF, "--", "a", "b"], {
      cwd: directory,
      env,
    });
    if (exitCode > 1) throw new ExternalError(`git diff failed: ${stderr.trim().split("\n").at(-1) ?? ""}`);
    const parts = stdout.split(/^(?=diff --git )/m);
    return renderings.map(
      ({ label }) => parts.find((part) => part.startsWith(`diff --git a/${label} b/${label}\n`)) ?? "",
    );
  });
}
