import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { freeMemory, MEMORY, temporaryDirectory } from "../../scripts/lib/temporary.ts";

describe("a temporary directory", () => {
  async function parentOf(env: NodeJS.ProcessEnv, memory?: string): Promise<string> {
    const directory = await temporaryDirectory("try-", env, memory);
    onTestFinished(async () => rm(directory, { recursive: true }));
    return dirname(directory);
  }

  it.runIf(existsSync(MEMORY))("is in memory where there is room", async () => {
    const isThere = ((await freeMemory()) ?? 0) >= 256 * 1024 * 1024;
    expect(await parentOf({})).toBe(isThere ? MEMORY : tmpdir());
  });

  it("is where TMPDIR says, when it says something", async () => {
    expect(await parentOf({ TMPDIR: tmpdir() })).toBe(tmpdir());
  });

  it.each([
    ["no memory", "/proc"],
    ["not there", "/nowhere"],
  ])("is in the system's place when that place is %s", async (_, memory) => {
    expect(await parentOf({}, memory)).toBe(tmpdir());
  });
});
