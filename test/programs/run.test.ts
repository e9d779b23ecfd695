import { mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { glob } from "tinyglobby";
import { expect, it, onTestFinished } from "vitest";
import { tryRun } from "../../scripts/lib/exec.ts";
import { programLine, repositoryRoot } from "../../scripts/lib/repository.ts";
import { temporary } from "../support/tree.ts";

/** Runs a program with a module in a folder beside it; neither is in the checkout. */
async function start(program: string, module: string, args: readonly string[] = []) {
  // With characters that a URL would take for something else.
  const directory = await realpath(await mkdtemp(join(tmpdir(), "run of # é-")));
  onTestFinished(async () => rm(directory, { recursive: true }));
  const scratch = join(directory, "temporary");
  for (const folder of ["parts", "temporary"]) await mkdir(join(directory, folder));
  await writeFile(join(directory, "parts/part.json"), '{ "word": "JSON" }');
  await writeFile(join(directory, "parts/part.ts"), module);
  await writeFile(join(directory, "program.ts"), program);
  const line = programLine(repositoryRoot(), join(directory, "program"), args);
  const ended = await tryRun(...line, { cwd: "/", env: { ...process.env, TMPDIR: scratch } });
  return { ...ended, directory, left: await readdir(scratch) };
}

it("a program has the arguments, and knows the checkout that started it", async () => {
  const { stdout, stderr, exitCode, directory, left } = await start(
    `import { repositoryRoot } from ${JSON.stringify(join(repositoryRoot(), "scripts/lib/repository.ts"))};
console.log(JSON.stringify([process.argv.slice(1), repositoryRoot()]));`,
    "",
    ["staging", "--dry-run"],
  );
  expect({ stderr, exitCode, left }).toEqual({ stderr: "", exitCode: 0, left: [] });
  expect(JSON.parse(stdout)).toEqual([
    [join(directory, "program.ts"), "staging", "--dry-run"],
    repositoryRoot(),
  ]);
});

it("one module asks where it is: the bundle has one answer", async () => {
  const files = await glob("scripts/**/*.ts", { cwd: repositoryRoot() });
  const texts = await Promise.all(files.map(async (file) => readFile(join(repositoryRoot(), file), "utf8")));
  expect(files.filter((_, index) => texts[index]?.includes("import.meta"))).toEqual([
    "scripts/lib/repository.ts",
  ]);
});

it("packages are those of the checkout, whenever they are imported", async () => {
  const { stdout, stderr } = await start(
    `const { read } = await import("./parts/part.ts");
console.log(await read());`,
    `import limit from "p-limit";
import data from "./part.json" with { type: "json" };
export async function read(): Promise<string> {
  const { parse } = await import("yaml");
  const { z } = await import("zod"); // is not in the bundle
  return limit(1)(() => data.word + z.string().parse(parse("[ YAML ]")[0]));
}`,
  );
  expect({ stdout, stderr }).toEqual({ stdout: "JSONYAML\n", stderr: "" });
});

it("a stack names the line of the source", async () => {
  const { stderr, exitCode, directory } = await start(
    `import { fail } from "./parts/part.ts";

fail("wrong");`,
    `interface Unused { word: string }

export function fail(word: string): never {
  throw new Error(word);
}`,
  );
  expect(stderr).toContain(`at fail (${join(directory, "parts/part.ts")}:4:9)`);
  expect(stderr).toContain(`${join(directory, "program.ts")}:3:1`);
  expect(exitCode).toBe(1);
});

it("a module that is not there is named, with the line that asks for it", async () => {
  const { stderr, exitCode, left } = await start(`\nimport "./none.ts";`, "");
  expect(stderr).toMatch(/Could not resolve "\.\/none\.ts"\n\n.*program\.ts:2:7:/);
  expect({ exitCode, left }).toEqual({ exitCode: 1, left: [] });
});

it("leaves nothing behind where there is no room for the bundle", async () => {
  const scratch = await temporary();
  const [command, args] = programLine(repositoryRoot(), "status", ["--help"]);
  // No file of more than one block, as on a full disk.
  const { stderr } = await tryRun("sh", ["-c", 'ulimit -f 1; "$0" "$@"', command, ...args], {
    env: { ...process.env, TMPDIR: scratch },
  });
  expect(stderr).toContain("file too large");
  expect(await readdir(scratch)).toEqual([]);
});
