/** What kustomize reads to render a directory: the files of its kustomization, and of all others that it is built from. */
import { join } from "node:path";
import { readIfThere } from "../file.ts";
import { namedFiles } from "./named-files.ts";
import { takenDirectories } from "./taken.ts";

export interface Input {
  /** The file that names it, relative to the root, and the line. */
  kustomization: string;
  line: number;
  /** Relative to the root; as it stands there, when kustomize would fetch it from elsewhere; undefined: nobody can tell. */
  path: string | undefined;
}

/**
 * The directories that an overlay may be built from, relative to the root: Argo CD renders it anew when they change.
 * @param overlay of an app, or of an environment itself
 */
export function inputDirectories(overlay: string): string[] {
  const [, , app] = overlay.split("/");
  return app === undefined
    ? [overlay, "argocd/automated", "argocd/environment", "argocd/settings"]
    : [overlay, `base/${app}`, "base/components", "base/transformers", "argocd/settings"];
}

/**
 * The directories that an overlay is allowed to be built from, relative to the root. Behind the first environment the rest of
 * `base` comes with a release.
 * @param overlay of an app, or of an environment itself
 * @param first the name of the first environment
 */
export function allowedInputs(overlay: string, first: string | undefined): string[] {
  const [, environment, app] = overlay.split("/");
  if (app === undefined || environment === first) return inputDirectories(overlay);
  return [overlay, ...takenDirectories(app), "argocd/settings"];
}

/** What kustomize fetches, even when there is something of that name. Source: kustomize, api/internal/git/repospec.go. */
const REMOTE = /^(git::)?([a-z]+:\/\/|[a-z][a-z0-9-]*@|github\.com[/:])/i;

/** Whether kustomize would fetch what a kustomization names. */
export function isAddress(path: string): boolean {
  return REMOTE.test(path);
}

/**
 * Reads what an overlay is built from, and may not be.
 * @param root the repository's root directory
 * @param overlay directory with a kustomization.yaml, relative to the root
 * @param own the directories that it may be built from
 */
export async function foreignInputs(root: string, overlay: string, own: readonly string[]): Promise<Input[]> {
  const isOwn = (path: string) => own.some((directory) => `${path}/`.startsWith(`${directory}/`));
  return walk(root, overlay, isOwn, new Set());
}

async function walk(
  root: string,
  directory: string,
  isOwn: (path: string) => boolean,
  seen: Set<string>,
): Promise<Input[]> {
  if (seen.has(directory)) return [];
  seen.add(directory);
  const kustomization = join(directory, "kustomization.yaml");
  const text = await readIfThere(join(root, kustomization));
  if (text === undefined) return [];
  const { files, problems } = namedFiles(text);
  if (problems.length > 0) return [{ kustomization, line: 1, path: undefined }];
  const lines = text.split("\n");
  const named = files.filter(({ as }) => as !== "guess");
  const foreign = named.map(async ({ path: entry }): Promise<Input[]> => {
    const isRemote = isAddress(entry);
    const path = isRemote ? entry : join(directory, entry);
    if (!isRemote && isOwn(path)) return walk(root, path, isOwn, seen);
    const index = lines.findIndex((line) => line.includes(entry));
    return [{ kustomization, line: Math.max(index, 0) + 1, path }];
  });
  return (await Promise.all(foreign)).flat();
}
