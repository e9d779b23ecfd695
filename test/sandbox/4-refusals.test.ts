/** Starts that cannot succeed, or are interrupted: one line that says what to do, and nothing half-started. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { run, tryRun } from "../../scripts/lib/exec.ts";
import { layoutOf } from "../../scripts/lib/sandbox/layout.ts";
import { startedProcesses } from "../../scripts/lib/sandbox/process.ts";
import { freshClone, newcomer } from "./setup.ts";
import { until } from "./support.ts";

async function clone(): Promise<{ root: string; home: string }> {
  const place = await freshClone();
  onTestFinished(async () => rm(dirname(place.root), { recursive: true, force: true }));
  return place;
}

async function processesOf(root: string): Promise<string[]> {
  const lines = (await run("ps", ["-eww", "-o", "args"])).split("\n");
  return lines.filter((line) => line.includes(join(root, ".sandbox")));
}

/** A PATH with only these programs. */
async function pathWith(directory: string, programs: readonly string[]): Promise<string> {
  await mkdir(directory);
  for (const program of programs) {
    await symlink((await run("sh", ["-c", `command -v ${program}`])).trim(), join(directory, program));
  }
  return directory;
}

const NEEDED = ["node", "npm", "sh", "bash", "ps", "env", "uname"];

describe("npm start", () => {
  it("refuses a port that something else has taken, and says which", async () => {
    const { root, home } = await clone();
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(() => void server.close());
    const address = server.address();
    const port = typeof address === "object" ? address?.port : undefined;
    await mkdir(join(root, ".sandbox"));
    await writeFile(layoutOf(root).state, JSON.stringify({ ports: { forge: port }, credentials: {} }));
    const started = await tryRun("npm", ["--silent", "start"], { cwd: root, env: newcomer(home) });
    expect(started.stderr).toBe(
      `start: port ${port} of the sandbox's forge is taken by another program; ` +
        "end that program, or run `npm stop` and `npm start` for a new sandbox on other ports\n",
    );
    expect(started.exitCode).toBe(3);
    expect(await processesOf(root)).toEqual([]);
  });

  it("says what to install where there is neither Go nor a tool", async () => {
    const { root, home } = await clone();
    const PATH = await pathWith(join(home, "bin"), [...NEEDED, "git"]);
    const env = { ...newcomer(home), PATH, TOOLS_CACHE: join(home, "empty") };
    const started = await tryRun("npm", ["--silent", "start"], { cwd: root, env });
    expect(started.stderr).toMatch(/^start: .*no go command to build with; install Go/m);
    expect(started.exitCode).toBe(3);
    expect(await processesOf(root)).toEqual([]);
  });

  it("says so when the checkout cannot be written", async () => {
    const { root, home } = await clone();
    // Also for root, who may write everywhere else: a folder cannot be made where a file is.
    await writeFile(join(root, ".sandbox"), "");
    const started = await tryRun("npm", ["--silent", "start"], { cwd: root, env: newcomer(home) });
    expect(started.stderr).toMatch(/^start: \S+ cannot be written: .*; make it writable\n$/);
    expect(started.exitCode).toBe(3);
  });

  it("says that git is missing", async () => {
    const { root, home } = await clone();
    const PATH = await pathWith(join(home, "bin"), NEEDED);
    const started = await tryRun("npm", ["--silent", "start"], {
      cwd: root,
      env: { ...newcomer(home), PATH },
    });
    expect(started.stderr).toBe("start: git is not there; install git and put it on PATH\n");
    expect(started.exitCode).toBe(3);
  });

  it("names a setting that is not valid with its file and line", async () => {
    const { root, home } = await clone();
    await writeFile(
      join(root, "overlays/dev/environment.yaml"),
      "kind: ConfigMap\ndata:\n  name: dev\n  soak: soon\n",
    );
    const started = await tryRun("npm", ["--silent", "start"], { cwd: root, env: newcomer(home) });
    expect(started.stderr).toBe(
      "start: overlays/dev/environment.yaml:4: data.soak: not a time such as 30m\n",
    );
    expect(started.exitCode).toBe(3);
    expect(await processesOf(root)).toEqual([]);
  });

  it("undoes everything when it is interrupted", async () => {
    const { root, home } = await clone();
    const layout = layoutOf(root);
    const child = spawn("npm", ["--silent", "start"], {
      cwd: root,
      env: newcomer(home),
      detached: true,
      stdio: "ignore",
    });
    const ended = once(child, "exit");
    await until("some processes run", async () =>
      (await startedProcesses(layout)).size > 8 ? true : undefined,
    );
    process.kill(-Number(child.pid), "SIGINT");
    const [code, signal] = await ended;
    expect(code === 130 || signal === "SIGINT").toBe(true);
    await until("nothing runs", async () => ((await processesOf(root)).length === 0 ? true : undefined), 15);
    expect((await readdir(layout.dir)).filter((name) => name !== "logs")).toEqual([]);
  });
});

describe("npm stop", () => {
  it("says so when there is nothing to stop", async () => {
    const { root, home } = await clone();
    const stopped = await tryRun("npm", ["--silent", "stop"], { cwd: root, env: newcomer(home) });
    expect(stopped).toEqual({ exitCode: 0, stdout: "There is no sandbox.\n", stderr: "" });
  });
});
