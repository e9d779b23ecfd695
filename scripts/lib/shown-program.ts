/** Programs whose output is shown while they run. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { ExternalError, messageOf } from "./errors.ts";

export type Stream = "stdout" | "stderr";

export interface ShownProgram {
  program: string;
  args: readonly string[];
  cwd: string;
  env: NodeJS.ProcessEnv;
  /** Told every line of its standard output and standard error, as it comes. */
  onLine: (line: string, stream: Stream) => void;
}

export interface RunningProgram {
  /** Its exit code; 128 and more for a program that was killed. */
  ended: Promise<number>;
  /** Asks it, and what it has started, to end as Ctrl-C does. */
  interrupt: () => void;
}

/**
 * Starts a program in a process group of its own, so that an interruption reaches it once and through us.
 * `ended` rejects with ExternalError when it cannot be started.
 */
export function startShown({ program, args, cwd, env, onLine }: ShownProgram): RunningProgram {
  const child = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  const ended = new Promise<number>((resolve, reject) => {
    for (const stream of ["stdout", "stderr"] as const) {
      const lines = createInterface({ input: child[stream], crlfDelay: Number.POSITIVE_INFINITY });
      lines.on("line", (line) => onLine(line, stream));
    }
    child.on("error", (error) => {
      reject(new ExternalError(`${program} cannot be started: ${messageOf(error)}`, "is it on PATH?"));
    });
    // Not `exit`: by then its last lines need not have been read.
    child.on("close", (code) => resolve(code ?? 128));
  });
  return {
    ended,
    interrupt() {
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
      process.kill(-child.pid, "SIGINT");
    },
  };
}
