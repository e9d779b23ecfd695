/** Looks for secrets in clear in the files and commits of a checkout. Git keeps what one commit had, whatever the next one does. */
import { lstat, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import pLimit from "p-limit";
import { codeOf } from "../errors.ts";
import { type Finding, findingIn } from "../finding.ts";
import { GitObjects } from "../git/objects.ts";
import { plaintextFindings } from "./plaintext.ts";

/** A version of a file. */
interface Version {
  blob: string;
  path: string;
  /** The commit that brought it; undefined for the index. */
  commit?: string;
}

/** Files that one process of git hands over. */
const AT_ONCE = 500;
/** Files that are read at a time. */
const FILES_AT_ONCE = 16;
/** Far more than any manifest, page or program has; to look at a MiB takes up to 50 ms. */
const LARGEST_BYTES = 5 * 1024 * 1024;
/** No more than that is in memory at once. */
const BATCH_BYTES = 50 * 1024 * 1024;
/** The file is removed and not committed yet, or something else is where its directory was. */
const GONE = ["ENOENT", "ENOTDIR", "ELOOP", "EISDIR"];
const NOTHING = /^0+$/;

/**
 * Looks at every file that a commit between a base and HEAD adds or changes, also one that a later commit takes back.
 * @param base a branch or a commit: what it has is not looked at
 */
export async function plaintextInCommits(root: string, base: string): Promise<Finding[]> {
  // Of a merge (-c) only what is in none of its parents: the rest came with other commits.
  const log = await new GitObjects(root).git([
    "log",
    "--reverse",
    "-c",
    "--format=%H",
    ...RAW,
    `${base}..HEAD`,
  ]);
  let commit = "";
  const versions = log.split("\n").flatMap((line): Version[] => {
    if (/^[0-9a-f]{40,}$/.test(line)) commit = line;
    return versionOf(line).map((version) => ({ ...version, commit }));
  });
  return findIn(root, versions);
}

/** Looks at every file of the index that differs from HEAD. */
export async function plaintextStaged(root: string): Promise<Finding[]> {
  // In a hook Git names the index that is about to be committed.
  const { GIT_INDEX_FILE } = process.env;
  const env = GIT_INDEX_FILE === undefined ? {} : { GIT_INDEX_FILE };
  const list = await new GitObjects(root).git(["diff", "--cached", ...RAW], { env });
  return findIn(root, list.split("\n").flatMap(versionOf));
}

/**
 * Looks at the files of the work tree that Git does not ignore.
 * @param except paths that something else looks at
 * @param changed of the tracked files only these are looked at; by default all are
 */
export async function plaintextInTree(
  root: string,
  except: ReadonlySet<string>,
  changed?: readonly string[],
): Promise<Finding[]> {
  const list = async (...which: string[]) =>
    (await new GitObjects(root).git(["ls-files", "-z", "--exclude-standard", ...which])).split("\0");
  const known = changed ?? (await list("--cached"));
  const all = new Set([...known, ...(await list("--others"))]);
  const paths = [...all].filter((path) => path !== "" && !except.has(path)).toSorted();
  const found = await pLimit(FILES_AT_ONCE).map(paths, async (path) => findInFile(root, path));
  return found.flat();
}

/** Reads a file as Git has it: of a link its path. A submodule, a pipe and a file that is not there have no findings. */
async function findInFile(root: string, path: string): Promise<Finding[]> {
  const file = join(root, path);
  try {
    const found = await lstat(file);
    if (found.isSymbolicLink()) return plaintextFindings(path, await readlink(file));
    if (!found.isFile()) return [];
    if (found.size > LARGEST_BYTES) return [tooLarge(path)];
    return plaintextFindings(path, await readFile(file, "utf8"));
  } catch (error) {
    if (GONE.includes(codeOf(error) ?? "")) return [];
    throw error;
  }
}

function tooLarge(path: string): Finding {
  const what = `the file is not looked at: it has more than ${LARGEST_BYTES / 1024 / 1024} MiB`;
  return findingIn(path, what, "keep it out of Git: in .gitignore, or with Git LFS");
}

const RAW = ["--raw", "--no-abbrev", "--no-renames"];

/** `:<modes> <blobs> <status>\t<path>`; a merge has one more mode and blob for each parent. The last blob is the one that is new. */
function versionOf(line: string): Version[] {
  const [, modes = "", blobs = "", path = ""] =
    /^:+((?:\d{6} )+)((?:[0-9a-f]{40,} )+)[A-Z]+\t(.*)$/.exec(line) ?? [];
  const [mode, blob] = [modes.trim().split(" ").at(-1), blobs.trim().split(" ").at(-1)];
  // 160000 is a commit of another repository.
  if (blob === undefined || blob === "" || NOTHING.test(blob) || mode === "160000") return [];
  return [{ blob, path: path.replaceAll(/^"|"$/g, "") }];
}

async function findIn(root: string, versions: readonly Version[]): Promise<Finding[]> {
  const git = new GitObjects(root);
  const found = new Map<Version, Finding[]>();
  for (const some of batches(versions, await git.sizes(versions.map(({ blob }) => blob)))) {
    const contents = await git.contents(some.map(({ blob }) => blob));
    for (const version of some)
      found.set(version, await plaintextFindings(version.path, contents.get(version.blob)?.toString() ?? ""));
  }
  const first = new Map<string, Finding>();
  for (const version of versions) {
    const { path, commit } = version;
    const counts = new Map<string, number>();
    for (const finding of found.get(version) ?? [tooLarge(path)]) {
      const count = (counts.get(finding.what) ?? 0) + 1;
      counts.set(finding.what, count);
      // Later commits may move it to other lines; the commit that brought it is the one to name.
      const id = JSON.stringify([path, finding.what, count]);
      if (!first.has(id)) first.set(id, commit === undefined ? finding : inCommit(finding, commit));
    }
  }
  return [...first.values()];
}

/** Versions that are read together; a file that is too large is in none. */
function batches(versions: readonly Version[], sizes: ReadonlyMap<string, number>): Version[][] {
  const all: Version[][] = [];
  let bytes = 0;
  for (const version of versions) {
    const size = sizes.get(version.blob) ?? 0;
    if (size > LARGEST_BYTES) continue;
    const last = all.at(-1);
    bytes += size;
    if (last !== undefined && last.length < AT_ONCE && bytes <= BATCH_BYTES) last.push(version);
    else {
      all.push([version]);
      bytes = size;
    }
  }
  return all;
}

function inCommit(finding: Finding, commit: string): Finding {
  return {
    ...finding,
    what: `${finding.what}, in commit ${commit.slice(0, 7)}: Git keeps it for ever`,
    way: `${finding.way}; take the commit out of the branch before it is merged`,
  };
}
