/**
 * Options that npm has kept for itself. It takes those before `--` and says nothing: a `--dry-run` that is lost would be a real
 * run. It leaves a variable behind, `npm_config_dry_run`; for `--no-hold` that is an empty `npm_config_hold`. A setting of npm's
 * own files leaves the same one.
 */
import { join } from "node:path";
import { readIfThere } from "../file.ts";

/**
 * Finds the first option that was given, and did not get here.
 * @param options of the command, as `--dry-run` or `--no-hold`
 * @param args what the command was called with
 */
export async function lostOption(
  options: readonly string[],
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<string | undefined> {
  const left = options.filter((option) => {
    const value = env[`npm_config_${nameOf(option).replaceAll("-", "_")}`];
    const isHere = args.some((arg) => arg === option || arg.startsWith(`${option}=`));
    return !isHere && (option.startsWith("--no-") ? value !== undefined : Boolean(value));
  });
  if (left.length === 0) return undefined;
  const settings = await settingsOf(env);
  return left.find((option) => !settings.has(nameOf(option)));
}

function nameOf(option: string): string {
  return option.replace(/^--(no-)?/, "");
}

/** What is set in npm's files. */
async function settingsOf(env: NodeJS.ProcessEnv): Promise<Set<string>> {
  const own = env["npm_config_local_prefix"];
  const files = [env["npm_config_userconfig"], env["npm_config_globalconfig"], own && join(own, ".npmrc")];
  const texts = await Promise.all(files.map(async (file) => (file ? readIfThere(file) : undefined)));
  const names = texts.flatMap((text) => [...(text ?? "").matchAll(/^\s*([\w-]+)\s*(?:=|$)/gm)]);
  return new Set(names.map(([, name = ""]) => name));
}
