/** The order in which an environment is synced by hand. */
import { type App, findApps } from "../tree/catalogue.ts";
import { type Environment, findEnvironment } from "../tree/environment.ts";

/** Applications that may be synced together, once those of the step before are Healthy. */
export interface SyncStep {
  readonly title: string;
  readonly apps: readonly string[];
}

/** Namespaces and quotas before all that lives in them, storage classes before stores, stores before their clients. */
const ORDER = ["foundation", "platform", "store", "service"] as const satisfies readonly App["kind"][];

/**
 * How long one application may take: longer than a rollout may stand still (progressDeadlineSeconds of
 * base/components/service), so that one that fails ends as Degraded, with its reason, and not as "timed out".
 */
export const SYNC_SECONDS = 900;

/**
 * Plans a sync.
 * @param env the environment
 * @param names the apps that were asked for; all of the catalogue when empty
 * @throws UsageError for an unknown environment or app
 */
export function syncPlan(
  env: string,
  names: readonly string[],
  environments: readonly Pick<Environment, "name">[],
  catalogue: readonly App[],
): SyncStep[] {
  findEnvironment(environments, env);
  const wanted = findApps(catalogue, names);
  return ORDER.map((kind) => ({
    title: kind,
    apps: wanted.filter((app) => app.kind === kind).map(({ app }) => app),
  })).filter(({ apps }) => apps.length > 0);
}

/**
 * Whether the environment's own shape is synced first: with all of its applications, since it decides which there are, and
 * where a person has to. The root of an environment that syncs by itself nobody but administrators may start.
 */
export function syncsRoot(
  { syncsItself }: Pick<Environment, "syncsItself">,
  names: readonly string[],
): boolean {
  return names.length === 0 && !syncsItself;
}
