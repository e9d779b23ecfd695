/**
 * The contents of a repository, as Git objects: no checkout is looked at, and no setting for line ends touches a byte.
 */
import { isUtf8 } from "node:buffer";
import { createHash } from "node:crypto";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ExternalError, RefusedError } from "../errors.ts";
import { type RunResult, tryRun, tryRunBytes } from "../exec.ts";
import { withTemporaryDirectory } from "../temporary.ts";
import { wildcard } from "../wildcard.ts";
import { lastLine, setupRefusal } from "./failure.ts";
import { checkoutEnvironment } from "./variables.ts";

export interface GitFile {
  text: string;
  /** As Git writes it, such as 100644. */
  mode: string;
}

/** A file as Git's trees list it. */
export interface Entry {
  mode: string;
  blob: string;
}

export class GitObjects {
  readonly directory: string;
  readonly #env: NodeJS.ProcessEnv;

  /**
   * @param directory where git runs: a checkout, or any place when the environment names the repository
   * @param env for git
   */
  constructor(directory: string, env: NodeJS.ProcessEnv = checkoutEnvironment(process.env)) {
    this.directory = directory;
    this.#env = env;
  }

  /** The commit that a name stands for; undefined when there is none. */
  async commitOf(name: string): Promise<string | undefined> {
    const args = ["rev-parse", "--verify", "--quiet", "--end-of-options", `${name}^{commit}`];
    const { exitCode, stdout } = await this.tryGit(args);
    return exitCode === 0 ? stdout.trim() : undefined;
  }

  /**
   * A file at a commit; undefined when there is none.
   * @throws RefusedError when it is not UTF-8
   */
  async read(commit: string, path: string): Promise<GitFile | undefined> {
    const entry = (await this.entries(commit, [path])).get(path);
    if (entry === undefined) return undefined;
    const text = (await this.texts([entry.blob])).get(entry.blob);
    if (text !== undefined) return { mode: entry.mode, text };
    throw new RefusedError(`${path} is not UTF-8`, "save it as UTF-8 and push");
  }

  /** The files that a commit has at some paths, or below them; what it has not is left out. */
  async entries(commit: string, paths: readonly string[]): Promise<Map<string, Entry>> {
    return paths.length === 0 ? new Map() : this.#list(commit, paths);
  }

  /** All files that a commit has. */
  async allEntries(commit: string): Promise<Map<string, Entry>> {
    return this.#list(commit, []);
  }

  /** The names at the top of a commit's tree. */
  async top(commit: string): Promise<string[]> {
    const names = await this.git(["ls-tree", "--name-only", "-z", commit]);
    return names.split("\0").filter((name) => name !== "");
  }

  /** The texts of blobs, all read by one process; what is not UTF-8 is left out. */
  async texts(blobs: readonly string[]): Promise<Map<string, string>> {
    const texts = [...(await this.contents(blobs))].filter(([, content]) => isUtf8(content));
    return new Map(texts.map(([blob, content]) => [blob, content.toString()]));
  }

  /**
   * Writes what a commit has at some paths into a directory, byte for byte.
   * @param paths files and directories, or `:(glob)` and a pattern in which `*` stands for a part of a name; none for all
   * @throws ExternalError when the commit, or what one of the paths stands for, is not there
   */
  async writeTree(commit: string, paths: readonly string[], directory: string): Promise<void> {
    const places = paths.map((path) => fixedPart(path));
    const listed = await this.#list(commit, places.includes("") ? [] : places);
    const tests = paths.map(isAt);
    const files = [...listed].filter(([file]) => paths.length === 0 || tests.some((test) => test(file)));
    const missing = paths.find((_, index) => !files.some(([file]) => tests[index]?.(file)));
    if (missing !== undefined) throw new ExternalError(`${commit.slice(0, 7)} has no ${missing}`);
    await this.writeFiles(files, directory);
  }

  /** Writes files into a directory, byte for byte. */
  async writeFiles(
    files: readonly (readonly [path: string, entry: Entry])[],
    directory: string,
  ): Promise<void> {
    const contents = await this.contents(files.map(([, { blob }]) => blob));
    for (const folder of new Set(files.map(([path]) => dirname(path))))
      mkdirSync(join(directory, folder), { recursive: true });
    // Links last: nothing is written through one. One after the other: to queue a small file takes longer than to write it.
    for (const [path, { mode, blob }] of files.toSorted((one, other) => order(one[1]) - order(other[1]))) {
      const content = contents.get(blob) ?? "";
      if (mode === LINK) symlinkSync(content.toString(), join(directory, path));
      else writeFileSync(join(directory, path), content, { mode: mode === "100755" ? 0o755 : 0o644 });
    }
  }

