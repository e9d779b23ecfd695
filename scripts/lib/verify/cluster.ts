/** The state of a cluster, as far as `npm run verify` judges it: read with kubectl, and no value of a Secret but certificates. */
import { X509Certificate } from "node:crypto";
import { z } from "zod";
import { ExternalError } from "../errors.ts";
import { kubectl, type Target } from "../kubectl.ts";

/** Objects of this repository carry it: base/components/labels. */
const OURS = "app.kubernetes.io/part-of=ecommerce";

const KINDS = [
  "deployments.apps",
  "statefulsets.apps",
  "daemonsets.apps",
  "pods",
  "services",
  "endpointslices.discovery.k8s.io",
  "ingresses.networking.k8s.io",
  "horizontalpodautoscalers.autoscaling",
  "poddisruptionbudgets.policy",
  "cronjobs.batch",
];

const Metadata = z.looseObject({
  name: z.string(),
  namespace: z.string().default(""),
  generation: z.number().default(0),
  labels: z.record(z.string(), z.string()).default({}),
});
const State = z.object({ waiting: z.object({ reason: z.string().optional() }).optional() });
const Containers = z.array(z.object({ name: z.string(), image: z.string() }));
const Status = z.looseObject({
  phase: z.string().optional(),
  message: z.string().optional(),
  observedGeneration: z.number().optional(),
  // Deployment, StatefulSet; DaemonSet.
  readyReplicas: z.number().default(0),
  updatedReplicas: z.number().default(0),
  desiredNumberScheduled: z.number().default(0),
  numberReady: z.number().default(0),
  updatedNumberScheduled: z.number().default(0),
  // HorizontalPodAutoscaler.
  currentReplicas: z.number().default(0),
  conditions: z
    .array(z.object({ type: z.string(), status: z.string(), message: z.string().default("") }))
    .default([]),
  // PodDisruptionBudget.
  disruptionsAllowed: z.number().default(0),
  currentHealthy: z.number().default(0),
  desiredHealthy: z.number().default(0),
  expectedPods: z.number().default(0),
  // Pod.
  containerStatuses: z.array(z.object({ state: State.default({}) })).default([]),
  // Ingress.
  loadBalancer: z.object({ ingress: z.array(z.unknown()).default([]) }).default({ ingress: [] }),
  // CronJob.
  lastScheduleTime: z.string().optional(),
  lastSuccessfulTime: z.string().optional(),
});
const Live = z.looseObject({
  kind: z.string(),
  metadata: Metadata,
  spec: z
    .looseObject({
      replicas: z.number().default(1),
      maxReplicas: z.number().default(0),
      template: z
        .looseObject({ spec: z.looseObject({ containers: Containers }) })
        .optional()
        .catch(undefined),
    })
    .default({ replicas: 1, maxReplicas: 0 }),
  endpoints: z
    .array(z.object({ conditions: z.object({ ready: z.boolean().optional() }).default({}) }))
    .nullish(),
  status: Status.default(() => Status.parse({})),
});
const List = z.object({ items: z.array(Live) });

/** An object as the cluster has it. */
export type Live = z.infer<typeof Live>;

/** Reads the lists that kubectl prints. @throws ExternalError for anything else */
export function parseLive(json: string): Live[] {
  const parsed = List.safeParse(JSON.parse(json));
  if (!parsed.success) throw new ExternalError("kubectl answered with objects of an unknown shape");
  return parsed.data.items;
}

/**
 * The objects of this repository that a cluster has, and all claims beside them: those that a StatefulSet made have no labels.
 * @throws ExternalError when the cluster does not answer
 */
export async function readCluster(target: Target): Promise<Live[]> {
  const get = async (kinds: string, ...args: string[]) =>
    parseLive(await kubectl(target, ["get", kinds, "--all-namespaces", "--output=json", ...args]));
  const [objects, claims, sealed] = await Promise.all([
    get(KINDS.join(","), `--selector=${OURS}`),
    get("persistentvolumeclaims"),
    get("sopssecrets.isindir.github.com"),
  ]);
  const namespaces = new Set(objects.map(({ metadata }) => metadata.namespace));
  return [...objects, ...claims.filter(({ metadata }) => namespaces.has(metadata.namespace)), ...sealed];
}

/**
 * The certificate of a Secret; its key is not read.
 * @returns undefined when there is none, or none that can be read
 */
export async function readCertificate(
  target: Target,
  { namespace, name }: { namespace: string; name: string },
): Promise<X509Certificate | undefined> {
  const path = String.raw`--output=jsonpath={.data.tls\.crt}`;
  const args = ["get", "secret", name, `--namespace=${namespace}`, "--ignore-not-found", path];
  const base64 = await kubectl(target, args);
  try {
    return new X509Certificate(Buffer.from(base64, "base64"));
  } catch {
    return undefined;
  }
}
