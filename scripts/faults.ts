/** `npm run faults [fault…]`: makes faults in the sandbox, one after the other, and tells what came of each. docs/faults.md. */
import { setTimeout as sleep } from "node:timers/promises";
import { command, main } from "./lib/cli/command.ts";
import { table } from "./lib/cli/table.ts";
import { ExternalError, FindingsError, messageOf, UsageError } from "./lib/errors.ts";
import { badImage } from "./lib/faults/bad-image.ts";
import { lostCluster } from "./lib/faults/cluster.ts";
import type { Fault } from "./lib/faults/fault.ts";
import { loadToMaximum } from "./lib/faults/load.ts";
import { closedBudget, databaseDown, deletedPods, drainedNode } from "./lib/faults/pods.ts";
import { killedWhileSyncing } from "./lib/faults/processes.ts";
import { FaultSandbox } from "./lib/faults/sandbox.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { firingAlerts } from "./lib/status/alerts.ts";

/** In the order in which they are made. */
const FAULTS: readonly Fault[] = [
  deletedPods,
  drainedNode,
  closedBudget,
  databaseDown,
  killedWhileSyncing,
  badImage,
  loadToMaximum,
  lostCluster,
];
const NAMES = FAULTS.map(({ name }) => name).join(", ");
/** Between two questions for alerts; Prometheus asks its targets every 15 s. */
const ALERTS_MS = 5000;

const program = command("faults", "Make faults in the sandbox, and tell what came of each.")
  .usage("[options] [fault…]")
  .argument("[fault...]", `only these: ${NAMES}`)
  .option("--all", "those that take minutes, too")
  .action(faults);
await main(program);

interface Row {
  fault: string;
  verdict: "ok" | "failed";
  happened: string;
  alerts: string;
}

async function faults(names: string[], { all }: { all?: true }): Promise<void> {
  const unknown = names.find((name) => !FAULTS.some((fault) => fault.name === name));
  if (unknown !== undefined) throw new UsageError(`there is no fault ${unknown}`, `there are ${NAMES}`);
  const root = repositoryRoot();
  const sandbox = await FaultSandbox.of(root);
  const wanted = FAULTS.filter(({ name, isSlow }) =>
    names.length > 0 ? names.includes(name) : all === true || isSlow === undefined,
  );
  const rows: Row[] = [];
  for (const fault of wanted) {
    process.stderr.write(`${fault.name}: ${fault.expected}\n`);
    const row = await made(root, fault, sandbox);
    process.stderr.write(`  ${row.verdict}: ${row.happened}\n`);
    rows.push(row);
  }
  const cells = rows.map(({ fault, verdict, happened, alerts }) => [fault, verdict, happened, alerts]);
  process.stdout.write(`${table(["FAULT", "VERDICT", "HAPPENED", "ALERTS"], cells)}\n`);
  const failed = rows.filter(({ verdict }) => verdict === "failed").map(({ fault }) => fault);
  if (failed.length > 0)
    throw new FindingsError(`not as expected: ${failed.join(", ")}`, "the table says what happened");
}

async function made(root: string, fault: Fault, sandbox: FaultSandbox): Promise<Row> {
  const over = new AbortController();
  const alerts = alertsUntil(root, over.signal);
  // An error of theirs is told when the fault is over.
  alerts.catch(() => {});
  const result = await fault.run(sandbox).then(
    (happened) => ({ verdict: "ok" as const, happened }),
    (error: unknown) => {
      if (!(error instanceof ExternalError)) throw error;
      return { verdict: "failed" as const, happened: messageOf(error) };
    },
  );
  over.abort();
  return { fault: fault.name, ...result, alerts: await alerts };
}

/** The alerts that fire until the signal, with their environments. */
async function alertsUntil(root: string, signal: AbortSignal): Promise<string> {
  const seen = new Set<string>();
  while (!signal.aborted) {
    const found = await firingAlerts(root, {});
    if (found === undefined) return "not asked: npm start -- --monitoring <env>";
    for (const { labels, env } of found.alerts) seen.add(`${labels["alertname"]} in ${env}`);
    await sleep(ALERTS_MS, undefined, { signal }).catch(() => {});
  }
  return seen.size === 0 ? "none" : [...seen].toSorted().join(", ");
}
