/**
 * `npm run diff`: what a change makes different in which environment, once rendered. docs/diff.md.
 */
import { writeFile } from "node:fs/promises";
import { command, main } from "./lib/cli/command.ts";
import { diffStates } from "./lib/diff/diff.ts";
import { asHtml, asJson, asMarkdown, asPatch, asText } from "./lib/diff/report.ts";
import { UsageError } from "./lib/errors.ts";
import { withRendering } from "./lib/render/checkout.ts";
import { targetBranch, topOf, withStates } from "./lib/render/states.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { environmentOrder } from "./lib/tree/environment.ts";

interface Options {
  base?: string;
  root: string;
  prove?: true;
  markdown?: true;
  whole?: string;
  json?: true;
  html?: true;
  patch?: string;
  fresh?: true;
}

const program = command("diff", "Show what a change makes different in each environment.")
  .option(
    "--base <ref>",
    "what the change goes to; by default the deployed branch, or the remote's default branch",
  )
  .option("--root <directory>", "a checkout, of any tree of kustomizations", repositoryRoot())
  .option("--prove", "render every overlay on both sides, also those that nothing leads to")
  .option("--markdown", "for a comment on a pull request")
  .option("--whole <address>", "where all of it is, for Markdown that is longer than a forge takes")
  .option("--json", "for programs")
  .option("--html", "as one page")
  .option("--patch <file>", "write the differences of the whole renderings to a file")
  .option("--fresh", "render again what has been rendered before")
  .action(diff);
await main(program);

async function diff(options: Options): Promise<void> {
  const { base, prove = false, markdown, whole, json, html, patch } = options;
  if ([markdown, json, html].filter((format) => format === true).length > 1)
    throw new UsageError("--markdown, --json and --html are three formats", "give one of them");
  const root = await topOf(options.root);
  const target = base ?? (await targetBranch(root));
  const found = await withRendering(
    root,
    async (rendering, names) =>
      withStates(root, target, names, async (states) => diffStates(states, prove, rendering)),
    { isFresh: options.fresh === true, needsAll: prove },
  );
  const order = await environmentOrder(root);
  if (patch !== undefined) await writeFile(patch, await asPatch(found));
  const text =
    markdown === true
      ? asMarkdown(found, order, whole)
      : html === true
        ? asHtml(found, order)
        : asText(found, order);
  process.stdout.write(json === true ? `${JSON.stringify(asJson(found, order), null, 2)}\n` : `${text}\n`);
}
