/** The figures of a large tree: what a change does, answered from what it has a part in, against rendering everything. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { glob } from "tinyglobby";
import { ExternalError } from "../scripts/lib/errors.ts";
import { tryRun } from "../scripts/lib/exec.ts";
import { GitObjects } from "../scripts/lib/git/objects.ts";
import { readGraph } from "../scripts/lib/render/graph.ts";
import { programLine } from "../scripts/lib/repository.ts";
import { temporaryDirectory } from "../scripts/lib/temporary.ts";
import { resolveTool } from "../scripts/lib/tools/resolve.ts";
import { commandEnvironment } from "./command.ts";
import { type BenchOptions, type Figure, median } from "./figures.ts";
import { memoryBytes, processesOf } from "./processes.ts";
import { carry, commitAll, put, type Tree, writeTree } from "./tree.ts";

/** Memory is measured for a tenth and a third of the services, too. */
const PARTS = [0.1, 0.3, 1];
/** Between two looks at the memory. */
const SAMPLE_MS = 50;

interface Scale {
  root: string;
  tree: Tree;
  kustomize: string;
  /** Where renderings are kept: a place of the bench's own. */
  cache: string;
  runs: number;
}

/** @throws ExternalError when a command fails */
export async function benchScale(
  root: string,
  { runs, services, say, onInterrupt }: BenchOptions,
): Promise<Figure[]> {
  const directory = await temporaryDirectory("bench-");
  const clear = async () => rm(directory, { recursive: true, force: true, maxRetries: 5 });
  onInterrupt(clear);
  try {
    const { path: kustomize } = await resolveTool("kustomize");
    const figures: Figure[] = [];
    for (const part of PARTS) {
      const count = Math.max(1, Math.round(services * part));
      say(`writing ${count} services`);
      const place = join(directory, String(count));
      await mkdir(place);
      const tree = await promotedTree({ root, place, count, kustomize });
      const scale = { root, tree, kustomize, cache: join(directory, `cache-${count}`), runs };
      figures.push(...(await memoryFigures(scale, count)));
      if (part < 1) continue;
      figures.push(...(await timeFigures(scale, directory, count, say)));
      say("other commands");
      figures.push(...(await verbFigures(scale, count)));
    }
    return figures;
  } finally {
    await clear();
  }
}

/** Every service in every environment, and a branch on which one of them changes in each. */
async function promotedTree({
  root,
  place,
  count,
  kustomize,
}: {
  root: string;
  place: string;
  count: number;
  kustomize: string;
}): Promise<Tree> {
  const tree = await writeTree({
    model: root,
    root: place,
    count,
    settings: {},
    source: "example/sources",
    isWhole: true,
  });
  for (const [index, to] of tree.environments.entries()) {
    const from = tree.environments[index - 1];
    if (from !== undefined) await carry(tree, { from, to, kustomize });
  }
  await git(tree, "checkout", "--quiet", "-b", "change");
  for (const environment of tree.environments) {
    const path = `overlays/${environment}/${tree.apps[0]}/kustomization.yaml`;
    const text = await readFile(join(place, path), "utf8");
    await put(place, path, text.replaceAll(/LOG_LEVEL=\w+/g, "LOG_LEVEL=trace"));
  }
  await commitAll(tree, "Another log level");
  // As a clone has it.
  await git(tree, "update-ref", "refs/remotes/origin/main", "main");
  return tree;
}

async function memoryFigures(scale: Scale, count: number): Promise<Figure[]> {
  const { peakBytes } = await diff(scale, "--fresh");
  const overlays = count * scale.tree.environments.length;
  return [
    {
      name: `memory of diff, one of ${count} apps, ${overlays} overlays`,
      unit: "GB",
      measured: [peakBytes / 1e9],
      limit: 1,
    },
  ];
}

async function timeFigures(
  scale: Scale,
  directory: string,
  count: number,
  say: (line: string) => void,
): Promise<Figure[]> {
  const { tree, kustomize, runs } = scale;
  const base = join(directory, "base");
  await git(tree, "worktree", "add", "--quiet", "--detach", base, "main");
  const all = await overlaysOf([base, tree.root]);
  const own = all.filter((overlay) => overlay.endsWith(`/${tree.apps[0]}`));

  say("the change of one app");
  // The first one fills the cache of what kustomizations name.
  await diff(scale);
  const one = await repeated(runs, async () => (await diff(scale)).seconds);
  const cold = await repeated(runs, async () => (await diff(scale, "--fresh")).seconds);
  const builds = await repeated(runs, async () => seconds(async () => buildEach(kustomize, own)));
  say(`kustomize, one after the other, for ${all.length} overlays`);
  const loop = await seconds(async () => buildEach(kustomize, all));
  say("kustomize, two at a time");
  const pairs = await seconds(async () => buildTwo(kustomize, all));
  say("everything on both sides, once without a cache and then with one");
  await rm(scale.cache, { recursive: true, force: true });
  const proven = (await diff(scale, "--prove")).seconds;
  const again = await repeated(runs, async () => (await diff(scale, "--prove")).seconds);
  say("which overlays a file has a part in");
  const graph = await repeated(runs, async () => graphSeconds(tree));
  return [
    { name: `diff of one of ${count} apps`, unit: "s", measured: one, limit: 1.5 * median(builds) + 1 },
    { name: "the same without any cache", unit: "s", measured: cold, limit: Number.POSITIVE_INFINITY },
    {
      name: `its ${own.length} renderings by kustomize`,
      unit: "s",
      measured: builds,
      limit: Number.POSITIVE_INFINITY,
    },
    {
      name: `all ${all.length} renderings by kustomize, one by one`,
      unit: "s",
      measured: [loop],
      limit: Number.POSITIVE_INFINITY,
    },
    {
      name: "diff of one app, part of that",
      unit: "%",
      measured: one.map((time) => (100 * time) / loop),
      limit: 2,
    },
    {
      name: `all ${all.length} renderings by kustomize, two at a time`,
      unit: "s",
      measured: [pairs],
      limit: Number.POSITIVE_INFINITY,
    },
    {
      name: "diff --prove without a cache, part of that",
      unit: "%",
      measured: [(100 * proven) / pairs],
      limit: 33,
      aim: 25,
    },
    {
      name: "diff --prove with a cache, part of that",
      unit: "%",
      measured: again.map((time) => (100 * time) / pairs),
      limit: 3.3,
    },
    {
      name: `which overlays a file has a part in, ${(await kustomizations(tree)).length} kustomizations`,
      unit: "s",
      measured: graph,
      limit: 1,
    },
  ];
}

