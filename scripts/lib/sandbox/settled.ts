/** Waiting until Argo CD has brought the environments up. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type Application, type Argocd, listApplications } from "../argocd/argocd.ts";
import { waitFor } from "../wait.ts";

const TIMEOUT_MS = 300_000;

/** The apps of an environment: the directories of its overlays. */
async function overlaysOf(root: string, environment: string): Promise<string[]> {
  const entries = await readdir(join(root, "overlays", environment), { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}

/**
 * Waits until every application is there and was compared, and some environments are Synced and Healthy.
 * @param root the tree that is delivered
 * @param environments all of them
 * @param healing those that Argo CD syncs by itself
 * @param onChange called with all applications whenever they were looked at
 * @throws ExternalError with what is wrong with which applications, when it takes too long
 */
export async function untilSettled(
  argocd: Argocd,
  root: string,
  environments: readonly string[],
  healing: readonly string[],
  onChange: (applications: readonly Application[]) => void,
): Promise<Application[]> {
  const expected = (
    await Promise.all(
      environments.map(async (name) => (await overlaysOf(root, name)).map((app) => `${name}/${app}`)),
    )
  ).flat();
  let seen: Application[] = [];
  return waitFor(
    `${healing.join(" and ")} are Synced and Healthy`,
    async () => {
      // Argo CD may still be starting; that it never answers is what the time-out tells.
      seen = await listApplications(argocd).catch(() => seen);
      onChange(seen);
      // Those that Git has no directory for any more may stay, in prod, and are not judged.
      const own = seen.filter(({ app, env }) => expected.includes(`${env}/${app}`));
      const compared = own.length === expected.length && own.every(({ sync }) => sync !== "Unknown");
      return compared && faulty(own, healing).length === 0 ? seen : undefined;
    },
    { timeoutMs: TIMEOUT_MS, everyMs: 1000, explain: async () => describe(faulty(seen, healing)) },
  );
}

function faulty(applications: readonly Application[], healing: readonly string[]): Application[] {
  return applications.filter(
    ({ env, sync, health }) => healing.includes(env) && (sync !== "Synced" || health !== "Healthy"),
  );
}

/** What is wrong, the same fault of several applications once. */
function describe(applications: readonly Application[]): string {
  const faults = new Map<string, string[]>();
  for (const { name, sync, health, message } of applications) {
    const fault = `${sync} ${health} ${message}`.trim();
    faults.set(fault, [...(faults.get(fault) ?? []), name]);
  }
  return [...faults].map(([fault, names]) => `${names.join(", ")}: ${fault}`).join("; ");
}
