/** What an API server says to the objects of one environment after the other: its schema, its admission, our policies. */
import { isDeepStrictEqual } from "node:util";
import pLimit from "p-limit";
import { z } from "zod";
import { ExternalError } from "../errors.ts";
import { type Manifest, ofKind, podTemplates, type Workload, workloads } from "../manifests/manifest.ts";
import type { Definition } from "../sandbox/definitions.ts";
import type { Answer, KubernetesClient } from "../sandbox/kubernetes-client.ts";
import { waitFor } from "../wait.ts";

const Discovery = z.object({
  resources: z.array(z.object({ name: z.string(), kind: z.string(), namespaced: z.boolean() })),
});
const Claim = z.object({
  kind: z.literal("PersistentVolumeClaim"),
  spec: z.object({
    resources: z.object({ requests: z.record(z.string(), z.union([z.string(), z.number()])) }),
  }),
});
const Status = z.object({ message: z.string() });

/** Requests at the same time. */
const PARALLEL = 16;

/** What the server has to have before it is asked: others are looked at in their light, and policies hold once they are known. */
const PLACED = [
  "Namespace",
  // A claim may grow where its class lets it.
  "StorageClass",
  "LimitRange",
  "ResourceQuota",
  "ServiceAccount",
  "HorizontalPodAutoscaler",
  "ValidatingAdmissionPolicy",
  "ValidatingAdmissionPolicyBinding",
];
const POLICIES = /^ValidatingAdmissionPolicy/;

/** Why an object is refused. */
export interface Refusal {
  manifest: Manifest;
  /** As the server says it. */
  message: string;
  /** The policy that refuses it; undefined: the server itself does. */
  policy?: string;
  /** Whether the server would take it if it were new: it is the change of the object that is refused. */
  isOfChange?: boolean;
}

export class DryRun {
  readonly #api: KubernetesClient;
  readonly #limit = pLimit(PARALLEL);
  readonly #kinds = new Map<string, Promise<z.infer<typeof Discovery>["resources"]>>();
  /** What the server has, by path. */
  readonly #placed = new Map<string, Manifest>();
  /** Paths of objects that it has as they were before the change. */
  readonly #before = new Set<string>();
  #canaries = 0;

  private constructor(api: KubernetesClient) {
    this.#api = api;
  }

