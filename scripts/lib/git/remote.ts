/**
 * The repository as the forge has it, in a temporary bare clone: what the forge's branches hold decides, never a checkout.
 * Content is read and written as Git objects, so no setting for line ends touches a byte of it.
 */
import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { sha256 } from "../digest.ts";
import { MovedError, RefusedError } from "../errors.ts";
import { temporaryDirectory } from "../temporary.ts";
import { type Author, keptSettings } from "./checkout.ts";
import { failure, firstError, lastLine } from "./failure.ts";
import { GitHistory } from "./history.ts";
import { findWay, type Way } from "./network.ts";
import type { GitFile } from "./objects.ts";
import { ownEnvironment, type Setting } from "./variables.ts";

export interface RemoteOptions {
  /** The checkout whose Git configuration counts. */
  root: string;
  /** Over HTTP, without a credential. */
  url: string;
  token: string;
  /** The branch that is deployed. */
  branch: string;
  /** Of the caller; git gets of it what is no setting of Git, and of those what `keptSettings` and `ownEnvironment` let through. */
  env: NodeJS.ProcessEnv;
  /** Told how to remove the clone when the command is interrupted. */
  onInterrupt: (undo: () => Promise<unknown>) => void;
}

export type { Author } from "./checkout.ts";
export { blobId, type Entry, type GitFile as RemoteFile } from "./objects.ts";

export interface FileChange {
  path: string;
  /** What it holds afterwards; undefined removes it. */
  file: GitFile | undefined;
}

/** A fetch is tried again after these pauses. */
const PAUSES_MS = [500, 1000, 2000];
/** How far back history is fetched to find where a branch left main; then all of it. */
const DEEPEN = [50, 500];

/** Calls a function with a temporary clone, and with what finds the way to another address; removes the clone afterwards. */
export async function withRemote<T>(
  options: RemoteOptions,
  use: (remote: Remote, wayTo: (url: string) => Promise<Way>) => Promise<T>,
): Promise<T> {
  const directory = await temporaryDirectory("remote-");
  // A git that is still running may write once more.
  const remove = async () => rm(directory, { recursive: true, force: true, maxRetries: 5 });
  options.onInterrupt(remove);
  try {
    const kept = await keptSettings(options.root, options.env);
    const wayTo = async (url: string) => findWay(url, kept, { ...options, directory });
    const way = await wayTo(options.url);
    const remote = new Remote(directory, { ...options, env: { ...options.env, ...way.environment } }, [
      ...kept,
      ...way.settings,
    ]);
    await remote.git(["init", "--quiet", "--bare", "--template=", directory]);
    return await use(remote, wayTo);
  } finally {
    await remove();
  }
}

export class Remote extends GitHistory {
  readonly branch: string;
  readonly #url: string;
  /** By branch, the newest commit; undefined until it is read, once after each fetch. */
  #tips: ReadonlyMap<string, string> | undefined;

  /**
   * @param directory the bare clone. Git is told its name and runs in the checkout: a path in a setting means the same as there
   * @param kept of its user's configuration
   */
  constructor(
    directory: string,
    { root, url, token, branch, env }: Omit<RemoteOptions, "onInterrupt">,
    kept: readonly Setting[] = [],
  ) {
    const basic = Buffer.from(`x-access-token:${token}`).toString("base64");
    const own = ownEnvironment(env, [
      ...kept,
      ["remote.origin.url", url],
      // In the environment no process list, URL or file shows the token; it is for this one host.
      [`http.${new URL(url).origin}/.extraHeader`, `Authorization: Basic ${basic}`],
    ]);
    super(root, { ...own, GIT_DIR: directory }, `refs/remotes/origin/${branch}`);
    this.branch = branch;
    this.#url = url;
  }

  /** Whether its user's Git signs commits. */
  async signs(): Promise<boolean> {
    const args = ["config", "--type=bool", "--default=false", "--get", "commit.gpgSign"];
    return (await this.git(args)).trim() === "true";
  }

  /**
   * Brings the deployed branch and those of a pattern up to date.
   * @param options.history all of it; else the first fetch brings the newest commits only
   * @param options.depth how many commits of each branch those are
   * @throws RefusedError, ExternalError
   */
  async fetch(pattern: string, options: { history?: boolean; depth?: number } = {}): Promise<void> {
    const isDeep = options.history === true || (await this.tip(this.branch)) !== undefined;
    const depth = isDeep ? [] : [`--depth=${options.depth ?? 1}`];
    await this.#fetch([...depth, "--prune", "origin", ...this.#refs(pattern)]);
  }

