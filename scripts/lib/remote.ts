/**
 * The repository as the forge has it, in a temporary bare clone: what the forge's branches hold decides, never a checkout.
 * Content is read and written as Git objects, so no setting for line ends touches a byte of it.
 */
import { createHash } from "node:crypto";
import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { sha256 } from "./digest.ts";
import { ExternalError, RefusedError } from "./errors.ts";
import { type RunResult, tryRun } from "./exec.ts";
import { temporaryDirectory } from "./temporary.ts";

export interface RemoteOptions {
  /** Over HTTP, without a credential. */
  url: string;
  token: string;
  /** The branch that is deployed. */
  branch: string;
  /** Of the caller; git gets it without what would point it to another repository. */
  env: NodeJS.ProcessEnv;
  /** Told how to remove the clone when the command is interrupted. */
  onInterrupt: (undo: () => Promise<unknown>) => void;
}

export interface Author {
  name: string;
  email: string;
}

export interface RemoteFile {
  text: string;
  /** As Git writes it, such as 100644. */
  mode: string;
}

export interface FileChange {
  path: string;
  /** What it holds afterwards; undefined removes it. */
  file: RemoteFile | undefined;
}

/** A commit of the deployed branch, as the one that merged it when it was merged. */
export interface LogEntry {
  commit: string;
  date: Date;
  author: string;
  subject: string;
}

/** What one commit of the deployed branch did to some files. */
export interface FileChanges {
  commit: string;
  /** Git's names for the contents; undefined where there was, or is, no file. */
  files: { path: string; before: string | undefined; after: string | undefined }[];
}

/** A file as Git's trees list it. */
export interface Entry {
  mode: string;
  blob: string;
}

export type Pushed = { kind: "pushed" } | { kind: "moved"; reason: string };

const BOT: Author = { name: "ecommerce-gitops bot", email: "bot@ecommerce-gitops.invalid" };
/** A fetch is tried again after these pauses. */
const PAUSES_MS = [500, 1000, 2000];
/** How far back history is fetched to find where a branch left main; then all of it. */
const DEEPEN = [50, 500];

/** Calls a function with a temporary clone, and removes it afterwards. */
export async function withRemote<T>(options: RemoteOptions, use: (remote: Remote) => Promise<T>): Promise<T> {
  const directory = await temporaryDirectory("remote-");
  // A git that is still running may write once more.
  const remove = async () => rm(directory, { recursive: true, force: true, maxRetries: 5 });
  options.onInterrupt(remove);
  try {
    const remote = new Remote(directory, options);
    await remote.create();
    return await use(remote);
  } finally {
    await remove();
  }
}

export class Remote {
  /** The bare clone. */
  readonly directory: string;
  readonly branch: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #url: string;
  /** By branch, the newest commit; undefined until it is read, once after each fetch. */
  #tips: ReadonlyMap<string, string> | undefined;

  constructor(directory: string, { url, token, branch, env }: Omit<RemoteOptions, "onInterrupt">) {
    this.directory = directory;
    this.branch = branch;
    this.#url = url;
    this.#env = gitEnvironment(env, url, token);
  }

  async create(): Promise<void> {
    await this.#git(["init", "--quiet", "--bare", "--template=", "."]);
  }

  /**
   * Brings the deployed branch and those of a pattern up to date.
   * @param options.history all of it; else the first fetch brings the newest commits only
   * @param options.depth how many commits of each branch those are
   * @throws RefusedError, ExternalError
   */
  async fetch(pattern: string, options: { history?: boolean; depth?: number } = {}): Promise<void> {
    const isDeep = options.history === true || (await this.tip(this.branch)) !== undefined;
    const refs = [this.branch, pattern].map((name) => `+refs/heads/${name}:refs/remotes/origin/${name}`);
    const depth = isDeep ? [] : [`--depth=${options.depth ?? 1}`];
    await this.#fetch([...depth, "--prune", "origin", ...refs]);
  }

  /** The newest commit of a branch; undefined when there is no such branch. */
  async tip(branch: string): Promise<string | undefined> {
    this.#tips ??= await this.#readTips();
    return this.#tips.get(branch);
  }

  /**
   * A file at a commit; undefined when there is none.
   * @throws RefusedError when it is not UTF-8
   */
  async read(commit: string, path: string): Promise<RemoteFile | undefined> {
    const entry = await this.#git(["ls-tree", commit, "--", path]);
    const [, mode, type, blob] = /^(\d+) (\w+) ([0-9a-f]+)\t/.exec(entry) ?? [];
    if (mode === undefined || blob === undefined || type !== "blob") return undefined;
    const decoded = await this.#git(["cat-file", "blob", blob]);
    // Decoding drops the mark that a file may start with, and replaces what it cannot read: the hash tells.
    const text = [decoded, `\uFEFF${decoded}`].find((candidate) => blobId(candidate, blob.length) === blob);
    if (text !== undefined) return { mode, text };
    throw new RefusedError(`${path} is not UTF-8`, "save it as UTF-8 and push");
  }

