/** `npm run bench <bench>`: measure, and print each figure with its limit. docs/benchmarks.md. */
import { cpus, totalmem } from "node:os";
import { benchArgocd } from "../bench/argocd.ts";
import { amount, type Bench, figureTable, isWithinLimit } from "../bench/figures.ts";
import { benchRelease } from "../bench/release.ts";
import { benchSandbox } from "../bench/sandbox.ts";
import { benchScale } from "../bench/scale.ts";
import { benchSecrets } from "../bench/secrets.ts";
import { command, main, onInterrupt } from "./lib/cli/command.ts";
import { FindingsError, UsageError } from "./lib/errors.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { SANDBOX_TOOLS } from "./lib/sandbox/sandbox.ts";
import { progressLines, resolveTools } from "./lib/tools/resolve.ts";

interface Options {
  json?: true;
  runs: string;
  services: string;
}

const BENCHES = new Map<string, { bench: Bench; tools: readonly string[] }>([
  ["argocd", { bench: benchArgocd, tools: SANDBOX_TOOLS }],
  ["sandbox", { bench: benchSandbox, tools: SANDBOX_TOOLS }],
  ["release", { bench: benchRelease, tools: ["gitea", "kustomize"] }],
  ["scale", { bench: benchScale, tools: ["kustomize", "kustomize-render"] }],
  ["secrets", { bench: benchSecrets, tools: ["sops", "age-keygen"] }],
]);
const NAMES = [...BENCHES.keys()].join(", ");

const program = command("bench", "Measure, and print each figure with its limit.")
  .usage("<bench> [options]")
  .argument("<bench>", `one of ${NAMES}`)
  .option("--runs <number>", "how often to repeat a measurement", "5")
  .option("--services <number>", "how many services the tree of `scale` has", "1000")
  .option("--json", "print the figures with all their measurements as JSON")
  .action(bench);
await main(program);

async function bench(name: string, { runs, services, json }: Options): Promise<void> {
  const chosen = BENCHES.get(name);
  if (chosen === undefined) throw new UsageError(`there is no bench ${name}`, `choose one of ${NAMES}`);
  if (!/^[1-9]\d{0,2}$/.test(runs)) throw new UsageError(`--runs ${runs} is not a number from 1 to 999`);
  if (!/^[1-9]\d{0,3}$/.test(services))
    throw new UsageError(`--services ${services} is not a number from 1 to 9999`);
  const say = (line: string) => void process.stderr.write(`bench: ${line}\n`);
  await resolveTools(chosen.tools, { onProgress: progressLines(say) });
  const figures = await chosen.bench(repositoryRoot(), {
    runs: Number(runs),
    services: Number(services),
    say,
    onInterrupt,
  });
  const judged = figures.map((figure) => ({ ...figure, ok: isWithinLimit(figure) }));
  const machine = `${cpus().length} cores, ${amount(totalmem() / 1e9, "GB")}, Node.js ${process.version}, ${process.platform}`;
  process.stdout.write(
    json ? `${JSON.stringify(judged, null, 2)}\n` : `${figureTable(figures)}\n\n${machine}\n`,
  );
  const failed = judged.filter(({ ok }) => !ok);
  if (failed.length > 0)
    throw new FindingsError(`over the limit: ${failed.map((figure) => figure.name).join("; ")}`);
}
