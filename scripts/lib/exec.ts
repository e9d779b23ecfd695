/** Short-lived programs: the only module that imports zx. Long-running ones belong to the sandbox's supervisor. */
import { type SpawnOptions, spawn } from "node:child_process";
import { $, type ProcessOutput } from "zx/core";
import { ExternalError } from "./errors.ts";

export interface RunOptions {
  /** Working directory; the process's own by default. */
  cwd?: string;
  /** The whole environment of the program; the process's own by default. */
  env?: NodeJS.ProcessEnv;
  /** What the program reads on standard input; nothing by default. */
  input?: string;
  /** Kills the program when it fires. */
  signal?: AbortSignal;
}

export interface RunResult {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/** Runs a program and returns whatever it answers. Only a program that cannot be started throws (`ExternalError`). */
export async function tryRun(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const { stdout, ...result } = await tryRunBytes(program, args, options);
  return { ...result, stdout: stdout.toString() };
}

/**
 * Runs a program and returns its standard output.
 * @throws ExternalError naming the command and the last line of its standard error, when it exits with anything but 0.
 */
export async function run(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const result = await tryRun(program, args, options);
  if (result.exitCode === 0) return result.stdout;
  const name = program.split("/").at(-1) ?? program;
  const reason = result.stderr.trim().split("\n").at(-1) || `exit code ${result.exitCode}`;
  throw new ExternalError(`${name} ${args.slice(0, 3).join(" ")} failed: ${reason}`, undefined, {
    cause: result,
  });
}

/** As `tryRun`, for what need not be text. */
export async function tryRunBytes(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Omit<RunResult, "stdout"> & { stdout: Buffer }> {
  const running = $({
    nothrow: true,
    quiet: true,
    // Without the shell, which is a second process for each program.
    spawn: startAs(program, args),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(options.input === undefined || options.input === ""
      ? { stdio: ["ignore", "pipe", "pipe"] }
      : { input: options.input }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  })`${program} ${args}`;
  // A program that ends without reading it says why by its exit code.
  if (options.input) running.stdin.on("error", () => {});
  // zx decodes piece by piece: a character that two pieces share would be lost.
  const pieces: Buffer[] = [];
  running.stdout.on("data", (piece: Buffer) => pieces.push(piece));
  const output: ProcessOutput = await running;
  // The system's error, as a negative number.
  const isRefused = output.exitCode !== null && output.exitCode < 0;
  if (isRefused || (output.exitCode === null && output.cause instanceof Error)) {
    throw new ExternalError(`${program} cannot be started`, `is ${program} installed and on PATH?`, {
      cause: output,
    });
  }
  return { exitCode: output.exitCode ?? 1, stdout: Buffer.concat(pieces), stderr: output.stderr };
}

/** What zx is to start instead of a shell that gets the command line. */
function startAs(program: string, args: readonly string[]): typeof spawn {
  const start = (_line: string, _none: readonly string[], options: SpawnOptions) =>
    spawn(program, args, { ...options, shell: false });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- zx calls it in this one way of several
  return start as typeof spawn;
}
