/** One sandbox for all sandbox tests, in a fresh clone, of a user without any configuration: `startSandbox` starts it. */
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { ProvidedContext } from "vitest";
import type { TestProject } from "vitest/node";
import { run, tryRun } from "../../scripts/lib/exec.ts";
import { exists } from "../../scripts/lib/file.ts";
import { repositoryRoot } from "../../scripts/lib/repository.ts";
import { cacheDir } from "../../scripts/lib/tools/cache.ts";
import { vendorDefinitions } from "../support/definitions.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** The clone in which the sandbox runs. */
    root: string;
    /** The HOME of its user: nothing may ever be written there. */
    home: string;
    /** The variable that has `npm start` take the vendor's definitions, where they are at hand. */
    crds: { SANDBOX_CRDS?: string };
  }
}

/** Also used by the tests that start a sandbox of their own. */
export async function freshClone(): Promise<{ root: string; home: string }> {
  const checkout = repositoryRoot();
  const parent = await mkdtemp(join(tmpdir(), "gitops-"));
  const root = join(parent, "checkout");
  const home = join(parent, "home");
  await mkdir(home);
  await run("git", ["clone", "--quiet", checkout, root]);
  // Work that is not committed is tested too.
  const changed = await run("git", [
    "-C",
    checkout,
    "status",
    "--porcelain",
    "-z",
    "--untracked-files=all",
    "--no-renames",
  ]);
  for (const path of changed
    .split("\0")
    .filter((entry) => entry !== "")
    .map((entry) => entry.slice(3))) {
    await rm(join(root, path), { force: true });
    await mkdir(dirname(join(root, path)), { recursive: true });
    await cp(join(checkout, path), join(root, path)).catch(() => undefined);
  }
  await symlink(join(checkout, "node_modules"), join(root, "node_modules"));
  return { root, home };
}

/** The environment of a user who has just sat down at this machine, but has the tools built. */
export function newcomer(home: string): NodeJS.ProcessEnv {
  const tools = cacheDir(process.env, repositoryRoot());
  return { PATH: process.env["PATH"], HOME: home, TOOLS_CACHE: tools, TZ: "UTC", LANG: "C.UTF-8" };
}

/**
 * Starts the sandbox with `npm start`, unless an earlier file has. Not before a file of this project runs: the other
 * projects have the machine for themselves.
 * @returns what `npm start` printed
 * @throws what the first start failed with, for every file: to start it again for each would take half an hour
 */
export async function startSandbox({
  root,
  home,
  crds,
}: Pick<ProvidedContext, "root" | "home" | "crds">): Promise<string> {
  const transcript = join(dirname(root), "start.txt");
  if (await exists(transcript)) return readFile(transcript, "utf8");
  const failure = join(dirname(root), "failure.txt");
  if (await exists(failure)) throw new Error(await readFile(failure, "utf8"));
  const env = { ...newcomer(home), ...crds };
  const started = await tryRun("npm", ["start"], { cwd: root, env });
  if (started.exitCode !== 0) {
    const message = `npm start exited with ${started.exitCode}:\n${started.stdout}\n${started.stderr}`;
    await writeFile(failure, message);
    throw new Error(message);
  }
  await writeFile(transcript, started.stdout);
  return started.stdout;
}

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { root, home } = await freshClone();
  // Where the vendors' own definitions are at hand, they are what the API servers have.
  const vendors = await vendorDefinitions();
  project.provide("root", root);
  project.provide("home", home);
  project.provide("crds", vendors === undefined ? {} : { SANDBOX_CRDS: vendors });
  return async () => {
    const stopped = await run("npm", ["stop"], { cwd: root, env: newcomer(home) });
    const left = await run("ps", ["-eo", "args"]);
    const processes = left.split("\n").filter((line) => line.includes(join(root, ".sandbox")));
    const files = (await readdir(root)).filter((name) => name === ".sandbox");
    const expected = (await exists(join(dirname(root), "start.txt"))) ? /processes ended/ : /./;
    await rm(dirname(root), { recursive: true, force: true });
    if (!expected.test(stopped) || processes.length > 0 || files.length > 0) {
      throw new Error(`npm stop left something behind: ${[...processes, ...files].join("\n")}\n${stopped}`);
    }
  };
}
