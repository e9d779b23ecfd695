/** A real API server with its etcd, for one command: on loopback, in a temporary directory, gone with the process that asked for it. */
import { spawn } from "node:child_process";
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

/** Ends the program's group when the program ends, or when whoever started it does, also by SIGKILL: its end of the pipe closes. */
const WITH_PARENT = `{ "$@" </dev/null; kill -9 0; } & read -r _; kill -9 0`;

/**
 * Calls a function with an empty API server.
 * @throws ExternalError with the end of the log when one of the programs does not answer
 */
export async function withApiServer<T>(
  programs: ApiServerPrograms,
  use: (api: KubernetesClient) => Promise<T>,
): Promise<T> {
  return withTemporaryDirectory("api-server-", async (directory) => {
    const layout = layoutOf(directory);
    const state = await ensureState(layout, clusterPorts(NAME), []);
    const cluster = await prepareCluster(layout, state, NAME, { nodes: 0, autoscales: false });
    const [etcd, apiserver] = apiServerProcesses(layout, state, cluster, programs);
    // What is in it is of no use to anybody after a crash.
    const stopEtcd = await start(layout, { ...etcd, args: [...etcd.args, "--unsafe-no-fsync"] });
    try {
      const stopApiserver = await start(layout, apiserver);
      try {
        return await use(await connectKubernetes(cluster.adminKubeconfig, NAME));
      } finally {
        await stopApiserver();
      }
    } finally {
      await stopEtcd();
    }
  });
}

/** @returns ends it */
async function start(layout: Layout, spec: ProcessSpec): Promise<() => Promise<void>> {
  await mkdir(layout.logs, { recursive: true, mode: 0o700 });
  const log = await open(join(layout.logs, `${spec.name}.log`), "a", 0o600);
  const child = spawn("/bin/sh", ["-c", WITH_PARENT, "sh", spec.command, ...spec.args], {
    detached: true,
    env: { ...spec.env, PATH: process.env["PATH"] },
    stdio: ["pipe", log.fd, log.fd],
  });
  await log.close();
  const ended = once(child, "exit");
  const kill = () => killGroup(child.pid ?? 0);
  // Before the directory that it writes to is removed.
  process.prependListener("exit", kill);
  const stop = async () => {
    process.off("exit", kill);
    kill();
    await ended;
  };
  try {
    const lastWord = async () => lastLines(layout, spec.name);
    await waitFor(
      `${spec.name} answers`,
      async () => {
        if (child.exitCode === null && child.signalCode === null)
          return (await isReady(spec.ready)) || undefined;
        throw new ExternalError(`${spec.name} has ended: ${await lastWord()}`);
      },
      { everyMs: 50, lastWord },
    );
    return stop;
  } catch (error) {
    await stop();
    throw error;
  }
}