  /** The files that a commit has at some paths, or below them; what it has not is left out. */
  async entries(commit: string, paths: readonly string[]): Promise<Map<string, Entry>> {
    if (paths.length === 0) return new Map();
    const entries = await this.#git(["ls-tree", "-r", "-z", commit, "--", ...paths]);
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
    const output = await this.#git(["cat-file", "--batch"], { input: `${wanted.join("\n")}\n` });
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

  /** Makes a commit of its parent's tree with some files changed. */
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
    return (await this.#git(["commit-tree", tree, "-p", parent, "-F", "-"], { env, input: message })).trim();
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
    const told = await this.#git(["fast-import", "--quiet", "--force", "--done"], { input });
    return told.split(/\s/)[2] ?? "";
  }

  /** A digest of everything in which two commits, or trees, differ: paths, modes and bytes. */
  async content(from: string, to: string): Promise<string> {
    const raw = await this.#git(["diff-tree", "-r", "--raw", "--no-renames", "--abbrev=64", "-z", from, to]);
    return sha256(raw);
  }

  /**
   * Pushes a commit to a branch.
   * @param expected what the branch must still hold (`none`: it must not exist yet); without it, only a fast-forward is made
   * @returns `moved` when somebody else was faster
   * @throws RefusedError when the forge protects the branch, ExternalError when it fails
   */
  async push(commit: string, branch: string, expected?: string): Promise<Pushed> {
    const lease =
      expected === undefined
        ? []
        : [`--force-with-lease=refs/heads/${branch}:${expected === "none" ? "" : expected}`];
    const result = await this.#try([
      "push",
      "--porcelain",
      "--no-verify",
      ...lease,
      "origin",
      `${commit}:refs/heads/${branch}`,
    ]);
    if (result.exitCode === 0) return { kind: "pushed" };
    const [, who, reason = ""] = /^!\t.*\[(remote )?rejected\] \((.*)\)$/m.exec(result.stdout) ?? [];
    const remarks = [...result.stderr.matchAll(/^remote: (?:error:)?(.*)$/gm)]
      .map(([, text = ""]) => text.trim().replace(/\.$/, ""))
      .filter((text) => text !== "");
    if (/^!\t.*rejected\]/m.test(result.stdout)) {
      if (who === undefined || isRace(`${reason} ${remarks.join(" ")}`)) return { kind: "moved", reason };
      throw new RefusedError(
        `the forge refuses a push to ${branch}: ${remarks[0] ?? reason}`,
        branch === this.branch
          ? "leave --direct away: then it is a pull request"
          : `let the token push branches like ${branch}`,
      );
    }
    throw failure(result, this.#url);
  }

  /**
   * Deletes a branch that still holds what is expected.
   * @returns `moved` when somebody else was faster
   */
  async deleteBranch(branch: string, expected: string): Promise<Pushed> {
    const ref = `refs/heads/${branch}`;
    const lease = `--force-with-lease=${ref}:${expected}`;
    const result = await this.#try(["push", "--porcelain", "--no-verify", lease, "origin", `:${ref}`]);
    if (result.exitCode === 0) return { kind: "pushed" };
    if (/^!\t.*rejected\]/m.test(result.stdout)) return { kind: "moved", reason: lastLine(result) };
    throw failure(result, this.#url);
  }

  /** The commits of a branch that the deployed one does not have, the newest first, and where they left it. */
  async ahead(branch: string, pattern: string): Promise<{ commits: string[]; from: string | undefined }> {
    const [main, other] = [this.branch, branch].map((name) => `refs/remotes/origin/${name}`);
    const base = async () => {
      const { exitCode, stdout } = await this.#try(["merge-base", `${main}`, `${other}`]);
      return exitCode === 0 ? stdout.trim() : undefined;
    };
    let from = await base();
    for (const depth of [...DEEPEN, undefined]) {
      if (from !== undefined || !(await this.#isShallow())) break;
      const refs = [this.branch, pattern].map((name) => `+refs/heads/${name}:refs/remotes/origin/${name}`);
      await this.#fetch([depth === undefined ? "--unshallow" : `--deepen=${depth}`, "origin", ...refs]);
      from = await base();
    }
    const list = await this.#git(["rev-list", `${other}`, `^${main}`]);
    return { commits: list.split("\n").filter((line) => line !== ""), from };
  }

  /** The message of a commit, and its parents. */
  async describe(commit: string): Promise<{ message: string; parents: string[] }> {
    const log = await this.#git(["log", "-1", "--format=%P%n%B", commit]);
    const [parents = "", ...message] = log.split("\n");
    return { message: message.join("\n"), parents: parents.split(" ").filter((parent) => parent !== "") };
  }

  /** The paths in which two commits differ. */
  async changed(from: string, to: string): Promise<string[]> {
    const paths = await this.#git(["diff-tree", "-r", "-z", "--name-only", from, to]);
    return paths.split("\0").filter((path) => path !== "");
  }

  /**
   * The commits of the deployed branch that changed one of some paths, the newest first. A merged pull request is one: the
   * merge. Needs the whole history.
   * @param options.from the newest commit that counts; the branch's tip by default
   */
  async log(paths: readonly string[], options: { from?: string; limit?: number } = {}): Promise<LogEntry[]> {
    const limit = options.limit === undefined ? [] : [`--max-count=${options.limit}`];
    const from = options.from ?? `refs/remotes/origin/${this.branch}`;
    const format = "--format=%H%x00%cI%x00%an%x00%s";
    const log = await this.#git(["log", "--first-parent", format, ...limit, from, "--", ...paths]);
    return log
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => {
        const [commit = "", date = "", author = "", subject = ""] = line.split("\0");
        return { commit, date: new Date(date), author, subject };
      });
  }

  /**
   * What the commits of the deployed branch did to some files, the newest first; a merge by what it brought. Needs the whole
   * history.
   * @param options.from the newest commit that counts
   */
  async changes(paths: readonly string[], options: { from: string; limit?: number }): Promise<FileChanges[]> {
    const limit = options.limit === undefined ? [] : [`--max-count=${options.limit}`];
    const format = ["--first-parent", "-m", "--raw", "--no-renames", "--no-abbrev", "-z", "--format=%H"];
    const log = await this.#git(["log", ...format, ...limit, options.from, "--", ...paths]);
    const found: FileChanges[] = [];
    const fields = log.split("\0");
    for (let index = 0; index < fields.length; index += 1) {
      const field = (fields[index] ?? "").trim();
      const [, before = "", after = ""] = /^:\d+ \d+ ([0-9a-f]+) ([0-9a-f]+) \w+$/.exec(field) ?? [];
      if (before !== "") {
        index += 1;
        const named = (blob: string) => (/^0+$/.test(blob) ? undefined : blob);
        found.at(-1)?.files.push({ path: fields[index] ?? "", before: named(before), after: named(after) });
      } else if (field !== "") found.push({ commit: field, files: [] });
    }
    return found;
  }

  /** A commit and all its ancestors. Needs the whole history. */
  async ancestors(commit: string): Promise<Set<string>> {
    const list = await this.#git(["rev-list", commit]);
    return new Set(list.split("\n").filter((line) => line !== ""));
  }

  /** Whether a commit is another one or among its ancestors; a commit that is not there is not. */
  async isAncestor(commit: string, of: string): Promise<boolean> {
    return (await this.#try(["merge-base", "--is-ancestor", commit, of])).exitCode === 0;
  }

  /**
   * Whether a commit is the merge of a commit of the deployed branch into another, as git makes it without anybody's help. A git
   * that is too old to say so (before 2.38) says no.
   */
  async isPlainMerge(commit: string, into: string, deployed: string): Promise<boolean> {
    if (await this.#isShallow()) await this.#fetch(["--unshallow", "origin", this.branch]);
    if (!(await this.isAncestor(deployed, `refs/remotes/origin/${this.branch}`))) return false;
    const { exitCode, stdout } = await this.#try(["merge-tree", "--write-tree", into, deployed]);
    return exitCode === 0 && (await this.changed(stdout.trim(), commit)).length === 0;
  }

  /** The newest commit of a commit's history that changed a file; where history is cut short, it may be the oldest there is. */
  async lastChange(commit: string, path: string): Promise<string | undefined> {
    const log = await this.#git(["log", "-1", "--format=%H", commit, "--", path]);
    return log.trim() || undefined;
  }

  async #isShallow(): Promise<boolean> {
    return (await this.#git(["rev-parse", "--is-shallow-repository"])).trim() === "true";
  }

  async #fetch(args: readonly string[]): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      const result = await this.#try(["fetch", "--quiet", "--no-tags", ...args]);
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
    const refs = await this.#git(["for-each-ref", format, "refs/remotes/origin/"]);
    return new Map([...refs.matchAll(/^(\S+) (\w+)$/gm)].map(([, name = "", tip = ""]) => [name, tip]));
  }

  async #try(
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

  async #git(
    args: readonly string[],
    options: { env?: NodeJS.ProcessEnv; input?: string } = {},
  ): Promise<string> {
    const result = await this.#try(args, options);
    if (result.exitCode === 0) return result.stdout;
    throw new ExternalError(`git ${args[0]} failed: ${lastLine(result)}`);
  }
}

