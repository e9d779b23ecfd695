import { spawn } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { tryRun } from "../../../scripts/lib/exec.ts";
import { programLine, repositoryRoot } from "../../../scripts/lib/repository.ts";
import { cacheDir } from "../../../scripts/lib/tools/cache.ts";
import { onPath } from "../../../scripts/lib/tools/go.ts";
import {
  resolveTool,
  resolveTools,
  type ToolProgress,
  type ToolSpec,
} from "../../../scripts/lib/tools/resolve.ts";
import { waitFor } from "../../../scripts/lib/wait.ts";

const LIBRARY = join(repositoryRoot(), "scripts/lib/tools/resolve.ts");
const [GO = ""] = onPath("go", process.env);

const HELLO: ToolSpec = {
  name: "hello",
  module: "tools/hello",
  versionOf: "example.test/hello",
  package: "example.test/hello/v2/cmd",
  stamp: { "main.version": "{version}" },
  versionArgs: ["--version"],
  versionPattern: /^hello v?(\S+)/m,
  usualSeconds: 1,
};
const BYE: ToolSpec = {
  ...HELLO,
  name: "bye",
  package: "example.test/hello/bye",
  versionPattern: /^bye v?(\S+)/m,
};
const TABLE = [HELLO, BYE];

/** A program that needs no package but `os`, so that it compiles fast on a machine that never built anything. */
const main = (says: string): string => `package main

import "os"

var version = "dev"

func main() { os.Stdout.WriteString("${says} v" + version + "\\n") }
`;

let dir: string;
let root: string;
let env: NodeJS.ProcessEnv;
let events: ToolProgress[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "tools-"));
  root = join(dir, "root");
  env = {
    ...process.env,
    PATH: `${dirname(GO)}${delimiter}/usr/bin${delimiter}/bin`,
    TOOLS_CACHE: join(dir, "cache"),
  };
  events = [];
  pin("1.2.3");
  write("tools/hello/src/go.mod", "module example.test/hello\n\ngo 1.21\n");
  write("tools/hello/src/v2/cmd/main.go", main("hello"));
  write("tools/hello/src/bye/main.go", main("bye"));
});

afterEach(() => rmSync(dir, { recursive: true, force: true }));

