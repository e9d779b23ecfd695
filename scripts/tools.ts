/** `npm run tools [-- <name>…]`: makes the pinned command-line tools available, building those that are nowhere yet. */
import { command, main } from "./lib/cli/command.ts";
import { type Progress, runSteps } from "./lib/cli/steps.ts";
import { table } from "./lib/cli/table.ts";
import {
  describeProgress,
  duration,
  type ResolvedTool,
  resolveTools,
  TOOLS,
  type ToolProgress,
} from "./lib/tools/resolve.ts";

/** How often a line says that a build lives: on a terminal it replaces itself, in a log it does not. */
const STEP_MS = process.stdout.isTTY ? 200 : 30_000;

const program = command("tools", "Resolve the pinned tools: from PATH, from the cache, or built from source");
const tools = program
  .createArgument("[tools...]", "the ones to resolve; all by default")
  .choices(TOOLS.map((tool) => tool.name));
program
  .usage("[options] [tool…]")
  .addArgument(tools)
  .action(async (names: string[]) => {
    const resolved = await resolveWithProgress(names.length > 0 ? names : TOOLS.map((tool) => tool.name));
    const rows = resolved.map(({ name, version, from, seconds, path }) => [
      name,
      version,
      from,
      from === "built" ? duration(seconds) : "",
      path,
    ]);
    process.stdout.write(`${table(["tool", "version", "from", "took", "path"], rows)}\n`);
  });

async function resolveWithProgress(names: readonly string[]): Promise<ResolvedTool[]> {
  let resolved: ResolvedTool[] = [];
  let lastStep = performance.now();
  const run = async (progress: Progress): Promise<void> => {
    const onProgress = (event: ToolProgress): void => {
      if (event.kind === "step" && performance.now() - lastStep < STEP_MS) return;
      lastStep = performance.now();
      progress(describeProgress(event));
    };
    resolved = await resolveTools(names, { onProgress });
  };
  await runSteps([{ title: "Tools", run }]);
  return resolved;
}

await main(program);
