import { mkdir, mkdtemp, readdir, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, it, onTestFinished } from "vitest";
import { tryRun } from "../../scripts/lib/exec.ts";
import { programLine, repositoryRoot } from "../../scripts/lib/repository.ts";

/** Runs a program with a module in a folder beside it; neither is in the checkout. */
async function start(program: string, module: string, args: readonly string[] = []) {
  // With characters that a URL would take for something else.
  const directory = await realpath(await mkdtemp(join(tmpdir(), "run of # é-")));
  onTestFinished(async () => rm(directory, { recursive: true }));
  const temporary = join(directory, "temporary");
  for (const folder of ["parts", "temporary"]) await mkdir(join(directory, folder));
  await writeFile(join(directory, "parts/part.json"), '{ "word": "JSON" }');
  await writeFile(join(directory, "parts/part.ts"), module);
  await writeFile(join(directory, "program.ts"), program);
  const line = programLine(repositoryRoot(), join(directory, "program"), args);
  const ended = await tryRun(...line, { cwd: "/", env: { ...process.env, TMPDIR: temporary } });
  return { ...ended, directory, left: await readdir(temporary) };
}

it("a program and its modules are where their sources are, and its arguments are its own", async () => {
  const { stdout, stderr, exitCode, directory, left } = await start(
    `import { meta } from "./parts/part.ts";
console.log(JSON.stringify([process.argv.slice(1), import.meta.dirname, meta]));`,
    "export const meta = [import.meta.url, import.meta.filename];",
    ["staging", "--dry-run"],
  );
  expect({ stderr, exitCode, left }).toEqual({ stderr: "", exitCode: 0, left: [] });
  const part = join(directory, "parts/part.ts");
  expect(JSON.parse(stdout)).toEqual([
    [join(directory, "program.ts"), "staging", "--dry-run"],
    directory,
    [pathToFileURL(part).href, part],
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
  return limit(1)(() => data.word + parse("[ YAML ]")[0]);
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
  expect(stderr).toMatch(/program\.ts:2:7: ERROR: Could not resolve "\.\/none\.ts"/);
  expect({ exitCode, left }).toEqual({ exitCode: 1, left: [] });
});
