/** Of which files each overlay is made: a closure of everything that its kustomizations name. */
import { posix } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Entry } from "../git/objects.ts";
import { isAddress } from "../tree/inputs.ts";
import { filesOfPlugins, type NamedFile, type NamedFiles, namedFiles } from "../tree/named-files.ts";

/** The files of one state of the repository. */
export interface Tree {
  files: ReadonlyMap<string, Entry>;
  /** The texts of blobs; what is not UTF-8 is left out. */
  texts: (blobs: readonly string[]) => Promise<ReadonlyMap<string, string>>;
}

export interface Closure {
  /** Every path that is read or looked for, relative to the top; an absent one counts when it appears. */
  files: ReadonlySet<string>;
  /** Directories of which everything counts. */
  directories: ReadonlySet<string>;
  /** Addresses that kustomize would fetch. */
  remote: readonly { kustomization: string; entry: string }[];
  /** Why there may be more; then every change counts. */
  problems: readonly { kustomization: string; problem: string }[];
}

/** The names of a kustomization file. Source: kustomize, api/konfig, RecognizedKustomizationFileNames. */
const NAMES = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
const LINK = "120000";
/** As Linux has it: more links one after the other lead in a circle. */
const MOST_LINKS = 40;

const NO_TEXT: NamedFiles = {
  kind: "",
  files: [],
  problems: ["it is not UTF-8, or a link that leads nowhere"],
};

/** The inputs of one directory with a kustomization. */
interface Node extends Closure {
  files: Set<string>;
  directories: Set<string>;
  remote: { kustomization: string; entry: string }[];
  problems: { kustomization: string; problem: string }[];
  isComponent: boolean;
  /** Directories that it is built from. */
  children: Set<string>;
}

/** The files that kustomizations name, by Git's name for each kustomization's content. */
export interface NamedByBlob {
  get: (blob: string) => NamedFiles | undefined;
  set: (blob: string, names: NamedFiles) => unknown;
}

/**
 * Reads the kustomizations of a tree.
 * @param parsed what has been read before; what is new is added
 * @param like another state of it: where a change names no other files, both have the same graph
 * @throws ExternalError when git fails
 */
export async function readGraph(
  tree: Tree,
  parsed: NamedByBlob = new Map(),
  like?: { files: Tree["files"]; graph: Graph },
): Promise<Graph> {
  if (like !== undefined && (await isAlike(tree, parsed, like))) return like.graph;
  const links = new Links(tree.files, await tree.texts(blobsOf(tree.files, ({ mode }) => mode === LINK)));
  const places = [...tree.files.keys()]
    .filter((path) => NAMES.includes(posix.basename(path)))
    .map((path) => {
      const passed = new Set<string>();
      const real = links.follow(path, passed);
      passed.add(real ?? path);
      return { path, blob: tree.files.get(real ?? "")?.blob, passed };
    });
  const named = await namesIn(
    tree,
    parsed,
    places.flatMap(({ blob }) => blob ?? []),
  );
  const nodes = new Map<string, Node>();
  const plugins: { node: Node; directory: string; kustomization: string; file: NamedFile }[] = [];
  for (const { path: kustomization, blob, passed } of places) {
    const directory = posix.dirname(kustomization);
    const node = nodes.get(directory) ?? emptyNode(directory);
    nodes.set(directory, node);
    for (const link of passed) node.files.add(link);
    const { kind, files, problems } = named(blob);
    node.isComponent ||= kind === "Component";
    node.problems.push(...problems.map((problem) => ({ kustomization, problem })));
    for (const file of files) {
      addFile(node, directory, kustomization, file, links);
      if (file.as === "plugin") plugins.push({ node, directory, kustomization, file });
    }
  }
  const graph = new Graph(nodes);
  await addPlugins(tree, graph, plugins, links);
  return graph;
}

/** The files that kustomizations name: those that are not known are read. */
async function namesIn(
  tree: Tree,
  parsed: NamedByBlob,
  blobs: readonly string[],
): Promise<(blob: string | undefined) => NamedFiles> {
  const texts = await tree.texts(blobs.filter((blob) => parsed.get(blob) === undefined));
  return (blob = "") => {
    const text = texts.get(blob);
    const found = parsed.get(blob) ?? (text === undefined ? NO_TEXT : namedFiles(text));
    parsed.set(blob, found);
    return found;
  };
}

