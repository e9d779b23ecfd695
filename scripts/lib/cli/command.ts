/** What every command shares: strict arguments, one-line errors, the mapping to exit codes. The only module that exits. */
import { inspect } from "node:util";
import { Command, CommanderError } from "commander";
import { CommandError, lineOf, messageOf, UsageError } from "../errors.ts";
import { lostOption } from "./npm-options.ts";

/** A command with this repository's conventions: unknown flags and surplus arguments are errors, `--verbose` shows stacks. */
export function command(name: string, description: string): Command {
  return new Command(name)
    .usage("[options]")
    .description(description)
    .option("--verbose", "show stacks and what each step runs")
    .allowExcessArguments(false)
    .showHelpAfterError("(add --help for the usage)")
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, `${name}: `)) })
    .exitOverride();
}

/** The exit code of a command that was ended from outside: 128 and the number of SIGINT. */
const INTERRUPTED = 130;
const cleanups: (() => Promise<unknown>)[] = [];

/** Has something undone when the command is interrupted: by Ctrl-C, a closed terminal, or a cancelled job. */
export function onInterrupt(undo: () => Promise<unknown>): void {
  cleanups.push(undo);
}

/** Parses the process's arguments, runs the command's action and exits with the documented code. */
export async function main(program: Command): Promise<void> {
  let interrupted = false;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    // Listening on: npm passes on what the terminal has sent already, and a second one must not cut the undoing short.
    process.on(signal, () => {
      if (interrupted) return;
      interrupted = true;
      void Promise.allSettled(cleanups.map(async (undo) => undo())).then(() => process.exit(INTERRUPTED));
    });
  }
  try {
    await refuseLostOptions(program);
    await program.parseAsync(process.argv);
  } catch (error) {
    // An interruption makes whatever runs fail; its undoing is not cut short by that.
    if (interrupted) await new Promise(() => {});
    // At once: what ran beside the step that failed must not go on.
    process.exit(report(program, error));
  }
}

async function refuseLostOptions(program: Command): Promise<void> {
  const options = [program, ...program.commands].flatMap((one) => one.options);
  const names = options.flatMap(({ long }) => long ?? []);
  const lost = await lostOption(names, process.argv, process.env);
  if (lost === undefined) return;
  throw new UsageError(
    `npm has kept ${lost} for itself`,
    `put options behind --: npm run ${program.name()} -- ${lost} …`,
  );
}

function report(program: Command, error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  const verbose = program.opts<{ verbose?: boolean }>().verbose === true;
  const expected = error instanceof CommandError;
  const line = expected ? lineOf(error) : messageOf(error);
  const more = expected || verbose ? "" : " (unexpected: run again with --verbose and report it)";
  process.stderr.write(`${program.name()}: ${line}${more}\n`);
  if (verbose) {
    // scripts/run.js has switched them off.
    process.setSourceMapsEnabled(true);
    process.stderr.write(`${inspect(error)}\n`);
  }
  return expected ? error.exitCode : 1;
}
