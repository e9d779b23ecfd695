/**
 * The sandbox's Git side: a clone of the checkout, with its uncommitted work as one commit on top and the settings
 * pointing at the local forge, pushed there. The checkout itself is only read.
 */
import { copyFile, lstat, mkdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { codeOf, RefusedError } from "../errors.ts";
import { run, tryRun } from "../exec.ts";
import { replaceFile } from "../file.ts";
import { withSettings } from "../tree/settings.ts";
import type { Layout } from "./layout.ts";

export interface Remote {
  readonly url: string;
  readonly user: string;
  readonly token: string;
}

/** What is different in the sandbox. */
export interface SandboxChanges {
  /** Values by the ConfigMap's file. */
  readonly settings: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** Seals the Secrets of a tree for the sandbox's own clusters. */
  readonly seal: (root: string) => Promise<void>;
}

/** The branch that the sandbox delivers, whatever the checkout's own is called. */
export const BRANCH = "main";

/** Writes the Git configuration that every git process of the sandbox reads instead of its user's. */
export async function writeGitConfig(layout: Layout): Promise<void> {
  await mkdir(layout.home, { recursive: true, mode: 0o700 });
  const credentials = credentialsFile(layout);
  await replaceFile(
    join(layout.home, ".gitconfig"),
    `[user]
	name = Sandbox
	email = sandbox@sandbox.invalid
[init]
	defaultBranch = main
[commit]
	gpgSign = false
[credential]
	helper = store --file='${credentials}'
[safe]
	directory = *
[advice]
	detachedHead = false
`,
  );
}

/** Writes what the forge knows the sandbox's user by. */
export async function writeGitCredentials(layout: Layout, remote: Remote): Promise<void> {
  const { protocol, host } = new URL(remote.url);
  await replaceFile(credentialsFile(layout), `${protocol}//${remote.user}:${remote.token}@${host}\n`);
}

function credentialsFile({ home }: Layout): string {
  return join(home, ".git-credentials");
}

/** The environment for git in the sandbox. */
export function gitEnv(layout: Layout): NodeJS.ProcessEnv {
  return {
    PATH: process.env["PATH"],
    HOME: layout.home,
    GIT_CONFIG_GLOBAL: join(layout.home, ".gitconfig"),
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_TERMINAL_PROMPT: "0",
  };
}

/**
 * Makes the work clone and pushes it, unless the forge has a main branch already.
 * @param url of the repository in the forge
 * @param untilForge waits for it, while the clone is being made
 * @throws RefusedError when the checkout is not a Git repository with at least one commit
 */
export async function ensureWork(
  layout: Layout,
  url: string,
  changes: SandboxChanges,
  untilForge: () => Promise<void>,
): Promise<void> {
  const env = gitEnv(layout);
  const git = async (...args: string[]) => run("git", args, { cwd: layout.work, env });
  const isFirst = (await isThere(layout.work)) === undefined;
  await Promise.all([isFirst ? makeWork(layout, changes) : undefined, untilForge()]);
  const pushed = await tryRun("git", ["ls-remote", "--exit-code", url, `refs/heads/${BRANCH}`], { env });
  if (pushed.exitCode !== 0) {
    // What an interrupted start has left may be half of it.
    if (!isFirst) await makeWork(layout, changes);
    await git("remote", "set-url", "origin", url);
    await git("push", "--quiet", "--set-upstream", "origin", BRANCH);
  } else if (isFirst || !(await isThere(join(layout.work, ".git")))) {
    await rm(layout.work, { recursive: true, force: true });
    await run("git", ["clone", "--quiet", url, layout.work], { env });
  }
  // So that commits and pushes in the clone work in any shell, with nothing of its user's configuration.
  await git("config", "credential.helper", `store --file='${credentialsFile(layout)}'`);
  await git("config", "user.name", "Sandbox");
  await git("config", "user.email", "sandbox@sandbox.invalid");
  await git("config", "commit.gpgSign", "false");
}

/** The checkout with its uncommitted work, and a commit for each thing that is different in the sandbox. */
async function makeWork(layout: Layout, { settings, seal }: SandboxChanges): Promise<void> {
  const env = gitEnv(layout);
  const git = async (...args: string[]) => run("git", args, { cwd: layout.work, env });
  await rm(layout.work, { recursive: true, force: true });
  await cloneCheckout(layout, env);
  await copyUncommitted(layout, env);
  await commitAll(git, "Uncommitted work of the checkout");
  for (const [file, values] of Object.entries(settings)) {
    const path = join(layout.work, file);
    await writeFile(path, withSettings(await readFile(path, "utf8"), values, file));
  }
  await commitAll(git, "Settings of the sandbox: the local forge, and a soak of seconds");
  await seal(layout.work);
  await commitAll(git, "Secrets of the sandbox: new values, sealed for its own clusters");
}

/** Writes out what the forge's branch holds now: what is delivered, and not what somebody is editing in the work clone. */
export async function exportDelivered(layout: Layout): Promise<void> {
  const env = gitEnv(layout);
  await run("git", ["fetch", "--quiet", "origin", BRANCH], { cwd: layout.work, env });
  await rm(layout.delivered, { recursive: true, force: true });
  await mkdir(layout.delivered, { recursive: true, mode: 0o700 });
  const archive = join(layout.delivered, "..", "delivered.tar");
  await run("git", ["archive", `--output=${archive}`, "FETCH_HEAD"], { cwd: layout.work, env });
  await run("tar", ["-xf", archive, "-C", layout.delivered]);
  await rm(archive);
}

async function cloneCheckout(layout: Layout, env: NodeJS.ProcessEnv): Promise<void> {
  const head = await tryRun("git", ["-C", layout.root, "rev-parse", "--verify", "--quiet", "HEAD"], { env });
  if (head.exitCode !== 0) {
    throw new RefusedError(
      `${layout.root} is not a Git repository with a commit`,
      "clone the repository with git",
    );
  }
  const shallow = await run("git", ["-C", layout.root, "rev-parse", "--is-shallow-repository"], { env });
  await run("git", ["clone", "--quiet", "--no-hardlinks", "--no-tags", layout.root, layout.work], { env });
  const git = async (...args: string[]) => run("git", args, { cwd: layout.work, env });
  if (shallow.trim() === "true") {
    // A forge refuses the history of a shallow clone; its newest tree is enough to deliver.
    const commit = await git("commit-tree", "HEAD^{tree}", "-m", "The checkout, without its shallow history");
    await git("checkout", "--quiet", "-B", BRANCH, commit.trim());
    await rm(join(layout.work, ".git", "shallow"), { force: true });
  } else {
    await git("checkout", "--quiet", "-B", BRANCH);
  }
}

/** Brings what `git status` of the checkout lists: changed, new and deleted files that are not ignored. */
async function copyUncommitted(layout: Layout, env: NodeJS.ProcessEnv): Promise<void> {
  const options = ["--no-optional-locks", "-C", layout.root];
  const status = await run(
    "git",
    [...options, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames"],
    { env },
  );
  for (const entry of status.split("\0").filter((line) => line !== "")) {
    const path = entry.slice(3);
    const from = join(layout.root, path);
    const to = join(layout.work, path);
    const kind = await isThere(from);
    await rm(to, { recursive: true, force: true });
    if (kind === undefined) continue;
    await mkdir(dirname(to), { recursive: true });
    if (kind === "link") await symlink(await readlink(from), to);
    else if (kind === "file") await copyFile(from, to);
  }
}

async function commitAll(git: (...args: string[]) => Promise<string>, message: string): Promise<void> {
  await git("add", "--all");
  if ((await git("status", "--porcelain")) !== "") await git("commit", "--quiet", "-m", message);
}

async function isThere(path: string): Promise<"file" | "link" | "other" | undefined> {
  try {
    const info = await lstat(path);
    if (info.isSymbolicLink()) return "link";
    return info.isFile() ? "file" : "other";
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}
