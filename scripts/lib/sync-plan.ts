/** The order in which an environment is synced by hand. */
import type { App } from "./catalogue.ts";
import { UsageError } from "./errors.ts";

/** Applications that may be synced together, once those of the step before are Healthy. */
export interface SyncStep {
  readonly title: string;
  readonly apps: readonly string[];
}

/** Namespaces, quotas and storage classes before what needs them; stores before their clients. */
const ORDER = ["platform", "store", "service"] as const satisfies readonly App["kind"][];

/**
 * Plans a sync.
 * @param env the environment
 * @param names the apps that were asked for; all of the catalogue when empty
 * @throws UsageError for an unknown environment or app
 */
export function syncPlan(
  env: string,
  names: readonly string[],
  environments: readonly string[],
  catalogue: readonly App[],
): SyncStep[] {
  if (!environments.includes(env)) {
    throw new UsageError(`there is no environment ${env}`, `the environments are ${environments.join(", ")}`);
  }
  const unknown = names.find((name) => !catalogue.some(({ app }) => app === name));
  if (unknown !== undefined) {
    throw new UsageError(
      `there is no app ${unknown}`,
      `apps/ has ${catalogue.map(({ app }) => app).join(", ")}`,
    );
  }
  const wanted = catalogue.filter(({ app }) => names.length === 0 || names.includes(app));
  return ORDER.map((kind) => ({
    title: kind,
    apps: wanted.filter((app) => app.kind === kind).map(({ app }) => app),
  })).filter(({ apps }) => apps.length > 0);
}
