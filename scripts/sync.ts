/** `npm run sync <env> [app…]`: start syncs and wait until they are Healthy; the way prod is deployed. */
import { listApplications, readApplication } from "./lib/argocd/applications.ts";
import { connectArgocd } from "./lib/argocd/connection.ts";
import { syncApplications } from "./lib/argocd/sync.ts";
import { SYNC_SECONDS, syncPlan, syncsRoot } from "./lib/argocd/sync-plan.ts";
import { command, main } from "./lib/cli/command.ts";
import { type Progress, runSteps } from "./lib/cli/steps.ts";
import { ExternalError, UsageError } from "./lib/errors.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { statusTable } from "./lib/status/tables.ts";
import { readCatalogue } from "./lib/tree/catalogue.ts";
import { findEnvironment, readEnvironments } from "./lib/tree/environment.ts";

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
  const timeoutSeconds = Number(options.timeout);
  if (!(timeoutSeconds > 0)) throw new UsageError(`--timeout ${options.timeout} is not a number of seconds`);

  const argocd = await connectArgocd(root, process.env);
  if (syncsRoot(findEnvironment(environments, env), apps)) {
    const name = `root-${env}`;
    await syncApplications(argocd, [name], async () => [await readApplication(argocd, name)], {
      timeoutSeconds,
    });
  }
  const applications = await listApplications(argocd, env);
  const steps = plan.map((step) => {
    const names = applications.filter(({ app }) => step.apps.includes(app)).map(({ name }) => name);
    if (names.length === 0)
      throw new ExternalError(`Argo CD has no application for ${step.apps.join(", ")} in ${env}`);
    return {
      title: `${step.title}: ${names.join(", ")}`,
      run: async (tell: Progress) =>
        syncApplications(argocd, names, async () => listApplications(argocd, env), { timeoutSeconds, tell }),
    };
  });
  await runSteps(steps);
  process.stdout.write(`\n${statusTable(await listApplications(argocd, env), [env])}\n`);
}
