import { spawnSync } from "node:child_process";
import { mkdir, readdir, readlink, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { tryRun } from "../../../scripts/lib/exec.ts";
import { programLine, repositoryRoot } from "../../../scripts/lib/repository.ts";
import { layoutOf } from "../../../scripts/lib/sandbox/layout.ts";
import {
  holdSandbox,
  refuseFullDisk,
  refuseUnfitMachine,
  removeSandbox,
} from "../../../scripts/lib/sandbox/lifetime.ts";
import { recordProcess } from "../../../scripts/lib/sandbox/process.ts";
import { ensureState } from "../../../scripts/lib/sandbox/state.ts";
import { isUnwatched } from "../../../scripts/lib/sandbox/supervisor.ts";
import { endedProcess } from "../../support/processes.ts";
import { temporary } from "../../support/tree.ts";

describe("a machine that cannot hold a sandbox is refused", () => {
  // Linux says of /proc that nothing is free there.
  it.skipIf(process.platform !== "linux")("with a full disk", async () => {
    await expect(refuseUnfitMachine(layoutOf("/proc"))).rejects.toMatchObject({
      message: "only 0 MB are free below /proc",
      hint: "make room for at least 2 GB",
      exitCode: 3,
    });
  });

  it.skipIf(process.platform !== "linux")("with a full disk that only .sandbox is on", async () => {
    const root = await temporary();
    await symlink("/proc", layoutOf(root).dir);
    await expect(refuseUnfitMachine(layoutOf(root))).rejects.toMatchObject({
      message: `only 0 MB are free below ${root}/.sandbox`,
      exitCode: 3,
    });
  });

  it("where the checkout lies too deep for a socket", async () => {
    const root = `/${"deep/".repeat(30)}checkout`;
    await expect(refuseUnfitMachine(layoutOf(root))).rejects.toMatchObject({
      message: `the path ${root}/.sandbox is too long for a Unix socket`,
      hint: "move the checkout to a shorter one",
      exitCode: 3,
    });
  });
});

describe("a sandbox", () => {
  it.skipIf(process.platform !== "linux")("names a disk that has filled up", async () => {
    const root = await temporary();
    await expect(refuseFullDisk(layoutOf(root))).resolves.toBeUndefined();
    await symlink("/proc", layoutOf(root).dir);
    await expect(refuseFullDisk(layoutOf(root))).rejects.toMatchObject({
      message: `the disk of ${root}/.sandbox is full: 0 MB are free`,
      exitCode: 5,
    });
  });

  it("on another disk goes, and leaves the link to it and what belongs to the disk", async () => {
    const root = await temporary();
    const disk = await temporary();
    await symlink(disk, layoutOf(root).dir);
    for (const entry of ["lost+found", "data/etcd", "logs"])
      await mkdir(join(disk, entry), { recursive: true });
    await removeSandbox(layoutOf(root));
    expect(await readdir(disk)).toEqual(["lost+found"]);
    expect(await readlink(layoutOf(root).dir)).toBe(disk);
  });

  // A mount needs root, or a kernel that lets everybody be root in a namespace of their own.
  it.skipIf(spawnSync("unshare", ["-rm", "true"]).status !== 0)(
    "on a mount point goes, and leaves that",
    async () => {
      const root = await temporary();
      const file = join(root, "remove");
      const library = join(repositoryRoot(), "scripts/lib/sandbox");
      await writeFile(
        `${file}.ts`,
        `import { readdir } from "node:fs/promises";
      import { layoutOf } from "${library}/layout.ts";
      import { removeSandbox } from "${library}/lifetime.ts";
      const layout = layoutOf(${JSON.stringify(root)});
      await removeSandbox(layout);
      console.log(JSON.stringify(await readdir(layout.dir)));`,
      );
      await mkdir(layoutOf(root).dir);
      const script = 'mount -t tmpfs none "$1" && mkdir -p "$1/data/etcd" && shift && exec "$@"';
      const line = programLine(repositoryRoot(), file, []).flat();
      const { stdout, stderr } = await tryRun("unshare", [
        "-rm",
        "sh",
        "-c",
        script,
        "sh",
        layoutOf(root).dir,
        ...line,
      ]);
      expect(stderr).toBe("");
      expect(stdout).toBe("[]\n");
    },
  );

  it("is taken at once from a command that was killed", async () => {
    const layout = layoutOf(await temporary());
    await mkdir(layout.lock, { recursive: true });
    await writeFile(join(layout.lock, `${(await endedProcess()).name}-abc`), "");
    const release = await holdSandbox(layout);
    await expect(holdSandbox(layout)).rejects.toThrow(
      "another `npm start` or `npm stop` of this checkout is running",
    );
    await release();
  });

  it("is unwatched when neither its supervisor nor its watchdog runs", async () => {
    const layout = layoutOf(await temporary());
    const record = async (name: string, pid: number) =>
      recordProcess(layout, { name, command: "", args: [], env: {}, after: [] }, pid);
    expect(await isUnwatched(layout)).toBe(false);
    await ensureState(layout, [], []);
    expect(await isUnwatched(layout)).toBe(true);
    await mkdir(layout.pids);
    await record("watchdog", process.pid);
    expect(await isUnwatched(layout)).toBe(false);
    await record("watchdog", (await endedProcess()).pid);
    expect(await isUnwatched(layout)).toBe(true);
  });
});
