/** `npm run bench <bench>`: measure, and print each figure with its limit. */
import { cpus, totalmem } from "node:os";
import { amount, type Figure, figureTable, isWithinLimit } from "./lib/bench/figures.ts";
import { benchRelease, RELEASE_TOOLS, type ReleaseReport } from "./lib/bench/release.ts";
import { benchSandbox, type SandboxReport } from "./lib/bench/sandbox.ts";
import { benchSecrets, SECRETS_TOOLS, type SecretsReport } from "./lib/bench/secrets.ts";
import { command, main, onInterrupt } from "./lib/cli/command.ts";
import { table } from "./lib/cli/table.ts";
import { FindingsError, UsageError } from "./lib/errors.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { SANDBOX_TOOLS } from "./lib/sandbox/sandbox.ts";
import { progressLines, resolveTools } from "./lib/tools/resolve.ts";

interface Options {
  json?: true;
  runs: string;
}

const BENCHES = new Map([
  ["sandbox", sandbox],
  ["release", release],
  ["secrets", secrets],
]);

const program = command("bench", "measure, and print each figure with its limit")
  .usage("<bench> [options]")
  .argument("<bench>", `what to measure: ${[...BENCHES.keys()].join(", ")}`)
  .option("--runs <number>", "how often to repeat what is measured more than once", "5")
  .option("--json", "the figures and everything they were made from")
  .action(bench);
await main(program);

async function bench(name: string, options: Options): Promise<void> {
  const run = BENCHES.get(name);
  if (run === undefined) {
    throw new UsageError(`there is no bench ${name}`, `there is: ${[...BENCHES.keys()].join(", ")}`);
  }
  await run(options);
}

async function sandbox(options: Options): Promise<void> {
  const how = await prepare(options, SANDBOX_TOOLS);
  const report = await benchSandbox(repositoryRoot(), how);
  conclude(options, report, describeSandbox(report));
}

async function release(options: Options): Promise<void> {
  const how = await prepare(options, RELEASE_TOOLS);
  const report = await benchRelease(repositoryRoot(), { ...how, onInterrupt });
  conclude(options, report, describeRelease(report));
}

async function secrets(options: Options): Promise<void> {
  const how = await prepare(options, SECRETS_TOOLS);
  const report = await benchSecrets(repositoryRoot(), { ...how, onInterrupt });
  conclude(options, report, describeSecrets(report));
}

async function prepare(
  { runs }: Options,
  tools: readonly string[],
): Promise<{ runs: number; say: (line: string) => void }> {
  if (!/^[1-9]\d{0,2}$/.test(runs)) throw new UsageError(`--runs ${runs} is not a number from 1 to 999`);
  const say = (line: string) => void process.stderr.write(`bench: ${line}\n`);
  await resolveTools(tools, { onProgress: progressLines(say) });
  return { runs: Number(runs), say };
}

function conclude({ json }: Options, report: { figures: readonly Figure[] }, text: string): void {
  const data = { ...report, figures: report.figures.map(judged) };
  process.stdout.write(`${json ? JSON.stringify(data, null, 2) : text}\n`);
  const failed = report.figures.filter((figure) => !isWithinLimit(figure));
  if (failed.length > 0)
    throw new FindingsError(`over the limit: ${failed.map(({ name }) => name).join("; ")}`);
}

function judged(figure: Figure): Figure & { ok: boolean } {
  return { ...figure, ok: isWithinLimit(figure) };
}

function describeSandbox({ figures, memory, merges, left }: SandboxReport): string {
  const looks = memory.map(({ when, processes, pssBytes, rssBytes }) => {
    return [when, String(processes), gigabytes(pssBytes), gigabytes(rssBytes)];
  });
  const seconds = merges.map((merge) => merge.seconds);
  return [
    figureTable(figures),
    table(["memory", "processes", "Pss", "RSS"], looks),
    table(
      ["merge of", "took"],
      merges.map(({ app, seconds: took }) => [app, amount(took, "s")]),
    ),
    `fastest merge ${amount(Math.min(...seconds), "s")}, slowest ${amount(Math.max(...seconds), "s")}`,
    ...(left.length > 0 ? [`left after npm stop:\n${left.map((line) => `  ${line}`).join("\n")}`] : []),
    machine(),
  ].join("\n\n");
}

function describeRelease({ figures, apart, together, promotions }: ReleaseReport): string {
  const seconds = (times: readonly number[]) => times.map((time) => time.toFixed(1)).join(" ");
  const rows = promotions.flatMap(({ apps, changed, opened, unchanged, dryRun }) => {
    const what = `${changed} of ${apps}`;
    return [
      [what, "opened", seconds(opened)],
      [what, "unchanged", seconds(unchanged)],
      [what, "--dry-run", seconds(dryRun)],
    ];
  });
  const faults = [
    ...apart.flatMap(({ way, lost, doubled, failures }) => [
      ...lost.map((app) => `${way}: ${app} is lost`),
      ...doubled.map((app) => `${way}: ${app} is doubled`),
      ...failures.map((line) => `${way}: ${line}`),
    ]),
    ...together.flatMap(({ way, wrong, failures }) =>
      [...wrong, ...failures].map((line) => `of one app, ${way}: ${line}`),
    ),
  ];
  return [
    figureTable(figures),
    table(
      ["bumps", "way", "all together took"],
      apart.map(({ bumps, way, seconds: took }) => [String(bumps), way, amount(took, "s")]),
    ),
    table(
      ["bumps of one app", "way", "took", "landed", "gave way"],
      together.map(({ bumps, way, seconds: took, landed, gaveWay }) => {
        return [String(bumps), way, amount(took, "s"), String(landed), String(gaveWay)];
      }),
    ),
    table(["promoted", "", "seconds"], rows),
    ...(faults.length > 0 ? [faults.join("\n")] : []),
    machine(),
  ].join("\n\n");
}

function describeSecrets({ figures, audit, seal }: SecretsReport): string {
  const seconds = (times: readonly number[]) => times.map((time) => time.toFixed(1)).join(" ");
  return [
    figureTable(figures),
    table(
      ["", "seconds"],
      [
        ["audit", seconds(audit)],
        ["seal", seconds(seal)],
      ],
    ),
    machine(),
  ].join("\n\n");
}

function gigabytes(bytes: number | undefined): string {
  return bytes === undefined ? "-" : amount(bytes / 1e9, "GB");
}

function machine(): string {
  return `${cpus().length} cores, ${gigabytes(totalmem())}, Node.js ${process.version}, ${process.platform}`;
}