  /** @param definitions CustomResourceDefinitions of the operators' kinds */
  static async prepare(api: KubernetesClient, definitions: readonly Definition[]): Promise<DryRun> {
    const dryRun = new DryRun(api);
    const made = definitions.map(async (definition) => {
      const { metadata, spec } = definition;
      const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${metadata.name}`;
      accepted(await api.apply(path, definition), metadata.name);
      const served = spec.versions.filter((version) => version.served);
      for (const { name } of served) {
        await waitFor(
          `the API server knows ${metadata.name}`,
          async () => {
            const { status } = await api.call("GET", `/apis/${spec.group}/${name}/${spec.names.plural}`);
            return status === 200 || undefined;
          },
          { everyMs: 50 },
        );
      }
    });
    await Promise.all(made);
    return dryRun;
  }

  /**
   * Has the server be one of an environment: its namespaces, quotas and policies, and none of the one before.
   * @param manifests everything in the environment
   * @param before objects as they were before the change: the server is asked to change those
   * @returns what the server refuses of that
   */
  async enter(manifests: readonly Manifest[], before: readonly Manifest[]): Promise<Refusal[]> {
    const wanted = manifests.filter(({ kind }) => PLACED.includes(kind));
    const places = new Map<string, Manifest>();
    const refusals: Refusal[] = [];
    for (const manifest of wanted) {
      const path = await this.#pathOf(manifest);
      if (path === undefined) refusals.push(unknown(manifest));
      else places.set(path, manifest);
    }
    const stale = [...this.#placed].filter(([path, old]) => !isDeepStrictEqual(places.get(path), old));
    // Old policies first: they would look at what comes.
    await Promise.all(stale.map(([path, { kind }]) => this.#limit(async () => this.#remove(path, kind))));
    const isFresh = ([path, manifest]: [string, Manifest]) =>
      !isDeepStrictEqual(this.#placed.get(path), manifest);
    const fresh = [...places].filter(isFresh);
    for (const kind of PLACED) {
      const made = [...places]
        .filter((place) => place[1].kind === kind && isFresh(place))
        .map(([path, manifest]) => this.#limit(async () => this.#place(path, manifest)));
      refusals.push(...(await Promise.all(made)).flat());
      // Today's quotas and policies do not measure the objects of before.
      if (kind === "StorageClass") await this.#placeBefore(before);
    }
    if ([...stale, ...fresh].some(([, { kind }]) => POLICIES.test(kind))) await this.#untilPoliciesHold();
    return refusals;
  }

  async #remove(path: string, kind: string): Promise<void> {
    this.#placed.delete(path);
    if (kind === "Namespace") return;
    // No controller is there that would take finalizers off.
    if (this.#before.delete(path)) await this.#api.call("PATCH", path, { metadata: { finalizers: null } });
    await this.#api.call("DELETE", `${path}?propagationPolicy=Background`);
  }

  /** An object that today's server does not take any more cannot be changed; it is asked about as a new one. */
  async #placeBefore(manifests: readonly Manifest[]): Promise<void> {
    const placed = manifests.map((manifest) =>
      this.#limit(async () => {
        const path = await this.#pathOf(manifest);
        if (path === undefined || (await this.#api.apply(path, manifest)).status >= 300) return;
        this.#placed.set(path, manifest);
        this.#before.add(path);
        const claim = Claim.safeParse(manifest).data;
        if (claim === undefined) return;
        // As a cluster has it that has made the volume: only then a claim can be too small.
        const status = { phase: "Bound", capacity: claim.spec.resources.requests };
        accepted(await this.#api.call("PATCH", `${path}/status`, { status }), path);
      }),
    );
    await Promise.all(placed);
  }

  async #place(path: string, manifest: Manifest): Promise<Refusal[]> {
    const answer = await this.#api.apply(`${path}?fieldValidation=Strict`, manifest);
    if (answer.status >= 300) return [refusal(manifest, answer)];
    this.#placed.set(path, manifest);
    for (const { spec } of ofKind([manifest], "ResourceQuota")) {
      // Nobody counts here; without a status no pod is let in.
      const used = Object.fromEntries(Object.keys(spec.hard).map((resource) => [resource, "0"]));
      accepted(await this.#api.call("PATCH", `${path}/status`, { status: { hard: spec.hard, used } }), path);
    }
    return [];
  }

  /** The server reads policies in the order in which they came: when the last one holds, all do. */
  async #untilPoliciesHold(): Promise<void> {
    this.#canaries += 1;
    const name = `canary-${this.#canaries}`;
    const group = "/apis/admissionregistration.k8s.io/v1";
    const apiVersion = "admissionregistration.k8s.io/v1";
    const policy = {
      apiVersion,
      kind: "ValidatingAdmissionPolicy",
      metadata: { name },
      spec: {
        matchConstraints: {
          resourceRules: [
            { apiGroups: [""], apiVersions: ["v1"], resources: ["configmaps"], operations: ["CREATE"] },
          ],
        },
        validations: [{ expression: `object.metadata.name != '${name}'` }],
      },
    };
    const binding = {
      apiVersion,
      kind: "ValidatingAdmissionPolicyBinding",
      metadata: { name },
      spec: { policyName: name, validationActions: ["Deny"] },
    };
    accepted(await this.#api.apply(`${group}/validatingadmissionpolicies/${name}`, policy), name);
    accepted(await this.#api.apply(`${group}/validatingadmissionpolicybindings/${name}`, binding), name);
    const map = { apiVersion: "v1", kind: "ConfigMap", metadata: { name } };
    await waitFor(
      "the API server follows the policies",
      async () => {
        const path = "/api/v1/namespaces/default/configmaps?dryRun=All";
        return (await this.#api.call("POST", path, map)).status === 422 || undefined;
      },
      { everyMs: 50 },
    );
  }

  /** Asks about objects as Argo CD would apply them, and about the pods that controllers would make of them; nothing stays. */
  async ask(manifests: readonly Manifest[]): Promise<Refusal[]> {
    const asked = manifests.map((manifest) =>
      this.#limit(async () => {
        const path = await this.#pathOf(manifest);
        if (path === undefined) return [unknown(manifest)];
        const answer = await this.#api.apply(`${path}?dryRun=All&fieldValidation=Strict`, manifest);
        if (answer.status < 300) return this.#askPod(manifest);
        const isOfChange = this.#before.has(path) && (await this.#takesAsNew(manifest));
        return [{ ...refusal(manifest, answer), isOfChange }];
      }),
    );
    return (await Promise.all(asked)).flat();
  }

  async #takesAsNew(manifest: Manifest): Promise<boolean> {
    const other = { ...manifest, metadata: { ...manifest.metadata, name: `${manifest.metadata.name}-new` } };
    const path = await this.#pathOf(other);
    const { status } = await this.#api.apply(`${path}?dryRun=All&fieldValidation=Strict`, other);
    return status < 300;
  }

  /** Pod Security, limits and quotas look at pods only. */
  async #askPod(manifest: Manifest): Promise<Refusal[]> {
    const controller = CONTROLLERS[manifest.kind];
    const [template] = podTemplates([manifest]);
    if (controller === undefined || template === undefined) return [];
    const { name, namespace } = manifest.metadata;
    const claims = workloads([manifest]).flatMap(claimsOf);
    const pod = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace, labels: template.labels },
      spec: { ...template.spec, volumes: [...(template.spec.volumes ?? []), ...claims] },
    };
    const user = `system:serviceaccount:kube-system:${controller}`;
    const path = `/api/v1/namespaces/${namespace}/pods?dryRun=All`;
    const answer = await this.#api.call("POST", path, pod, user);
    return answer.status < 300 ? [] : [refusal(manifest, answer)];
  }