  /**
   * Calls a function with a temporary directory that holds some paths as a commit has them, and removes it afterwards.
   * @param paths as `writeTree` takes them
   * @throws ExternalError when git does not have the commit or one of the paths in it
   */
  async withTree<T>(
    commit: string,
    paths: readonly string[],
    use: (directory: string) => Promise<T>,
  ): Promise<T> {
    return withTemporaryDirectory("tree-", async (directory) => {
      await this.writeTree(commit, paths, directory);
      return use(directory);
    });
  }

  /** All files, or those at and below some paths. @throws ExternalError for a path that no file can have */
  async #list(commit: string, paths: readonly string[]): Promise<Map<string, Entry>> {
    const entries = await this.git(["ls-tree", "-r", "-z", commit, "--", ...paths]);
    const files = [...entries.matchAll(/(\d+) blob ([0-9a-f]+)\t([^\0]+)\0/g)];
    return new Map(files.map(([, mode = "", blob = "", path = ""]) => [checkPath(path), { mode, blob }]));
  }

  /** The sizes of blobs in bytes, all asked of one process. */
  async sizes(blobs: readonly string[]): Promise<Map<string, number>> {
    if (blobs.length === 0) return new Map();
    const args = ["cat-file", "--batch-check=%(objectname) %(objectsize)"];
    const lines = (await this.git(args, { input: `${[...new Set(blobs)].join("\n")}\n` }))
      .trimEnd()
      .split("\n");
    return new Map(lines.map((line) => [line.split(" ")[0] ?? "", Number(line.split(" ")[1])]));
  }

  /** The bytes of blobs, all read by one process. */
  async contents(blobs: readonly string[]): Promise<Map<string, Buffer>> {
    const wanted = [...new Set(blobs)];
    const found = new Map<string, Buffer>();
    if (wanted.length === 0) return found;
    const options = { cwd: this.directory, env: this.#env, input: `${wanted.join("\n")}\n` };
    const { stdout: bytes, ...result } = await tryRunBytes("git", ["cat-file", "--batch"], options);
    if (result.exitCode !== 0)
      throw setupRefusal(result) ?? new ExternalError(`git cat-file failed: ${lastLine(result)}`);
    let position = 0;
    for (const blob of wanted) {
      // "<name> blob <size>", a line end, the content, and a line end.
      const start = bytes.indexOf("\n", position) + 1;
      const [, size] = / blob (\d+)\n$/.exec(bytes.toString("latin1", position, start)) ?? [];
      if (size === undefined) throw new ExternalError(`${this.directory} does not have the file ${blob}`);
      found.set(blob, bytes.subarray(start, start + Number(size)));
      position = start + Number(size) + 1;
    }
    return found;
  }

  /**
   * Runs git in the repository and returns whatever it answers.
   * @throws GitSetupError when it does not work here at all, as it is set up
   */
  async tryGit(
    args: readonly string[],
    options: { env?: NodeJS.ProcessEnv; input?: string } = {},
  ): Promise<RunResult> {
    const { input } = options;
    const result = await tryRun("git", args, {
      cwd: this.directory,
      env: { ...this.#env, ...options.env },
      ...(input === undefined ? {} : { input }),
    });
    const refusal = setupRefusal(result);
    if (refusal !== undefined) throw refusal;
    return result;
  }

  /** Runs git in the repository and returns its standard output. @throws ExternalError when it fails */
  async git(
    args: readonly string[],
    options: { env?: NodeJS.ProcessEnv; input?: string } = {},
  ): Promise<string> {
    const result = await this.tryGit(args, options);
    if (result.exitCode === 0) return result.stdout;
    throw new ExternalError(`git ${args[0]} failed: ${lastLine(result)}`);
  }
}

const LINK = "120000";

function order({ mode }: Entry): number {
  return mode === LINK ? 1 : 0;
}

const GLOB = ":(glob)";

/** The directory below which all is that a path may stand for. */
function fixedPart(path: string): string {
  return path.startsWith(GLOB) ? path.slice(GLOB.length).replace(/[^/]*\*.*$/, "") : path;
}

function isAt(path: string): (file: string) => boolean {
  if (!path.startsWith(GLOB)) return (file) => `${file}/`.startsWith(`${path.replace(/\/$/, "")}/`);
  const pattern = wildcard(path.slice(GLOB.length), "[^/]*");
  return (file) => pattern.test(file);
}

/** Git itself makes no such trees; whoever sends one must not write beside a directory. */
function checkPath(path: string): string {
  const isOut = path.split("/").some((part) => ["", ".", "..", ".git"].includes(part.toLowerCase()));
  if (isOut) throw new ExternalError(`${path} is no path that a commit may have`);
  return path;
}

/** Git's name for a content, by the hash that the repository uses: 40 digits, or 64. */
export function blobId(text: string, digits: number): string {
  const hash = createHash(digits === 40 ? "sha1" : "sha256");
  return hash.update(`blob ${Buffer.byteLength(text)}\0${text}`).digest("hex");
}
