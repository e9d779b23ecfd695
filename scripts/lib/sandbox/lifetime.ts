/** The beginning and the end of a sandbox: whether it may start, who holds it, and how it is removed. */
import { spawnSync } from "node:child_process";
import { chmod, mkdir, readdir, rm, rmdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import { codeOf, ExternalError, messageOf, RefusedError } from "../errors.ts";
import { exists } from "../file.ts";
import { tryLock } from "../lock.ts";
import { programLine, repositoryRoot } from "../repository.ts";
import { onPath } from "../tools/go.ts";
import { waitFor } from "../wait.ts";
import { isWorkClone, type Layout } from "./layout.ts";
import { isPortOpen, killGroup, running, startedProcesses } from "./process.ts";
import { readState, type State } from "./state.ts";

/** A full sandbox writes about 0.5 GB; etcd and SQLite stop working on a full disk rather than failing cleanly. */
const DISK_BYTES = 2 * 1024 ** 3;
/** With less an etcd does not start: it takes 64 MB at once for its log. */
const FULL_BYTES = 80 * 1024 ** 2;
/** Of a file system that begins here, and its own. */
const LOST_AND_FOUND = "lost+found";
/** The longest path of a Unix socket on macOS; Linux allows 107. */
const SOCKET_BYTES = 103;

/** Whether a sandbox of this checkout exists, running or not. */
export async function sandboxExists(layout: Layout): Promise<boolean> {
  return (await readState(layout)) !== undefined;
}

/**
 * Takes the sandbox for one command; a second one is refused instead of interfering.
 * @returns releases it
 */
export async function holdSandbox(layout: Layout): Promise<() => Promise<void>> {
  if (isWorkClone(layout.root)) {
    throw new RefusedError("this is the work clone of a sandbox", "start and stop it from its checkout");
  }
  const release = await tryLock(layout.lock).catch((error: unknown) => {
    throw unwritable(layout, error);
  });
  if (release === undefined) {
    throw new RefusedError(
      "another `npm start` or `npm stop` of this checkout is running",
      "wait until it has ended",
    );
  }
  try {
    await mkdir(layout.dir, { recursive: true, mode: 0o700 });
    return release;
  } catch (error) {
    await release();
    throw unwritable(layout, error);
  }
}

function unwritable({ root }: Layout, error: unknown): RefusedError {
  return new RefusedError(`${root} cannot be written: ${messageOf(error)}`, "make it writable", {
    cause: error,
  });
}

/** @throws RefusedError when this machine, or the place of the checkout, cannot hold a sandbox */
export async function refuseUnfitMachine(layout: Layout): Promise<void> {
  for (const program of ["bash", "git", "ps"]) {
    if (onPath(program, process.env).length > 0) continue;
    throw new RefusedError(`${program} is not there`, `install ${program} and put it on PATH`);
  }
  if (Buffer.byteLength(layout.askPassSocket) > SOCKET_BYTES) {
    throw new RefusedError(
      `the path ${layout.dir} is too long for a Unix socket`,
      "move the checkout to a shorter one",
    );
  }
  const free = await freeBytes(layout);
  if (free >= DISK_BYTES) return;
  const where = (await exists(layout.dir)) ? layout.dir : layout.root;
  throw new RefusedError(`only ${megabytes(free)} are free below ${where}`, "make room for at least 2 GB");
}

/** Free space of the file system that the sandbox is on, or will be: `.sandbox` may be a link, or have one of its own. */
async function freeBytes({ dir, root }: Layout): Promise<number> {
  const { bavail, bsize } = await statfs(dir).catch(async () => statfs(root));
  return bavail * bsize;
}

function megabytes(bytes: number): string {
  return `${Math.floor(bytes / 1024 ** 2)} MB`;
}

/** @throws ExternalError when the disk has filled up, which programs tell of in many ways, or not at all */
export async function refuseFullDisk(layout: Layout): Promise<void> {
  const free = await freeBytes(layout);
  if (free >= FULL_BYTES) return;
  throw new ExternalError(
    `the disk of ${layout.dir} is full: ${megabytes(free)} are free`,
    "make room for at least 2 GB, and run `npm start` again",
  );
}

/**
 * Ends every process of the sandbox and removes what it wrote.
 * @param keep names below `.sandbox` that stay
 * @returns how many processes were ended
 */
export async function removeSandbox(layout: Layout, keep: readonly string[] = []): Promise<number> {
  const ended = new Set<string>();
  let left: ReadonlySet<string> = ended;
  await waitFor(
    "every process has ended",
    async () => {
      // Looked up again in every round: a supervisor may have started one more before it was killed itself.
      const started = await startedProcesses(layout);
      const alive = await running(started);
      left = alive;
      // Nothing needs an orderly end: the data goes with the processes. Those that restart others first.
      for (const name of ["watchdog", "supervisor", ...alive]) {
        const pid = started.get(name)?.pid;
        if (pid === undefined || !alive.has(name)) continue;
        killGroup(pid);
        ended.add(name);
      }
      return alive.size === 0 ? true : undefined;
    },
    { everyMs: 100, lastWord: () => `${[...left].join(", ")} ${left.size === 1 ? "runs" : "run"}` },
  );
  await makeRemovable(layout);
  const entries = await readdir(layout.dir).catch(() => []);
  await Promise.all(
    entries
      .filter((entry) => !keep.includes(entry) && entry !== LOST_AND_FOUND)
      .map((entry) => rm(join(layout.dir, entry), { recursive: true, force: true, maxRetries: 3 })),
  );
  if (keep.length === 0) await removeIfPossible(layout.dir);
  return ended.size;
}

/** A mount point stays, and so does a link to another disk: their owner has put them there. */
async function removeIfPossible(directory: string): Promise<void> {
  await rmdir(directory).catch((error: unknown) => {
    if (!["EBUSY", "ENOTDIR", "ENOENT"].includes(codeOf(error) ?? "")) throw error;
  });
}

/**
 * Undoes a start that failed or was interrupted, while its steps may still be at work: nothing else happens in this
 * process in the meantime, so that no step writes again what has just been removed. The logs stay.
 */
export function removeFailedStart({ root }: Layout): void {
  const [command, args] = programLine(repositoryRoot(), "lib/sandbox/remove-process", [root]);
  const { status } = spawnSync(command, args, { stdio: ["ignore", "ignore", "inherit"] });
  if (status !== 0) {
    process.stderr.write("what had been started could not be removed; run `npm stop`\n");
  }
}

/** Argo CD locks its clones by taking every right from their folders, which stops everybody but root from removing them. */
async function makeRemovable(layout: Layout): Promise<void> {
  const clones = join(layout.data, "argocd/tmp/_argocd-repo");
  try {
    await chmod(clones, 0o700);
    await Promise.all((await readdir(clones)).map(async (clone) => chmod(join(clones, clone), 0o700)));
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
  }
}

/** @throws RefusedError when a port that an earlier start reserved has been taken by something else since */
export async function refuseTakenPorts(layout: Layout, state: State): Promise<void> {
  const alive = await running(await startedProcesses(layout));
  if (alive.size > 0) return;
  for (const [name, port] of Object.entries(state.ports)) {
    if (!(await isPortOpen(port))) continue;
    throw new RefusedError(
      `port ${port} of the sandbox's ${name} is taken by another program`,
      "end that program, or run `npm stop` and `npm start` for a new sandbox on other ports",
    );
  }
}