/** Who commits: the person whose Git configuration says so, else this repository's bot. */
export async function authorOf(root: string, env: NodeJS.ProcessEnv): Promise<Author> {
  const ask = async (key: string) =>
    (await tryRun("git", ["config", "--get", key], { cwd: root, env })).stdout.trim();
  const [name, email] = await Promise.all([
    env["GIT_AUTHOR_NAME"] || ask("user.name"),
    env["GIT_AUTHOR_EMAIL"] || ask("user.email"),
  ]);
  return name && email ? { name, email } : BOT;
}

/** Git's name for a content, by the hash that the repository uses: 40 digits, or 64. */
export function blobId(text: string, digits: number): string {
  const hash = createHash(digits === 40 ? "sha1" : "sha256");
  return hash.update(`blob ${Buffer.byteLength(text)}\0${text}`).digest("hex");
}

/** Several pushes at once: whoever comes second finds the reference locked or changed. */
function isRace(text: string): boolean {
  if (/exists; cannot create/.test(text)) return false;
  return /cannot lock ref|failed to update ref|incorrect old value|fetch first|non-fast-forward/i.test(text);
}

/**
 * The environment for git: the caller's, but bound to no other repository, asking nobody for a password, running no hook, and
 * with the token as a header for this one host. In the environment no process list, URL or file shows it.
 */
