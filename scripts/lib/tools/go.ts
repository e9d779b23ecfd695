/** The Go command: building tools and finding modules, with its failures put into one line. */
import { accessSync, constants, realpathSync, statSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { ExternalError, RefusedError } from "../errors.ts";
import { tryRun } from "../exec.ts";
import { startShown } from "../shown-program.ts";
import { copyMatching } from "./copy.ts";
import type { PinnedTool } from "./pin.ts";

/** The first Go that fetches the toolchain a go.mod asks for by itself. */
const OLDEST_GO = { minor: 21, text: "1.21" };
/** Variables that would change what is built, or for which platform. */
const IGNORED = ["GOOS", "GOARCH", "GOAMD64", "GOARM64", "GOEXPERIMENT", "GODEBUG", "GOROOT"];

/** All programs of that name on PATH, in order; each once where directories are links to each other (`/bin`, `/usr/bin`). */
export function onPath(name: string, env: NodeJS.ProcessEnv): string[] {
  const found = new Map<string, string>();
  for (const dir of (env["PATH"] ?? "").split(delimiter)) {
    const file = join(dir, name);
    if (dir === "" || !isExecutable(file)) continue;
    // The directory's real path, not the file's: a version manager's shims are links to one program that goes by its name.
    const real = realpathSync(dir);
    if (!found.has(real)) found.set(real, file);
  }
  return [...found.values()];
}

/** Whether a path is a program. */
export function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** A Go command that is new enough, with the environment that makes its builds the same everywhere. */
export interface Go {
  program: string;
  env: NodeJS.ProcessEnv;
}

/**
 * Finds Go on PATH.
 * @param why what it is needed for, for the error
 * @throws RefusedError when there is none, or one too old to fetch the toolchain that the go.mod files ask for
 */
export async function findGo(why: string, env: NodeJS.ProcessEnv): Promise<Go> {
  const program = onPath("go", env)[0];
  if (program === undefined) {
    const install = `install Go ${OLDEST_GO.text} or newer (https://go.dev/dl)`;
    throw new RefusedError(
      `${why}, and there is no go command to build with`,
      onPath("mise", env).length > 0 ? `run "mise install"` : `${install} or mise (https://mise.jdx.dev)`,
    );
  }
  // GOTOOLCHAIN=local: the version of the command itself, without a toolchain fetched for it.
  const local = { ...env, GOTOOLCHAIN: "local" };
  const { stdout } = await tryRun(program, ["env", "GOVERSION"], { env: local });
  const minor = /^go1\.(\d+)/.exec(stdout)?.[1];
  if (minor !== undefined && Number(minor) < OLDEST_GO.minor) {
    throw new RefusedError(
      `${why}, and ${program} is too old to build with (${stdout.trim()})`,
      `install Go ${OLDEST_GO.text} or newer (https://go.dev/dl), which fetches the toolchain it needs`,
    );
  }
  const clean = Object.fromEntries(Object.entries(env).filter(([name]) => !IGNORED.includes(name)));
  return {
    program,
    env: {
      ...clean,
      GOTOOLCHAIN: "auto",
      GOWORK: "off",
      // No tool has C code, so that no C compiler is needed and a binary runs on every Linux of its architecture.
      CGO_ENABLED: "0",
      // Not empty, because Go takes an empty variable for an unset one and then reads the user's `go env -w GOFLAGS`.
      GOFLAGS: "-mod=readonly",
    },
  };
}

/**
 * Builds tools of one module, with the same tags, in one go command, so that what they share compiles
 * once. The result depends on the module's files only: not on directories, nor on the user's Go settings.
 * @param scratch an empty directory; `builtPath` says where in it a program appears, whole, as soon as it is linked
 * @param onStep called with what Go is doing
 * @throws ExternalError with the line that says why
 */
export async function buildTools(
  go: Go,
  tools: readonly PinnedTool[],
  scratch: string,
  onStep: (text: string) => void,
): Promise<void> {
  const [first] = tools;
  if (first === undefined) return;
  const tags = first.spec.tags ?? [];
  const temporary = join(scratch, "go");
  await mkdir(temporary);
  let packages = 0;
  const result = await stream(
    go.program,
    [
      "build",
      "-v",
      "-trimpath",
      "-buildvcs=false",
      // Nobody debugs these with a debugger; without its data a cold build takes an eighth less time.
      "-gcflags=all=-dwarf=false",
      ...(tags.length > 0 ? [`-tags=${tags.join(",")}`] : []),
      ...tools.map((tool) => `-ldflags=${tool.spec.package}=${linkerFlags(tool)}`),
      `-o=${scratch}/`,
      ...tools.map((tool) => tool.spec.package),
    ],
    { cwd: await buildDirectory(go, tools, scratch), env: { ...go.env, GOTMPDIR: temporary } },
    (line) => {
      const fetched = /^go: downloading (\S+ \S+)/.exec(line)?.[1];
      if (fetched !== undefined) onStep(`fetching ${fetched}`);
      else if (isPackage(line)) onStep(`${++packages} packages compiled`);
    },
  );
  if (result.exitCode === 0) return;
  const names = tools.map((tool) => tool.spec.name).join(", ");
  throw explainGoFailure(names, result.stderr);
}

/**
 * Where to build: the directory with the go.mod; or, for tools with edits, a copy of it that has edited copies of their
 * modules beside it. (Go's own -overlay refuses files of the module cache.)
 */
async function buildDirectory(go: Go, tools: readonly PinnedTool[], scratch: string): Promise<string> {
  const edited = tools.filter(({ spec }) => spec.edits !== undefined);
  const [first] = edited;
  if (first === undefined) return tools[0]?.moduleDir ?? scratch;
  const directory = join(scratch, "module");
  await copyMatching(first.moduleDir, directory, "**");
  for (const tool of edited) {
    const { spec } = tool;
    // A relative path, because it ends up in the binary.
    const copy = `./edited/${spec.name}`;
    await copyMatching(await moduleSource(go, tool), join(directory, copy), "**");
    for (const { file, from, to } of spec.edits ?? []) {
      const path = join(directory, copy, file);
      const [before, after, ...more] = (await readFile(path, "utf8")).split(from);
      if (before === undefined || after === undefined || more.length > 0) {
        throw new ExternalError(
          `${file} of ${spec.versionOf} does not have the line that ${spec.name} is to be built without`,
          "bring its edits in scripts/lib/tools/catalogue.ts up to date",
        );
      }
      await writeFile(path, `${before}${to}${after}`);
    }
    await tryRun(go.program, ["mod", "edit", `-replace=${spec.versionOf}=${copy}`], {
      cwd: directory,
      env: go.env,
    });
  }
  return directory;
}

/**
 * Where `buildTools` puts a program: `go build -o <directory>/` names it after the package's last element that is not a major
 * version. Go links in its temporary directory and renames, so what is there is whole.
 */
export function builtPath(scratch: string, { spec }: PinnedTool): string {
  return join(
    scratch,
    spec.package
      .replace(/\/v\d+$/, "")
      .split("/")
      .at(-1) ?? spec.name,
  );
}

/**
 * The directory of the files of a tool's module, fetched and checksummed first if need be.
 * @throws ExternalError when it cannot be fetched
 */
export async function moduleSource(go: Go, { spec, moduleDir }: PinnedTool): Promise<string> {
  const options = { cwd: moduleDir, env: go.env };
  const fetched = await tryRun(go.program, ["mod", "download", spec.versionOf], options);
  if (fetched.exitCode !== 0) throw explainGoFailure(spec.name, fetched.stderr, spec.versionOf);
  const listed = await tryRun(go.program, ["list", "-m", "-f", "{{.Dir}}", spec.versionOf], options);
  if (listed.exitCode !== 0) throw explainGoFailure(spec.name, listed.stderr, spec.versionOf);
  return listed.stdout.trim();
}

function linkerFlags({ spec, version }: PinnedTool): string {
  const [major = "", minor = ""] = version.split(".");
  const stamps = Object.entries(spec.stamp ?? {}).map(([variable, value]) => {
    const text = value.replace("{version}", version).replace("{major}", major).replace("{minor}", minor);
    return ` -X '${variable}=${text}'`;
  });
  // -s -w: no symbol table and no DWARF, a third of the size. Stack traces keep their lines.
  return `-s -w${stamps.join("")}`;
}

/** `go build -v` prints each package on a line of its own as it compiles it. */
function isPackage(line: string): boolean {
  return /^[\w.~-]+(?:\/[\w.~+-]+)*$/.test(line);
}

const NETWORK =
  /dial |module lookup disabled|Get "|connection re|timeout|no such host|TLS|50\d |40\d |410 Gone/;

/**
 * One line for a failed go command: the module that could not be fetched, or the compiler's own line.
 * @param names the tools that were wanted
 * @param stderr what Go printed
 * @param module what was being fetched, if Go does not say
 */
export function explainGoFailure(names: string, stderr: string, module?: string): ExternalError {
  const all = stderr.split("\n").map((line) => line.trim());
  const lines = all.filter(
    (line) => line !== "" && !/^(?:go: downloading |# )/.test(line) && !isPackage(line),
  );
  const toolchain = matchIn(lines, /^go: download (go[\d.]+)[^:]*: (.*)/);
  if (toolchain !== undefined) {
    return new ExternalError(
      `${names}: the toolchain ${toolchain[1]} could not be fetched: ${toolchain[2]}`,
      "check the network and GOPROXY, or install that Go",
    );
  }
  if (lines.some((line) => /checksum mismatch|SECURITY ERROR/.test(line))) {
    const changed = matchIn(lines, /verifying (\S+@[^\s:]+):/)?.[1] ?? module ?? "a module";
    return new ExternalError(
      `${names}: ${changed} does not have the bytes that go.sum expects`,
      "something between here and its origin changes it: do not use it",
    );
  }
  if (lines.some((line) => /no space left on device|quota exceeded/.test(line))) {
    return new ExternalError(`${names}: the disk is full`, "make room for the Go and tool caches");
  }
  const fetch = matchIn(lines, /^(?:go: |\S+\.go:\d+:\d+: )?(?:(\S+@v[^\s:]+): )?(?:go: )?(.*)$/, NETWORK);
  if (fetch !== undefined) {
    const asked = matchIn([...all].reverse(), /^go: downloading (\S+) (\S+)/);
    const what = fetch[1] ?? (asked === undefined ? module : `${asked[1]}@${asked[2]}`) ?? "a module";
    return new ExternalError(
      `${names}: ${what} could not be fetched: ${fetch[2]}`,
      "check the network and GOPROXY, and run again: what was fetched is kept",
    );
  }
  const compiler = lines.find((line) => /\.go:\d+(?::\d+)?: /.test(line));
  return new ExternalError(`${names} could not be built: ${compiler ?? lines.at(-1) ?? "go gave no reason"}`);
}

function matchIn(lines: readonly string[], pattern: RegExp, also = /^/): RegExpExecArray | undefined {
  for (const line of lines) {
    const match = also.test(line) ? pattern.exec(line) : null;
    if (match !== null) return match;
  }
  return undefined;
}

/** Runs Go, hands over the lines of its standard error as they come and keeps them. */
async function stream(
  program: string,
  args: readonly string[],
  options: { cwd: string; env: NodeJS.ProcessEnv },
  tell: (line: string) => void,
): Promise<{ exitCode: number; stderr: string }> {
  const lines: string[] = [];
  const onLine = (line: string) => {
    lines.push(line);
    tell(line);
  };
  const { ended, interrupt } = startShown({ ...options, program, args, onLine });
  // Without this a build goes on when the process that wanted it ends.
  process.once("exit", interrupt);
  try {
    return { exitCode: await ended, stderr: lines.join("\n") };
  } finally {
    process.removeListener("exit", interrupt);
  }
}
