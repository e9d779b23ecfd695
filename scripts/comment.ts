/**
 * `npm run comment -- <number> <file>`: one comment on a pull request, kept up to date. It reads no file but that one, so it may
 * have a token where what the pull request contains must not. docs/diff.md.
 */
import { readFile } from "node:fs/promises";
import { command, main, onInterrupt } from "./lib/cli/command.ts";
import { MARKER } from "./lib/diff/report.ts";
import { UsageError } from "./lib/errors.ts";
import { connectRepository } from "./lib/forge/connection.ts";
import { withForge } from "./lib/forge/session.ts";
import { repositoryRoot } from "./lib/repository.ts";

const program = command("comment", "Keep one comment on a pull request up to date.")
  .usage("[options] <number> <file>")
  .argument("<number>", "of the pull request")
  .argument("<file>", "what `npm run diff -- --markdown` has written")
  .option("--root <directory>", "the repository", repositoryRoot())
  .addHelpText("after", "\nThe token comes from the environment: FORGE_TOKEN or GITHUB_TOKEN.")
  .action(comment);
await main(program);

async function comment(given: string, file: string, { root }: { root: string }): Promise<void> {
  const number = Number(given);
  if (!Number.isInteger(number) || number < 1)
    throw new UsageError(`${given} is not the number of a pull request`, "give one such as 12");
  const body = await readFile(file, "utf8");
  if (!body.startsWith(MARKER))
    throw new UsageError(
      `${file} does not begin with ${MARKER}`,
      "write it with `npm run diff -- --markdown`",
    );
  const connection = await connectRepository(root, process.env);
  const session = { env: process.env, onInterrupt, needs: [] };
  const isNew = await withForge(connection, session, async (_, forge) =>
    forge.keepComment(number, { marker: MARKER, body }),
  );
  process.stdout.write(isNew ? `#${number} has the comment\n` : `#${number} has this comment already\n`);
}
