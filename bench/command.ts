/** A command of this repository as a process of its own, and what came of it. */
import { type RunResult, tryRun } from "../scripts/lib/exec.ts";
import { programLine } from "../scripts/lib/repository.ts";
import { cacheDir } from "../scripts/lib/tools/cache.ts";

export interface CommandRun extends RunResult {
  seconds: number;
}

/** Runs a command as a person or a workflow would: no Git configuration, and no token but this one. */
export async function runCommand(
  root: string,
  verb: string,
  args: readonly string[],
  token: string,
): Promise<CommandRun> {
  const began = performance.now();
  const env = commandEnvironment(root, { FORGE_TOKEN: token });
  const result = await tryRun(...programLine(root, verb, args), { cwd: root, env });
  return { ...result, seconds: (performance.now() - began) / 1000 };
}

/** The environment of a command that a bench starts. */
export function commandEnvironment(root: string, more: Record<string, string>): NodeJS.ProcessEnv {
  return {
    PATH: process.env["PATH"],
    HOME: "/nonexistent",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_CONFIG_SYSTEM: "/dev/null",
    TOOLS_CACHE: cacheDir(process.env, root),
    ...more,
  };
}

/** The last line that a command has said. */
export function lastWord({ stdout, stderr, exitCode }: RunResult): string {
  const line = `${stdout}\n${stderr}`.trim().split("\n").at(-1) ?? "";
  return line === "" ? `exit code ${exitCode}, without a word` : line;
}
