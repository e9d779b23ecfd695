/** The overlays of a tree, and which of them a change has a part in. */
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

/**
 * Those of some overlays whose rendering, or whose environment's Secrets, differ from where HEAD left a base, committed or not.
 * @param base a branch or a commit
 */
export async function changedOverlays(
  root: string,
  base: string,
  overlays: readonly string[],
): Promise<string[]> {
  return touchedOverlays(overlays, await changedPaths(root, base));
}

/**
 * Those of some overlays that changed files have a part in; one too many rather than one too few. They are built from what
 * `inputDirectories` names, and from nothing else.
 */
export function touchedOverlays(overlays: readonly string[], paths: readonly string[]): string[] {
  const tests = paths.map((path): ((overlay: string) => boolean) => {
    const [top, first = "", second = ""] = path.split("/");
    if (top === "overlays") {
      const own = `overlays/${first}/${second}`;
      // Another app of the environment may use the Secret, too.
      const isOwn = overlays.includes(own) && !path.endsWith(".sops.yaml");
      return (overlay) =>
        isOwn
          ? overlay === own || overlay === `overlays/${first}`
          : `${overlay}/`.startsWith(`overlays/${first}/`);
    }
    if (top === "base" && overlays.some((overlay) => overlay.endsWith(`/${first}`)))
      return (overlay) => overlay.endsWith(`/${first}`);
    if (top === "argocd" && first !== "settings") return isEnvironment;
    return (overlay) => top === "argocd" || (top === "base" && !isEnvironment(overlay));
  });
  return overlays.filter((overlay) => tests.some((isTouched) => isTouched(overlay)));
}

/** Whether an overlay is of an environment's own objects, and not of an app. */
export function isEnvironment(overlay: string): boolean {
  return overlay.split("/").length === 2;
}
