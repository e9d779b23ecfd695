/** Files of vendors that are not ours to copy, where somebody keeps them beside the checkout: `../<folder>/crds/`. */
import { dirname } from "node:path";
import { glob } from "tinyglobby";
import { repositoryRoot } from "../../scripts/lib/repository.ts";

/** The directory with the definition of a kind, such as `sopssecrets.isindir.github.com`; undefined where there is none. */
export async function vendorDefinitions(kind: string): Promise<string | undefined> {
  const [plural, ...group] = kind.split(".");
  const name = `${group.join(".")}_${plural}*.yaml`;
  const [file] = await glob(`../*/crds/*/${name}`, { cwd: repositoryRoot(), absolute: true });
  return file === undefined ? undefined : dirname(file);
}
