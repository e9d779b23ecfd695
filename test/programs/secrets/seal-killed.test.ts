/** `npm run seal`, killed (SIGKILL) wherever it is: what is left, and that the next run puts it right. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type FSWatcher, watch } from "node:fs";
import { copyFile, cp, readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pLimit from "p-limit";
import { describe, expect, it, onTestFinished } from "vitest";
import { isAlive } from "../../../scripts/lib/pid.ts";
import { repositoryRoot } from "../../../scripts/lib/repository.ts";
import {
  editor,
  opened,
  runCommand,
  runOnTerminal,
  type SealRepository,
  sealCommand,
  sealFile,
  sealRepository,
} from "../../support/seal.ts";
import { commit, git, temporary } from "../../support/tree.ts";

const PASS = "overlays/dev/web/pass.sops.yaml";
const ENVIRONMENTS = ["dev", "test"];
/** Four copies of one login. */
const LOGINS = ENVIRONMENTS.flatMap((environment) => [
  `overlays/${environment}/disk/login.sops.yaml`,
  `overlays/${environment}/web/web-login.sops.yaml`,
]);
/** Large enough that a file is not written at once. */
const long = (word: string) => word.repeat(80_000);
const [OLD, NEW, NEXT] = [long("old"), long("new"), long("next")];

/** A repository as of Git, in which all copies have the old value. */
async function committed(): Promise<SealRepository> {
  const repository = await sealRepository();
  for (const path of LOGINS) await sealFile(repository, path, { user: "shop", password: OLD });
  await copyFile(join(repositoryRoot(), ".gitignore"), join(repository.root, ".gitignore"));
  await git(repository.root, "init", "--quiet");
  await commit(repository.root);
  return repository;
}

async function copyOf(repository: SealRepository): Promise<SealRepository> {
  const root = await temporary();
  await cp(repository.root, root, { recursive: true });
  return { ...repository, root };
}

/** Starts to seal the new value. */
function start(repository: SealRepository): ChildProcess {
  const { env, root } = repository;
  const [program, ...args] = sealCommand(repository, ENVIRONMENTS.join(","), "disk");
  const child = spawn(program, args, { env, cwd: root, stdio: ["pipe", "ignore", "ignore"] });
  child.stdin?.on("error", () => {});
  child.stdin?.end(NEW);
  return child;
}

/**
 * Calls a function at each change of a directory with a copy.
 * @returns ends that
 */
function onChanges({ root }: SealRepository, call: () => void): () => void {
  const watchers: FSWatcher[] = LOGINS.map((path) => watch(join(root, dirname(path)), call));
  return () => watchers.forEach((watcher) => watcher.close());
}

/** How many copies have the new value; the others are as they were. A half one is no copy at all. */
async function countNew(repository: SealRepository, before: SealRepository): Promise<number> {
  const found = await Promise.all(
    LOGINS.map(async (path) => {
      const [now, then] = await Promise.all(
        [repository, before].map(async ({ root }) => readFile(join(root, path), "utf8")),
      );
      if (now === then) return 0;
      const isNew = (await opened(repository, path))["password"] === NEW;
      expect(isNew, `${path} has the new value`).toBe(true);
      return 1;
    }),
  );
  return found.reduce((sum: number, one) => sum + one, 0);
}

/** What Git says of a tree: changes of what it knows, other files, ignored ones. */
async function gitStatus({ root }: SealRepository, ...args: string[]): Promise<string[]> {
  const text = await git(root, "status", "--porcelain", "--untracked-files=all", ...args);
  return text.split("\n").filter((line) => line !== "" && !line.startsWith(" M overlays/"));
}

describe("killed", () => {
  it("at moments spread over its run, each file is the old one or the new one, and the next run converges", async () => {
    const original = await committed();
    const limit = pLimit(2);
    /** Runs it, kills it some time after its start or after its first change, and looks what is there. */
    const attempt = async (
      from: "start" | "change",
      after: number,
    ): Promise<{ run: number; writing: number; changed: number }> => {
      const repository = await copyOf(original);
      const begun = performance.now();
      let [first, last] = [0, 0];
      const child = start(repository);
      const killAfter = (time: number) => void sleep(time).then(() => child.kill("SIGKILL"));
      const unwatch = onChanges(repository, () => {
        last = performance.now();
        if (first !== 0) return;
        first = last;
        if (from === "change") killAfter(after);
      });
      if (from === "start" && after !== Infinity) killAfter(after);
      await once(child, "exit");
      unwatch();
      const run = performance.now() - begun;
      const changed = await countNew(repository, original);
      expect(await gitStatus(repository)).toEqual([]);
      const again = sealCommand(repository, ENVIRONMENTS.join(","), "disk");
      const { env, root } = repository;
      const { exitCode, output } = await runCommand(again, { env, cwd: root, input: NEXT });
      expect(output).toContain("sealed: ");
      expect(exitCode).toBe(0);
      const values = await Promise.all(LOGINS.map((path) => opened(repository, path)));
      expect(values.every(({ password }) => password === NEXT)).toBe(true);
      expect(await gitStatus(repository, "--ignored")).toEqual([]);
      return { run, writing: last - first, changed };
    };
    // Two whole runs, beside each other as the others are.
    const whole = await Promise.all([0, 1].map(async () => limit(attempt, "start", Infinity)));
    const longest = (figure: "run" | "writing") => Math.max(...whole.map((one) => one[figure]));
    const spread = (count: number, end: number) => Array.from({ length: count }, (_, i) => (i / count) * end);
    const killed = await Promise.all([
      ...spread(6, longest("run")).map(async (after) => limit(attempt, "start", after)),
      ...spread(8, longest("writing")).map(async (after) => limit(attempt, "change", after)),
    ]);
    const counts = killed.map(({ changed }) => changed);
    // Else the moments were the wrong ones, and nothing was tried.
    expect(Math.min(...counts)).toBe(0);
    expect(Math.max(...counts)).toBeGreaterThan(0);
    expect(whole.map(({ changed }) => changed)).toEqual([4, 4]);
  });

  it("in an editor, the text goes with the next run of whatever kind, also while the editor runs", async () => {
    const repository = await sealRepository();
    const { env, root, keyFile } = repository;
    await sealFile(repository, PASS, { word: "hunter2" });
    const proof = join(await temporary(), "proof");
    // It outlives its terminal, as an editor with a window does.
    const program = await editor(
      `trap '' HUP; echo "$$ $1" > ${proof}; kill -KILL $(ps -o ppid= -p $PPID); exec sleep 600`,
    );
    const edit = sealCommand(repository, "--edit", "dev", "web", "--secret", "pass");
    await runOnTerminal(
      edit,
      { env: { ...env, EDITOR: program, SOPS_AGE_KEY_FILE: keyFile }, cwd: root },
      [],
    );
    const [pid = "", file = ""] = (await readFile(proof, "utf8")).trim().split(" ");
    onTestFinished(() => void (isAlive(Number(pid)) && process.kill(Number(pid))));
    const other = async () =>
      runCommand(sealCommand(repository, "--dry-run", "--generate", "dev", "disk"), { env, cwd: root });

    expect((await other()).exitCode).toBe(0);
    // Here, or in another test that has sealed something meanwhile.
    await expect(readdir(dirname(dirname(file)))).rejects.toThrow("ENOENT");
  });
});
