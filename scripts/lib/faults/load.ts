/** Load that moves prod's autoscalers to their maxima, and a rollout there. */
import { z } from "zod";
import { ExternalError } from "../errors.ts";
import { waitFor } from "../wait.ts";
import type { Fault } from "./fault.ts";
import { type FaultSandbox, secondsOf } from "./sandbox.ts";

const CLUSTER = "prod";
const PLACE = "--namespace=microservices";
/** More than any target; sandbox/kwok/usage.yaml has what pods use otherwise. A new pod does not have it. */
const BUSY = "kwok.x-k8s.io/usage-cpu=900m";
/** base/user-service/hpa.yaml: nothing goes before the window has passed, and then so many pods at once. */
const SHRINKS = { app: "user-service", windowS: 300, pods: 2 };
/** Argo CD ends a sync after so long: argocd/config. */
const SYNC_S = 1800;

const Autoscalers = z.object({
  items: z.array(
    z.object({ metadata: z.object({ name: z.string() }), spec: z.object({ maxReplicas: z.number() }) }),
  ),
});
const Quota = z.object({
  status: z.object({ hard: z.record(z.string(), z.string()), used: z.record(z.string(), z.string()) }),
});
const Deployment = z.object({
  spec: z.object({ replicas: z.number() }),
  status: z.object({ readyReplicas: z.number().default(0) }),
});
const Events = z.object({ items: z.array(z.object({ message: z.string().default("") })) });

export const loadToMaximum: Fault = {
  name: "load",
  expected:
    "prod's autoscalers reach their maxima, a rollout of all fits the quota and a sync's time, and pods go at the configured pace",
  isSlow: true,
  async run(sandbox) {
    const up = await secondsOf(async () => untilAtMaximum(sandbox));
    // The pods that come are no longer busy: from here on the autoscalers wait for the end of their window.
    const rollout = await rolloutOfAll(sandbox);
    return `maxima after ${up} s; ${rollout}; ${await firstStepDown(sandbox)}`;
  },
};

async function deployment(sandbox: FaultSandbox, name: string): Promise<z.infer<typeof Deployment>> {
  return sandbox.get(CLUSTER, Deployment, "deployment", name, PLACE);
}

async function untilAtMaximum(sandbox: FaultSandbox): Promise<void> {
  let word = "";
  await waitFor(
    "prod's autoscalers are at their maxima, and all pods are ready",
    async () => {
      await sandbox.kubectl(CLUSTER, "annotate", "pods", "--all", PLACE, "--overwrite", BUSY);
      const { items } = await sandbox.get(CLUSTER, Autoscalers, "hpa", PLACE);
      const sizes = await Promise.all(
        items.map(async ({ metadata: { name }, spec }) => {
          const { readyReplicas } = (await deployment(sandbox, name)).status;
          return {
            text: `${name} ${readyReplicas} of ${spec.maxReplicas}`,
            left: spec.maxReplicas - readyReplicas,
          };
        }),
      );
      word = sizes.map(({ text }) => text).join(", ");
      return sizes.every(({ left }) => left === 0) || undefined;
    },
    // A step up takes a minute.
    { lastWord: () => word, everyMs: 2000, quietMs: 240_000 },
  );
}

/** Rolls every Deployment at once: the most that the quota has to hold. */
async function rolloutOfAll(sandbox: FaultSandbox): Promise<string> {
  const names = (await sandbox.kubectl(CLUSTER, "get", "deployments", PLACE, "--output=name"))
    .trim()
    .split("\n");
  const seconds = await secondsOf(async () => {
    await sandbox.kubectl(CLUSTER, "rollout", "restart", "deployment", PLACE);
    let word = "";
    await waitFor(
      "every Deployment of prod is rolled out",
      async () => {
        const left: string[] = [];
        for (const name of names) {
          const said = await sandbox.kubectl(CLUSTER, "rollout", "status", name, PLACE, "--watch=false");
          if (!said.includes("successfully rolled out")) left.push(said.trim());
        }
        word = left.join(", ");
        return left.length === 0 || undefined;
      },
      { lastWord: () => word, everyMs: 2000, timeoutMs: SYNC_S * 1000 },
    );
  });
  const failed = await sandbox.get(CLUSTER, Events, "events", PLACE, "--field-selector=reason=FailedCreate");
  const exceeded = failed.items.find(({ message }) => message.includes("exceeded quota"));
  if (exceeded !== undefined) throw new ExternalError(`the quota of prod is too small: ${exceeded.message}`);
  const { used, hard } = (await sandbox.get(CLUSTER, Quota, "resourcequota", "quota", PLACE)).status;
  return `the rollout of all took ${seconds} s of ${SYNC_S}, ${used["pods"]} of ${hard["pods"]} pods of the quota are used`;
}

async function firstStepDown(sandbox: FaultSandbox): Promise<string> {
  const { app, windowS, pods } = SHRINKS;
  const before = (await deployment(sandbox, app)).spec.replicas;
  let now = before;
  const seconds = await secondsOf(async () =>
    waitFor(
      `${app} of prod has fewer than ${before} pods`,
      async () => {
        now = (await deployment(sandbox, app)).spec.replicas;
        return now < before || undefined;
      },
      { lastWord: () => `${now} pods`, everyMs: 2000, quietMs: 2 * windowS * 1000 },
    ),
  );
  if (before - now !== pods) throw new ExternalError(`${app} lost ${before - now} pods at once, not ${pods}`);
  return `${app} lost its first ${pods} pods ${seconds} s after the load`;
}