function gitEnvironment(env: NodeJS.ProcessEnv, url: string, token: string): NodeJS.ProcessEnv {
  const header = `http.${new URL(url).origin}/.extraHeader`;
  const basic = Buffer.from(`x-access-token:${token}`).toString("base64");
  const settings: [string, string][] = [
    ["remote.origin.url", url],
    ["credential.helper", ""],
    ["core.hooksPath", "/dev/null"],
    // A clone that is gone in a moment needs no tidying.
    ["maintenance.auto", "false"],
    ["gc.auto", "0"],
    ["fastimport.unpackLimit", "0"],
    // Empty first: it takes back what the user's configuration sets, such as another token.
    [header, ""],
    [header, `Authorization: Basic ${basic}`],
  ];
  const foreign =
    /^GIT_(DIR|WORK_TREE|INDEX_FILE|COMMON_DIR|NAMESPACE|PREFIX|.*OBJECT_DIRECTOR(Y|IES)|TRACE.*)$/;
  const first = Number(env["GIT_CONFIG_COUNT"] ?? 0);
  return {
    ...Object.fromEntries(Object.entries(env).filter(([name]) => !foreign.test(name))),
    GIT_TERMINAL_PROMPT: "0",
    GIT_ASKPASS: "",
    // What git says is read.
    LC_ALL: "C",
    GIT_CONFIG_COUNT: String(first + settings.length),
    ...Object.fromEntries(
      settings.flatMap(([key, value], index) => [
        [`GIT_CONFIG_KEY_${first + index}`, key],
        [`GIT_CONFIG_VALUE_${first + index}`, value],
      ]),
    ),
  };
}

/** One line for a fetch or push that did not get through. */
function failure(result: RunResult, url: string): RefusedError | ExternalError {
  const { stderr } = result;
  const { host } = new URL(url);
  const options = { cause: result };
  const status = /(?:returned error:|HTTP) (\d{3})/.exec(stderr)?.[1];
  if (status === "401" || /Authentication failed|could not read (Username|Password)/.test(stderr))
    return new RefusedError(`${host} does not accept the token for Git`, "make a new one", options);
  if (status === "403")
    return new RefusedError(
      `${host} does not let this token do that to ${url}`,
      "it needs to write contents",
      options,
    );
  if (status === "404" || /repository '.*' not found/.test(stderr))
    return new RefusedError(`there is no repository ${url}`, "compare repoURL in the settings", options);
  if (/not valid: is this a git repository/.test(stderr))
    return new ExternalError(`${url} is no Git repository`, "is repoURL in the settings right?", options);
  if (status !== undefined)
    return new ExternalError(`${host} answers git ${status}`, "try again later", options);
  return new ExternalError(`git cannot reach ${url}: ${lastLine(result)}`, "try again later", options);
}

function lastLine({ stderr, exitCode }: RunResult): string {
  const line = stderr
    .trim()
    .split("\n")
    .at(-1)
    ?.replace(/^(fatal|error): /, "");
  return line || `exit code ${exitCode}`;
}
