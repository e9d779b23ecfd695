/** Git as somebody may have set it up: the same settings by each way on which Git gets them. */
import { join } from "node:path";
import { temporary, write } from "./tree.ts";

export type Settings = readonly (readonly [key: string, value: string])[];

export const WAYS = ["global", "system", "environment", "parameters", "inclusion"] as const;
export type SettingsWay = (typeof WAYS)[number];

/**
 * The variables with which Git has settings, and no others.
 * @param checkout for which an included file counts
 */
export async function configured(
  settings: Settings,
  way: SettingsWay,
  checkout: string,
): Promise<Record<string, string>> {
  const directory = await temporary();
  const file = join(directory, "settings");
  await write(directory, {
    settings: settings.map(([key, value]) => entry(key, value)).join(""),
    including: entry(`includeIf.gitdir:${checkout}/.path`, file),
  });
  const quoted = settings.map(([key, value]) => `'${key}'='${value}'`).join(" ");
  const counted = settings.flatMap(([key, value], index) => [
    [`GIT_CONFIG_KEY_${index}`, key],
    [`GIT_CONFIG_VALUE_${index}`, value],
  ]);
  const variables: Record<SettingsWay, Record<string, string>> = {
    global: { GIT_CONFIG_GLOBAL: file },
    system: { GIT_CONFIG_SYSTEM: file },
    inclusion: { GIT_CONFIG_GLOBAL: join(directory, "including") },
    parameters: { GIT_CONFIG_PARAMETERS: quoted },
    environment: { GIT_CONFIG_COUNT: String(settings.length), ...Object.fromEntries(counted) },
  };
  return { GIT_CONFIG_GLOBAL: "/dev/null", GIT_CONFIG_SYSTEM: "/dev/null", ...variables[way] };
}

function entry(key: string, value: string): string {
  const [, section = "", sub, name = ""] = /^([^.]+)\.(?:(.+)\.)?([^.]+)$/s.exec(key) ?? [];
  const head = sub === undefined ? section : `${section} ${JSON.stringify(sub)}`;
  return `[${head}]\n\t${name} = ${JSON.stringify(value)}\n`;
}