  /** The newest commit of a branch; undefined when there is no such branch. */
  async tip(branch: string): Promise<string | undefined> {
    this.#tips ??= await this.#readTips();
    return this.#tips.get(branch);
  }

  /**
   * Makes a commit of its parent's tree with some files changed, signed where its user's Git signs commits.
   * @throws RefusedError when it cannot be signed
   */
  async commit(options: {
    parent: string;
    changes: readonly FileChange[];
    /** May say what the commit contains: see `content`. */
    message: (content: string) => string;
    author: Author;
    date: Date;
  }): Promise<string> {
    const { parent, author } = options;
    const date = options.date.toISOString();
    const env = {
      GIT_AUTHOR_NAME: author.name,
      GIT_AUTHOR_EMAIL: author.email,
      GIT_AUTHOR_DATE: date,
      GIT_COMMITTER_NAME: author.name,
      GIT_COMMITTER_EMAIL: author.email,
      GIT_COMMITTER_DATE: date,
    };
    const tree = await this.#write(parent, options.changes);
    const message = options.message(await this.content(parent, tree));
    const args = ["commit-tree", tree, "-p", parent, "-F", "-"];
    if (!(await this.signs())) return (await this.git(args, { env, input: message })).trim();
    const signed = await this.tryGit([...args, "-S"], { env, input: message });
    if (signed.exitCode === 0) return signed.stdout.trim();
    throw new RefusedError(
      `the commit cannot be signed, as commit.gpgSign asks: ${firstError(signed)}`,
      "see that `git commit -S` works here",
      { cause: signed },
    );
  }

