/**
 * The contents of a repository, as Git objects: no checkout is looked at, and no setting for line ends touches a byte.
 */
import { createHash } from "node:crypto";
import { ExternalError, RefusedError } from "./errors.ts";
import { type RunResult, tryRun } from "./exec.ts";
import { lastLine } from "./git-failure.ts";

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
   * @param directory the repository
   * @param env for git
   */
  constructor(directory: string, env: NodeJS.ProcessEnv) {
    this.directory = directory;
    this.#env = env;
  }

  /**
   * A file at a commit; undefined when there is none.
   * @throws RefusedError when it is not UTF-8
   */
  async read(commit: string, path: string): Promise<GitFile | undefined> {
    const entry = await this.git(["ls-tree", commit, "--", path]);
    const [, mode, type, blob] = /^(\d+) (\w+) ([0-9a-f]+)\t/.exec(entry) ?? [];
    if (mode === undefined || blob === undefined || type !== "blob") return undefined;
    const decoded = await this.git(["cat-file", "blob", blob]);
    // Decoding drops the mark that a file may start with, and replaces what it cannot read: the hash tells.
    const text = [decoded, `\uFEFF${decoded}`].find((candidate) => blobId(candidate, blob.length) === blob);
    if (text !== undefined) return { mode, text };
    throw new RefusedError(`${path} is not UTF-8`, "save it as UTF-8 and push");
  }

  /** The files that a commit has at some paths, or below them; what it has not is left out. */
  async entries(commit: string, paths: readonly string[]): Promise<Map<string, Entry>> {
    if (paths.length === 0) return new Map();
    const entries = await this.git(["ls-tree", "-r", "-z", commit, "--", ...paths]);
    const files = [...entries.matchAll(/(\d+) blob ([0-9a-f]+)\t([^\0]+)\0/g)];
    return new Map(files.map(([, mode = "", blob = "", path = ""]) => [path, { mode, blob }]));
  }

  /**
   * The texts of blobs, all read by one process.
   * @throws RefusedError when one is not UTF-8
   */
  async texts(blobs: readonly string[]): Promise<Map<string, string>> {
    const wanted = [...new Set(blobs)];
    if (wanted.length === 0) return new Map();
    const output = await this.git(["cat-file", "--batch"], { input: `${wanted.join("\n")}\n` });
    const bytes = Buffer.from(output);
    const found = new Map<string, string>();
    let position = 0;
    for (const blob of wanted) {
      // "<name> blob <size>", a line end, the content, and a line end.
      const start = bytes.indexOf("\n", position) + 1;
      const size = Number(bytes.toString("utf8", position, start).trim().split(" ")[2]);
      const text = bytes.toString("utf8", start, start + size);
      if (blobId(text, blob.length) !== blob)
        throw new RefusedError(`${blob} is not UTF-8`, "save the file as UTF-8 and push");
      found.set(blob, text);
      position = start + size + 1;
    }
    return found;
  }

  /** Runs git in the repository and returns whatever it answers. */
  async tryGit(
    args: readonly string[],
    options: { env?: NodeJS.ProcessEnv; input?: string } = {},
  ): Promise<RunResult> {
    const { input } = options;
    return tryRun("git", args, {
      cwd: this.directory,
      env: { ...this.#env, ...options.env },
      ...(input === undefined ? {} : { input }),
    });
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

/** Git's name for a content, by the hash that the repository uses: 40 digits, or 64. */
export function blobId(text: string, digits: number): string {
  const hash = createHash(digits === 40 ? "sha1" : "sha256");
  return hash.update(`blob ${Buffer.byteLength(text)}\0${text}`).digest("hex");
}
