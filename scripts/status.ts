/** `npm run status`: which release of which app is where. docs/status.md. */
import { dirname } from "node:path";
import { command, main, onInterrupt } from "./lib/cli/command.ts";
import { UsageError } from "./lib/errors.ts";
import { dateOption } from "./lib/parse-date.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { isWorkClone, layoutOf } from "./lib/sandbox/layout.ts";
import { isUnwatched } from "./lib/sandbox/supervisor.ts";
import { findStatus } from "./lib/status/sources.ts";
import { describeStatus, statusMarkdown } from "./lib/status/tables.ts";

interface Options {
  json?: true;
  markdown?: true;
  commits?: true;
  at?: string;
  root: string;
}

const program = command("status", "Which release of which app is where.")
  .usage("[options] [app…]")
  .argument("[app...]", "apps; all when none is named")
  .option("--json", "a list of objects, one for each app, environment and cluster")
  .option("--markdown", "the table for a pull request's comment or a job's summary")
  .option("--commits", "count how many commits of its own repository an app is behind")
  .option("--at <date>", "what was where then: 2026-11-20 or 2026-11-20T14:00Z, from Git alone")
  .option("--root <directory>", "the repository", repositoryRoot())
  .addHelpText(
    "after",
    "\nThe token comes from the environment: FORGE_TOKEN or GITHUB_TOKEN. With npm, options come after --: npm run status -- --json",
  )
  .action(show);
await main(program);

async function show(apps: string[], options: Options): Promise<void> {
  const { root, json, markdown } = options;
  if (json && markdown) throw new UsageError("--json and --markdown are two things", "leave one of them out");
  const at = options.at === undefined ? undefined : dateOption("--at", options.at);
  const commits = options.commits === true;
  if (at !== undefined && commits)
    throw new UsageError("--commits asks the forge, which knows today only", "leave it out");
  if (at !== undefined && at > new Date()) throw new UsageError(`--at ${options.at} is not over yet`);
  const now = at ?? new Date();
  const found = await findStatus({ root, env: process.env, onInterrupt, apps, commits, now, at });
  const notes = at === undefined ? await sandboxNotes(root) : [];
  const status = { ...found.status, notes: [...found.status.notes, ...notes] };
  if (json) {
    process.stdout.write(`${JSON.stringify(status.rows, null, 2)}\n`);
    process.stderr.write(status.notes.map((note) => `${note}\n`).join(""));
    return;
  }
  const print = markdown ? statusMarkdown : describeStatus;
  process.stdout.write(print(status, { ...found, now }));
}

async function sandboxNotes(root: string): Promise<string[]> {
  const layout = layoutOf(isWorkClone(root) ? dirname(dirname(root)) : root);
  if (!(await isUnwatched(layout))) return [];
  return ["nobody looks after the sandbox: what has ended in it stays ended until `npm start`"];
}
