/** Where files lie that are sealed: not only in the work tree. */

import { deployedIn, headCommit } from "../git/checkout.ts";
import { GitObjects } from "../git/objects.ts";
import type { Target } from "../kubectl.ts";
import { readSettings } from "../tree/settings.ts";
import { readClusterSealed } from "./cluster-sealed.ts";
import { readSealedFiles, type Sealed } from "./reseal.ts";

export interface SealedPlace {
  /** Such as `HEAD`. */
  where: string;
  files: readonly Pick<Sealed, "path" | "recipients">[];
  /** What brings files there that are sealed anew. */
  way: string;
}

/**
 * All sealed files of environments: of the work tree, of its commit, of the deployed branch as it was fetched last, and of a
 * cluster.
 * @param cluster where SopsSecrets may be, too
 * @throws RefusedError when a file is damaged; ExternalError when the cluster does not answer
 */
export async function readSealedPlaces(
  root: string,
  environments: readonly string[],
  cluster: Target | undefined,
): Promise<SealedPlace[]> {
  const { revision } = await readSettings(root);
  const [head, deployed] = [await headCommit(root), await deployedIn(root, revision)];
  const places: SealedPlace[] = [
    {
      where: "the work tree",
      files: await readSealedFiles(root, environments),
      way: "seal it anew: npm run seal -- --rotate <env> all",
    },
    {
      where: "HEAD",
      files: await readSealedAt(root, head, environments),
      way: "commit it as it is sealed anew",
    },
  ];
  if (deployed.name !== "HEAD")
    places.push({
      where: deployed.name,
      files: await readSealedAt(root, deployed.commit, environments),
      way: "merge it as it is sealed anew, and `git fetch`",
    });
  if (cluster !== undefined)
    places.push({
      where: `the cluster ${cluster.context}`,
      files: await readClusterSealed(cluster),
      way: "wait until all is Synced: npm run status",
    });
  return places;
}

async function readSealedAt(
  root: string,
  commit: string,
  environments: readonly string[],
): Promise<Sealed[]> {
  const git = new GitObjects(root);
  const directories = environments.map((name) => `overlays/${name}`);
  const files = [...(await git.entries(commit, directories)).keys()];
  const paths = files.filter((path) => path.endsWith(".sops.yaml"));
  if (paths.length === 0) return [];
  return git.withTree(commit, paths, async (tree) => readSealedFiles(tree, environments));
}
