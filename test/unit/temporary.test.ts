import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ownName } from "../../scripts/lib/owner.ts";
import { temporaryDirectory, withTemporaryDirectory } from "../../scripts/lib/temporary.ts";
import { endedProcess } from "../support/processes.ts";

describe("a temporary directory", () => {
  let place = "";
  beforeEach(async () => {
    place = await mkdtemp(join(tmpdir(), "unit-"));
    vi.stubEnv("TMPDIR", place);
  });
  afterEach(async () => {
    vi.unstubAllEnvs();
    await rm(place, { recursive: true });
  });

  it("is in the system's place, and gone afterwards", async () => {
    const directory = await withTemporaryDirectory("try-", async (made) => made);
    expect(dirname(directory)).toBe(place);
    expect(await readdir(place)).toEqual([]);
  });

  it("takes the place of what a killed process has left, and of nothing else", async () => {
    const own = await temporaryDirectory("try-");
    const { name } = await endedProcess();
    const [space] = ownName().split("-");
    const [left, others] = [
      [`ecommerce-gitops-${name}-try-a`, `ecommerce-gitops-${space}-${process.pid}-1-try-b`],
      [`ecommerce-gitops-ffffffff-1-1-try-c`, "ecommerce-gitops-notes", `other-${name}-try-d`],
    ];
    for (const entry of [...left, ...others]) await mkdir(join(place, entry, "inner"), { recursive: true });
    const next = await temporaryDirectory("try-");
    expect(await readdir(place)).toEqual([...others, basename(own), basename(next)].toSorted());
  });
});
