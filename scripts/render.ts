/** `npm run render [overlay…]`: what kustomize makes of overlays, as Argo CD would deploy it. docs/diff.md. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { command, main } from "./lib/cli/command.ts";
import { CommandError, FindingsError, UsageError } from "./lib/errors.ts";
import type { Rendered } from "./lib/manifests/rendering.ts";
import { withRendering } from "./lib/render/checkout.ts";
import { renderJobs } from "./lib/render/overlays.ts";
import { topOf, withState } from "./lib/render/states.ts";
import { repositoryRoot } from "./lib/repository.ts";

interface Options {
  root: string;
  output?: string;
  fresh?: true;
}

const program = command("render", "Render overlays, all of them or those that are named.")
  .usage("[options] [overlay…]")
  .argument("[overlay...]", "directories, such as overlays/dev/user-service")
  .option("--root <directory>", "a checkout, of any tree of kustomizations", repositoryRoot())
  .option("--output <directory>", "write a file for each there; by default all go to standard output")
  .option("--fresh", "render again what has been rendered before")
  .action(render);
await main(program);

async function render(named: string[], { root: directory, output, fresh }: Options): Promise<void> {
  const root = await topOf(directory);
  const [overlays, outcomes] = await withRendering(
    root,
    async (rendering, names) =>
      withState(root, names, async (state): Promise<[readonly string[], readonly Rendered[]]> => {
        const wanted =
          named.length === 0 ? state.graph.overlays : named.map((name) => name.replace(/\/+$/, ""));
        const absent = wanted.find((overlay) => !state.graph.has(overlay));
        if (absent !== undefined)
          throw new UsageError(
            `${absent} has no kustomization`,
            "name a directory that has one, from the top of the checkout",
          );
        const jobs = wanted.map((overlay) => ({ state, overlay }));
        return [wanted, await renderJobs(jobs, { ...rendering, onDone: progress() })];
      }),
    { isFresh: fresh === true },
  );
  for (const [index, overlay] of overlays.entries()) await write(overlay, outcomes[index], output);
  const failed = overlays.flatMap((overlay, index) => failureOf(overlay, outcomes[index]));
  const [first] = failed;
  if (first === undefined) return;
  throw failed.length === 1
    ? first
    : new FindingsError(`${failed.length} overlays do not render; the first: ${first.message}`, first.hint);
}

async function write(
  overlay: string,
  outcome: Rendered | undefined,
  output: string | undefined,
): Promise<void> {
  if (outcome?.kind !== "rendered") return;
  if (output === undefined) {
    process.stdout.write(`# ${overlay}\n---\n${outcome.yaml}${outcome.yaml === "" ? "" : "---\n"}`);
    return;
  }
  const file = join(output, `${overlay}.yaml`);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, outcome.yaml);
}

function failureOf(overlay: string, outcome: Rendered | undefined): CommandError[] {
  if (outcome?.kind === "broken") return [new FindingsError(outcome.error.message, outcome.error.hint)];
  if (outcome?.kind !== "remote") return [];
  return [
    new FindingsError(
      `${overlay} is built from ${outcome.entry}, and nothing is fetched`,
      "have it in the repository",
    ),
  ];
}

/** On a terminal one line that changes; elsewhere nothing, because it takes seconds. */
function progress(): (done: number, total: number) => void {
  if (!process.stderr.isTTY) return () => {};
  return (done, total) => process.stderr.write(`\rrendered ${done} of ${total}${done === total ? "\n" : ""}`);
}