/** Whether nothing that the graph of another state is made of is different in a tree. */
async function isAlike(
  tree: Tree,
  parsed: NamedByBlob,
  { files, graph }: { files: Tree["files"]; graph: Graph },
): Promise<boolean> {
  if (tree.files.size !== files.size) return false;
  const pairs: [string, string][] = [];
  for (const [path, { mode, blob }] of tree.files) {
    const before = files.get(path);
    // Through a link, a file of any name may be a kustomization.
    if (before === undefined || before.mode === LINK || mode === LINK) return false;
    if (before.blob === blob) continue;
    if (graph.plugins.has(path)) return false;
    if (NAMES.includes(posix.basename(path))) pairs.push([before.blob, blob]);
  }
  const named = await namesIn(tree, parsed, pairs.flat());
  return pairs.every(([before, blob]) => isDeepStrictEqual(named(before), named(blob)));
}

function blobsOf(files: Tree["files"], test: (entry: Entry) => boolean): string[] {
  return [...files.values()].filter(test).map(({ blob }) => blob);
}

function emptyNode(directory: string): Node {
  const files = new Set(NAMES.map((name) => posix.join(directory, name)));
  return { files, directories: new Set(), remote: [], problems: [], isComponent: false, children: new Set() };
}

function addFile(
  node: Node,
  directory: string,
  kustomization: string,
  { path: entry, as, field }: NamedFile,
  links: Links,
): void {
  if (isAddress(entry)) {
    if (as !== "guess") node.remote.push({ kustomization, entry });
    return;
  }
  const real = links.follow(posix.join(directory, entry), node.files);
  if (entry.startsWith("/") || real === undefined) {
    if (as !== "guess")
      node.problems.push({ kustomization, problem: `${field} leads out of the repository: ${entry}` });
    return;
  }
  if (as !== "tree") node.files.add(real);
  // Of a guess, a directory may be meant; but not one that the kustomization itself is in.
  const isAbove = `${directory}/`.startsWith(`${real}/`) || real === ".";
  if ((as === "tree" || (as === "guess" && !isAbove)) && links.isDirectory(real)) {
    node.directories.add(real);
    if (links.isIn(real))
      node.problems.push({ kustomization, problem: `${field} names ${real}, which has links` });
  }
  if (as !== "any" && as !== "plugin") return;
  node.children.add(real);
  // It may become a directory with a kustomization.
  for (const name of NAMES) node.files.add(posix.join(real, name));
}

/**
 * The files that `generators`, `transformers` and `validators` name hold configurations of plugins. A configuration may name files,
 * too, relative to the kustomization that lists the plugin.
 */
async function addPlugins(
  tree: Tree,
  graph: Graph,
  plugins: readonly { node: Node; directory: string; kustomization: string; file: NamedFile }[],
  links: Links,
): Promise<void> {
  // Thousands of overlays share a few plugins.
  const known = new Map<string, string[]>();
  const blobsOfPlugin = (real: string): string[] => {
    const found = known.get(real);
    if (found !== undefined) return found;
    const files = graph.has(real) ? [...graph.closureOf(real).files] : [real];
    for (const file of files) graph.plugins.add(file);
    const blobs = files.flatMap((file) => tree.files.get(file)?.blob ?? []);
    known.set(real, blobs);
    return blobs;
  };
  const sources = plugins.map((plugin) => {
    const real = links.follow(posix.join(plugin.directory, plugin.file.path), new Set()) ?? "";
    return { ...plugin, blobs: blobsOfPlugin(real) };
  });
  const texts = await tree.texts(sources.flatMap(({ blobs }) => blobs));
  const parsed = new Map<string, string[] | undefined>();
  for (const { node, directory, kustomization, file, blobs } of sources) {
    for (const blob of blobs) {
      const text = texts.get(blob);
      if (!parsed.has(blob)) parsed.set(blob, text === undefined ? undefined : filesOfPlugins(text));
      const paths = parsed.get(blob);
      if (paths === undefined)
        node.problems.push({
          kustomization,
          problem: `${file.field} has a configuration that is no YAML: ${file.path}`,
        });
      for (const path of paths ?? [])
        addFile(node, directory, kustomization, { field: file.field, path, as: "guess" }, links);
    }
  }
}

/** Where paths of a tree lead: kustomize follows symbolic links. */
class Links {
  readonly #targets = new Map<string, string>();
  readonly #directories = new Set<string>();