/** Other commands about one app: their time, and their memory. */
async function verbFigures(scale: Scale, count: number): Promise<Figure[]> {
  const app = scale.tree.apps[0] ?? "";
  const [from = "", to = ""] = scale.tree.environments;
  const verbs: [string, string, string[], number?][] = [
    [`check of one of ${count} apps, without an API server`, "check", ["--base", "main", "--no-server"], 15],
    ["check of the same", "check", ["--base", "main"], 15],
    ["promote --dry-run of the same", "promote", ["--local", "--dry-run", from, to, app]],
    [`status of ${count} apps`, "status", []],
  ];
  const figures: Figure[] = [];
  for (const [name, verb, args, limit = Number.POSITIVE_INFINITY] of verbs) {
    const took: number[] = [];
    const bytes: number[] = [];
    for (let index = 0; index < scale.runs; index += 1) {
      const run = await command(scale, verb, args);
      took.push(run.seconds);
      bytes.push(run.peakBytes / 1e9);
    }
    figures.push({ name, unit: "s", measured: took, limit });
    figures.push({ name: "its memory", unit: "GB", measured: bytes, limit: 1 });
  }
  return figures;
}

async function diff(scale: Scale, ...more: string[]): Promise<{ seconds: number; peakBytes: number }> {
  return command(scale, "diff", ["--base", "main", ...more]);
}

/** Runs a command as a process of its own. @returns seconds, and the most memory of it and all that it starts, in bytes */
async function command(
  { root, tree, cache }: Scale,
  verb: string,
  more: readonly string[],
): Promise<{ seconds: number; peakBytes: number }> {
  const [program, args] = programLine(root, verb, ["--root", tree.root, ...more]);
  const env = commandEnvironment(root, { RENDER_CACHE: cache });
  const began = performance.now();
  const child = spawn(program, args, { cwd: root, env, stdio: ["ignore", "ignore", "inherit"] });
  const ended = once(child, "close");
  let peakBytes = 0;
  const sampling = new AbortController();
  const sampled = (async () => {
    for (;;) {
      peakBytes = Math.max(peakBytes, await memoryBytes(await processesOf(new Set([child.pid ?? 0]))));
      await setTimeout(SAMPLE_MS, undefined, { signal: sampling.signal });
    }
  })().catch(() => {});
  const [code] = await ended;
  const took = (performance.now() - began) / 1000;
  sampling.abort();
  await sampled;
  if (code !== 0) throw new ExternalError(`npm run ${verb} failed with exit code ${code}`);
  return { seconds: took, peakBytes };
}

async function graphSeconds({ root }: Tree): Promise<number> {
  const objects = new GitObjects(root);
  return seconds(async () => {
    const files = await objects.allEntries("HEAD");
    const graph = await readGraph({ files, texts: async (blobs) => objects.texts(blobs) });
    if (graph.affectedBy(["base/components/labels/kustomization.yaml"]).length === 0)
      throw new ExternalError("the labels have a part in no overlay");
  });
}

async function overlaysOf(roots: readonly string[]): Promise<string[]> {
  const found = await Promise.all(
    roots.map(async (root) => {
      const files = await glob("overlays/*/*/kustomization.yaml", { cwd: root });
      return files.map((file) => join(root, file, ".."));
    }),
  );
  return found.flat();
}

async function kustomizations({ root }: Tree): Promise<string[]> {
  return glob("**/kustomization.yaml", { cwd: root });
}

async function buildEach(kustomize: string, overlays: readonly string[]): Promise<void> {
  for (const overlay of overlays) await tryRun(kustomize, ["build", overlay]);
}

async function buildTwo(kustomize: string, overlays: readonly string[]): Promise<void> {
  const script = 'xargs -P2 -n1 "$0" build > /dev/null';
  await tryRun("sh", ["-c", script, kustomize], { input: overlays.join("\n") });
}

async function repeated(runs: number, measure: () => Promise<number>): Promise<number[]> {
  const found: number[] = [];
  for (let index = 0; index < runs; index += 1) found.push(await measure());
  return found;
}

async function seconds(work: () => Promise<void>): Promise<number> {
  const began = performance.now();
  await work();
  return (performance.now() - began) / 1000;
}

async function git({ root }: Tree, ...args: string[]): Promise<void> {
  const { exitCode, stderr } = await tryRun("git", args, { cwd: root });
  if (exitCode !== 0) throw new ExternalError(`git ${args[0]} failed: ${stderr.trim()}`);
}