  /** Writes a commit's tree with some files changed, all by one process, and gives its name. */
  async #write(commit: string, changes: readonly FileChange[]): Promise<string> {
    const files = changes.map(({ path, file }) =>
      file === undefined
        ? `D ${path}\n`
        : `M ${file.mode} inline ${path}\ndata ${Buffer.byteLength(file.text)}\n${file.text}\n`,
    );
    // It takes files for a commit only. Of this one nothing is used but the tree, which is asked for in the end.
    const head = `commit refs/written\nmark :1\ncommitter <> 0 +0000\ndata 0\nfrom ${commit}\n`;
    const input = `${head}${files.join("")}\nls :1 ""\ndone\n`;
    const told = await this.git(["fast-import", "--quiet", "--force", "--done"], { input });
    return told.split(/\s/)[2] ?? "";
  }

  /** Whether a commit has a signature; whose it is, and of which key, is for the forge to say. */
  async isSigned(commit: string): Promise<boolean> {
    return /^gpgsig/m.test((await this.git(["cat-file", "commit", commit])).split("\n\n", 1)[0] ?? "");
  }

  /** A digest of everything in which two commits, or trees, differ: paths, modes and bytes. */
  async content(from: string, to: string): Promise<string> {
    const raw = await this.git(["diff-tree", "-r", "--raw", "--no-renames", "--abbrev=64", "-z", from, to]);
    return sha256(raw);
  }

  /**
   * Pushes a commit to a branch.
   * @param expected what the branch must still hold (`none`: it must not exist yet); without it, only a fast-forward is made
   * @throws MovedError when somebody else was faster
   * @throws RefusedError when the forge protects the branch, ExternalError when it fails
   */
  async push(commit: string, branch: string, expected?: string): Promise<void> {
    const lease =
      expected === undefined
        ? []
        : [`--force-with-lease=refs/heads/${branch}:${expected === "none" ? "" : expected}`];
    const result = await this.tryGit([
      "push",
      "--porcelain",
      "--no-verify",
      ...lease,
      "origin",
      `${commit}:refs/heads/${branch}`,
    ]);
    if (result.exitCode === 0) return;
    const [, who, reason = ""] = /^!\t.*\[(remote )?rejected\] \((.*)\)$/m.exec(result.stdout) ?? [];
    const remarks = [...result.stderr.matchAll(/^remote: (?:error:)?(.*)$/gm)]
      .map(([, text = ""]) => text.trim().replace(/\.$/, ""))
      .filter((text) => text !== "");
    if (/^!\t.*rejected\]/m.test(result.stdout)) {
      if (who === undefined || isRace(`${reason} ${remarks.join(" ")}`)) throw new MovedError(branch, reason);
      const unsigned = remarks.find((remark) => /unverified commit|verified signature/.test(remark));
      throw new RefusedError(
        `the forge refuses a push to ${branch}: ${unsigned ?? remarks[0] ?? reason}`,
        unsigned !== undefined
          ? "have Git sign commits (commit.gpgSign) with a key that the forge knows"
          : branch === this.branch
            ? "leave --direct out: then it is a pull request"
            : `let the token push branches like ${branch}`,
      );
    }
    throw failure(result, this.#url);
  }

  /**
   * Deletes a branch that still holds what is expected.
   * @throws MovedError when somebody else was faster
   */
  async deleteBranch(branch: string, expected: string): Promise<void> {
    const ref = `refs/heads/${branch}`;
    const lease = `--force-with-lease=${ref}:${expected}`;
    const result = await this.tryGit(["push", "--porcelain", "--no-verify", lease, "origin", `:${ref}`]);
    if (result.exitCode === 0) return;
    if (/^!\t.*rejected\]/m.test(result.stdout)) throw new MovedError(branch, lastLine(result));
    throw failure(result, this.#url);
  }

  /** The commits of a branch that the deployed one does not have, the newest first, and where they left it. */
  async ahead(branch: string, pattern: string): Promise<{ commits: string[]; from: string | undefined }> {
    const [main, other] = [this.branch, branch].map((name) => `refs/remotes/origin/${name}`);
    const base = async () => this.mergeBase(`${main}`, `${other}`);
    const refs = this.#refs(pattern);
    let from = await base();
    for (const depth of DEEPEN) {
      if (from !== undefined || !(await this.isShallow())) break;
      await this.#fetch([`--deepen=${depth}`, "origin", ...refs]);
      from = await base();
    }
    const list = async () => {
      const commits = await this.git(["rev-list", `${other}`, `^${main}`]);
      return commits.split("\n").filter((line) => line !== "");
    };
    const commits = await list();
    // Behind a merge, a history that is cut off takes commits of main for the branch's own.
    if ((from !== undefined && commits.length <= 1) || !(await this.isShallow())) return { commits, from };
    await this.#fetch(["--unshallow", "origin", ...refs]);
    return { commits: await list(), from: await base() };
  }

  /**
   * Whether a commit is the merge of a commit of the deployed branch into another, as git makes it without anybody's help. A git
   * that is too old to say so (before 2.38) says no.
   */
  async isPlainMerge(commit: string, into: string, deployed: string): Promise<boolean> {
    if (await this.isShallow()) await this.#fetch(["--unshallow", "origin", this.branch]);
    if (!(await this.stoodAt(`refs/remotes/origin/${this.branch}`)).has(deployed)) return false;
    const { exitCode, stdout } = await this.tryGit(["merge-tree", "--write-tree", into, deployed]);
    return exitCode === 0 && (await this.changed(stdout.trim(), commit)).length === 0;
  }

  /** What is fetched: the deployed branch, and those of a pattern. */
  #refs(pattern: string): string[] {
    return [this.branch, pattern].map((name) => `+refs/heads/${name}:refs/remotes/origin/${name}`);
  }

  async #fetch(args: readonly string[]): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      const result = await this.tryGit(["fetch", "--quiet", "--no-tags", ...args]);
      this.#tips = undefined;
      if (result.exitCode === 0) return;
      if (/couldn't find remote ref/.test(result.stderr)) {
        throw new RefusedError(
          `${this.#url} has no branch ${this.branch}`,
          "compare revision in the settings, and push the branch",
        );
      }
      const error = failure(result, this.#url);
      const pause = PAUSES_MS[attempt];
      if (error instanceof RefusedError || pause === undefined) throw error;
      await sleep(pause);
    }
  }

  async #readTips(): Promise<Map<string, string>> {
    const format = "--format=%(refname:lstrip=3) %(objectname)";
    const refs = await this.git(["for-each-ref", format, "refs/remotes/origin/"]);
    return new Map([...refs.matchAll(/^(\S+) (\w+)$/gm)].map(([, name = "", tip = ""]) => [name, tip]));
  }
}

/** Several pushes at once: whoever comes second finds the reference locked or changed. */
function isRace(text: string): boolean {
  if (/exists; cannot create/.test(text)) return false;
  return /cannot lock ref|failed to update ref|incorrect old value|fetch first|non-fast-forward/i.test(text);
}
