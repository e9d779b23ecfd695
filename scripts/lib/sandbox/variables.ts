/** `.sandbox/env`: what a shell, or another command of this repository, needs to use the sandbox. */
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { codeOf } from "../errors.ts";
import { replaceFile } from "../file.ts";
import { isWorkClone, type Layout, layoutOf } from "./layout.ts";

/** Writes the variables as `export NAME='value'`; PATH is put in front of the shell's own. */
export async function writeVariables(
  layout: Layout,
  variables: Readonly<Record<string, string>>,
): Promise<void> {
  const quote = (value: string) => `'${value.replaceAll("'", `'\\''`)}'`;
  const lines = Object.entries(variables).map(([name, value]) => `export ${name}=${quote(value)}`);
  const path = `case ":$PATH:" in *:${quote(layout.bin)}:*) ;; *) export PATH=${quote(layout.bin)}:"$PATH" ;; esac`;
  await replaceFile(layout.env, ["# To be sourced: . .sandbox/env", ...lines, path, ""].join("\n"));
}

/**
 * The variables of the sandbox that belongs to a checkout, or to the work clone inside a sandbox.
 * @returns undefined when no sandbox was started
 */
export async function readVariables(root: string): Promise<Record<string, string> | undefined> {
  const layout = layoutOf(isWorkClone(root) ? dirname(dirname(root)) : root);
  try {
    const text = await readFile(layout.env, "utf8");
    const lines = [...text.matchAll(/^export (\w+)='(.*)'$/gm)];
    const variables = lines.map(([, name, value]) => [name, value?.replaceAll(`'\\''`, "'")] as const);
    return {
      ...Object.fromEntries(variables.filter((entry): entry is [string, string] => entry[0] !== undefined)),
      PATH: `${layout.bin}:${process.env["PATH"] ?? ""}`,
    };
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}
