/** Whether a target has every Secret key and ConfigMap that releases need there. */
import { join } from "node:path";
import pLimit from "p-limit";
import { type Manifest, parseManifests } from "../manifests/manifest.ts";
import {
  asOffers,
  missingReferences,
  neededReferences,
  type Offer,
  offeredReferences,
  type Reference,
} from "../manifests/references.ts";
import { build } from "../tree/kustomize.ts";
import { allOverlays } from "../tree/overlays.ts";

/** What is missing for one app. */
export interface MissingReference extends Reference {
  app: string;
  /** Whether the environment has any sealed Secret; one that has none gets its Secrets from elsewhere. */
  isSealing: boolean;
}

/** What a target's overlay is, before and after a promotion; nothing where it cannot be rendered. */
export interface RenderedManifests {
  app: string;
  before: readonly Manifest[];
  after: readonly Manifest[];
}

/** Renderings at the same time: kustomize takes a core each. */
const PARALLEL = 4;

/**
 * Finds what releases need and the target does not have. ConfigMaps must be rendered. Secret keys must be sealed in the
 * target, or be needed there today: what runs has them.
 * @param options.root the tree as it is after the promotion
 * @param options.apps renderings of the target's overlays, before and after
 */
export async function missingInTarget(options: {
  root: string;
  to: string;
  apps: readonly RenderedManifests[];
  kustomize: () => Promise<string>;
}): Promise<MissingReference[]> {
  const { root, to, apps, kustomize } = options;
  const own = apps.flatMap(({ before, after }) => offers(before, after));
  const missing = (offered: readonly Offer[]) =>
    apps.flatMap(({ app, after }) =>
      missingReferences(neededReferences(after), offered).map((reference) => ({ app, ...reference })),
    );
  if (missing(own).length === 0) return [];

  // Another app of the environment may bring it, or need it already.
  const changing = new Set(apps.map(({ app }) => app));
  const others = (await allOverlays(root)).filter((overlay) => {
    const [, environment, app = ""] = overlay.split("/");
    return environment === to && !changing.has(app);
  });
  const program = await kustomize();
  const render = async (overlay: string) => parseManifests(await build(program, join(root, overlay)));
  const renderings = await pLimit(PARALLEL).map(others, render);
  const everything = [...apps.map(({ after }) => after), ...renderings].flat();
  const isSealing = everything.some(({ kind }) => kind === "SopsSecret");
  const offered = [...own, ...renderings.flatMap((manifests) => offers(manifests, manifests))];
  return missing(offered).map((reference) => ({ ...reference, isSealing }));
}

function offers(before: readonly Manifest[], after: readonly Manifest[]): Offer[] {
  const running = neededReferences(before).filter(({ kind }) => kind === "Secret");
  return [...offeredReferences(after), ...asOffers(running)];
}
