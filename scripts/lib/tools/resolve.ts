/**
 * Resolves command-line tools at the version this repository pins: the exact version on PATH, else the cache, else a build
 * from the checksummed Go module. docs/tools.md says the same for people.
 */
import { existsSync } from "node:fs";
import { mkdir, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { ExternalError, UsageError } from "../errors.ts";
import { tryRun } from "../exec.ts";
import { repositoryRoot } from "../repository.ts";
import { stretched } from "../wait.ts";
import { cacheDir, commitEntry, withLock } from "./cache.ts";
import { TOOLS, type ToolSpec } from "./catalogue.ts";
import { copyMatching } from "./copy.ts";
import { buildTools, builtPath, findGo, isExecutable, moduleSource, onPath } from "./go.ts";
import { type PinnedTool, pinTools } from "./pin.ts";
import type { ToolProgress } from "./progress.ts";

export { TOOLS, type ToolSpec } from "./catalogue.ts";
export { describeProgress, duration, progressLines, type ToolProgress } from "./progress.ts";

/** A version command that takes longer is not the tool. */
const VERSION_TIMEOUT_MS = 10_000;

export interface ResolvedTool {
  name: string;
  /** Without `v`. */
  version: string;
  /** Absolute path of the program. */
  path: string;
  /**
   * Absolute directory with the files the tool needs beside its program, at the paths they have in the tool's Go module
   * (`manifests/crds/…`); the empty string for tools that need none.
   */
  assets: string;
  /** Where the program was found, or that it was built just now. */
  from: "PATH" | "cache" | "built";
  /** Seconds until it was built just now; else 0. */
  seconds: number;
}

export interface ResolveOptions {
  /** The repository's root directory; by default the one this file is in. */
  root?: string;
  /** By default the process's own. */
  env?: NodeJS.ProcessEnv;
  /** By default `TOOLS`. */
  table?: readonly ToolSpec[];
  /** Called with what is being built; `progressLines` makes lines of it. */
  onProgress?: (event: ToolProgress) => void;
  /** Whether a program from PATH will do also for a tool with edits: its edits do not matter to the caller. */
  withoutEdits?: boolean;
}

/** One tool: see `resolveTools`. */
export async function resolveTool(name: string, options: ResolveOptions = {}): Promise<ResolvedTool> {
  const [tool] = await resolveTools([name], options);
  if (tool === undefined) throw new UsageError(`there is no tool ${name}`);
  return tool;
}

/**
 * Makes the named tools available and says where they are.
 * @param names names from the table
 * @returns in the order of `names`
 * @throws UsageError for a name that is not in the table
 * @throws RefusedError when there is nothing to build with (no Go), or the cache cannot be written
 * @throws ExternalError when a module cannot be fetched or does not compile
 */
export async function resolveTools(
  names: readonly string[],
  options: ResolveOptions = {},
): Promise<ResolvedTool[]> {
  const context = contextOf(options);
  const tools = pinTools(named(names, options.table ?? TOOLS), context.root);
  const found = await findPrograms(tools, context);
  const missing = tools.filter((tool) => !found.has(tool));
  for (const group of groupsOf(missing)) {
    const done = missing.indexOf(group[0]);
    for (const [tool, program] of await build(group, done, missing.length, context)) found.set(tool, program);
  }
  const resolved: ResolvedTool[] = [];
  for (const tool of tools) {
    const program = found.get(tool);
    if (program === undefined) throw new ExternalError(`${tool.spec.name} was built, but is not there`);
    const assets = await assetsOf(tool, context);
    resolved.push({ name: tool.spec.name, version: tool.version, assets, ...program });
  }
  return resolved;
}

/** The named tools that are there already, by name: nothing is built. */
export async function presentTools(
  names: readonly string[],
  options: ResolveOptions = {},
): Promise<Map<string, string>> {
  const context = contextOf(options);
  const tools = pinTools(named(names, options.table ?? TOOLS), context.root);
  const found = await findPrograms(tools, context);
  return new Map([...found].map(([{ spec }, { path }]) => [spec.name, path]));
}

/**
 * The directory with the files of a tool, without the program: it is not built for them.
 * @throws as `resolveTools`
 */
export async function resolveAssets(name: string, options: ResolveOptions = {}): Promise<string> {
  const context = contextOf(options);
  const [tool] = pinTools(named([name], options.table ?? TOOLS), context.root);
  return tool === undefined ? "" : assetsOf(tool, context);
}

function contextOf(options: ResolveOptions): Context {
  const root = options.root ?? repositoryRoot();
  const env = options.env ?? process.env;
  return {
    root,
    env,
    cache: cacheDir(env, root),
    onProgress: options.onProgress ?? (() => undefined),
    withoutEdits: options.withoutEdits ?? false,
  };
}

async function findPrograms(
  tools: readonly PinnedTool[],
  context: Context,
): Promise<Map<PinnedTool, Program>> {
  const found = new Map<PinnedTool, Program>();
  await Promise.all(
    tools.map(async (tool) => {
      const program = (await findOnPath(tool, context)) ?? findInCache(tool, context);
      if (program !== undefined) found.set(tool, program);
    }),
  );
  return found;
}

interface Context {
  root: string;
  env: NodeJS.ProcessEnv;
  cache: string;
  onProgress: (event: ToolProgress) => void;
  withoutEdits: boolean;
}

type Program = Pick<ResolvedTool, "path" | "from" | "seconds">;

/** Tools that one go command builds. */
type Group = [PinnedTool, ...PinnedTool[]];

function named(names: readonly string[], table: readonly ToolSpec[]): ToolSpec[] {
  return [...new Set(names)].map((name) => {
    const spec = table.find((candidate) => candidate.name === name);
    if (spec !== undefined) return spec;
    throw new UsageError(
      `there is no tool "${name}"`,
      `the tools are ${table.map((candidate) => candidate.name).join(", ")}`,
    );
  });
}

async function findOnPath(tool: PinnedTool, context: Context): Promise<Program | undefined> {
  const { edits, versionArgs } = tool.spec;
  if (versionArgs === undefined || (edits !== undefined && !context.withoutEdits)) return undefined;
  for (const path of onPath(tool.spec.name, context.env)) {
    if ((await versionOf(path, tool.spec, context)) === tool.version)
      return { path, from: "PATH", seconds: 0 };
  }
  return undefined;
}

/** What a program says its version is, without `v` and build metadata (`+commit`). */
async function versionOf(path: string, spec: ToolSpec, context: Context): Promise<string | undefined> {
  try {
    const { stdout, stderr } = await tryRun(path, spec.versionArgs ?? [], {
      cwd: context.root,
      env: context.env,
      signal: AbortSignal.timeout(stretched(VERSION_TIMEOUT_MS)),
    });
    return spec.versionPattern?.exec(`${stdout}\n${stderr}`)?.[1]?.replace(/\+.*$/, "");
  } catch {
    // Cannot be started or hangs: whatever it is, it is not the pinned tool.
    return undefined;
  }
}

function findInCache(tool: PinnedTool, { cache }: Context): Program | undefined {
  const path = programIn(entryOf(cache, tool), tool);
  return isExecutable(path) ? { path, from: "cache", seconds: 0 } : undefined;
}

function entryOf(cache: string, { spec, version, key }: PinnedTool): string {
  return join(cache, spec.name, `${version}-${key}`);
}

function programIn(entry: string, { spec }: PinnedTool): string {
  return join(entry, "bin", spec.name);
}

function groupsOf(tools: readonly PinnedTool[]): Group[] {
  const groups = new Map<string, Group>();
  for (const tool of tools) {
    const flags = JSON.stringify([tool.moduleDir, tool.spec.tags ?? []]);
    const group = groups.get(flags);
    if (group === undefined) groups.set(flags, [tool]);
    else group.push(tool);
  }
  return [...groups.values()];
}

/** Builds a group, or takes what another process has built while this one waited for it. */
async function build(
  group: Group,
  before: number,
  total: number,
  context: Context,
): Promise<[PinnedTool, Program][]> {
  const { cache, env, onProgress } = context;
  const names = group.map((tool) => tool.spec.name);
  const wanted = group.map((tool) => `${tool.spec.name} ${tool.version}`).join(", ");
  const go = await findGo(`neither PATH nor the cache has ${wanted}`, env);
  const lockName = group[0].spec.module.replaceAll("/", "-");
  const onWait = (): void => onProgress({ kind: "waiting", tools: names });
  return withLock(cache, lockName, onWait, async (scratch) => {
    const programs: [PinnedTool, Program][] = [];
    const left: PinnedTool[] = [];
    for (const tool of group) {
      const program = findInCache(tool, context);
      if (program === undefined) left.push(tool);
      else programs.push([tool, program]);
    }
    if (left.length === 0) return programs;

    const started = Date.now();
    const tools = left.map((tool) => tool.spec.name);
    const usualSeconds = left.reduce((sum, tool) => sum + tool.spec.usualSeconds, 0);
    onProgress({ kind: "building", tools, first: before + programs.length + 1, total, usualSeconds });
    const onStep = (text: string): void => onProgress({ kind: "step", tools, text });
    try {
      await buildTools(go, left, scratch, onStep);
    } finally {
      // Also after a failure: the tools that did compile need not be built again.
      for (const tool of left.filter((one) => existsSync(builtPath(scratch, one)))) {
        const program = await store(tool, scratch, started, context);
        programs.push([tool, program]);
        const done = before + programs.length;
        onProgress({ kind: "built", tool: tool.spec.name, done, total, seconds: program.seconds });
      }
    }
    return programs;
  });
}

/** Puts a program that was built since a time into the cache, if it is what it should be. */
async function store(tool: PinnedTool, scratch: string, started: number, context: Context): Promise<Program> {
  const built = builtPath(scratch, tool);
  const seconds = ((await stat(built)).mtimeMs - started) / 1000;
  const { versionArgs } = tool.spec;
  const says = versionArgs === undefined ? tool.version : await versionOf(built, tool.spec, context);
  if (says !== tool.version) {
    throw new ExternalError(
      `${tool.spec.name} ${tool.version} was built, but says it is ${says ?? "nothing understandable"}`,
      "its stamp or version pattern in scripts/lib/tools/catalogue.ts does not fit this version",
    );
  }
  const made = join(scratch, `entry-${tool.spec.name}`);
  await mkdir(join(made, "bin"), { recursive: true });
  await rename(built, programIn(made, tool));
  const entry = entryOf(context.cache, tool);
  await commitEntry(made, entry);
  return { path: programIn(entry, tool), from: "built", seconds };
}

/** The directory with what the tool needs beside its program, copied out of its module if it is not in the cache. */
async function assetsOf(tool: PinnedTool, context: Context): Promise<string> {
  const { spec, version, assetsKey } = tool;
  if (spec.assets === undefined) return "";
  const { cache, env, onProgress } = context;
  const entry = join(cache, spec.name, `${version}-assets-${assetsKey}`);
  if (existsSync(entry)) return entry;
  const go = await findGo(`the cache does not have the files of ${spec.name} ${version}`, env);
  const onWait = (): void => onProgress({ kind: "waiting", tools: [spec.name] });
  return withLock(cache, `${spec.name}-assets`, onWait, async (scratch) => {
    if (existsSync(entry)) return entry;
    const source = await moduleSource(go, tool);
    const made = join(scratch, "assets");
    await copyAssets(tool, source, made);
    await commitEntry(made, entry);
    return entry;
  });
}

async function copyAssets({ spec }: PinnedTool, source: string, target: string): Promise<void> {
  for (const { pattern, executable } of spec.assets ?? []) {
    if ((await copyMatching(source, target, pattern, executable)) === 0) {
      throw new ExternalError(`${spec.versionOf} has no ${pattern}, which ${spec.name} needs`);
    }
  }
}
