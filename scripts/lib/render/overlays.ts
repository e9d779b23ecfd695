/** Overlays of one state of the repository or of two, each different one rendered once, and none that has been rendered before. */
import { realpath } from "node:fs/promises";
import { join, relative } from "node:path";
import { CommandError, ExternalError } from "../errors.ts";
import type { Rendered } from "../manifests/rendering.ts";
import { withTemporaryDirectory } from "../temporary.ts";
import { type RenderCache, renderKey } from "./cache.ts";
import type { Closure } from "./graph.ts";
import type { Render } from "./renderer.ts";
import type { State } from "./states.ts";

/** An overlay of a state. */
export interface Job {
  state: State;
  /** Directory, relative to the top. */
  overlay: string;
}

export interface RenderOptions {
  render: Render;
  /** The version of kustomize. */
  version: string;
  /** Nothing is kept, and nothing is taken from before, without one. */
  cache: RenderCache | undefined;
  /** Called after each job with how many are done. */
  onDone?: (done: number, total: number) => void;
}

/**
 * Renders overlays.
 * @returns in their order
 * @throws Error when kustomize has read a file of which the dependency graph does not know: then no answer can be trusted
 */
export async function renderJobs(jobs: readonly Job[], options: RenderOptions): Promise<Rendered[]> {
  return withTemporaryDirectory("render-", async (temporary) => {
    // kustomize tells where it has looked by the real path.
    const directory = await realpath(temporary);
    const places = new Map<State, string>();
    for (const { state } of jobs)
      if (!places.has(state)) places.set(state, join(directory, String(places.size)));
    const plans = jobs.map((job) => planOf(job, options.version));
    const found = await readCached(plans, options.cache);
    const missing = plans.filter(({ key, outcome }) => outcome === undefined && !found.has(key));
    const first = new Map(missing.map((plan) => [plan.key, plan]));
    for (const [state, place] of places)
      await writeInputs(
        state,
        [...first.values()].filter(({ job }) => job.state === state),
        place,
      );
    let done = plans.length - missing.length;
    const tell = () => options.onDone?.(done, plans.length);
    tell();
    await Promise.all(
      [...first.values()].map(async (plan) => {
        const outcome = await renderOne(plan, places.get(plan.job.state) ?? "", options);
        found.set(plan.key, outcome);
        done += missing.filter(({ key }) => key === plan.key).length;
        tell();
      }),
    );
    return plans.map(({ key, outcome }): Rendered => outcome ?? found.get(key) ?? { kind: "absent" });
  });
}

interface Plan {
  job: Job;
  closure: Closure;
  key: string;
  /** Known without rendering. */
  outcome: Rendered | undefined;
  /** Whether everything that it depends on is known. */
  isWhole: boolean;
}

function planOf(job: Job, version: string): Plan {
  const { state, overlay } = job;
  const closure = state.graph.closureOf(overlay);
  const isWhole = closure.problems.length === 0;
  const inputs = inputsOf(state, closure).map((path): [string, string | undefined] => {
    const entry = state.files.get(path);
    return [path, entry === undefined ? undefined : `${entry.mode} ${entry.blob}`];
  });
  // Of what is not whole, nobody knows whether it is the same.
  const unknown: [string, string][] = isWhole ? [] : [["", state.tree]];
  const key = renderKey(overlay, [...inputs, ...unknown], version);
  return { job, closure, key, outcome: known(job, closure), isWhole };
}

function known({ state, overlay }: Job, { remote }: Closure): Rendered | undefined {
  if (!state.graph.has(overlay)) return { kind: "absent" };
  const [first] = remote;
  return first === undefined ? undefined : { kind: "remote", entry: first.entry };
}

/** Every path that an overlay depends on, those in whole directories among them. */
function inputsOf(state: State, closure: Closure): string[] {
  const below = [...closure.directories].map((directory) => `${directory}/`);
  const inside =
    below.length === 0
      ? []
      : [...state.files.keys()].filter((path) => below.some((start) => path.startsWith(start)));
  return [...new Set([...closure.files, ...inside])].toSorted();
}

async function readCached(
  plans: readonly Plan[],
  cache: RenderCache | undefined,
): Promise<Map<string, Rendered>> {
  const found = new Map<string, Rendered>();
  if (cache === undefined) return found;
  for (const { key } of plans.filter(({ outcome, isWhole }) => outcome === undefined && isWhole)) {
    const yaml = found.has(key) ? undefined : await cache.read(key);
    if (yaml !== undefined) found.set(key, { kind: "rendered", yaml });
  }
  return found;
}

/** Writes what overlays are built from. Of one with an unknown input that is everything. */
async function writeInputs(state: State, plans: readonly Plan[], directory: string): Promise<void> {
  if (plans.length === 0) return;
  if (plans.some(({ isWhole }) => !isWhole)) return state.git.writeTree(state.tree, [], directory);
  const paths = new Set(plans.flatMap(({ closure }) => inputsOf(state, closure)));
  await state.git.writeFiles(
    [...paths].flatMap((path) => {
      const entry = state.files.get(path);
      return entry === undefined ? [] : [[path, entry] as const];
    }),
    directory,
  );
}

async function renderOne(plan: Plan, place: string, options: RenderOptions): Promise<Rendered> {
  const { job, key, isWhole } = plan;
  try {
    const { yaml, looked } = await options.render(join(place, job.overlay));
    if (looked === undefined) return { kind: "rendered", yaml };
    if (isWhole) {
      refuseUnknown(
        plan,
        looked.map((path) => relative(place, path)),
      );
      await options.cache?.write(key, yaml);
    }
    return { kind: "rendered", yaml };
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    // The directory is gone when somebody reads this.
    const message = error.message.replaceAll(`${place}/`, "");
    return { kind: "broken", error: new ExternalError(message, error.hint, { cause: error }) };
  }
}

/** The graph is proven by each rendering: kustomize has asked for nothing else. */
function refuseUnknown({ job, closure }: Plan, looked: readonly string[]): void {
  const files = [...closure.files];
  const unknown = looked.find(
    (path) =>
      !path.startsWith("..") &&
      path !== "" &&
      !closure.files.has(path) &&
      ![...closure.directories].some((directory) => `${path}/`.startsWith(`${directory}/`)) &&
      // A directory is there when one of its files is.
      !files.some((file) => file.startsWith(`${path}/`)),
  );
  if (unknown === undefined) return;
  throw new Error(`${job.overlay}: kustomize reads ${unknown}, and the dependency graph does not know it`);
}
