/** What has run together before. */
import type { Remote } from "../git/remote.ts";
import type { Environment } from "../tree/environment.ts";
import type { PromotionStep } from "./plan.ts";

/** How far back the source environment is searched for the combination. */
const SEARCHED = 200;

/** Whether what the target will run has ever run together in the source. Known where both keep releases. */
export async function neverTogether(
  remote: Remote,
  options: {
    base: string;
    source: Environment;
    to: string;
    steps: readonly PromotionStep[];
  },
): Promise<string[]> {
  const { base, source, to, steps } = options;
  const from = source.name;
  if (source.promotesFrom === undefined || steps.length === 0) return [];
  const releases = async (commit: string, environment: string) => {
    const files = [...(await remote.entries(commit, [`overlays/${environment}/`]))];
    return new Map(
      files.filter(([path]) => path.endsWith("/release.yaml")).map(([path, { blob }]) => [appOf(path), blob]),
    );
  };
  const wanted = await releases(base, to);
  const there = await releases(base, from);
  for (const { app } of steps) wanted.set(app, there.get(app) ?? "");
  const log = await remote.changes([`:(glob)overlays/${from}/*/release.yaml`], {
    from: base,
    limit: SEARCHED,
  });
  for (const { files } of log) {
    if ([...wanted].every(([app, blob]) => there.get(app) === blob)) return [];
    // Back to what was there before.
    for (const { path, before } of files) {
      const app = appOf(path);
      if (before === undefined) there.delete(app);
      else there.set(app, before);
    }
  }
  return [
    `what ${to} will then run has never run together in ${from}: ${[...wanted.keys()].length} apps, of which ${steps.length} change`,
  ];
}

/** The app whose release a path is. */
function appOf(path: string): string {
  return path.split("/")[2] ?? "";
}
