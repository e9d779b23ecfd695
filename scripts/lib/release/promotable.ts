/**
 * What a promotion would refuse and only an edit of the tree fixes. `check` finds it before the merge, `bump` goes no further,
 * and `promote` looks again.
 */
import { join } from "node:path";
import { RefusedError } from "../errors.ts";
import { type Finding, findingAt, findingOf } from "../finding.ts";
import { autoscalerOf, idOf, type Manifest, parseManifests, workloads } from "../manifests/manifest.ts";
import type { App } from "../tree/catalogue.ts";
import { build } from "../tree/kustomize.ts";
import { liveImage } from "./release.ts";

/**
 * What is in the way in manifests.
 * @param overlay the directory that they are of
 */
export function obstaclesIn(overlay: string, manifests: readonly Manifest[]): Finding[] {
  return workloads(manifests).flatMap((workload) => {
    const autoscaler = autoscalerOf(workload, manifests);
    if (autoscaler === undefined || workload.spec.replicas === undefined) return [];
    const what = `${idOf(workload)} states its replicas, which ${idOf(autoscaler)} owns`;
    return [findingAt(overlay, what, "leave the number out: each sync would set it back")];
  });
}

/**
 * What is in the way in the environment that builds the live base: also how it pins the image, since a release takes it from there.
 * @param options.root directory with the tree
 * @param options.manifests what the app's overlay there renders
 */
export async function obstaclesInLive(options: {
  root: string;
  app: App;
  environment: string;
  manifests: readonly Manifest[];
}): Promise<Finding[]> {
  const { root, app, environment, manifests } = options;
  const overlay = `overlays/${environment}/${app.app}`;
  const found = obstaclesIn(overlay, manifests);
  try {
    await liveImage(root, app, environment);
    return found;
  } catch (error) {
    if (error instanceof RefusedError) return [findingOf(error, `${overlay}/kustomization.yaml`), ...found];
    throw error;
  }
}

/** @throws RefusedError for the first obstacle */
export function refuseObstacles([first]: readonly Finding[]): void {
  if (first !== undefined) throw new RefusedError(`${first.path}:${first.line}: ${first.what}`, first.way);
}

/**
 * Renders an app's overlay in the environment that builds the live base.
 * @throws RefusedError when a promotion from there would be refused
 * @throws ExternalError when it does not render
 */
export async function refuseUnpromotable(options: {
  root: string;
  app: App;
  environment: string;
  kustomize: string;
}): Promise<void> {
  const { root, app, environment, kustomize } = options;
  const directory = join(root, "overlays", environment, app.app);
  const manifests = parseManifests(await build(kustomize, directory));
  refuseObstacles(await obstaclesInLive({ root, app, environment, manifests }));
}
