/** The overlays of a tree, and the paths of a change. */
import { dirname } from "node:path";
import { glob } from "tinyglobby";
import { GitObjects } from "../git/objects.ts";

/** The directory of every app's overlay, relative to the root. */
export async function allOverlays(root: string): Promise<string[]> {
  return directoriesOf(root, "overlays/*/*/kustomization.yaml");
}

/** The directory of every environment's own objects, those of Argo CD, relative to the root. */
export async function environmentOverlays(root: string): Promise<string[]> {
  return directoriesOf(root, "overlays/*/kustomization.yaml");
}

async function directoriesOf(root: string, files: string): Promise<string[]> {
  return (await glob(files, { cwd: root, dot: true })).map((file) => dirname(file)).toSorted();
}

/**
 * The paths that differ from where HEAD left a base; a file that was moved has two.
 * @param base a branch or a commit
 * @param head what is compared; the files in the checkout by default
 */
export async function changedPaths(root: string, base: string, head?: string): Promise<string[]> {
  const diff = ["diff", "-z", "--no-renames", "--name-only", "--merge-base", base];
  const list = await new GitObjects(root).git(head === undefined ? diff : [...diff, head]);
  return list.split("\0").filter((path) => path !== "");
}

/** The overlays among the paths of some files: every app's, and every environment's own objects, sorted. */
export function overlaysIn(paths: Iterable<string>): string[] {
  return [...paths]
    .filter((path) => /^overlays\/[^/]+\/(?:[^/]+\/)?kustomization\.yaml$/.test(path))
    .map((path) => dirname(path))
    .toSorted();
}

/** Whether an overlay is of an environment's own objects, and not of an app. */
export function isEnvironment(overlay: string): boolean {
  return overlay.split("/").length === 2;
}

/** The environment of an overlay. */
export function environmentOf(overlay: string): string {
  return overlay.split("/")[1] ?? "";
}

/** The app of an overlay; an empty text for an environment's own objects. */
export function appOf(overlay: string): string {
  return overlay.split("/")[2] ?? "";
}
