import {
  copyFile,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, it, onTestFinished } from "vitest";
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

describe("what a command starts from", () => {
  /** A checkout with one command, which prints the word of its module. */
  async function checkout(): Promise<string> {
    const root = await realpath(await temporary());
    await mkdir(join(root, "scripts/lib"), { recursive: true });
    await mkdir(join(root, "node_modules"));
    await copyFile(join(repositoryRoot(), "scripts/run.js"), join(root, "scripts/run.js"));
    await symlink(join(repositoryRoot(), "node_modules/esbuild"), join(root, "node_modules/esbuild"));
    await put(root, "package.json", '{ "type": "module" }');
    await put(
      root,
      "scripts/say.ts",
      'import { word } from "./lib/word.ts";\nconsole.log(word, import.meta.dirname);',
    );
    await put(root, "scripts/lib/word.ts", 'export const word: string = "one";');
    await put(root, "node_modules/.package-lock.json", "{}");
    return root;
  }

  async function put(root: string, path: string, text: string): Promise<void> {
    await writeFile(join(root, path), text);
    // What it contains counts, not when it was written.
    await utimes(join(root, path), 0, 0);
  }

  async function say(root: string): Promise<string> {
    const { stdout, stderr } = await tryRun(...programLine(root, "say", []));
    return stdout + stderr;
  }

  async function kept(root: string): Promise<string[]> {
    return (await readdir(join(root, ".cache/commands")).catch((): string[] => [])).toSorted();
  }

  it("is kept, and used again", async () => {
    const root = await checkout();
    expect(await say(root)).toBe(`one ${root}/scripts\n`);
    const first = await kept(root);
    expect(first).toEqual([expect.stringMatching(/^say\.[0-9a-f-]+\.mjs$/), "say.json"]);
    const bundle = join(root, ".cache/commands", first[0] ?? "");
    await writeFile(bundle, (await readFile(bundle, "utf8")).replace('"one"', '"kept"'));
    expect(await say(root)).toBe(`kept ${root}/scripts\n`);
    expect(await kept(root)).toEqual(first);
  });

  it.each([
    ["a module", "scripts/lib/word.ts", 'export const word: string = "two";', "two"],
    ["the command", "scripts/say.ts", "console.log(3, import.meta.dirname);", "3"],
    ["a package", "node_modules/.package-lock.json", "{} ", "one"],
  ])("is replaced when %s changes", async (_, path, text, word) => {
    const root = await checkout();
    await say(root);
    const before = await kept(root);
    await put(root, path, text);
    expect(await say(root)).toBe(`${word} ${root}/scripts\n`);
    const after = await kept(root);
    expect(after).toHaveLength(2);
    expect(after).not.toEqual(before);
  });

  it("is not that of the checkout which this one is a copy of", async () => {
    const root = await checkout();
    await say(root);
    const copy = join(await realpath(await temporary()), "copy");
    await cp(root, copy, { recursive: true, preserveTimestamps: true });
    expect(await say(copy)).toBe(`one ${copy}/scripts\n`);
  });

  it.each([
    ["the record is damaged", "say.json", "{"],
    ["the bundle is damaged", ".mjs", "{"],
    ["the bundle is empty", ".mjs", ""],
  ])("is made anew where %s", async (_, ending, text) => {
    const root = await checkout();
    await say(root);
    const [damaged] = (await kept(root)).filter((file) => file.endsWith(ending));
    await writeFile(join(root, ".cache/commands", damaged ?? ""), text);
    expect(await say(root)).toBe(`one ${root}/scripts\n`);
    expect(await say(root)).toBe(`one ${root}/scripts\n`);
  });

  it("need not be kept: a place that cannot be written is no matter", async () => {
    const root = await checkout();
    await writeFile(join(root, ".cache"), "");
    expect(await say(root)).toBe(`one ${root}/scripts\n`);
  });

  it("leaves nothing of itself where there is no room for it", async () => {
    const root = await checkout();
    const scratch = await temporary();
    const [command, args] = programLine(root, "say", []);
    // No file of more than one block, as on a full disk.
    const { stderr } = await tryRun("sh", ["-c", 'ulimit -f 1; "$0" "$@"', command, ...args], {
      env: { ...process.env, TMPDIR: scratch },
    });
    expect(stderr).toContain("EFBIG");
    expect([await kept(root), await readdir(scratch)]).toEqual([[], []]);
  });

  it("is one in the end when many start at once", async () => {
    const root = await checkout();
    const said = await Promise.all(Array.from({ length: 8 }, async () => say(root)));
    expect(new Set(said)).toEqual(new Set([`one ${root}/scripts\n`]));
    expect(await say(root)).toBe(`one ${root}/scripts\n`);
    expect((await kept(root)).filter((file) => file.endsWith(".mjs"))).toHaveLength(1);
  });
});
