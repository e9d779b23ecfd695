/** `npm run unhold <env> <app>`: lets releases come back that a rollback has held, by pull request. docs/rollback.md. */
import { command, main, onInterrupt } from "./lib/cli/command.ts";
import { connectRepository } from "./lib/forge/connection.ts";
import { PROPOSING } from "./lib/forge/preflight.ts";
import { withForge } from "./lib/forge/session.ts";
import { authorOf } from "./lib/git/checkout.ts";
import { describeProposal, propose } from "./lib/pull-request/propose.ts";
import { describeWithdrawal } from "./lib/pull-request/withdraw.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { describeUnhold, unholdProposal } from "./lib/rollback/pull-request-body.ts";
import { planUnhold, withdrawUnhold } from "./lib/rollback/rollback.ts";

interface Options {
  dryRun?: true;
  root: string;
}

const program = command(
  "unhold",
  "Let releases of one app come back that a rollback has held, by pull request.",
)
  .usage("[options] <env> <app>")
  .argument("<env>", "the environment, such as prod")
  .argument("<app>", "the app, as in apps/<app>.yaml")
  .option("--dry-run", "print what would change, and stop")
  .option("--root <directory>", "the repository", repositoryRoot())
  .addHelpText(
    "after",
    "\nThe token comes from the environment: FORGE_TOKEN or GITHUB_TOKEN. With npm, options come after --: npm run unhold prod user-service -- --dry-run",
  )
  .action(unhold);
await main(program);

async function unhold(environment: string, app: string, { root, dryRun }: Options): Promise<void> {
  const now = new Date();
  const connection = await connectRepository(root, process.env);
  const session = { env: process.env, onInterrupt, needs: dryRun ? [] : PROPOSING };
  await withForge(connection, session, async (remote, forge) => {
    const plan = await planUnhold(remote, { environment, app });
    process.stdout.write(describeUnhold(plan, now));
    if (dryRun === true) return;
    if (plan.changes.length === 0) {
      const closed = await withdrawUnhold(remote, forge, plan);
      process.stdout.write(describeWithdrawal(closed));
      return;
    }
    const author = await authorOf(root, process.env);
    const outcome = await propose(remote, forge, unholdProposal(plan), { author, date: now });
    process.stdout.write(`${describeProposal(outcome).join("\n")}\n`);
  });
}
