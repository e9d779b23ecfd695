/** Every overlay, rendered once with the real kustomize. */
import { fileURLToPath } from "node:url";
import pLimit from "p-limit";
import {
  type Manifest,
  ofKind,
  parseManifests,
  type Workload,
} from "../../scripts/lib/manifests/manifest.ts";
import { resolveTool } from "../../scripts/lib/tools/resolve.ts";
import { type App, readCatalogue } from "../../scripts/lib/tree/catalogue.ts";
import { type Environment, readEnvironments } from "../../scripts/lib/tree/environment.ts";
import { build } from "../../scripts/lib/tree/kustomize.ts";
import { allOverlays } from "../../scripts/lib/tree/overlays.ts";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

export interface Overlay {
  env: string;
  app: string;
  /** Relative to the root. */
  directory: string;
  text: string;
  manifests: Manifest[];
}

export interface Tree {
  environments: Environment[];
  catalogue: App[];
  overlays: Overlay[];
}

/** Path of the kustomize to use: `KUSTOMIZE` where it is set, else the pinned one. */
export async function kustomize(): Promise<string> {
  return process.env["KUSTOMIZE"] ?? (await resolveTool("kustomize")).path;
}

let rendered: Promise<Tree> | undefined;

/** The whole tree, rendered once for all files of a worker. */
export async function renderTree(): Promise<Tree> {
  rendered ??= render();
  return rendered;
}

/** One overlay, rendered. */
export async function renderOverlay(env: string, app: string): Promise<Overlay> {
  const directory = `overlays/${env}/${app}`;
  const text = await build(await kustomize(), `${ROOT}/${directory}`);
  return { env, app, directory, text, manifests: parseManifests(text) };
}

async function render(): Promise<Tree> {
  const limit = pLimit(4);
  const overlays = (await allOverlays(ROOT)).map((directory) => {
    const [, env = "", app = ""] = directory.split("/");
    return limit(async () => renderOverlay(env, app));
  });
  return {
    environments: await readEnvironments(ROOT),
    catalogue: await readCatalogue(ROOT),
    overlays: await Promise.all(overlays),
  };
}

/** Everything an environment has. */
export function manifestsOf(tree: Tree, env: string): Manifest[] {
  return tree.overlays.filter((overlay) => overlay.env === env).flatMap(({ manifests }) => manifests);
}

/** What a workload's first container gets from ConfigMaps; of two values the later one. */
export function configurationOf(manifests: readonly Manifest[], workload: Workload): Record<string, string> {
  const maps = ofKind(manifests, "ConfigMap").filter(
    ({ metadata }) => metadata.namespace === workload.metadata.namespace,
  );
  const [main] = workload.spec.template.spec.containers;
  const parts = (main?.envFrom ?? []).map(
    ({ configMapRef }) => maps.find(({ metadata }) => metadata.name === configMapRef?.name)?.data ?? {},
  );
  return Object.fromEntries(parts.flatMap((part) => Object.entries(part)));
}
