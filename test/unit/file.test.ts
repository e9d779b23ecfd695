/** Files that are replaced, by processes that end meanwhile. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { run, tryRun } from "../../scripts/lib/exec.ts";
import { replaceFile } from "../../scripts/lib/file.ts";
import { programLine, repositoryRoot } from "../../scripts/lib/repository.ts";
import { onPath } from "../../scripts/lib/tools/go.ts";
import { temporary, write } from "../support/tree.ts";

const ROOT = repositoryRoot();
const LIBRARY = join(ROOT, "scripts/lib");
const [STRACE] = onPath("strace", process.env);

/** A program that does what it says with the path `file`, in a directory that has an old one. */
async function program(does: string): Promise<{ directory: string; line: [string, string[]] }> {
  const directory = await temporary();
  await writeFile(join(directory, "file"), "old");
  const name = join(await temporary(), "try");
  await writeFile(
    `${name}.ts`,
    `import { existsSync } from "node:fs";
import { replaceFile } from "${LIBRARY}/file.ts";
import { untilExit } from "${LIBRARY}/temporary.ts";
const file = "${directory}/file";
${does}
void [existsSync, replaceFile, untilExit];
`,
  );
  return { directory, line: programLine(ROOT, name, []) };
}

it.each([
  [
    "a file that is being replaced is the old one",
    `void replaceFile(file, "new".repeat(100_000_000));
while (!existsSync(file + "." + process.pid + ".tmp")) await new Promise((resolve) => setImmediate(resolve));
process.exit(130);`,
  ],
  [
    "a directory for a while is gone",
    `const { mkdirSync } = await import("node:fs");
await untilExit(file + ".d", async (directory) => { mkdirSync(directory); process.exit(130); });`,
  ],
])("when the process ends, %s, and nothing is left", async (_, does) => {
  const { directory, line } = await program(does);
  expect(await tryRun(...line)).toMatchObject({ exitCode: 130, stderr: "" });
  expect(await readdir(directory)).toEqual(["file"]);
  expect(await readFile(join(directory, "file"), "utf8")).toBe("old");
});

it("what a killed process leaves of a file is nothing for Git", async () => {
  const half = "overlays/dev/web/api.sops.yaml.4711.tmp";
  expect(await run("git", ["check-ignore", half], { cwd: ROOT })).toBe(`${half}\n`);
});

it("a file is replaced, and halves of it go that killed processes have left, but no others", async () => {
  const child = spawn("true");
  await once(child, "exit");
  const root = await temporary();
  const others = [`a.yaml.${process.ppid}.tmp`, `b.yaml.${child.pid}.tmp`, "a.yaml.tmp", "a.yaml.bak.tmp"];
  await write(root, Object.fromEntries([...others, `a.yaml.${child.pid}.tmp`].map((name) => [name, "half"])));
  await replaceFile(join(root, "a.yaml"), "whole");
  expect((await readdir(root)).toSorted()).toEqual(["a.yaml", ...others].toSorted());
  expect(await readFile(join(root, "a.yaml"), "utf8")).toBe("whole");
});

it("a replaced file has its content and mode", async () => {
  const directory = await temporary();
  await replaceFile(join(directory, "file"), "new");
  expect(await readFile(join(directory, "file"), "utf8")).toBe("new");
  expect(await readdir(directory)).toEqual(["file"]);
});

it.skipIf(STRACE === undefined)(
  "a replaced file is on the disk before its name is, and then its name is",
  async () => {
    const { directory, line } = await program(`await replaceFile(file, "new");`);
    const log = join(await temporary(), "trace");
    const [node, args] = line;
    const trace = ["-f", "-y", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2", "-o", log];
    await run(STRACE ?? "", [...trace, node, ...args]);
    const calls = (await readFile(log, "utf8")).split("\n").filter((call) => call.includes(directory));
    expect(calls.map((call) => /^\d+ +(\w+)/.exec(call)?.[1])).toEqual([
      expect.stringMatching(/^f(data)?sync$/),
      expect.stringMatching(/^rename/),
      expect.stringMatching(/^fsync$/),
    ]);
  },
);
