/** `npm run tools [-- <name>…]`: makes the pinned command-line tools available, building those that are nowhere yet. */
import { command, main } from "./lib/cli/command.ts";
import { table } from "./lib/cli/table.ts";
import { resolveInSteps } from "./lib/cli/tools.ts";
import { duration, TOOLS } from "./lib/tools/resolve.ts";

const program = command("tools", "Resolve the pinned tools: from PATH, from the cache, or built from source");
const tools = program
  .createArgument("[tools...]", "the ones to resolve; by default all but those of one test or flag")
  .choices(TOOLS.map((tool) => tool.name));
program
  .usage("[options] [tool…]")
  .addArgument(tools)
  .action(async (names: string[]) => {
    const usual = TOOLS.filter(({ onDemand }) => onDemand === undefined).map(({ name }) => name);
    const resolved = await resolveInSteps(names.length > 0 ? names : usual);
    const rows = resolved.map(({ name, version, from, seconds, path }) => [
      name,
      version,
      from,
      from === "built" ? duration(seconds) : "",
      path,
    ]);
    process.stdout.write(`${table(["tool", "version", "from", "took", "path"], rows)}\n`);
  });

await main(program);
