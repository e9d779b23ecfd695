/** The services' own repositories in the local forge, with made-up commits: promotions and `status` read them. */
import { mkdir, readFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { glob } from "tinyglobby";
import { z } from "zod";
import { readDocument } from "../document.ts";
import { run } from "../exec.ts";
import { repositoryNamed } from "../forge/address.ts";
import { answerOf, type ForgeCalls } from "../forge/call.ts";

const History = z
  .array(
    z.strictObject({
      date: z.iso.datetime({ precision: 0 }),
      subject: z.string().regex(/^.+$/, "not one line"),
    }),
  )
  .min(1);

export interface SourceCommit {
  /** ISO 8601, to the second. */
  date: string;
  /** First line of its message. */
  subject: string;
}

/** The repository of a service. */
export interface Source {
  app: string;
  /** The oldest first. */
  commits: SourceCommit[];
}

/** The same person makes every commit: the SHAs depend on nothing but the files. */
const AUTHOR = "Ada Example <ada@example.com>";

/**
 * Reads `sandbox/sources/<app>.yaml`.
 * @throws RefusedError with file and line, for one that is not valid
 */
export async function readSources(root: string): Promise<Source[]> {
  const files = (await glob("sandbox/sources/*.yaml", { cwd: root })).toSorted();
  return Promise.all(
    files.map(async (file) => {
      const commits = readDocument(await readFile(join(root, file), "utf8"), file, History);
      return { app: basename(file, ".yaml"), commits };
    }),
  );
}

/**
 * Makes a bare repository of made-up commits, in one step: an interrupted one is not there.
 * @param env for git
 * @returns the newest commit; the same for the same commits
 */
export async function makeSource(
  directory: string,
  commits: readonly SourceCommit[],
  env: NodeJS.ProcessEnv,
): Promise<string> {
  const half = `${directory}.half`;
  for (const rest of [half, directory]) await rm(rest, { recursive: true, force: true });
  await mkdir(dirname(directory), { recursive: true });
  await run("git", ["init", "--quiet", "--bare", "--template=", "--initial-branch=main", half], { env });
  await run("git", ["fast-import", "--quiet"], { cwd: half, env, input: commits.map(imported).join("") });
  const newest = await run("git", ["rev-parse", "main"], { cwd: half, env });
  await rename(half, directory);
  return newest.trim();
}

/** As git-fast-import reads a commit; each one adds a line to the same file. */
function imported({ date, subject }: SourceCommit, index: number, all: readonly SourceCommit[]): string {
  const seconds = Date.parse(date) / 1000;
  const text = all
    .slice(0, index + 1)
    .map((commit) => `${commit.subject}\n`)
    .join("");
  const file = `M 100644 inline CHANGES.md\n${data(text)}`;
  return `commit refs/heads/main\ncommitter ${AUTHOR} ${seconds} +0000\n${data(subject)}${file}`;
}

function data(text: string): string {
  return `data ${Buffer.byteLength(text)}\n${text}\n`;
}

const Made = z.object({ commit: z.object({ sha: z.string() }) });

/**
 * Makes one more commit, as the service's developers do.
 * @param source the service's repository, `owner/name`
 * @returns the commit; undefined where the forge has no such repository
 */
export async function addCommit(
  { call }: ForgeCalls,
  source: string,
  subject: string,
): Promise<string | undefined> {
  const repository = repositoryNamed(source);
  if (repository === undefined) return undefined;
  const content = Buffer.from(`${subject}\n`).toString("base64");
  const file = { filepath: `change-${Date.now()}.md`, content, message: subject, branch: "main" };
  try {
    const route = "POST /repos/{owner}/{repo}/contents/{filepath}";
    return (await call(route, file, Made, { repository })).commit.sha;
  } catch (error) {
    if (answerOf(error)?.status === 404) return undefined;
    throw error;
  }
}
