/** Where the sandbox keeps its files: all of them below `.sandbox/` of the checkout, and nothing outside. */
import { basename, dirname, join } from "node:path";

export interface Layout {
  /** The checkout that `npm start` was called in. */
  readonly root: string;
  readonly dir: string;
  /** Ports and generated credentials, so that a second start repairs the first. */
  readonly state: string;
  /** One JSON file a process that the supervisor keeps running. */
  readonly processes: string;
  /** One JSON file a process that runs: its pid and when it was started. */
  readonly pids: string;
  readonly logs: string;
  readonly pki: string;
  readonly data: string;
  /** HOME of every process, so that nobody's own configuration is read or written. */
  readonly home: string;
  /** Contexts hub, dev, staging and prod. */
  readonly kubeconfig: string;
  /** To be sourced by a shell. */
  readonly env: string;
  /** A clone of the local forge in which every npm command works. */
  readonly work: string;
  /** The tree that the forge's branch held when `npm start` looked. */
  readonly delivered: string;
  /** Links to the programs of the sandbox, for PATH. */
  readonly bin: string;
  /** Held by `npm start` and `npm stop`; beside the sandbox, so that it outlives it. */
  readonly lock: string;
  /** Through which Argo CD's repo server gives git its credentials. */
  readonly askPassSocket: string;
}

/** The sandbox of a checkout. */
export function layoutOf(root: string): Layout {
  const dir = join(root, ".sandbox");
  return {
    root,
    dir,
    state: join(dir, "state.json"),
    processes: join(dir, "processes"),
    pids: join(dir, "pids"),
    logs: join(dir, "logs"),
    pki: join(dir, "pki"),
    data: join(dir, "data"),
    home: join(dir, "home"),
    kubeconfig: join(dir, "kubeconfig"),
    env: join(dir, "env"),
    work: join(dir, "work"),
    delivered: join(dir, "data/delivered"),
    bin: join(dir, "bin"),
    lock: join(root, ".sandbox.lock"),
    askPassSocket: join(dir, "ask-pass.sock"),
  };
}

/** Whether a checkout is the work clone inside a sandbox. */
export function isWorkClone(root: string): boolean {
  return basename(root) === "work" && basename(dirname(root)) === ".sandbox";
}
