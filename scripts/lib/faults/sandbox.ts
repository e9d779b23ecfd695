/** The sandbox as faults see it. */
import { z } from "zod";
import { type Argocd, listApplications } from "../argocd/applications.ts";
import { connectArgocd } from "../argocd/connection.ts";
import { messageOf, RefusedError } from "../errors.ts";
import { run } from "../exec.ts";
import { kubectl, type Target } from "../kubectl.ts";
import { gitEnv } from "../sandbox/clone.ts";
import { type Layout, layoutOf } from "../sandbox/layout.ts";
import { sandboxExists } from "../sandbox/lifetime.ts";
import { toolPath } from "../tools/path.ts";
import { waitFor } from "../wait.ts";

/** An app in an environment; its Deployment or StatefulSet has the same name. */
export interface Place {
  readonly cluster: string;
  readonly namespace: string;
  readonly app: string;
}

const Pod = z.object({
  metadata: z.object({ name: z.string(), uid: z.string(), deletionTimestamp: z.string().optional() }),
  spec: z.object({ nodeName: z.string().default("") }),
  status: z.object({
    conditions: z.array(z.object({ type: z.string(), status: z.string() })).default([]),
  }),
});
export type Pod = z.infer<typeof Pod>;

export class FaultSandbox {
  readonly layout: Layout;
  readonly argocd: Argocd;
  readonly #program: string;

  private constructor(layout: Layout, argocd: Argocd, program: string) {
    this.layout = layout;
    this.argocd = argocd;
    this.#program = program;
  }

  /** The sandbox of a checkout. @throws RefusedError when it has none */
  static async of(root: string): Promise<FaultSandbox> {
    const layout = layoutOf(root);
    if (!(await sandboxExists(layout)))
      throw new RefusedError(
        "there is no sandbox in this checkout",
        "run `npm start`, then `npm run sync prod`",
      );
    return new FaultSandbox(layout, await connectArgocd(root, process.env), await toolPath("kubectl"));
  }

  #target(cluster: string): Target {
    return { kubectl: this.#program, context: cluster, env: this.argocd.env };
  }

  async kubectl(cluster: string, ...args: string[]): Promise<string> {
    return kubectl(this.#target(cluster), args);
  }

  /** Objects of a cluster. @param shape of what `kubectl get` prints */
  async get<T>(cluster: string, shape: z.ZodType<T>, ...args: string[]): Promise<T> {
    return shape.parse(JSON.parse(await this.kubectl(cluster, "get", ...args, "--output=json")));
  }

  /** The pods of an app that are not being deleted. */
  async pods({ cluster, namespace, app }: Place): Promise<Pod[]> {
    const list = z.object({ items: z.array(Pod) });
    const selector = `--selector=app.kubernetes.io/name=${app}`;
    const { items } = await this.get(cluster, list, "pods", `--namespace=${namespace}`, selector);
    return items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  }

  /** Waits until an app has so many ready pods and no others. @returns the seconds that took */
  async untilReady(place: Place, count: number): Promise<number> {
    let word = "";
    return secondsOf(async () =>
      waitFor(
        `${place.cluster} has ${count} ready pods of ${place.app}`,
        async () => {
          const pods = await this.pods(place);
          word = `${pods.filter(isReady).length} of ${pods.length} are ready`;
          return (pods.length === count && pods.every(isReady)) || undefined;
        },
        { lastWord: () => word },
      ),
    );
  }

  /** Calls a function while no node of a cluster takes new pods. */
  async withoutRoom<T>(cluster: string, use: () => Promise<T>): Promise<T> {
    const all = "--selector=kubernetes.io/hostname";
    await this.kubectl(cluster, "cordon", all);
    try {
      return await use();
    } finally {
      await this.kubectl(cluster, "uncordon", all);
    }
  }

  /** Asks for a pod's eviction, as a drain does. @returns whether it is granted; false: a budget forbids it */
  async evict({ cluster, namespace }: Place, name: string): Promise<boolean> {
    const eviction = { apiVersion: "policy/v1", kind: "Eviction", metadata: { name, namespace } };
    const path = `/api/v1/namespaces/${namespace}/pods/${name}/eviction`;
    const create = ["create", "--raw", path, "--filename=-"];
    return kubectl(this.#target(cluster), create, JSON.stringify(eviction)).then(
      () => true,
      (error: unknown) => {
        if (messageOf(error).includes("disruption budget")) return false;
        throw error;
      },
    );
  }

  async git(...args: string[]): Promise<string> {
    return (await run("git", args, { cwd: this.layout.work, env: gitEnv(this.layout) })).trim();
  }

  /** Waits until every application of an environment is Synced and Healthy. @param quietS patience, in seconds */
  async untilHealthy(environment: string, quietS: number): Promise<void> {
    let word = "";
    await waitFor(
      `${environment} is Synced and Healthy`,
      async () => {
        const all = await listApplications(this.argocd, environment);
        const left = all.filter(({ sync, health }) => sync !== "Synced" || health !== "Healthy");
        word = left.map(({ name, sync, health }) => `${name} ${sync} ${health}`).join(", ");
        return (all.length > 0 && left.length === 0) || undefined;
      },
      { lastWord: () => word, quietMs: quietS * 1000 },
    );
  }
}

export function isReady({ status }: Pod): boolean {
  return status.conditions.some(({ type, status: is }) => type === "Ready" && is === "True");
}

/** How many seconds a function takes. */
export async function secondsOf(use: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await use();
  return Math.round((performance.now() - began) / 1000);
}
