/** Waiting until Argo CD has brought the environments up. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type Application, type Argocd, listApplications } from "../argocd/applications.ts";
import { messageOf } from "../errors.ts";
import { waitFor } from "../wait.ts";

/** Longer than a rollout stands still between two words of Argo CD. */
const QUIET_MS = 180_000;

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
 * @param tell gets a line now and then while it takes long
 * @throws ExternalError with what is wrong with which applications, when nothing moves any more
 */
export async function untilSettled(
  argocd: Argocd,
  root: string,
  environments: readonly string[],
  healing: readonly string[],
  tell: (line: string) => void,
): Promise<Application[]> {
  const expected = (
    await Promise.all(
      environments.map(async (name) => (await overlaysOf(root, name)).map((app) => `${name}/${app}`)),
    )
  ).flat();
  let seen: Application[] = [];
  let silence = "";
  return waitFor(
    `${healing.join(" and ")} are Synced and Healthy`,
    async () => {
      // Argo CD may still be starting.
      silence = "";
      seen = await listApplications(argocd).catch((error: unknown) => {
        silence = messageOf(error);
        return seen;
      });
      // Those that Git has no directory for any more may stay, in prod, and are not judged.
      const own = seen.filter(({ app, env }) => expected.includes(`${env}/${app}`));
      const compared = own.length === expected.length && own.every(({ sync }) => sync !== "Unknown");
      return compared && faulty(own, healing).length === 0 ? seen : undefined;
    },
    {
      quietMs: QUIET_MS,
      everyMs: 1000,
      lastWord: () => silence || describe(seen.filter(({ env }) => healing.includes(env))),
      tell,
    },
  );
}

function faulty(applications: readonly Application[], healing: readonly string[]): Application[] {
  return applications.filter(
    ({ env, sync, health }) => healing.includes(env) && (sync !== "Synced" || health !== "Healthy"),
  );
}

/** How far they are, and what is wrong: the same fault of several applications once. */
function describe(applications: readonly Application[]): string {
  const faults = new Map<string, string[]>();
  let done = 0;
  for (const { name, sync, health, message, unhealthy } of applications) {
    if (sync === "Synced" && health === "Healthy") {
      done += 1;
      continue;
    }
    const fault = `${sync} ${health} ${unhealthy ?? message}`.trim();
    faults.set(fault, [...(faults.get(fault) ?? []), name]);
  }
  const texts = [...faults].map(([fault, names]) => `${names.join(", ")}: ${fault}`);
  return [`${done} of ${applications.length}`, ...texts].join("; ");
}
