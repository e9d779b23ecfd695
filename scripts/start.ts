/** `npm start`: bring the whole delivery loop up on this machine, or repair the parts that do not run. */
import type { Application } from "./lib/argocd/applications.ts";
import { command, main, onInterrupt } from "./lib/cli/command.ts";
import { type Progress, runSteps, type Step } from "./lib/cli/steps.ts";
import { resolveInSteps } from "./lib/cli/tools.ts";
import { UsageError } from "./lib/errors.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { OPERATOR } from "./lib/sandbox/definitions.ts";
import { type Layout, layoutOf } from "./lib/sandbox/layout.ts";
import {
  holdSandbox,
  refuseFullDisk,
  refuseUnfitMachine,
  removeFailedStart,
  sandboxExists,
} from "./lib/sandbox/lifetime.ts";
import { MONITORING_TOOLS, monitoringUrls } from "./lib/sandbox/monitoring.ts";
import { SANDBOX_TOOLS, Sandbox } from "./lib/sandbox/sandbox.ts";
import { statusTable } from "./lib/status/tables.ts";
import { type Environment, readEnvironments } from "./lib/tree/environment.ts";

const program = command("start", "bring up the whole delivery loop on this machine")
  .option("--keep", "leave a failed start as it is, to look at it")
  .option(
    "--monitoring <environment>",
    "with Prometheus, Alertmanager and their helpers beside this environment",
  )
  .option(
    "--pace <factor>",
    "with --monitoring: scrapes and times of alerts are this many times shorter",
    "1",
  )
  .action(start);
await main(program);

interface Options {
  keep?: true;
  monitoring?: string;
  pace: string;
}

/** The environment that gets the monitoring stack. */
interface Monitored {
  readonly environment: string;
  readonly pace: number;
}

async function start(options: Options): Promise<void> {
  const layout = layoutOf(repositoryRoot());
  const began = Date.now();
  await refuseUnfitMachine(layout);
  const release = await holdSandbox(layout);
  const keep = options.keep === true || (await sandboxExists(layout));
  const undo = () => {
    if (!keep) removeFailedStart(layout);
  };
  onInterrupt(async () => undo());
  try {
    const environments = await readEnvironments(layout.root);
    const monitored = monitoredBy(options, environments);
    const { sandbox, applications } = await bringUp(layout, environments, monitored);
    const seconds = ((Date.now() - began) / 1000).toFixed(0);
    const names = environments.map(({ name }) => name);
    process.stdout.write(`\n${statusTable(applications, names)}\n\n`);
    process.stdout.write(
      `The loop runs (${seconds} s).${whoWaits(environments, applications)}\n\n${whatNext(sandbox, monitored)}\n`,
    );
  } catch (error) {
    // Before the undoing makes room.
    const full = await refuseFullDisk(layout).catch((reason: unknown) => reason);
    undo();
    throw full ?? error;
  } finally {
    await release();
  }
}

function monitoredBy(
  { monitoring: environment, pace: text }: Options,
  environments: readonly Environment[],
): Monitored | undefined {
  const pace = Number(text);
  if (!(pace >= 1)) throw new UsageError(`--pace ${text} is not a number from 1 on`);
  if (environment === undefined) {
    if (pace === 1) return undefined;
    throw new UsageError("--pace is for --monitoring only", "name the environment with --monitoring");
  }
  const names = environments.map(({ name }) => name);
  if (names.includes(environment)) return { environment, pace };
  throw new UsageError(`there is no environment ${environment}; there are ${names.join(", ")}`);
}

async function bringUp(
  layout: Layout,
  environments: readonly Environment[],
  monitored: Monitored | undefined,
): Promise<{ sandbox: Sandbox; applications: Application[] }> {
  const healing = environments.filter(({ syncsItself }) => syncsItself).map(({ name }) => name);
  let applications: Application[] = [];
  const names = [...SANDBOX_TOOLS, ...(monitored === undefined ? [] : MONITORING_TOOLS)];
  const tools = await resolveInSteps(names, [OPERATOR]);
  const vendors = process.env["SANDBOX_CRDS"];
  const sandbox = await Sandbox.prepare(layout, tools, vendors, monitored?.environment);
  const settle: Step = {
    title: `${healing.join(" and ")}: Synced and Healthy`,
    run: async (progress) => {
      applications = await sandbox.untilHealthy(healing, progress);
      await sandbox.untilAllReady(progress);
    },
  };
  await runSteps([
    { title: "Processes", run: async () => sandbox.startProcesses() },
    {
      title: "Forge and clusters",
      run: async () => [
        { title: "forge, with this checkout", run: async (progress) => sandbox.deliverCheckout(progress) },
        ...[sandbox.hub, ...sandbox.clusters.values()].map((cluster) => ({
          title: `cluster ${cluster.name}`,
          run: async (progress: Progress) => sandbox.furnishCluster(cluster, progress),
        })),
      ],
    },
    {
      title: "Argo CD",
      run: async (progress) => {
        await sandbox.startArgocd(progress);
        await Promise.all([sandbox.handOver(), sandbox.startOperators()]);
      },
    },
    monitored === undefined ? settle : besideMonitoring(sandbox, monitored, settle),
  ]);
  return { sandbox, applications };
}

function besideMonitoring(sandbox: Sandbox, { environment, pace }: Monitored, settle: Step): Step {
  const monitoring: Step = {
    title: `monitoring of ${environment}`,
    run: async (progress) => sandbox.startMonitoring(environment, pace, progress),
  };
  return { title: "Applications and monitoring", run: async () => [settle, monitoring] };
}

function whoWaits(environments: readonly Environment[], applications: readonly Application[]): string {
  const unsynced = new Set(applications.filter(({ sync }) => sync !== "Synced").map(({ env }) => env));
  return environments
    .filter(({ name, syncsItself }) => !syncsItself && unsynced.has(name))
    .map(({ name }) => ` ${name} waits for a human.`)
    .join("");
}

function whatNext({ forge, argocdServer, state }: Sandbox, monitored: Monitored | undefined): string {
  const urls = monitored === undefined ? undefined : monitoringUrls(state, monitored.environment);
  const monitoring =
    urls === undefined ? "" : `\n  Prometheus    ${urls.prometheus}\n  Alertmanager  ${urls.alertmanager}`;
  return `Next:
  npm run sync prod       start prod's syncs and wait until they are Healthy
  . .sandbox/env          kubectl --context dev get pods -A, argocd app list, $FORGE_URL
  cd .sandbox/work        a clone of the local forge: edit, commit, push, and see dev follow
  npm run status          what runs where
  npm run demo            the whole loop, told: bump, promote, sync, a bad release, its rollback
  npm stop                end and remove all of it

  forge    ${forge}
  Argo CD  http://${argocdServer}${monitoring}`;
}
