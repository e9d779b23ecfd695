/** What the commands ask git about a checkout. */
import { RefusedError } from "../errors.ts";
import { firstError } from "./failure.ts";
import { GitHistory } from "./history.ts";
import { GitObjects } from "./objects.ts";
import { checkoutEnvironment, type Setting } from "./variables.ts";

export interface Author {
  name: string;
  email: string;
}

const BOT: Author = { name: "ecommerce-gitops bot", email: "bot@ecommerce-gitops.invalid" };

/** What a clone of ours takes from its user's configuration: how git gets to a server, and how it signs. */
const KEPT =
  /^(http\.(.*\.)?(proxy\w*|ssl\w+|schannel\w+|pinnedpubkey|curloptresolve|version|postbuffer|lowspeed\w+|noepsv|keepalive\w+|useragent|delegation)|gpg\..+|user\.signingkey|commit\.gpgsign)$/s;

/**
 * The commit that is checked out.
 * @throws RefusedError outside a repository, or before its first commit
 */
export async function headCommit(root: string): Promise<string> {
  const head = await new GitObjects(root).commitOf("HEAD");
  if (head !== undefined) return head;
  throw new RefusedError(`${root} has no commit yet, or is not a Git repository`, "commit first");
}

/**
 * What a checkout knows of the deployed branch: as it was fetched last, else what is checked out.
 * @throws RefusedError outside a repository, or before its first commit
 */
export async function deployedIn(
  root: string,
  branch: string,
): Promise<{ name: string; commit: string; isShallow: boolean }> {
  const git = new GitHistory(root);
  const fetched = await git.commitOf(`refs/remotes/origin/${branch}`);
  const isShallow = await git.isShallow();
  return fetched !== undefined
    ? { name: `origin/${branch}`, commit: fetched, isShallow }
    : { name: "HEAD", commit: await headCommit(root), isShallow };
}

/**
 * Refuses a checkout whose files git has been told not to look at: they may be absent, or changed, and nothing shows it.
 * @throws RefusedError that names one of them; outside a repository there are none
 */
export async function refuseHidden(root: string): Promise<void> {
  const { stdout } = await new GitObjects(root).tryGit(["ls-files", "-v", "-z"]);
  const marked = (mark: RegExp) => stdout.split("\0").flatMap((entry) => mark.exec(entry)?.[1] ?? []);
  const [skipped, ...others] = marked(/^S (.+)$/is);
  const [assumed] = marked(/^[a-z] (.+)$/s);
  if (skipped !== undefined)
    throw new RefusedError(
      `this checkout is sparse: git leaves out ${skipped}${others.length === 0 ? "" : ` and ${others.length} more`} (skip-worktree)`,
      "run `git sparse-checkout disable`",
    );
  if (assumed !== undefined)
    throw new RefusedError(
      `git takes ${assumed} for unchanged, whatever it holds (assume-unchanged)`,
      `run \`git update-index --no-assume-unchanged ${assumed}\``,
    );
}

/**
 * The paths below the given ones with changes that are not committed; new files count, ignored ones do not.
 * @throws RefusedError where git would not notice a change
 */
export async function uncommitted(root: string, paths: readonly string[]): Promise<string[]> {
  await refuseHidden(root);
  const args = ["status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", ...paths];
  const status = await new GitObjects(root).git(args);
  return status
    .split("\0")
    .filter((entry) => entry !== "")
    .map((entry) => entry.slice(3));
}

/**
 * The person whose Git configuration says so, else this repository's bot.
 * @throws RefusedError when what it says is no person
 */
export async function authorOf(root: string, env: NodeJS.ProcessEnv): Promise<Author> {
  const git = new GitObjects(root, checkoutEnvironment(env));
  const result = await git.tryGit(["-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT"]);
  if (/auto-detection is disabled/.test(result.stderr)) return BOT;
  const [, name = "", email = ""] = /^(.+) <(.*)> \d+ [+-]\d+$/m.exec(result.stdout) ?? [];
  if (result.exitCode === 0) return { name, email };
  throw new RefusedError(
    `git does not say who commits: ${firstError(result)}`,
    "set user.name and user.email, and unset GIT_AUTHOR_NAME and GIT_AUTHOR_EMAIL",
  );
}

/** What a clone of ours takes from the configuration that counts in a checkout, wherever it stands. */
export async function keptSettings(root: string, env: NodeJS.ProcessEnv): Promise<Setting[]> {
  const list = await new GitObjects(root, checkoutEnvironment(env)).git(["config", "--list", "-z"]);
  return list.split("\0").flatMap((entry): Setting[] => {
    const [, key = "", value = "true"] = /^([^\n]*)(?:\n(.*))?$/s.exec(entry) ?? [];
    return KEPT.test(key) ? [[key, value]] : [];
  });
}
