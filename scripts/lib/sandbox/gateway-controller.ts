/**
 * A stand-in for apisix-ingress-controller 2.2, as far as Argo CD sees it: it accepts what the gateway's routes refer to, whatever
 * its content, and sends nothing to anybody. The addresses of Ingresses come from sandbox/kwok/ingress-address.yaml.
 */
import { z } from "zod";
import { type KubernetesClient, watchForever } from "./kubernetes-client.ts";

const GROUP = "/apis/apisix.apache.org/v2";
/** The kinds of this repository's tree that have a status. */
const PLURALS = ["apisixconsumers", "apisixpluginconfigs"];

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
export async function acceptAll(api: KubernetesClient, log: (line: string) => void): Promise<never> {
  return Promise.race(
    PLURALS.map(async (plural) =>
      watchForever(
        async () => untilTheWatchEnds(api, plural),
        (line) => log(`${plural}: ${line}`),
      ),
    ),
  );
}

async function untilTheWatchEnds(api: KubernetesClient, plural: string): Promise<string> {
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
