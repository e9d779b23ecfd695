/** Redis of the tree in a real server: its own configuration and start script, its probes, its end. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import getPort from "get-port";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { podTemplates } from "../../../scripts/lib/manifests/manifest.ts";
import { waitFor } from "../../../scripts/lib/wait.ts";
import { enter, type Pod } from "../../support/container.ts";
import { metricsExported, metricsUsed } from "../../support/metrics.ts";
import { redisPrograms } from "../../support/store-programs.ts";
import { renderOverlay } from "../../tree/support.ts";

const programs = await redisPrograms();
const directory = await mkdtemp("/tmp/redis-");
const port = String(await getPort({ host: "127.0.0.1" }));
const { manifests } = await renderOverlay("dev", "redis");
const [template] = podTemplates(manifests);
const [main, exporter] = template?.spec.containers ?? [];
if (template === undefined || main === undefined || exporter === undefined)
  throw new Error("the tree has no Redis");
const pod: Pod = {
  spec: template.spec,
  namespace: "data",
  manifests,
  secrets: { redis: { password: "Letters4nd5Digits" } },
  volumes: { data: join(directory, "data"), run: join(directory, "run") },
  directory,
  // Loopback only, and a port of its own.
  edit: (text) =>
    text
      .replaceAll("6379", port)
      .replaceAll("bind * -::*", "bind 127.0.0.1")
      .replaceAll("redis-cli ", `redis-cli -p ${port} `),
};
const server = await enter(pod, main, { programs: programs ?? "" });

/** Starts it as its container does. */
async function start() {
  for (const path of Object.values(pod.volumes)) await mkdir(path, { recursive: true });
  const [command = "", ...args] = (main?.command ?? []).map(server.placed);
  const redis = spawn(command, args, { env: server.env, stdio: "ignore" });
  started.push(redis);
  await waitFor("Redis is ready", async () => ((await probe("startupProbe")) === 0 ? true : undefined));
  return redis;
}
const started: ReturnType<typeof spawn>[] = [];

async function end(redis: ReturnType<typeof spawn>, signal: "SIGTERM" | "SIGKILL"): Promise<number | null> {
  redis.kill(signal);
  if (redis.exitCode === null && redis.signalCode === null) await once(redis, "exit");
  return redis.exitCode;
}

const probe = async (name: "startupProbe" | "livenessProbe" | "readinessProbe") =>
  (await server.run(main?.[name]?.exec?.command ?? [])).exitCode;
const ask = async (...args: string[]) =>
  (await server.run(["redis-cli", "-p", port, "-h", "127.0.0.1", ...args])).stdout.trim();

afterEach(async () => {
  for (const redis of started.splice(0)) await end(redis, "SIGKILL");
});
afterAll(async () => rm(directory, { recursive: true, force: true }));

describe.skipIf(programs === undefined)("Redis with the tree's configuration", { sequential: true }, () => {
  it("is ready by its own probes, and only for who has the password", async () => {
    const redis = await start();
    for (const name of ["startupProbe", "livenessProbe", "readinessProbe"] as const)
      expect([name, await probe(name)]).toEqual([name, 0]);
    const stranger = { ...server.env, REDISCLI_AUTH: "wrong" };
    const other = await enter(pod, main, { programs: programs ?? "", override: stranger });
    expect((await other.run(main.readinessProbe?.exec?.command ?? [])).exitCode).not.toBe(0);
    const [, ...args] = redis.spawnargs;
    expect(args.join(" ")).not.toContain("Letters4nd5Digits");
    expect(await readFile(`/proc/${redis.pid}/cmdline`, "utf8")).not.toContain("Letters4nd5Digits");
  });

  it("keeps the memory's limit, and throws the keys away that were used longest ago", async () => {
    await start();
    expect(await ask("config", "get", "maxmemory")).toContain(String(614 * 1024 * 1024));
    expect(await ask("config", "get", "maxmemory-policy")).toContain("allkeys-lru");
    expect(await ask("config", "get", "appendonly")).toContain("yes");
    await ask("config", "set", "maxmemory", "8mb");
    await ask("eval", "for n = 1, 20000 do redis.call('set', 'key' .. n, string.rep('x', 1000)) end", "0");
    // Redis evicts between commands, and not within a script.
    const evicted = async () => Number(/evicted_keys:(\d+)/.exec(await ask("info", "stats"))?.[1]);
    await expect.poll(evicted).toBeGreaterThan(1000);
    expect(await ask("flushall")).toBe("OK");
  });

  it("exports every metric that rules and dashboards ask for", async () => {
    await start();
    const { manifests: monitoring } = await renderOverlay("dev", "monitoring");
    const used = metricsUsed(monitoring, "redis");
    const { env } = await enter(pod, exporter, { programs: "" });
    const exported = await metricsExported("redis_exporter", env);
    expect(used).toContain("redis_up");
    expect(used.filter((name) => !exported.has(name))).toEqual([]);
  });

  it("has every write after SIGTERM, also the last one", async () => {
    const redis = await start();
    await ask("eval", "for n = 1, 5000 do redis.call('set', 'term' .. n, n) end", "0");
    await ask("set", "last", "word");
    expect(await end(redis, "SIGTERM")).toBe(0);
    await start();
    expect(await ask("get", "last")).toBe("word");
    expect(await ask("exists", "term1", "term5000")).toBe("2");
  });

  it("loses at most the writes of the last two seconds when it is killed under load", async () => {
    const redis = await start();
    await ask("del", "count");
    const counts: { at: number; count: number }[] = [];
    const load = (async () => {
      for (;;) {
        const answer = await ask(
          "eval",
          "for n = 1, 500 do redis.call('incr', 'count') end return redis.call('get', 'count')",
          "0",
        );
        if (!/^\d+$/.test(answer)) return;
        counts.push({ at: performance.now(), count: Number(answer) });
      }
    })();
    await waitFor("there is load for longer than Redis waits for the disk", async () => {
      const [first, last] = [counts.at(0), counts.at(-1)];
      return first !== undefined && last !== undefined && last.at - first.at > 4000 ? true : undefined;
    });
    const killed = performance.now();
    await end(redis, "SIGKILL");
    await load;
    await start();
    // appendfsync everysec: the disk is one second behind, two when it is busy.
    const safe = counts.filter(({ at }) => at < killed - 2000).at(-1)?.count ?? 0;
    expect(safe).toBeGreaterThan(0);
    expect(Number(await ask("get", "count"))).toBeGreaterThanOrEqual(safe);
  });
});
