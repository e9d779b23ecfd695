/** Programs look at their own files: promtool at rules, amtool at Alertmanager's routes, actionlint at workflows. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { z } from "zod";
import { counted } from "../cli/counted.ts";
import { tryRun } from "../exec.ts";
import { type Finding, findingAt, findingIn } from "../finding.ts";
import { idOf } from "../manifests/manifest.ts";
import type { Rendering } from "../manifests/rendering.ts";
import type { State } from "../render/states.ts";
import { withTemporaryDirectory } from "../temporary.ts";
import { presentTools } from "../tools/resolve.ts";
import { NOT_ASKED, type Part } from "./report.ts";

const ROUTES = "argocd/addons/kube-prometheus-stack.yaml";
const WORKFLOW = /^\.github\/workflows\/[^/]+\.ya?ml$/;

const Rule = z.object({ kind: z.literal("PrometheusRule"), spec: z.object({ groups: z.unknown() }) });
const Alertmanager = z.object({
  spec: z.object({
    template: z.object({
      spec: z.object({
        source: z.object({
          helm: z.object({ valuesObject: z.object({ alertmanager: z.object({ config: z.unknown() }) }) }),
        }),
      }),
    }),
  }),
});
const Lint = z.array(z.object({ message: z.string(), line: z.int() }));

/** A text that a program is asked about. */
interface Question {
  text: string;
  args: (file: string) => string[];
  findings: (said: string) => Finding[];
}

/**
 * Asks the programs about the files that a change touches.
 * @param changed paths; undefined: all files count
 * @param differing the overlays that render something else than before
 */
export async function checkWithPrograms(
  head: State,
  changed: readonly string[] | undefined,
  differing: readonly Rendering[],
): Promise<Part[]> {
  const paths = changed ?? [...head.files.keys()];
  const wanted = paths.filter((path) => path === ROUTES || WORKFLOW.test(path));
  const blobs = new Map(wanted.map((path) => [path, head.files.get(path)?.blob ?? ""]));
  const texts = await head.git.texts([...blobs.values()].filter((blob) => blob !== ""));
  const files = [...blobs].flatMap(([path, blob]) => {
    const text = texts.get(blob);
    return text === undefined ? [] : [{ path, text }];
  });
  return Promise.all([
    ask("rules", "promtool", differing.flatMap(ruleQuestions)),
    ask("routes", "amtool", files.filter(({ path }) => path === ROUTES).flatMap(routeQuestion)),
    ask("workflows", "actionlint", files.filter(({ path }) => path !== ROUTES).map(workflowQuestion)),
  ]);
}

async function ask(name: string, tool: string, questions: readonly Question[]): Promise<Part> {
  if (questions.length === 0) return { name, looked: undefined, findings: [] };
  const program = (await presentTools([tool])).get(tool);
  if (program === undefined) {
    const looked = `${NOT_ASKED}${tool} is not built; run \`npm run tools -- ${tool}\``;
    return { name, looked, findings: [] };
  }
  const findings = await withTemporaryDirectory("check-", async (directory) => {
    const answers = questions.map(async ({ text, args, findings: read }, index) => {
      const file = join(directory, `${index}.yaml`);
      await writeFile(file, text);
      const { exitCode, stdout, stderr } = await tryRun(program, args(file), { cwd: directory });
      return exitCode === 0 ? [] : read(`${stdout}\n${stderr}`.replaceAll(`${file}: `, "").trim());
    });
    return (await Promise.all(answers)).flat();
  });
  return { name, looked: counted(questions.length, "file"), findings };
}

function ruleQuestions({ overlay, manifests }: Rendering): Question[] {
  return manifests.flatMap((manifest) => {
    const rule = Rule.safeParse(manifest).data;
    if (rule === undefined) return [];
    return {
      text: stringify({ groups: rule.spec.groups }),
      args: (file) => ["check", "rules", "--lint=none", file],
      findings: (said) => [
        findingAt(overlay, `promtool refuses ${idOf(manifest)}: ${lastLine(said)}`, "correct the rule"),
      ],
    };
  });
}

function routeQuestion({ path, text }: { path: string; text: string }): Question[] {
  const values = Alertmanager.safeParse(parse(text)).data?.spec.template.spec.source.helm.valuesObject;
  if (values === undefined) return [];
  return [
    {
      text: stringify(values.alertmanager.config),
      args: (file) => ["check-config", file],
      findings: (said) => [
        findingIn(path, `amtool refuses Alertmanager's configuration: ${lastLine(said)}`, "correct it there"),
      ],
    },
  ];
}

/** Without shellcheck and pyflakes, so that it says the same wherever it runs. */
function workflowQuestion({ path, text }: { path: string; text: string }): Question {
  return {
    text,
    args: (file) => ["-no-color", "-shellcheck=", "-pyflakes=", "-format", "{{json .}}", file],
    findings: (said) =>
      Lint.parse(JSON.parse(said)).map(({ message, line }) =>
        findingIn(path, `actionlint: ${message}`, "correct it there", line),
      ),
  };
}

function lastLine(said: string): string {
  return said.split("\n").at(-1)?.trim() ?? "";
}
