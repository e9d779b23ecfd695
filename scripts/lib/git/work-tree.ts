/** The files in a checkout as Git would commit them, without a trace in its repository. */
import { copyFile, mkdir, stat, utimes } from "node:fs/promises";
import { delimiter, join, resolve } from "node:path";
import { codeOf } from "../errors.ts";
import { withTemporaryDirectory } from "../temporary.ts";
import { GitObjects } from "./objects.ts";
import { checkoutEnvironment } from "./variables.ts";

/**
 * Calls a function with Git's name for the tree of a checkout: its files as they are, the new ones among them, the ignored ones
 * not. Its objects are gone afterwards.
 * @param root the top of the checkout
 * @param use gets a reader that knows those objects, and all others
 */
export async function withWorkTree<T>(
  root: string,
  use: (git: GitObjects, tree: string) => Promise<T>,
): Promise<T> {
  return withTemporaryDirectory("work-tree-", async (directory) => {
    const git = new GitObjects(root);
    const places = await git.git(["rev-parse", "--git-path", "index", "--git-path", "objects"]);
    const [index = "", objects = ""] = places.split("\n").map((path) => resolve(root, path));
    const [ownIndex, ownObjects] = [join(directory, "index"), join(directory, "objects")];
    await mkdir(ownObjects);
    try {
      // Git need not read again what it knows to be unchanged.
      await copyFile(index, ownIndex);
      // A file that was changed in the second in which the index was written is read again: Git compares it with the index's time.
      const writtenAt = Math.floor((await stat(index)).mtimeMs / 1000);
      await utimes(ownIndex, writtenAt, writtenAt);
    } catch (error) {
      // Nothing has been added yet.
      if (codeOf(error) !== "ENOENT") throw error;
    }
    const alternates = [objects, process.env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] ?? ""];
    const own = new GitObjects(root, {
      ...checkoutEnvironment(process.env),
      GIT_INDEX_FILE: ownIndex,
      GIT_OBJECT_DIRECTORY: ownObjects,
      GIT_ALTERNATE_OBJECT_DIRECTORIES: alternates.filter((path) => path !== "").join(delimiter),
    });
    await own.git(["add", "--all"]);
    return use(own, (await own.git(["write-tree"])).trim());
  });
}
