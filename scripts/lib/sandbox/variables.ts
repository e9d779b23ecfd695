/** `.sandbox/env`: what a shell, or another command of this repository, needs to use the sandbox. */
import { dirname } from "node:path";
import { readIfThere, replaceFile } from "../file.ts";
import { readSettings } from "../tree/settings.ts";
import { isWorkClone, type Layout, layoutOf } from "./layout.ts";

/** Names the checkout whose sandbox it is. */
const ROOT_VARIABLE = "SANDBOX_ROOT";

/** Writes the variables as `export NAME='value'`; PATH is put in front of the shell's own. */
export async function writeVariables(
  layout: Layout,
  variables: Readonly<Record<string, string>>,
): Promise<void> {
  const quote = (value: string) => `'${value.replaceAll("'", `'\\''`)}'`;
  const all = { [ROOT_VARIABLE]: layout.root, ...variables };
  const lines = Object.entries(all).map(([name, value]) => `export ${name}=${quote(value)}`);
  const path = `case ":$PATH:" in *:${quote(layout.bin)}:*) ;; *) export PATH=${quote(layout.bin)}:"$PATH" ;; esac`;
  await replaceFile(layout.env, ["# To be sourced: . .sandbox/env", ...lines, path, ""].join("\n"));
}

/** A sandbox that was started. */
export interface RunningSandbox {
  readonly variables: Readonly<Record<string, string>>;
  /** Whose settings say where its forge is: a clone of what that holds. */
  readonly clone: string;
}

/**
 * The sandbox that belongs to a checkout, or to a clone of the sandbox's forge: the one inside of it, or any other in a shell
 * with `.sandbox/env`.
 * @param env the environment
 * @returns undefined when no sandbox was started
 */
export async function findSandbox(root: string, env: NodeJS.ProcessEnv): Promise<RunningSandbox | undefined> {
  const own = layoutOf(isWorkClone(root) ? dirname(dirname(root)) : root);
  const variables = await readVariables(own);
  if (variables !== undefined) return { variables, clone: own.work };
  const named = env[ROOT_VARIABLE];
  const theirs = named === undefined ? undefined : await readVariables(layoutOf(named));
  if (theirs === undefined) return undefined;
  const { repoURL } = await readSettings(root);
  return repoURL.startsWith(`${theirs["FORGE_URL"]}/`) ? { variables: theirs, clone: root } : undefined;
}

async function readVariables(layout: Layout): Promise<Record<string, string> | undefined> {
  const text = await readIfThere(layout.env);
  if (text === undefined) return undefined;
  const lines = [...text.matchAll(/^export (\w+)='(.*)'$/gm)];
  const variables = lines.map(([, name, value]) => [name, value?.replaceAll(`'\\''`, "'")] as const);
  return {
    ...Object.fromEntries(variables.filter((entry): entry is [string, string] => entry[0] !== undefined)),
    PATH: `${layout.bin}:${process.env["PATH"] ?? ""}`,
  };
}
