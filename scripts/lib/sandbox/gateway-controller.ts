/**
 * A stand-in for apisix-ingress-controller 2.2, as far as Argo CD sees it: it accepts what the gateway's routes refer to, whatever
 * its content, and sends nothing to anybody. The addresses of Ingresses come from sandbox/kwok/ingress-address.yaml.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { messageOf } from "../errors.ts";
import type { ApiServer } from "./api-server.ts";

const GROUP = "/apis/apisix.apache.org/v2";
/** The kinds of this repository's tree that have a status. */
const PLURALS = ["apisixconsumers", "apisixpluginconfigs"];
/** How long until a watch that has ended is begun anew. */
const PAUSE_MS = 1000;

const Accepted = z.object({
  metadata: z.object({ name: z.string(), namespace: z.string(), generation: z.number() }),
  status: z
    .object({
      conditions: z
        .array(z.object({ type: z.string(), observedGeneration: z.number().optional() }))
        .default([]),
    })
    .default({ conditions: [] }),
});

/** The controller of one cluster: never returns. */
export async function acceptAll(api: ApiServer, log: (line: string) => void): Promise<never> {
  return Promise.race(PLURALS.map(async (plural) => acceptKind(api, plural, log)));
}

async function acceptKind(api: ApiServer, plural: string, log: (line: string) => void): Promise<never> {
  for (let last = ""; ; await sleep(PAUSE_MS)) {
    const reason = await untilTheWatchEnds(api, plural).catch(messageOf);
    // Until there is a CustomResourceDefinition, it is the same every second.
    if (reason !== last) log(`${plural}: begins anew: ${reason}`);
    last = reason;
  }
}

async function untilTheWatchEnds(api: ApiServer, plural: string): Promise<string> {
  for await (const { type, object } of api.watch(`${GROUP}/${plural}`, new AbortController().signal)) {
    if (type === "DELETED") continue;
    const { metadata, status } = Accepted.parse(object);
    const { name, namespace, generation: observedGeneration } = metadata;
    const isNew = !status.conditions.some(
      (condition) => condition.type === "Accepted" && condition.observedGeneration === observedGeneration,
    );
    if (!isNew) continue;
    const condition = {
      type: "Accepted",
      status: "True",
      reason: "Accepted",
      message: "accepted by the sandbox, which does not look at it",
      lastTransitionTime: new Date().toISOString(),
      observedGeneration,
    };
    const path = `${GROUP}/namespaces/${namespace}/${plural}/${name}/status`;
    const answer = await api.call("PATCH", path, { status: { conditions: [condition] } });
    if (answer.status >= 300 && answer.status !== 404)
      return `the API server answers ${answer.status} to ${name}`;
  }
  return "the watch has ended";
}
