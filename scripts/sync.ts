/** `npm run sync <env> [app…]`: start syncs and wait until they are Healthy; the way prod is deployed. */
import pLimit from "p-limit";
import { listApplications, syncApplication } from "./lib/argocd/argocd.ts";
import { connectArgocd } from "./lib/argocd/connection.ts";
import { SYNC_SECONDS, syncPlan, syncsRoot } from "./lib/argocd/sync-plan.ts";
import { command, main } from "./lib/cli/command.ts";
import { runSteps } from "./lib/cli/steps.ts";
import { ExternalError, UsageError } from "./lib/errors.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { statusTable } from "./lib/status/print.ts";
import { readCatalogue } from "./lib/tree/catalogue.ts";
import { findEnvironment, readEnvironments } from "./lib/tree/environment.ts";

/** Each sync is a client that waits; more at once only make Argo CD's API slower. */
const CLIENTS = 4;

const program = command("sync", "sync an environment, or some apps of it, and wait until they are Healthy")
  .usage("<env> [app…]")
  .argument("<env>", "the environment, such as prod")
  .argument("[app...]", "only these apps; all by default")
  .option("--timeout <seconds>", "how long one application may take", String(SYNC_SECONDS))
  .action(sync);
await main(program);

async function sync(env: string, apps: string[], options: { timeout: string }): Promise<void> {
  const root = repositoryRoot();
  const environments = await readEnvironments(root);
  const plan = syncPlan(env, apps, environments, await readCatalogue(root));
  const timeout = Number(options.timeout);
  if (!(timeout > 0)) throw new UsageError(`--timeout ${options.timeout} is not a number of seconds`);

  const argocd = await connectArgocd(root, process.env);
  if (syncsRoot(findEnvironment(environments, env), apps)) {
    await syncApplication(argocd, `root-${env}`, timeout);
  }
  const applications = await listApplications(argocd, env);
  const limit = pLimit(CLIENTS);
  const steps = plan.map((step) => {
    const names = applications.filter(({ app }) => step.apps.includes(app)).map(({ name }) => name);
    if (names.length === 0)
      throw new ExternalError(`Argo CD has no application for ${step.apps.join(", ")} in ${env}`);
    return {
      title: `${step.title}: ${names.join(", ")}`,
      run: async () => {
        await Promise.all(names.map((name) => limit(async () => syncApplication(argocd, name, timeout))));
      },
    };
  });
  await runSteps(steps);
  process.stdout.write(`\n${statusTable(await listApplications(argocd, env), [env])}\n`);
}
