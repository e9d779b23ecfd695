/** `node scripts/run.js jobs`: which jobs of the workflow `checks` a change asks for, as JSON. docs/workflows.md. */
import { command, main } from "./lib/cli/command.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { jobsFor } from "./lib/tree/jobs.ts";
import { changedPaths } from "./lib/tree/overlays.ts";

const program = command("jobs", "Print which jobs of the workflow `checks` a change asks for.")
  .requiredOption("--base <ref>", "what HEAD has changed since it left this")
  .option("--root <directory>", "the repository", repositoryRoot())
  .action(async ({ base, root }: { base: string; root: string }) => {
    process.stdout.write(`${JSON.stringify(jobsFor(await changedPaths(root, base, "HEAD")))}\n`);
  });
await main(program);
