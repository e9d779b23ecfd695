/**
 * Renderings by the content of everything that they are made from. An entry is a file that appears whole and never changes, so any
 * number of processes may use the cache at once, and it can be carried from one machine to another.
 */
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import { codeOf } from "../errors.ts";
import { ownName } from "../owner.ts";
import { cacheDir } from "../tools/cache.ts";
import type { NamedFiles } from "../tree/named-files.ts";
import type { NamedByBlob } from "./graph.ts";

/** Bytes. The renderings of 1,000 services in three environments are 40 MB. */
const LARGEST = 500 * 1024 ** 2;
/** Counted up when the same inputs give another entry. */
const FORMAT = 1;

export class RenderCache {
  readonly #directory: string;

  /** @param directory where the entries are; it need not exist */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** A rendering; undefined when it is not there, or may not be used. */
  async read(key: string): Promise<string | undefined> {
    const path = this.#path(key);
    try {
      const text = await readFile(path, "utf8");
      // When it was used last decides what goes first.
      const now = new Date();
      await utimes(path, now, now);
      return text;
    } catch (error) {
      if (["ENOENT", "ENOTDIR", "EACCES", "EROFS"].includes(codeOf(error) ?? "")) return undefined;
      throw error;
    }
  }

  /** Keeps a rendering. Where the cache cannot be written, it is only not kept. */
  async write(key: string, yaml: string): Promise<void> {
    const path = this.#path(key);
    const made = `${path}.${ownName()}-${key.slice(0, 4)}`;
    try {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(made, yaml);
      await rename(made, path);
    } catch {
      await rm(made, { force: true }).catch(() => {});
    }
  }

  /**
   * Calls a function with what is known of a repository's kustomizations, and keeps what it adds. Of those that are gone nothing is
   * kept after the next time.
   * @param root the top of the checkout
   */
  async withNames<T>(root: string, use: (names: NamedByBlob) => Promise<T>): Promise<T> {
    const key = createHash("sha256")
      .update(JSON.stringify([FORMAT, "names", root]))
      .digest("hex");
    const kept = await this.read(key);
    const known = new Map(kept === undefined ? [] : Names.parse(JSON.parse(kept)));
    const used = new Map<string, NamedFiles>();
    const result = await use({
      get(blob) {
        const found = used.get(blob) ?? known.get(blob);
        if (found !== undefined) used.set(blob, found);
        return found;
      },
      set: (blob, names) => used.set(blob, names),
    });
    const isSame = used.size === known.size && [...used.keys()].every((blob) => known.has(blob));
    if (!isSame) await this.write(key, JSON.stringify([...used]));
    return result;
  }

  /** Removes what was used longest ago, until the rest is smaller than the limit. */
  async trim(limit = LARGEST): Promise<void> {
    const entries: { path: string; size: number; usedAt: number }[] = [];
    for (const name of await readdir(this.#directory, { recursive: true }).catch(() => [])) {
      const path = join(this.#directory, name);
      const about = await stat(path).catch(() => undefined);
      if (about?.isFile() === true) entries.push({ path, size: about.size, usedAt: about.mtimeMs });
    }
    let total = entries.reduce((sum, { size }) => sum + size, 0);
    for (const { path, size } of entries.toSorted((one, other) => one.usedAt - other.usedAt)) {
      if (total <= limit) return;
      await rm(path, { force: true });
      total -= size;
    }
  }

  #path(key: string): string {
    return join(this.#directory, key.slice(0, 2), key.slice(2));
  }
}

const Names = z.array(z.tuple([z.string(), z.custom<NamedFiles>()]));

/** Where the cache is: `RENDER_CACHE` (relative to `root`), else beside that of the tools. */
export function renderCache(env: NodeJS.ProcessEnv, root: string): RenderCache {
  const given = env["RENDER_CACHE"];
  return new RenderCache(given ? resolve(root, given) : join(dirname(cacheDir(env, root)), "renderings"));
}

/**
 * The key of a rendering.
 * @param directory what is rendered, relative to the root
 * @param inputs every path that it depends on, with Git's name for its content; undefined for one that is not there
 * @param version of kustomize
 */
export function renderKey(
  directory: string,
  inputs: Iterable<readonly [path: string, content: string | undefined]>,
  version: string,
): string {
  const hash = createHash("sha256").update(JSON.stringify([FORMAT, version, directory]));
  for (const [path, content] of inputs) hash.update(`\0${path}\0${content ?? ""}`);
  return hash.digest("hex");
}