  /** Undefined for a kind that the server does not know. */
  async #pathOf({ apiVersion, kind, metadata: { name, namespace } }: Manifest): Promise<string | undefined> {
    const base = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
    const known = this.#kinds.get(base) ?? this.#discover(base);
    this.#kinds.set(base, known);
    const resource = (await known).find((one) => one.kind === kind && !one.name.includes("/"));
    if (resource === undefined) return undefined;
    const place = resource.namespaced ? `/namespaces/${namespace ?? "default"}` : "";
    return `${base}${place}/${resource.name}/${name}`;
  }

  async #discover(base: string): Promise<z.infer<typeof Discovery>["resources"]> {
    const { status, body } = await this.#api.call("GET", base);
    return status === 200 ? Discovery.parse(body).resources : [];
  }
}

/** Who makes pods of which kind. */
const CONTROLLERS: Readonly<Record<string, string>> = {
  Deployment: "replicaset-controller",
  StatefulSet: "statefulset-controller",
  DaemonSet: "daemon-set-controller",
  Job: "job-controller",
  CronJob: "job-controller",
};

/** The volumes that a StatefulSet's controller adds. */
function claimsOf({ metadata, spec }: Workload): object[] {
  return (spec.volumeClaimTemplates ?? []).map(({ metadata: { name } }) => ({
    name,
    persistentVolumeClaim: { claimName: `${name}-${metadata.name}-0` },
  }));
}

function unknown(manifest: Manifest): Refusal {
  return { manifest, message: `the API server knows no ${manifest.apiVersion} ${manifest.kind}` };
}

/** As the API server writes it (staging/src/k8s.io/apiserver, admission/plugin/policy/validating/plugin.go). */
const DENIED = /ValidatingAdmissionPolicy '([^']+)' with binding '[^']+' denied request: (.*)$/s;

function refusal(manifest: Manifest, { status, body }: Answer): Refusal {
  const { message } = Status.safeParse(body).data ?? { message: `status ${status}` };
  const [, policy, reason] = DENIED.exec(message) ?? [];
  return policy === undefined || reason === undefined
    ? { manifest, message }
    : { manifest, message: reason, policy };
}

function accepted({ status, body }: Answer, what: string): void {
  if (status < 300) return;
  const { message } = Status.safeParse(body).data ?? { message: "" };
  throw new ExternalError(`the API server answers ${status} to ${what}: ${message}`);
}
