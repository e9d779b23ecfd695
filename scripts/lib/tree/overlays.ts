/** The overlays of a tree, and which of them a change has a part in. */
import { dirname } from "node:path";
import { glob } from "tinyglobby";
import { GitObjects } from "../git/objects.ts";
import { allowedInputs } from "./inputs.ts";

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
 * Those of some overlays that changed files have a part in: in their rendering, or in their environment's Secrets. They are built
 * from what `allowedInputs` names, and from nothing else: `npm run check` looks.
 * @param first the name of the first environment
 */
export function touchedOverlays(
  overlays: readonly string[],
  paths: readonly string[],
  first: string,
): string[] {
  const tests = paths.map((path): ((overlay: string) => boolean) => {
    const [top, second = "", third = ""] = path.split("/");
    if (top === "overlays") {
      const own = `overlays/${second}/${third}`;
      // Another app of the environment may use the Secret, too.
      const isOwn = overlays.includes(own) && !path.endsWith(".sops.yaml");
      return (overlay) =>
        isOwn
          ? overlay === own || overlay === `overlays/${second}`
          : `${overlay}/`.startsWith(`overlays/${second}/`);
    }
    if (top === "argocd" && second !== "settings") return isEnvironment;
    if (top === "argocd") return () => true;
    return (overlay) => allowedInputs(overlay, first).some((input) => path.startsWith(`${input}/`));
  });
  return overlays.filter((overlay) => tests.some((isTouched) => isTouched(overlay)));
}

/** Whether an overlay is of an environment's own objects, and not of an app. */
export function isEnvironment(overlay: string): boolean {
  return overlay.split("/").length === 2;
}
