/** `npm start`: bring up the whole delivery loop on this machine, or repair what of it does not run. */
import type { Application } from "./lib/argocd/argocd.ts";
import { command, main, onInterrupt } from "./lib/cli/command.ts";
import { type Progress, runSteps } from "./lib/cli/steps.ts";
import { resolveInSteps } from "./lib/cli/tools.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { type Layout, layoutOf } from "./lib/sandbox/layout.ts";
import {
  holdSandbox,
  refuseFullDisk,
  refuseUnfitMachine,
  removeFailedStart,
  sandboxExists,
} from "./lib/sandbox/lifetime.ts";
import { SANDBOX_TOOLS, Sandbox } from "./lib/sandbox/sandbox.ts";
import { statusTable } from "./lib/status/print.ts";
import { type Environment, readEnvironments } from "./lib/tree/environment.ts";

const program = command("start", "bring up the whole delivery loop on this machine")
  .option("--keep", "leave a failed start as it is, to look at it")
  .action(start);
await main(program);

async function start(options: { keep?: true }): Promise<void> {
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
    const { sandbox, applications } = await bringUp(layout, environments);
    const seconds = ((Date.now() - began) / 1000).toFixed(0);
    const names = environments.map(({ name }) => name);
    process.stdout.write(`\n${statusTable(applications, names)}\n\n`);
    process.stdout.write(
      `The loop runs (${seconds} s).${whoWaits(environments, applications)}\n\n${whatNext(sandbox)}\n`,
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

async function bringUp(
  layout: Layout,
  environments: readonly Environment[],
): Promise<{ sandbox: Sandbox; applications: Application[] }> {
  const healing = environments.filter(({ syncsItself }) => syncsItself).map(({ name }) => name);
  let applications: Application[] = [];
  const tools = await resolveInSteps(SANDBOX_TOOLS);
  const sandbox = await Sandbox.prepare(layout, tools, process.env["SANDBOX_CRDS"]);
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
    {
      title: `${healing.join(" and ")}: Synced and Healthy`,
      run: async (progress) => {
        applications = await sandbox.untilHealthy(healing, progress);
        await sandbox.untilAllReady(progress);
      },
    },
  ]);
  return { sandbox, applications };
}

function whoWaits(environments: readonly Environment[], applications: readonly Application[]): string {
  const unsynced = new Set(applications.filter(({ sync }) => sync !== "Synced").map(({ env }) => env));
  return environments
    .filter(({ name, syncsItself }) => !syncsItself && unsynced.has(name))
    .map(({ name }) => ` ${name} waits for a human.`)
    .join("");
}

function whatNext({ forge, argocdServer }: Sandbox): string {
  return `Next:
  npm run sync prod       start prod's syncs and wait until they are Healthy
  . .sandbox/env          kubectl --context dev get pods -A, argocd app list, $FORGE_URL
  cd .sandbox/work        a clone of the local forge: edit, commit, push, and see dev follow
  npm run status          what runs where
  npm run demo            the whole loop, told: bump, promote, sync, a bad release, its rollback
  npm stop                end and remove all of it

  forge    ${forge}
  Argo CD  http://${argocdServer}`;
}
