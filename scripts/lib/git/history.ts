/** The commits of a repository: what came when, what it did, and what came before what. */
import { GitObjects } from "./objects.ts";

/** A commit of the deployed branch; the one that merged it, when it was merged. */
export interface Commit {
  commit: string;
  date: Date;
  author: string;
}

/** What one commit of the deployed branch did to some files. */
export interface FileChanges extends Commit {
  /** Git's names for the contents; undefined where there was, or is, no file. A link is none. */
  files: { path: string; before: string | undefined; after: string | undefined }[];
}

export class GitHistory extends GitObjects {
  readonly #head: string;

  /**
   * @param directory the repository
   * @param env for git
   * @param head from where history is read
   */
  constructor(directory: string, env?: NodeJS.ProcessEnv, head = "HEAD") {
    super(directory, env);
    this.#head = head;
  }

  /** The message of a commit, and its parents. */
  async describe(commit: string): Promise<{ message: string; parents: string[] }> {
    const log = await this.git(["log", "-1", "--format=%P%n%B", commit]);
    const [parents = "", ...message] = log.split("\n");
    return { message: message.join("\n"), parents: parents.split(" ").filter((parent) => parent !== "") };
  }

  /** The newest commit that two commits have in common; undefined when there is none here. */
  async mergeBase(one: string, other: string): Promise<string | undefined> {
    const { exitCode, stdout } = await this.tryGit(["merge-base", one, other]);
    return exitCode === 0 ? stdout.trim() : undefined;
  }

  /** The paths in which two commits differ. */
  async changed(from: string, to: string): Promise<string[]> {
    const paths = await this.git(["diff-tree", "-r", "-z", "--name-only", from, to]);
    return paths.split("\0").filter((path) => path !== "");
  }

  /**
   * The commits of the deployed branch that changed one of some paths, the newest first. A merged pull request is one: the
   * merge. Needs the whole history.
   * @param options.from the newest commit that counts; the branch's tip by default
   */
  async log(paths: readonly string[], options: { from?: string; limit?: number } = {}): Promise<Commit[]> {
    const log = await this.#log([FORMAT], paths, options);
    return log
      .split("\n")
      .filter((line) => line !== "")
      .map(parseCommit);
  }

  /**
   * What the commits of the deployed branch did to some files, the newest first; a merge by what it brought. Needs the whole
   * history.
   * @param options.from the newest commit that counts; the branch's tip by default
   * @param options.matching of the files only those in which a line like this came or went
   */
  async changes(
    paths: readonly string[],
    options: { from?: string; limit?: number; matching?: string } = {},
  ): Promise<FileChanges[]> {
    const matching = options.matching === undefined ? [] : ["--no-textconv", `-G${options.matching}`];
    const raw = ["-m", "--raw", "--no-renames", "--no-abbrev", "-z", FORMAT, ...matching];
    const log = await this.#log(raw, paths, options);
    const found: FileChanges[] = [];
    const fields = log.split("\0");
    for (let index = 0; index < fields.length; index += 1) {
      const field = (fields[index] ?? "").trim();
      const entry = /^:(\d+ \d+ [0-9a-f]+ [0-9a-f]+) \w+$/.exec(field)?.[1]?.split(" ") ?? [];
      if (entry.length > 0) {
        index += 1;
        const [left = "", right = "", before, after] = entry;
        const isFile = (mode: string) => mode.startsWith("100");
        found.at(-1)?.files.push({
          path: fields[index] ?? "",
          before: isFile(left) ? before : undefined,
          after: isFile(right) ? after : undefined,
        });
      } else if (field !== "") found.push({ ...parseCommit(field), files: [] });
    }
    return found;
  }

  async #log(
    args: readonly string[],
    paths: readonly string[],
    { from = this.#head, limit }: { from?: string; limit?: number },
  ): Promise<string> {
    const count = limit === undefined ? [] : [`--max-count=${limit}`];
    return this.git(["log", "--first-parent", ...args, ...count, from, "--", ...paths]);
  }

  /**
   * The commits that a branch has stood at. Of a merged pull request that is the merge and none of its own commits: what one of
   * them brings, another one may take back, and nobody sees either in what is merged. Needs the whole history.
   * @param tip the newest of them
   */
  async stoodAt(tip: string): Promise<Set<string>> {
    const list = await this.git(["rev-list", "--first-parent", tip]);
    return new Set(list.split("\n").filter((line) => line !== ""));
  }

  /** Where a branch stood at a moment; undefined before its first commit. @param tip the newest commit of the branch */
  async commitAt(date: Date, tip: string): Promise<string | undefined> {
    const list = await this.git(["rev-list", "-1", "--first-parent", `--before=${date.toISOString()}`, tip]);
    return list.trim() || undefined;
  }

  /** Whether older commits are missing. */
  async isShallow(): Promise<boolean> {
    return (await this.git(["rev-parse", "--is-shallow-repository"])).trim() === "true";
  }

  /**
   * The newest commit of a commit's history that changed one of some paths; where history is cut short, it may be the oldest
   * there is.
   */
  async lastChange(commit: string, paths: readonly string[]): Promise<string | undefined> {
    const log = await this.git(["log", "-1", "--format=%H", commit, "--", ...paths]);
    return log.trim() || undefined;
  }
}

const FORMAT = "--format=%H %cI %an";

function parseCommit(line: string): Commit {
  const [commit = "", date = "", ...author] = line.split(" ");
  return { commit, date: new Date(date), author: author.join(" ") };
}