  constructor(files: Tree["files"], texts: ReadonlyMap<string, string>) {
    for (const [path, { mode, blob }] of files) {
      if (mode === LINK) this.#targets.set(path, texts.get(blob) ?? "");
      for (let at = posix.dirname(path); at !== "." && !this.#directories.has(at); at = posix.dirname(at))
        this.#directories.add(at);
    }
  }

  /**
   * Where a path leads; undefined when that is out of the repository.
   * @param passed gets the links on the way
   */
  follow(path: string, passed: Set<string>): string | undefined {
    let rest = path.replace(/\/$/, "");
    for (let count = 0; count < MOST_LINKS; count += 1) {
      if (rest === ".." || rest.startsWith("../")) return undefined;
      const link = this.#targets.size === 0 ? undefined : this.#firstIn(rest);
      if (link === undefined) return rest;
      passed.add(link);
      const target = this.#targets.get(link) ?? "";
      if (target.startsWith("/")) return undefined;
      rest = posix.join(posix.dirname(link), target, rest.slice(link.length + 1)).replace(/\/$/, "");
    }
    return undefined;
  }

  /** Whether a path is a directory. */
  isDirectory(path: string): boolean {
    return this.#directories.has(path);
  }

  /** Whether a directory has a link in it. */
  isIn(directory: string): boolean {
    return [...this.#targets.keys()].some((link) => link.startsWith(`${directory}/`));
  }

  #firstIn(path: string): string | undefined {
    const parts = path.split("/");
    const prefixes = parts.map((_, index) => parts.slice(0, index + 1).join("/"));
    return prefixes.find((prefix) => this.#targets.has(prefix));
  }
}

export class Graph {
  readonly #nodes: ReadonlyMap<string, Node>;
  /** Files that hold configurations of plugins, which may name others. */
  readonly plugins = new Set<string>();
  /** Directories of kustomizations that no other one is built from, sorted. Components are none. */
  readonly overlays: readonly string[];

  constructor(nodes: ReadonlyMap<string, Node>) {
    this.#nodes = nodes;
    const used = new Set(
      [...nodes].flatMap(([own, { children }]) => [...children].filter((child) => child !== own)),
    );
    const all = [...nodes].filter(([, { isComponent }]) => !isComponent).map(([directory]) => directory);
    const tops = all.filter((directory) => !used.has(directory));
    // What leads in a circle is built from each other, and from nothing above.
    const reached = this.#reach(tops);
    this.overlays = [...tops, ...all.filter((directory) => !reached.has(directory))].toSorted();
  }

  /** How many kustomizations there are. */
  get size(): number {
    return this.#nodes.size;
  }

  /** Whether a directory has a kustomization. */
  has(directory: string): boolean {
    return this.#nodes.has(directory);
  }

  /** All that a directory's rendering depends on. */
  closureOf(directory: string): Closure {
    const reached = [...this.#reach([directory])].flatMap((one) => this.#nodes.get(one) ?? []);
    return {
      files: new Set(reached.flatMap(({ files }) => [...files])),
      directories: new Set(reached.flatMap(({ directories }) => [...directories])),
      remote: reached.flatMap(({ remote }) => remote),
      problems: reached.flatMap(({ problems }) => problems),
    };
  }

  /** The overlays that depend on one of some paths, sorted. */
  affectedBy(changed: Iterable<string>): string[] {
    const found = this.dependingOn(changed);
    return this.overlays.filter((overlay) => found.has(overlay));
  }

  /** Every directory with a kustomization that depends on one of some paths, those that others are built from among them. */
  dependingOn(changed: Iterable<string>): ReadonlySet<string> {
    const paths = new Set(changed);
    if (paths.size === 0) return new Set();
    const above = new Set<string>();
    for (const path of paths)
      for (let at = posix.dirname(path); at !== "." && !above.has(at); at = posix.dirname(at)) above.add(at);
    const parents = new Map<string, string[]>();
    const hit: string[] = [];
    for (const [directory, node] of this.#nodes) {
      for (const child of node.children) {
        const known = parents.get(child);
        if (known === undefined) parents.set(child, [directory]);
        else known.push(directory);
      }
      if (isHit(node, paths, above)) hit.push(directory);
    }
    const found = new Set(hit);
    for (const directory of found) for (const parent of parents.get(directory) ?? []) found.add(parent);
    return found;
  }

  #reach(directories: readonly string[]): Set<string> {
    const found = new Set(directories);
    for (const directory of found)
      for (const child of this.#nodes.get(directory)?.children ?? []) found.add(child);
    return found;
  }
}

/** @param above the directories that have a changed file in them */
function isHit(
  { files, directories, problems }: Node,
  changed: ReadonlySet<string>,
  above: ReadonlySet<string>,
): boolean {
  if (problems.length > 0) return true;
  for (const file of files) if (changed.has(file)) return true;
  for (const directory of directories) if (above.has(directory)) return true;
  return false;
}
