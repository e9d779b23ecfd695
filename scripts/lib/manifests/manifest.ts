/** Rendered manifests as data. The shapes name the fields that this repository reads; the API server checks the rest. */
import { parseAllDocuments } from "yaml";
import { ExternalError, RefusedError } from "../errors.ts";

export interface Metadata {
  name: string;
  namespace?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
}

export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: Metadata;
}

export type Quantities = Record<string, string | number>;

export interface Probe {
  httpGet?: { path?: string; port: string | number };
  exec?: { command: string[] };
  tcpSocket?: { port: string | number };
  grpc?: { port: number };
  periodSeconds?: number;
  timeoutSeconds?: number;
  failureThreshold?: number;
}

interface KeyRef {
  name: string;
  key: string;
}

export interface Container {
  name: string;
  image: string;
  command?: string[];
  args?: string[];
  ports?: { name?: string; containerPort: number }[];
  env?: { name: string; value?: string; valueFrom?: { secretKeyRef?: KeyRef; configMapKeyRef?: KeyRef } }[];
  envFrom?: { configMapRef?: { name: string }; secretRef?: { name: string } }[];
  resources?: { requests?: Quantities; limits?: Quantities };
  securityContext?: {
    allowPrivilegeEscalation?: boolean;
    privileged?: boolean;
    readOnlyRootFilesystem?: boolean;
    runAsNonRoot?: boolean;
    runAsUser?: number;
    capabilities?: { add?: string[]; drop?: string[] };
    seccompProfile?: { type: string };
  };
  startupProbe?: Probe;
  livenessProbe?: Probe;
  readinessProbe?: Probe;
  lifecycle?: {
    postStart?: { exec?: { command: string[] } };
    preStop?: { sleep?: { seconds: number }; exec?: { command: string[] } };
  };
  volumeMounts?: { name: string; mountPath: string; subPath?: string }[];
  /** `Always` makes an init container a sidecar. */
  restartPolicy?: string;
}

export interface Volume {
  name: string;
  configMap?: { name: string };
  secret?: { secretName: string };
  persistentVolumeClaim?: { claimName: string };
  emptyDir?: { medium?: string; sizeLimit?: string };
  [source: string]: unknown;
}

export interface PodSpec {
  serviceAccountName?: string;
  automountServiceAccountToken?: boolean;
  enableServiceLinks?: boolean;
  hostNetwork?: boolean;
  hostPID?: boolean;
  hostIPC?: boolean;
  terminationGracePeriodSeconds?: number;
  securityContext?: { runAsNonRoot?: boolean; runAsUser?: number; seccompProfile?: { type: string } };
  initContainers?: Container[];
  containers: Container[];
  volumes?: Volume[];
  topologySpreadConstraints?: {
    topologyKey: string;
    maxSkew: number;
    whenUnsatisfiable: string;
    labelSelector: { matchLabels: Record<string, string> };
    matchLabelKeys?: string[];
  }[];
}

/** A Deployment, a StatefulSet or a DaemonSet. */
export interface Workload extends Manifest {
  spec: {
    replicas?: number;
    progressDeadlineSeconds?: number;
    selector: { matchLabels: Record<string, string> };
    strategy?: {
      type: string;
      rollingUpdate?: { maxSurge?: number | string; maxUnavailable?: number | string };
    };
    serviceName?: string;
    template: { metadata: { labels: Record<string, string> }; spec: PodSpec };
    volumeClaimTemplates?: {
      metadata: { name: string };
      spec: { storageClassName?: string; resources: { requests: Quantities } };
    }[];
  };
}

export interface CronJob extends Manifest {
  spec: {
    concurrencyPolicy?: "Allow" | "Forbid" | "Replace";
    jobTemplate: { spec: { parallelism?: number; template: { spec: PodSpec } } };
  };
}

export interface Service extends Manifest {
  spec: {
    type?: string;
    clusterIP?: string;
    selector: Record<string, string>;
    ports: { name: string; port: number; targetPort: string | number }[];
  };
}

export interface Autoscaler extends Manifest {
  spec: {
    minReplicas: number;
    maxReplicas: number;
    scaleTargetRef: { kind: string; name: string };
    metrics: { type: string; resource?: { name: string } }[];
  };
}

export interface DisruptionBudget extends Manifest {
  spec: {
    minAvailable?: number | string;
    maxUnavailable?: number | string;
    unhealthyPodEvictionPolicy?: string;
    selector: { matchLabels: Record<string, string> };
  };
}

export interface Quota extends Manifest {
  spec: { hard: Quantities };
}

export interface LimitRange extends Manifest {
  spec: {
    limits: {
      type: string;
      default?: Quantities;
      defaultRequest?: Quantities;
      max?: Quantities;
      min?: Quantities;
    }[];
  };
}

export interface ConfigMap extends Manifest {
  data?: Record<string, string>;
}

interface Kinds {
  Deployment: Workload;
  StatefulSet: Workload;
  DaemonSet: Workload;
  CronJob: CronJob;
  Service: Service;
  HorizontalPodAutoscaler: Autoscaler;
  PodDisruptionBudget: DisruptionBudget;
  ResourceQuota: Quota;
  LimitRange: LimitRange;
  ConfigMap: ConfigMap;
  PersistentVolumeClaim: Manifest;
  ServiceAccount: Manifest & { automountServiceAccountToken?: boolean };
  Namespace: Manifest;
}

/**
 * Reads the documents of a rendering.
 * @throws ExternalError for a document that is not a Kubernetes object
 */
