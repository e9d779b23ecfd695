/** Directories in memory: whose they are, and which of them are removed. */
import { mkdir, mkdtemp, readdir, rm, symlink } from "node:fs/promises";
import { basename, join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { repositoryRoot } from "../../../scripts/lib/repository.ts";
import { MEMORY, memoryDirectory, removeTexts } from "../../../scripts/lib/secrets/seal/memory.ts";
import { endedProcess } from "../../support/processes.ts";

/** A place in memory that no other test looks at. */
async function memory(): Promise<string> {
  const place = await mkdtemp(join(MEMORY, "unit-"));
  onTestFinished(() => rm(place, { recursive: true, force: true }));
  return place;
}

/** The beginning of a name that says: of this process. */
async function mine(place: string): Promise<{ space: string; pid: string; start: string }> {
  const directory = await memoryDirectory(place);
  await rm(directory, { recursive: true });
  const [, space = "", pid = "", start = ""] = /^seal-(\w+)-(\d+)-(\d+)-\w+$/.exec(basename(directory)) ?? [];
  return { space, pid, start };
}

describe("a directory in memory", () => {
  it("is refused where files cannot be in memory", async () => {
    await expect(memoryDirectory(repositoryRoot())).rejects.toThrow(
      "is not in memory, and an editor's file must not be on a disk",
    );
    await expect(memoryDirectory("/nowhere")).rejects.toThrow("is not in memory");
  });

  it("is removed when its owner is gone, also when another process has its number now", async () => {
    const place = await memory();
    const { space, pid, start } = await mine(place);
    const ended = await endedProcess();
    const left = [`seal-${ended.name}-a`, `seal-${space}-${pid}-${Number(start) - 1}-b`];
    for (const name of left) await mkdir(join(place, name, "inner"), { recursive: true });
    expect((await removeTexts(place)).toSorted()).toEqual(left.map((name) => join(place, name)).toSorted());
    expect(await readdir(place)).toEqual([]);
  });

  it("stays while its owner runs", async () => {
    const place = await memory();
    const directory = await memoryDirectory(place);
    expect(await removeTexts(place)).toEqual([]);
    expect(await readdir(place)).toEqual([basename(directory)]);
  });

  it("stays when its owner cannot be known: of another container, of another program, or a link", async () => {
    const place = await memory();
    const { name: own } = await endedProcess();
    const names = [`seal-${own.replace(/^\w{8}/, "ffffffff")}-a`, "seal-abc", `other-${own}-a`];
    for (const name of names) await mkdir(join(place, name));
    const aside = await memory();
    await symlink(aside, join(place, `seal-${own}-link`));
    expect(await removeTexts(place)).toEqual([]);
    expect(await readdir(place)).toHaveLength(4);
  });

  it("is not looked for where there is no such place", async () => {
    expect(await removeTexts("/nowhere")).toEqual([]);
  });
});
