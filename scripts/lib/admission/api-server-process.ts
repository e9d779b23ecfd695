/** A real API server with its etcd, for one command: on loopback, in a temporary directory, gone with the process that asked for it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { ExternalError } from "../errors.ts";
import {
  type ApiServerPrograms,
  apiServerProcesses,
  clusterPorts,
  prepareCluster,
} from "../sandbox/cluster.ts";
import { connectKubernetes, type KubernetesClient } from "../sandbox/kubernetes-client.ts";
import { type Layout, layoutOf } from "../sandbox/layout.ts";
import { isReady, killGroup, lastLines, type ProcessSpec } from "../sandbox/process.ts";
import { ensureState } from "../sandbox/state.ts";
import { withTemporaryDirectory } from "../temporary.ts";
import { waitFor } from "../wait.ts";

const NAME = "check";

/** One user asks it, for seconds, who may do everything: without roles, shares and copies of what etcd has it starts faster. */
const ALONE = [
  "--authorization-mode=AlwaysAllow",
  "--enable-priority-and-fairness=false",
  "--watch-cache=false",
];

/** Ends the program's group when the program ends, or when whoever started it does, also by SIGKILL: its end of the pipe closes. */
const WITH_PARENT = `{ "$@" </dev/null; kill -9 0; } & read -r _; kill -9 0`;

/**
 * Calls a function as soon as an empty API server starts: until it answers, there is time for other work.
 * @param use gets the promise of the server that answers; it fails with an ExternalError, and the end of the log, when a program does not
 */
export async function withApiServer<T>(
  programs: ApiServerPrograms,
  use: (api: Promise<KubernetesClient>) => Promise<T>,
): Promise<T> {
  return withTemporaryDirectory("api-server-", async (directory) => {
    const layout = layoutOf(directory);
    const state = await ensureState(layout, clusterPorts(NAME), []);
    const cluster = await prepareCluster(layout, state, NAME, 0);
    const api = await connectKubernetes(cluster.adminKubeconfig, NAME);
    const [etcd, apiserver] = apiServerProcesses(layout, state, cluster, programs);
    const store = await Program.start(layout, etcd);
    try {
      await store.untilAnswers(async () => isReady(etcd.ready));
      const server = await Program.start(layout, { ...apiserver, args: [...apiserver.args, ...ALONE] });
      try {
        // Such a server answers nobody without a certificate, not even whether it is ready.
        const answers = async () => (await api.call("GET", "/readyz").catch(() => undefined))?.status === 200;
        const answering = server.untilAnswers(answers).then(() => api);
        // Who does not ask does not hear of it.
        answering.catch(() => {});
        return await use(answering);
      } finally {
        await server.stop();
      }
    } finally {
      await store.stop();
    }
  });
}

/** A program that runs until it is stopped, or this process ends. */
class Program {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  readonly #layout: Layout;
  readonly #name: string;

  private constructor(child: ChildProcess, layout: Layout, name: string) {
    this.#child = child;
    this.#ended = once(child, "exit");
    this.#layout = layout;
    this.#name = name;
    // Before the directory that it writes to is removed.
    process.prependListener("exit", this.#kill);
  }

  static async start(layout: Layout, { name, command, args, env }: ProcessSpec): Promise<Program> {
    await mkdir(layout.logs, { recursive: true, mode: 0o700 });
    const log = await open(join(layout.logs, `${name}.log`), "a", 0o600);
    const child = spawn("/bin/sh", ["-c", WITH_PARENT, "sh", command, ...args], {
      detached: true,
      env: { ...env, PATH: process.env["PATH"] },
      stdio: ["pipe", log.fd, log.fd],
    });
    const program = new Program(child, layout, name);
    await log.close();
    return program;
  }

  async untilAnswers(answers: () => Promise<boolean>): Promise<void> {
    const lastWord = async () => lastLines(this.#layout, this.#name);
    await waitFor(
      `${this.#name} answers`,
      async () => {
        const { exitCode, signalCode } = this.#child;
        if (exitCode === null && signalCode === null) return (await answers()) || undefined;
        throw new ExternalError(`${this.#name} has ended: ${await lastWord()}`);
      },
      { everyMs: 50, lastWord },
    );
  }

  async stop(): Promise<void> {
    process.off("exit", this.#kill);
    this.#kill();
    await this.#ended;
  }

  readonly #kill = () => killGroup(this.#child.pid ?? 0);
}
