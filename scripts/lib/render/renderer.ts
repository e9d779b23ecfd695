/**
 * Many overlays, rendered by a few long-lived processes: `kustomize-render` is the library of the pinned kustomize, so it writes
 * the same bytes, and does not start anew for each overlay.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { createInterface } from "node:readline";
import pLimit from "p-limit";
import { z } from "zod";
import { ExternalError } from "../errors.ts";
import { build, OFFLINE, renderError } from "../tree/kustomize.ts";

export interface Rendering {
  /** The manifests as kustomize writes them. */
  yaml: string;
  /** Every path, absolute, that the rendering depends on; undefined where the program does not tell. */
  looked: readonly string[] | undefined;
}

/** Renders a directory. @throws ExternalError in kustomize's own words, or shorter ones, as `build` does */
export type Render = (directory: string) => Promise<Rendering>;

/** Bytes of data a process may have. An overlay of 10 MB needs 400 MB. */
const MEMORY = 2 * 1024 ** 3;

/**
 * Calls a function with a renderer, and ends its processes afterwards.
 * @param programs.render path of `kustomize-render`; undefined where it cannot be had
 * @param programs.kustomize path of kustomize, which renders where there is no other
 */
export async function withRenderer<T>(
  programs: { render: string | undefined; kustomize: string },
  use: (render: Render) => Promise<T>,
): Promise<T> {
  const workers = new Set<Worker>();
  const idle: Worker[] = [];
  const limit = pLimit(availableParallelism());
  const render: Render = async (directory) => {
    const worker = idle.pop() ?? new Worker(programs);
    workers.add(worker);
    try {
      return await worker.render(directory);
    } finally {
      idle.push(worker);
    }
  };
  try {
    return await use(async (directory) => limit(render, directory));
  } finally {
    for (const worker of workers) worker.end();
  }
}

const Answer = z.object({
  yaml: z.string().optional(),
  error: z.string().optional(),
  looked: z.array(z.string()),
});

/** One process, which renders one overlay at a time. It starts with the first one, and anew after one that has ended it. */
class Worker {
  readonly #programs: { render: string | undefined; kustomize: string };
  #process: ChildProcessWithoutNullStreams | undefined;
  #lines: AsyncIterator<string> | undefined;
  #said = "";

  constructor(programs: { render: string | undefined; kustomize: string }) {
    this.#programs = programs;
  }

  async render(directory: string): Promise<Rendering> {
    const { render, kustomize } = this.#programs;
    if (render === undefined) return { yaml: await build(kustomize, directory), looked: undefined };
    const { process: child, lines } = this.#start(render);
    child.stdin.write(`${JSON.stringify({ directory })}\n`);
    const { value, done } = await lines.next();
    if (done === true) throw await this.#ended(child, directory);
    const { yaml = "", error, looked } = Answer.parse(JSON.parse(value));
    // As the command prints it.
    if (error !== undefined) throw renderError(directory, `Error: ${error}`);
    return { yaml, looked };
  }

  end(): void {
    this.#process?.kill();
  }

  #start(program: string): { process: ChildProcessWithoutNullStreams; lines: AsyncIterator<string> } {
    if (this.#process !== undefined && this.#lines !== undefined)
      return { process: this.#process, lines: this.#lines };
    // One thread renders; a second process does more than a second thread.
    const env = { ...process.env, ...OFFLINE, GOMAXPROCS: "1", RENDER_MEMORY: String(MEMORY) };
    const child = spawn(program, [], { env, stdio: "pipe" });
    // What it has not read when it ends is lost, and the end is told.
    child.stdin.on("error", () => {});
    child.on("error", () => {});
    child.stderr.on("data", (piece) => (this.#said += String(piece)));
    const lines = createInterface({ input: child.stdout, crlfDelay: Number.POSITIVE_INFINITY });
    this.#process = child;
    this.#lines = lines[Symbol.asyncIterator]();
    return { process: child, lines: this.#lines };
  }

  /** One overlay has ended the process: without end, or with more memory than it may have. The others go on in a new one. */
  async #ended(child: ChildProcessWithoutNullStreams, directory: string): Promise<ExternalError> {
    this.#process = undefined;
    this.#lines = undefined;
    if (child.exitCode === null && child.signalCode === null && child.pid !== undefined)
      await once(child, "exit");
    const fatal = /^(?:fatal error|runtime): (.*)$/m.exec(this.#said)?.[1];
    const how = child.signalCode ?? fatal ?? `exit code ${child.exitCode}`;
    this.#said = "";
    return new ExternalError(
      `${directory} cannot be rendered: kustomize ended without an answer (${how})`,
      "look for a reference that leads back to itself, or for values of many megabytes",
    );
  }
}
