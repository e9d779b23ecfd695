/** Looks for Secrets in clear in what Git has or is about to get. What was in one commit stays, whatever the next one does. */
import { lstat, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { codeOf } from "../errors.ts";
import { run } from "../exec.ts";
import type { Finding } from "../finding.ts";
import { GitObjects } from "../git/objects.ts";
import { plaintextFindings } from "./plaintext.ts";

/** A version of a file. */
interface Version {
  blob: string;
  path: string;
  /** That brought it; undefined for the index. */
  commit?: string;
}

/** Texts that one process of git hands over. */
const AT_ONCE = 500;
const NOTHING = /^0+$/;
/** No manifest comes near it; beyond 512 MiB a file would be no text any more. */
const LARGEST_BYTES = 64 * 1024 ** 2;

/**
 * Looks at every file that a commit between a base and HEAD adds or changes, also one that a later commit takes back.
 * @param base a branch or a commit: what it has is not looked at
 */
export async function plaintextInCommits(root: string, base: string): Promise<Finding[]> {
  // Of a merge (-c) only what is in none of its parents: the rest came with other commits.
  const log = await git(root, ["log", "--reverse", "-c", "--format=%H", ...RAW, `${base}..HEAD`]);
  let commit = "";
  const versions = log.split("\n").flatMap((line): Version[] => {
    if (/^[0-9a-f]{40,}$/.test(line)) commit = line;
    return versionOf(line).map((version) => ({ ...version, commit }));
  });
  return findIn(root, versions);
}

/** Looks at every file of the index that differs from HEAD. */
export async function plaintextStaged(root: string): Promise<Finding[]> {
  // With the caller's environment: in a hook Git names the index there that is about to be committed.
  const list = await run("git", ["-c", "core.quotePath=false", "diff", "--cached", ...RAW], { cwd: root });
  return findIn(root, list.split("\n").flatMap(versionOf));
}

/**
 * Looks at every file of the work tree that Git does not ignore.
 * @param except paths that something else looks at
 */
export async function plaintextInTree(root: string, except: ReadonlySet<string>): Promise<Finding[]> {
  const list = await git(root, ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
  const paths = [...new Set(list.split("\0"))].filter((path) => path !== "" && !except.has(path)).toSorted();
  return (await Promise.all(paths.map(async (path) => inFile(root, path)))).flat();
}

async function inFile(root: string, path: string): Promise<Finding[]> {
  const file = join(root, path);
  const stat = await lstat(file).catch((error: unknown) => {
    // Removed and not committed yet, or there is a file now where its directory was.
    if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return undefined;
    throw error;
  });
  // Of a link Git has the text only; a directory is another repository.
  if (stat?.isSymbolicLink()) return plaintextFindings(path, await readlink(file));
  if (!stat?.isFile()) return [];
  if (stat.size > LARGEST_BYTES) {
    const what = `larger than ${LARGEST_BYTES / 1024 ** 2} MiB, so it is not looked into`;
    return [{ path, line: 1, what, way: "remove it, or let Git ignore it", severity: "finding" }];
  }
  return plaintextFindings(path, await readFile(file, "utf8"));
}

const RAW = ["--raw", "--no-abbrev", "--no-renames"];

async function git(root: string, args: readonly string[], input?: string): Promise<string> {
  return new GitObjects(root).git(args, input === undefined ? {} : { input });
}

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
  const texts = await textsOf(root, [...new Set(versions.map(({ blob }) => blob))]);
  const first = new Map<string, Finding>();
  for (const { blob, path, commit } of versions) {
    const counts = new Map<string, number>();
    for (const finding of plaintextFindings(path, texts.get(blob) ?? "")) {
      const count = (counts.get(finding.what) ?? 0) + 1;
      counts.set(finding.what, count);
      // Later commits may move it to other lines; the one that brought it is the one to name.
      const id = JSON.stringify([path, finding.what, count]);
      if (!first.has(id)) first.set(id, commit === undefined ? finding : inCommit(finding, commit));
    }
  }
  return [...first.values()];
}

function inCommit(finding: Finding, commit: string): Finding {
  return {
    ...finding,
    what: `${finding.what}, in commit ${commit.slice(0, 7)}: Git keeps it for ever`,
    way: `${finding.way}; before it is merged, take the commit out of the branch`,
  };
}

/**
 * The texts of blobs. They are cut at the lines with which git starts each one, not by size: what is not UTF-8 has other sizes
 * once it is a text, and nothing is left out, whatever the contents look like.
 */
async function textsOf(root: string, blobs: readonly string[]): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  for (let start = 0; start < blobs.length; start += AT_ONCE) {
    const some = blobs.slice(start, start + AT_ONCE);
    const output = await git(root, ["cat-file", "--batch"], `${some.join("\n")}\n`);
    let from = 0;
    for (const [index, blob] of some.entries()) {
      const next = some[index + 1];
      const end = next === undefined ? output.length : output.indexOf(`\n${next} blob `, from) + 1;
      const text = output.slice(from, end);
      texts.set(blob, text.slice(text.indexOf("\n") + 1, -1));
      from = end;
    }
  }
  return texts;
}