export function parseManifests(text: string): Manifest[] {
  return parseAllDocuments(text).map((document, index) => {
    const value: unknown = document.toJS();
    if (isManifest(value)) return value;
    throw new ExternalError(
      `document ${index + 1} of the rendering has no apiVersion, kind or metadata.name`,
    );
  });
}

function isManifest(value: unknown): value is Manifest {
  if (typeof value !== "object" || value === null) return false;
  const { apiVersion, kind, metadata } = value as Partial<Manifest>;
  return typeof apiVersion === "string" && typeof kind === "string" && typeof metadata?.name === "string";
}

/** The manifests of one kind. */
export function ofKind<K extends keyof Kinds>(manifests: readonly Manifest[], kind: K): Kinds[K][] {
  return manifests.filter((manifest): manifest is Kinds[K] => manifest.kind === kind);
}

/** The Deployments, StatefulSets and DaemonSets: their pods run until they are told to end. */
export function workloads(manifests: readonly Manifest[]): Workload[] {
  return (["Deployment", "StatefulSet", "DaemonSet"] as const).flatMap((kind) => ofKind(manifests, kind));
}

/** A pod as an object describes it. */
export interface PodTemplate {
  owner: Manifest;
  labels: Record<string, string>;
  spec: PodSpec;
}

/** As Argo CD applies it: what names no namespace goes to the app's. */
export function inNamespace(manifest: Manifest, namespace: string): Manifest {
  const { metadata } = manifest;
  return { ...manifest, metadata: { ...metadata, namespace: metadata.namespace ?? namespace } };
}

/** Where the kinds that have pods describe them. */
const POD_AT: Readonly<Record<string, readonly string[]>> = {
  Pod: [],
  Deployment: ["spec", "template"],
  StatefulSet: ["spec", "template"],
  DaemonSet: ["spec", "template"],
  ReplicaSet: ["spec", "template"],
  ReplicationController: ["spec", "template"],
  Job: ["spec", "template"],
  CronJob: ["spec", "jobTemplate", "spec", "template"],
};

/**
 * The pods that manifests describe, whatever their kind.
 * @throws RefusedError for a kind that has containers in a place that nobody here knows
 */
export function podTemplates(manifests: readonly Manifest[]): PodTemplate[] {
  return manifests.flatMap((owner) => {
    const path = POD_AT[owner.kind];
    const template = path?.reduce<unknown>(fieldOf, owner);
    if (isTemplate(template))
      return [{ owner, labels: template.metadata?.labels ?? {}, spec: template.spec }];
    if (path === undefined && !hasContainers(owner)) return [];
    throw new RefusedError(`${idOf(owner)} has its containers in a place that is not known here`);
  });
}

/** A field of anything that was read; undefined where it has none. */
export function fieldOf(node: unknown, key: string): unknown {
  if (typeof node !== "object" || node === null) return undefined;
  return Object.entries(node).find(([name]) => name === key)?.[1];
}

function isTemplate(value: unknown): value is { metadata?: Partial<Metadata>; spec: PodSpec } {
  return Array.isArray(fieldOf(fieldOf(value, "spec"), "containers"));
}

function hasContainers(node: unknown): boolean {
  if (typeof node !== "object" || node === null) return false;
  return Object.entries(node).some(
    ([key, child]) => /^(initC|c)ontainers$/.test(key) || hasContainers(child),
  );
}

/** The containers of a pod, those that only begin it among them. */
export function containersOf({ spec }: Pick<PodTemplate, "spec">): Container[] {
  return [...(spec.initContainers ?? []), ...spec.containers];
}

/** What a manifest is, whatever the version: `apps/Deployment`, or `Service` of the core group. */
export function typeOf({ apiVersion, kind }: Manifest): string {
  return apiVersion.includes("/") ? `${apiVersion.split("/")[0]}/${kind}` : kind;
}

/** A manifest's identity in a cluster, to compare and to print: `apps/Deployment microservices/user-service`. */
export function idOf(manifest: Manifest): string {
  const { name, namespace } = manifest.metadata;
  return `${typeOf(manifest)} ${namespace === undefined ? "" : `${namespace}/`}${name}`;
}

/** What kustomize appends: ten characters of an alphabet without vowels and the digits that look like some. */
const HASHED = /^(.+)-[2456789bcdfghkmt]{10}$/;

/** A name without the hash of its content; undefined when it has none. */
export function stemOf(name: string): string | undefined {
  return HASHED.exec(name)?.[1];
}

/** A manifest with other names in place of some, wherever one of them is a value. */
export function withNames(manifest: Manifest, names: ReadonlyMap<string, string>): Manifest {
  const replace = (value: unknown): unknown => {
    if (typeof value === "string") return names.get(value) ?? value;
    if (Array.isArray(value)) return value.map(replace);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, replace(child)]));
  };
  const { apiVersion, kind, metadata } = manifest;
  return {
    ...Object(replace(manifest)),
    apiVersion,
    kind,
    metadata: { ...metadata, name: names.get(metadata.name) ?? metadata.name },
  };
}

/** Whether labels fulfil a selector of exact labels. An empty selector selects everything. */
export function selects(selector: Record<string, string>, labels: Record<string, string> = {}): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}

/** The autoscaler that owns a workload's replicas. */
export function autoscalerOf(workload: Workload, manifests: readonly Manifest[]): Autoscaler | undefined {
  return ofKind(manifests, "HorizontalPodAutoscaler").find(
    ({ metadata, spec: { scaleTargetRef: target } }) =>
      metadata.namespace === workload.metadata.namespace &&
      target.kind === workload.kind &&
      target.name === workload.metadata.name,
  );
}
