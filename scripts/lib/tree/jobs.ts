/** Which jobs of `.github/workflows/checks.yaml` a change asks for: the only place that knows. */

/** What every change asks for. */
const ALWAYS = ["check", "tree", "policies"];
const ALL = [...ALWAYS, "argocd", "code", "systems"];

/** The first line that fits a path decides what it asks for besides. What none fits counts as code. */
const ROUTES: readonly { paths: RegExp; jobs: readonly string[] }[] = [
  // What the clusters get: manifests, releases, holds, sealed Secrets, the catalogue.
  { paths: /^(apps|base|overlays\/[^/]+\/[^/]+)\//, jobs: [] },
  // What Argo CD itself reads: its configuration, and the environments' own objects.
  { paths: /^(argocd|overlays)\//, jobs: ["argocd"] },
];

/**
 * The jobs that must succeed before a change is merged.
 * @param paths all that it adds, changes or removes
 */
export function jobsFor(paths: readonly string[]): string[] {
  const asked = paths.flatMap((path) => ROUTES.find((route) => route.paths.test(path))?.jobs ?? ALL);
  return ALL.filter((job) => ALWAYS.includes(job) || asked.includes(job));
}
