/** The environments: `overlays/<env>/environment.yaml`. Their order is the way a release takes. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { glob } from "tinyglobby";
import { z } from "zod";
import { readDocument } from "../document.ts";
import { RefusedError, UsageError } from "../errors.ts";
import { readIfThere } from "../file.ts";

const EnvironmentFile = z.object({
  kind: z.literal("ConfigMap"),
  data: z.strictObject({
    name: z.string(),
    promotesFrom: z.string().optional(),
    soak: z.string().regex(/^\d+[smh]$/, "not a time such as 30m"),
  }),
});

export interface Environment {
  name: string;
  /** The environment whose releases come here; the first environment has none and builds the live base. */
  promotesFrom: string | undefined;
  /** How long a release stays healthy here before it may go on, in seconds. */
  soakSeconds: number;
  /** Whether Argo CD syncs it by itself; else somebody starts each sync. */
  syncsItself: boolean;
}

/** The component that has an environment's applications synced by themselves. */
const AUTOMATED = "../../argocd/automated";
const Kustomization = z.object({ components: z.array(z.string()).default([]) });

const SECONDS = { s: 1, m: 60, h: 3600 };

/**
 * Reads the environments.
 * @param root the repository's root directory
 * @returns in the order in which a release passes through them
 * @throws RefusedError when a file is not valid, or the environments are not one line
 */
export async function readEnvironments(root: string): Promise<Environment[]> {
  const files = (await glob("overlays/*/environment.yaml", { cwd: root })).sort();
  const environments = await Promise.all(
    files.map(async (file) => {
      const { data } = readDocument(await readFile(join(root, file), "utf8"), file, EnvironmentFile);
      if (file !== `overlays/${data.name}/environment.yaml`)
        throw new RefusedError(`${file} is about ${data.name}`);
      const soakSeconds = seconds(data.soak);
      const syncsItself = await isAutomated(root, data.name);
      return { name: data.name, promotesFrom: data.promotesFrom, soakSeconds, syncsItself };
    }),
  );
  return inOrder(environments);
}

/** The names of the environments in their order; none where the tree has no such files, or they are not in order. */
export async function environmentOrder(root: string): Promise<string[]> {
  try {
    return (await readEnvironments(root)).map(({ name }) => name);
  } catch (error) {
    if (error instanceof RefusedError) return [];
    throw error;
  }
}

/**
 * An environment by its name.
 * @throws UsageError that says which there are
 */
export function findEnvironment<T extends Pick<Environment, "name">>(
  environments: readonly T[],
  wanted: string,
): T {
  const found = environments.find(({ name }) => name === wanted);
  if (found !== undefined) return found;
  const names = environments.map(({ name }) => name).join(", ");
  throw new UsageError(`there is no environment ${wanted}`, `there are ${names}`);
}

async function isAutomated(root: string, name: string): Promise<boolean> {
  const file = `overlays/${name}/kustomization.yaml`;
  const text = await readIfThere(join(root, file));
  return text !== undefined && readDocument(text, file, Kustomization).components.includes(AUTOMATED);
}

function seconds(time: string): number {
  const unit = time.endsWith("h") ? "h" : time.endsWith("m") ? "m" : "s";
  return Number(time.slice(0, -1)) * SECONDS[unit];
}

function inOrder(environments: readonly Environment[]): Environment[] {
  const line: Environment[] = [];
  let next = environments.filter((environment) => environment.promotesFrom === undefined);
  while (next.length === 1) {
    line.push(...next);
    const last = line.at(-1)?.name;
    next = environments.filter((environment) => environment.promotesFrom === last);
  }
  if (next.length === 0 && line.length === environments.length && line.length > 0) return line;
  throw new RefusedError(
    "overlays/*/environment.yaml: the environments are not one line",
    "exactly one has no promotesFrom, and each of the others names another one",
  );
}
