/** The branch of a proposal: one commit that does what is wanted. Somebody else's work on it is never replaced. */
import { RefusedError } from "../errors.ts";
import { type Author, blobId, type Entry, type FileChange, type Remote } from "../git/remote.ts";

export interface ProposedCommit {
  branch: string;
  /** The commit of the deployed branch that it starts from. */
  base: string;
  changes: readonly FileChange[];
  /** Whether the branch is right with other people's commits on it, too, as long as these files are as wanted. */
  mayHoldMore?: boolean;
  title: string;
  /** What the commit's message says after the title; nothing by default. */
  summary?: string;
  /** The last lines of the commit's message, `Key: value` each. */
  trailers: readonly string[];
}

/** Says what the commit contains: whoever has changed that since is not a command of this repository. */
const CONTENT = /^Content: (sha256:[0-9a-f]{64})$/m;

/** Makes the message of a commit out of the digest of its content. */
export function commitMessage({
  title,
  summary,
  trailers,
}: Pick<ProposedCommit, "title" | "summary" | "trailers">): (content: string) => string {
  const parts = summary === undefined ? [title] : [title, summary];
  return (content) => `${[...parts, [...trailers, `Content: ${content}`].join("\n")].join("\n\n")}\n`;
}

/** Makes the commit of a proposal; nothing is pushed yet. */
export async function commitProposal(
  remote: Remote,
  proposal: ProposedCommit,
  { author, date }: { author: Author; date: Date },
): Promise<string> {
  const { base: parent, changes } = proposal;
  return remote.commit({ parent, changes, message: commitMessage(proposal), author, date });
}

/**
 * Whether the branch is one commit that does these changes, made of files that main still has like that; signed, where Git signs
 * here.
 */
export async function isWanted(
  remote: Remote,
  { branch, base, changes, mayHoldMore }: ProposedCommit,
  tip: string,
): Promise<boolean> {
  const { commits, from } = await remote.ahead(branch, `${branch}*`);
  if (from === undefined || commits.length === 0 || (commits.length > 1 && mayHoldMore !== true))
    return false;
  if (commits.length === 1 && (await remote.signs()) && !(await remote.isSigned(tip))) return false;
  const changed = new Set(await remote.changed(from, tip));
  if (changed.size !== changes.length && mayHoldMore !== true) return false;
  const paths = changes.map(({ path }) => path);
  const [there, left, now] = await Promise.all([tip, from, base].map((at) => remote.entries(at, paths)));
  return changes.every(({ path, file }) => {
    const wanted = file && { mode: file.mode, blob: blobId(file.text, base.length) };
    return changed.has(path) && same(there?.get(path), wanted) && same(left?.get(path), now?.get(path));
  });
}

function same(a: Entry | undefined, b: Entry | undefined): boolean {
  return a?.blob === b?.blob && a?.mode === b?.mode;
}

/**
 * A branch is given up only when each of its commits contains what its message says, as a command wrote it, or brings the
 * deployed branch and nothing else.
 * @throws RefusedError that names the newest commit that does not
 */
export async function refuseForeign(remote: Remote, branch: string): Promise<void> {
  const { commits } = await remote.ahead(branch, `${branch}*`);
  for (const commit of commits) {
    const { message, parents } = await remote.describe(commit);
    const [parent, second, ...more] = parents;
    const said = CONTENT.exec(message)?.[1];
    if (parent && second && more.length === 0) {
      // Forges offer to merge the deployed branch into one that is behind it.
      if (await remote.isPlainMerge(commit, parent, second)) continue;
    } else if (parent && said !== undefined && said === (await remote.content(parent, commit))) continue;
    throw new RefusedError(
      `${branch} holds a commit that no command made: ${commit.slice(0, 7)}`,
      "merge or close its pull request and delete the branch, then run it again",
    );
  }
}
