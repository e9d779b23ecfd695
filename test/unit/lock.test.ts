import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { tryLock } from "../../scripts/lib/lock.ts";
import { ownName } from "../../scripts/lib/owner.ts";
import { endedProcess } from "../support/processes.ts";

describe("a lock", () => {
  let place = "";
  let path = "";
  beforeEach(async () => {
    place = await mkdtemp(join(tmpdir(), "unit-"));
    path = join(place, "lock");
  });
  afterEach(async () => rm(place, { recursive: true }));

  async function heldBy(owner: string): Promise<string> {
    await mkdir(path);
    await writeFile(join(path, owner), "");
    return join(path, owner);
  }

  it("is one's alone until it is released, and leaves nothing", async () => {
    const release = await tryLock(path);
    expect(await tryLock(path)).toBeUndefined();
    await release?.();
    expect(await readdir(place)).toEqual([]);
    expect(await tryLock(path)).toBeDefined();
  });

  it.each([
    ["was killed", async () => (await endedProcess()).name],
    ["was killed, and whose number another process has now", async () => ownName().replace(/\d+$/, "1")],
  ])("is taken over at once from an owner that %s, by one of many", async (_, owner) => {
    await heldBy(`${await owner()}-abc`);
    const tries = await Promise.all(Array.from({ length: 20 }, async () => tryLock(path)));
    expect(tries.filter((release) => release !== undefined)).toHaveLength(1);
    expect(await tryLock(path)).toBeUndefined();
    expect(await readdir(place)).toEqual(["lock"]);
  });

  it("stays with an owner of another container until that has shown no sign for a minute", async () => {
    const sign = await heldBy("ffffffff-1-1-abc");
    expect(await tryLock(path)).toBeUndefined();
    const before = new Date(Date.now() - 61_000);
    await utimes(sign, before, before);
    expect(await tryLock(path)).toBeDefined();
  });

  it("stays with what was started before locks had names, as long as that touches it", async () => {
    await mkdir(path);
    expect(await tryLock(path)).toBeUndefined();
    const before = new Date(Date.now() - 16_000);
    await utimes(path, before, before);
    expect(await tryLock(path)).toBeDefined();
  });

  it("is not there where nothing can be written", async () => {
    await expect(tryLock(join(place, "nowhere/lock"))).rejects.toMatchObject({ code: "ENOENT" });
  });
});
