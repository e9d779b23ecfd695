/** `npm run rollback <env> <app>`: an earlier release back, and a hold on the one that is left. docs/rollback.md. */
import { command, main, onInterrupt } from "./lib/cli/command.ts";
import { UsageError } from "./lib/errors.ts";
import { connectRepository } from "./lib/forge/connection.ts";
import { PROPOSING } from "./lib/forge/preflight.ts";
import { withForge } from "./lib/forge/session.ts";
import { authorOf } from "./lib/git/checkout.ts";
import { dateOption } from "./lib/parse-date.ts";
import { describeProposal, propose } from "./lib/pull-request/propose.ts";
import { repositoryRoot } from "./lib/repository.ts";
import {
  describeRollback,
  describeVersions,
  nextStep,
  rollbackProposal,
} from "./lib/rollback/pull-request-body.ts";
import { listVersions, planRollback } from "./lib/rollback/rollback.ts";

interface Options {
  to?: string;
  reason?: string;
  until?: string;
  hold: boolean;
  list?: true;
  dryRun?: true;
  root: string;
}

/** How many releases `--list` shows. */
const LISTED = 20;

const program = command("rollback", "Put an earlier release of one app back, by pull request.")
  .usage("[options] <env> <app>")
  .argument("<env>", "the environment, such as prod")
  .argument("<app>", "the app, as in apps/<app>.yaml")
  .option(
    "--to <where>",
    "a number (2: two back), a date, a commit of this repository or an image (default: 1)",
  )
  .option("--reason <text>", "why; it stands in the hold and the pull request")
  .option(
    "--until <date>",
    "when the hold ends: 2026-11-20 or 2026-11-20T14:00Z (default: when somebody lifts it)",
  )
  .option("--no-hold", "let promote bring the release back")
  .option("--list", "print what there is to go back to, and stop")
  .option("--dry-run", "print what would change, and stop")
  .option("--root <directory>", "the repository", repositoryRoot())
  .addHelpText(
    "after",
    "\nThe token comes from the environment: FORGE_TOKEN or GITHUB_TOKEN. With npm, options come after --: npm run rollback prod user-service -- --to 2",
  )
  .action(rollback);
await main(program);

async function rollback(environment: string, app: string, options: Options): Promise<void> {
  const { root, to, hold } = options;
  refuseLostTarget(to, process.env);
  const now = new Date();
  const until = options.until === undefined ? undefined : dateOption("--until", options.until);
  if (until !== undefined && until <= now) throw new UsageError(`--until ${options.until} is over already`);
  if (until !== undefined && !hold)
    throw new UsageError("--until is about the hold, and --no-hold makes none");
  const reason = options.reason?.replaceAll(/\s+/g, " ").trim() || "no reason given";

  const connection = await connectRepository(root, process.env);
  const { address } = connection;
  const needs = options.list || options.dryRun ? [] : PROPOSING;
  const session = { env: process.env, onInterrupt, needs };
  await withForge(connection, session, async (remote, forge) => {
    if (options.list === true) {
      const versions = await listVersions(remote, { environment, app, now }, LISTED);
      process.stdout.write(describeVersions({ environment, app }, versions, now));
      return;
    }
    const author = await authorOf(root, process.env);
    const request = { environment, app, to, reason, until, hold, by: author.name, now };
    const plan = await planRollback(remote, forge, request);
    process.stdout.write(describeRollback(plan, address.web, now));
    if (options.dryRun === true) return;
    const outcome = await propose(remote, forge, rollbackProposal(plan, address.web), { author, date: now });
    const lines = [...describeProposal(outcome), `after the merge: ${nextStep(plan.place, "text")}`];
    process.stdout.write(`${lines.join("\n")}\n`);
  });
}

/** npm takes a `--to` before `--` for its own `--token-description`: without it this would go back somewhere else. */
function refuseLostTarget(to: string | undefined, env: NodeJS.ProcessEnv): void {
  const lost = env["npm_config_token_description"];
  if (to !== undefined || lost === undefined) return;
  throw new UsageError(
    "npm has kept --to for itself",
    `put options behind --: npm run rollback -- --to ${lost} <env> <app>`,
  );
}
