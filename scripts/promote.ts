/** `npm run promote <from> <to> [app…]`: carries releases to the next environment, by pull request. docs/promote.md. */

import { connectArgocd } from "./lib/argocd/connection.ts";
import { command, main, onInterrupt } from "./lib/cli/command.ts";
import { UsageError } from "./lib/errors.ts";
import { connectRepository } from "./lib/forge/connection.ts";
import { PROPOSING } from "./lib/forge/preflight.ts";
import { withForge } from "./lib/forge/session.ts";
import { authorOf } from "./lib/git/checkout.ts";
import { applyPromotion, checkoutHistory, planPromotion } from "./lib/promotion/plan.ts";
import { promote } from "./lib/promotion/promote.ts";
import { PROMOTIONS } from "./lib/promotion/pull-request-body.ts";
import { describeOutcome, describePlan, describeReview } from "./lib/promotion/terminal.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { toolPath } from "./lib/tools/path.ts";

interface Options {
  dryRun?: true;
  override?: string;
  ifReady?: true;
  server?: true;
  local?: true;
  root: string;
}

const program = command("promote", "Carry the releases of one environment to the next, by pull request.")
  .usage("[options] <from> <to> [app…]")
  .argument("<from>", "environment that has the releases")
  .argument("<to>", "the environment after it")
  .argument("[app...]", "apps; all that differ when none is named")
  .option("--dry-run", "print the plan and the rendered difference, and stop")
  .option("--override <reason>", "pass gates that are closed; the reason is written into the pull request")
  .option(
    "--if-ready",
    "end with 0 when only such gates are closed that time opens: soak, a sync that runs, a freeze with an end",
  )
  .option("--server", "ask Argo CD what became of the releases, instead of the forge's commit statuses")
  .option("--local", "write the releases into this checkout instead: no forge, no gates, no pull request")
  .option("--root <directory>", "the repository", repositoryRoot())
  .addHelpText(
    "after",
    "\nThe token comes from the environment: FORGE_TOKEN or GITHUB_TOKEN. With npm, options come after --: npm run promote -- --dry-run staging prod",
  )
  .action(run);
await main(program);

async function run(from: string, to: string, apps: string[], options: Options): Promise<void> {
  const { root, override } = options;
  if (override?.trim() === "") throw new UsageError("--override has no reason", "say why, in a few words");
  if (options.local === true) {
    refuseGates(options);
    return promoteLocally(root, from, to, apps, options.dryRun === true);
  }
  const now = new Date();
  const connection = await connectRepository(root, process.env);
  const needs = options.dryRun ? [] : PROPOSING;
  const session = { env: process.env, onInterrupt, needs, history: PROMOTIONS };
  await withForge(connection, session, async (remote, forge) => {
    const outcome = await promote(remote, forge, {
      from,
      to,
      apps: [...new Set(apps)],
      override,
      kustomize: async () => toolPath("kustomize"),
      argocd: options.server === true ? await connectArgocd(root, process.env) : undefined,
      now,
      author: await authorOf(root, process.env),
      ifReady: options.ifReady === true,
      dryRun: options.dryRun === true,
      onReview: async (review) => {
        const style = { now, difference: options.dryRun === true, overridden: override !== undefined };
        process.stdout.write(await describeReview(review, style));
      },
      onClosed: (line) => process.stdout.write(`${line}\n`),
    });
    process.stdout.write(describeOutcome(outcome));
  });
}

/** What is silently left out of account would be taken for done. */
function refuseGates({ override, server }: Options): void {
  const option = override === undefined ? (server === true ? "--server" : undefined) : "--override";
  if (option === undefined) return;
  throw new UsageError(`${option} is about the gates, and --local has none`, "leave one of them out");
}

async function promoteLocally(
  root: string,
  from: string,
  to: string,
  apps: string[],
  isDry: boolean,
): Promise<void> {
  const history = await checkoutHistory(root);
  const plan = await planPromotion({
    root,
    history,
    from,
    to,
    apps,
    kustomize: async () => toolPath("kustomize"),
  });
  process.stdout.write(describePlan(plan));
  if (!isDry) await applyPromotion(root, plan);
}