function write(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

/** Offline, because the module stands beside its go.mod. */
function pin(version: string): void {
  write(
    "tools/hello/go.mod",
    `module fixture\n\ngo 1.21\n\nrequire example.test/hello v${version}\n\nreplace example.test/hello => ./src\n`,
  );
}

/** A directory for PATH with one executable shell script in it. */
function script(name: string, body: string): string {
  const bin = mkdtempSync(join(dir, "bin-"));
  writeFileSync(join(bin, name), `#!/bin/sh\n${body}\n`);
  chmodSync(join(bin, name), 0o755);
  return bin;
}

const before = (bin: string): NodeJS.ProcessEnv => ({ ...env, PATH: `${bin}${delimiter}${env["PATH"]}` });
const resolveHello = (changed: Partial<Parameters<typeof resolveTool>[1]> = {}) =>
  resolveTool("hello", {
    root,
    env,
    table: TABLE,
    onProgress: (event) => void events.push(event),
    ...changed,
  });
const built = (): string[] => events.flatMap((event) => (event.kind === "built" ? [event.tool] : []));
const says = async (program: string): Promise<string> => (await tryRun(program, ["--version"])).stdout.trim();

describe("a command that builds a tool", () => {
  it("prints no line for each of its packages", async () => {
    const go = script(
      "go",
      'case "$1" in env) echo go1.99;; build) i=0; while [ $i -lt 2500 ]; do i=$((i+1)); echo "example.test/p$i" >&2; done; exit 1;; esac',
    );
    const file = join(dir, "asks");
    const library = JSON.stringify(join(repositoryRoot(), "scripts/lib/tools/path.ts"));
    writeFileSync(
      `${file}.ts`,
      `import { toolPath } from ${library}; await toolPath("age").catch(() => {});`,
    );
    const { stderr } = await tryRun(...programLine(repositoryRoot(), file, []), { env: before(go) });
    expect(stderr).toMatch(/^building age/);
    expect(stderr.trim().split("\n").length).toBeLessThan(100);
  });
});

describe("resolving a tool", () => {
  it("builds it at the version in go.mod, stamped, and takes it from the cache the next time, without Go", async () => {
    const first = await resolveHello();
    expect(first).toMatchObject({ name: "hello", version: "1.2.3", from: "built", assets: "" });
    expect(await says(first.path)).toBe("hello v1.2.3");
    expect(built()).toEqual(["hello"]);

    const second = await resolveHello({ env: { TOOLS_CACHE: env["TOOLS_CACHE"], PATH: "" } });
    expect(second).toEqual({ ...first, from: "cache", seconds: 0 });
    expect(built()).toEqual(["hello"]);
  });

  it("builds the tools of one module in one go, and says how many of how many", async () => {
    const tools = await resolveTools(["bye", "hello", "bye"], {
      root,
      env,
      table: TABLE,
      onProgress: (event) => void events.push(event),
    });
    expect(tools.map(({ name, from }) => [name, from])).toEqual([
      ["bye", "built"],
      ["hello", "built"],
    ]);
    expect(events.filter((event) => event.kind === "building")).toEqual([
      { kind: "building", tools: ["bye", "hello"], first: 1, total: 2, usualSeconds: 2 },
    ]);
    expect(events.flatMap((event) => (event.kind === "built" ? [[event.done, event.total]] : []))).toEqual([
      [1, 2],
      [2, 2],
    ]);
  });

  it("keeps another pin, or other build flags, apart in the cache", async () => {
    const first = await resolveHello();
    pin("1.2.4");
    const second = await resolveHello();
    const flagged = await resolveHello({ table: [{ ...HELLO, tags: ["extra"] }] });
    expect(second).toMatchObject({ version: "1.2.4", from: "built" });
    expect(new Set([first.path, second.path, flagged.path]).size).toBe(3);
    expect(await says(first.path)).toBe("hello v1.2.3");
  });

  it.each([
    ["removed", (file: string) => rmSync(file)],
    ["replaced by a directory", (file: string) => (rmSync(file), mkdirSync(file))],
    ["not executable any more", (file: string) => chmodSync(file, 0o644)],
  ])("rebuilds a binary that was %s", async (_, spoil) => {
    const { path } = await resolveHello();
    spoil(path);
    expect(await resolveHello()).toMatchObject({ from: "built", path });
    expect(await says(path)).toBe("hello v1.2.3");
    expect(await resolveHello()).toMatchObject({ from: "cache", path });
  });

  it("leaves nothing but whole entries in the cache", async () => {
    const { path } = await resolveHello();
    const work = join(cacheDir(env, root), ".work", "tools-hello");
    expect(readdirSync(work)).toEqual([]);
    expect(existsSync(`${work}.lock`)).toBe(false);
    expect(readdirSync(join(dirname(path), ".."))).toEqual(["bin"]);
  });

  it("gives the same bytes from another directory and with other Go settings", async () => {
    const first = await resolveHello();
    const elsewhere = join(dir, "a", "longer", "path");
    cpSync(root, elsewhere, { recursive: true });
    const second = await resolveHello({
      root: elsewhere,
      env: {
        ...env,
        TOOLS_CACHE: join(dir, "cache2"),
        GOFLAGS: "-gcflags=-N",
        GOOS: "plan9",
        CGO_ENABLED: "1",
      },
    });
    expect(second.from).toBe("built");
    expect(readFileSync(second.path).equals(readFileSync(first.path))).toBe(true);
  });

  it("refuses a build that is not the version it should be", async () => {
    const wrong = { ...HELLO, stamp: { "main.version": "9.9.9" } };
    await expect(resolveHello({ table: [wrong] })).rejects.toThrow(
      "hello 1.2.3 was built, but says it is 9.9.9",
    );
    expect(existsSync(join(cacheDir(env, root), "hello"))).toBe(false);
  });
});

describe("a tool on PATH", () => {
  it.each(["hello v1.2.3", "hello 1.2.3", "hello v1.2.3+8f3a9c1"])(
    "is taken if it says %j",
    async (answer) => {
      const bin = script("hello", `echo '${answer}'`);
      expect(await resolveHello({ env: before(bin) })).toMatchObject({
        from: "PATH",
        path: join(bin, "hello"),
      });
    },
  );

  it.each([
    ["another version", "echo hello v1.2.4"],
    ["a longer version", "echo hello v1.2.31"],
    ["a pre-release", "echo hello v1.2.3-rc.1"],
    ["the version in another place", "echo needs hello v1.2.3"],
    ["nothing, and fails", "exit 1"],
  ])("is passed over if it says %s", async (_, body) => {
    expect((await resolveHello({ env: before(script("hello", body)) })).from).toBe("built");
  });

  it("is found behind one of another version, and behind what is no program", async () => {
    const right = script("hello", "echo hello 1.2.3");
    const wrong = script("hello", "echo hello 1.0.0");
    const folder = mkdtempSync(join(dir, "bin-"));
    mkdirSync(join(folder, "hello"));
    const path = [folder, wrong, "", right, env["PATH"]].join(delimiter);
    expect(await resolveHello({ env: { ...env, PATH: path } })).toMatchObject({ path: join(right, "hello") });
  });
});

describe("several processes", () => {
  /** Another Node process that resolves `hello` and prints where it came from. */
  function resolveElsewhere(settings: NodeJS.ProcessEnv = env) {
    const code = `
      import { resolveTool } from ${JSON.stringify(LIBRARY)};
      const spec = ${JSON.stringify({ ...HELLO, versionPattern: undefined })};
      const table = [{ ...spec, versionPattern: /^hello v?(\\S+)/m }];
      console.log((await resolveTool("hello", { root: ${JSON.stringify(root)}, table })).from);`;
    writeFileSync(join(dir, "elsewhere.ts"), code);
    const child = spawn(...programLine(repositoryRoot(), join(dir, "elsewhere"), []), {
      env: settings,
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    child.stdout.on("data", (data: Buffer) => (output += data.toString()));
    const ended = new Promise<string>((resolve) => child.once("close", () => resolve(output.trim())));
    return { child, ended };
  }

  it("build it once", async () => {
    const processes = [resolveElsewhere(), resolveElsewhere(), resolveElsewhere()];
    const from = await Promise.all(processes.map(async ({ ended }) => ended));
    expect(from.sort()).toEqual(["built", "cache", "cache"]);
  });

  it("wait for the one that builds, and take over from one that was killed", async () => {
    const pidFile = join(dir, "pid");
    const hangs = script(
      "go",
      `case "$1" in env) exec '${GO}' "$@";; *) echo $$ > '${pidFile}'; exec sleep 600;; esac`,
    );
    const { child, ended } = resolveElsewhere(before(hangs));
    const hasPid = async () => (existsSync(pidFile) && readFileSync(pidFile, "utf8") !== "") || undefined;
    await waitFor("Go runs", hasPid);
    const waiting = resolveHello();
    await waitFor("it waits", async () => events.some(({ kind }) => kind === "waiting") || undefined);
    expect(built()).toEqual([]);
    child.kill("SIGKILL");
    process.kill(Number(readFileSync(pidFile, "utf8")), "SIGKILL");
    await ended;
    expect((await waiting).from).toBe("built");
    expect(readdirSync(join(cacheDir(env, root), ".work", "tools-hello"))).toEqual([]);
  });
});

describe("what cannot be built ends with one line:", () => {
  it("an unknown name", async () => {
    await expect(resolveTools(["hello", "hallo"], { root, env, table: TABLE })).rejects.toMatchObject({
      exitCode: 2,
      message: 'there is no tool "hallo"',
      hint: "the tools are hello, bye",
    });
  });

  it("no Go", async () => {
    await expect(resolveHello({ env: { ...env, PATH: "" } })).rejects.toMatchObject({
      exitCode: 3,
      message: "neither PATH nor the cache has hello 1.2.3, and there is no go command to build with",
      hint: "install Go 1.21 or newer (https://go.dev/dl) or mise (https://mise.jdx.dev)",
    });
  });

  it("no Go, but mise", async () => {
    const PATH = script("mise", "exit 0");
    await expect(resolveHello({ env: { ...env, PATH } })).rejects.toMatchObject({
      hint: 'run "mise install"',
    });
  });

  it("a Go that cannot fetch newer toolchains", async () => {
    const old = script("go", "echo go1.19.8");
    await expect(resolveHello({ env: before(old) })).rejects.toMatchObject({
      exitCode: 3,
      message: expect.stringContaining("/go is too old to build with (go1.19.8)"),
    });
  });

  it("a source that does not compile, with the compiler's line; its neighbours are kept", async () => {
    write("tools/hello/src/bye/main.go", "package main\n\nfunc main() { missing() }\n");
    await expect(resolveTools(["hello", "bye"], { root, env, table: TABLE })).rejects.toMatchObject({
      exitCode: 5,
      message: "hello, bye could not be built: src/bye/main.go:3:15: undefined: missing",
    });
    expect((await resolveHello()).from).toBe("cache");
  });

  it("a go.mod that does not pin it", async () => {
    write("tools/hello/go.mod", "module fixture\n\ngo 1.21\n");
    await expect(resolveHello()).rejects.toMatchObject({
      exitCode: 3,
      message: "tools/hello/go.mod does not require example.test/hello, so hello has no version",
    });
  });

  it("a cache that is no directory", async () => {
    writeFileSync(join(dir, "file"), "");
    await expect(resolveHello({ env: { ...env, TOOLS_CACHE: join(dir, "file") } })).rejects.toMatchObject({
      exitCode: 3,
      message: expect.stringContaining("is not a directory"),
    });
  });
});

describe("files beside a tool", () => {
  const spec: ToolSpec = {
    ...HELLO,
    assets: [{ pattern: "share/**" }, { pattern: "hack/*.sh", executable: true }],
  };
  const resolveWithAssets = () => resolveHello({ table: [spec] });

  beforeEach(() => {
    write("tools/hello/src/share/deep/data.yaml", "a: 1\n");
    write("tools/hello/src/hack/run.sh", "#!/bin/sh\n");
    chmodSync(join(root, "tools/hello/src/hack/run.sh"), 0o444);
  });

  it("are copied into the cache, scripts executable, and stay when the module is gone", async () => {
    const { assets } = await resolveWithAssets();
    rmSync(join(root, "tools/hello/src"), { recursive: true });
    expect(readFileSync(join(assets, "share/deep/data.yaml"), "utf8")).toBe("a: 1\n");
    expect(statSync(join(assets, "hack/run.sh")).mode & 0o777).toBe(0o755);
    expect(statSync(join(assets, "share/deep/data.yaml")).mode & 0o777).toBe(0o644);
  });

  it("are there for a program on PATH too", async () => {
    const bin = script("hello", "echo hello 1.2.3");
    const tool = await resolveHello({ table: [spec], env: before(bin) });
    expect(tool.from).toBe("PATH");
    expect(existsSync(join(tool.assets, "hack/run.sh"))).toBe(true);
  });

  it("must all exist in the module", async () => {
    const table = [{ ...spec, assets: [{ pattern: "share/**" }, { pattern: "gone/*.yaml" }] }];
    await expect(resolveHello({ table })).rejects.toThrow(
      "example.test/hello has no gone/*.yaml, which hello needs",
    );
  });
});

describe("a tool with edits", () => {
  const edit = { file: "v2/cmd/main.go", from: '"hello v"', to: '"hello v" + "" + ""' };
  const resolveEdited = (edits: ToolSpec["edits"]) =>
    resolveHello({
      table: [{ ...HELLO, versionPattern: /^(?:hello|edited) v?(\S+)/m, ...(edits ? { edits } : {}) }],
    });

  it("is built with them, from a module that stays as it is", async () => {
    const tool = await resolveEdited([{ ...edit, to: '"edited v"' }]);
    expect(await says(tool.path)).toBe("edited v1.2.3");
    expect(readFileSync(join(root, "tools/hello/src/v2/cmd/main.go"), "utf8")).toBe(main("hello"));
  });

  it("is never taken from PATH, where it would be without them", async () => {
    const bin = script("hello", "echo hello 1.2.3");
    const tool = await resolveHello({ table: [{ ...HELLO, edits: [edit] }], env: before(bin) });
    expect(tool.from).toBe("built");
  });

  it("is another cache entry than without them", async () => {
    const plain = await resolveHello();
    expect((await resolveEdited([edit])).path).not.toBe(plain.path);
  });

  it.each([
    ["is gone", "what is not there"],
    ["is not the only one", "o"],
  ])("is refused when the line to be replaced %s", async (_, from) => {
    await expect(resolveEdited([{ ...edit, from }])).rejects.toThrow(
      "v2/cmd/main.go of example.test/hello does not have the line that hello is to be built without",
    );
  });
});
