/** What can go wrong with a change of a Kubernetes object, by the field that changes. */

/** The riskiest first. */
export const RISKS = [
  "immutable",
  "deletion",
  "storage",
  "rbac",
  "security",
  "network",
  "secret",
  "configuration",
  "schedule",
  "resources",
  "probes",
  "replicas",
  "image",
  "other",
] as const;
export type Risk = (typeof RISKS)[number];

/**
 * Fields that the API server does not let anybody change, from the validation of Kubernetes 1.34
 * (ValidateDeploymentUpdate and its like in pkg/apis/<group>/validation).
 */
const IMMUTABLE: Record<string, readonly string[]> = {
  "apps/Deployment": ["spec.selector"],
  "apps/DaemonSet": ["spec.selector"],
  "apps/ReplicaSet": ["spec.selector"],
  "batch/Job": [
    "spec.selector",
    "spec.template",
    "spec.completionMode",
    "spec.podFailurePolicy",
    "spec.successPolicy",
    "spec.backoffLimitPerIndex",
    "spec.managedBy",
  ],
  Service: ["spec.clusterIP", "spec.clusterIPs"],
  Secret: ["type"],
  ResourceQuota: ["spec.scopes"],
  "storage.k8s.io/StorageClass": ["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"],
  "rbac.authorization.k8s.io/RoleBinding": ["roleRef"],
  "rbac.authorization.k8s.io/ClusterRoleBinding": ["roleRef"],
  "networking.k8s.io/IngressClass": ["spec.controller"],
  "scheduling.k8s.io/PriorityClass": ["value", "preemptionPolicy"],
  "apiextensions.k8s.io/CustomResourceDefinition": ["spec.scope"],
};

/** Kinds whose spec is immutable but for these fields. */
const MUTABLE: Record<string, readonly string[]> = {
  "apps/StatefulSet": [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
  ],
  PersistentVolumeClaim: ["resources", "volumeAttributesClassName"],
};

const BY_GROUP: Record<string, Risk> = {
  "rbac.authorization.k8s.io": "rbac",
  "networking.k8s.io": "network",
  "gateway.networking.k8s.io": "network",
  "apisix.apache.org": "network",
  "storage.k8s.io": "storage",
  "admissionregistration.k8s.io": "security",
  "scheduling.k8s.io": "schedule",
};

const BY_KIND: Record<string, Risk> = {
  ServiceAccount: "rbac",
  "argoproj.io/AppProject": "rbac",
  Service: "network",
  PersistentVolumeClaim: "storage",
  PersistentVolume: "storage",
  Secret: "secret",
  "isindir.github.com/SopsSecret": "secret",
  ConfigMap: "configuration",
  "autoscaling/HorizontalPodAutoscaler": "replicas",
  "policy/PodDisruptionBudget": "schedule",
  ResourceQuota: "resources",
  LimitRange: "resources",
  "apps/Deployment": "image",
  "apps/StatefulSet": "image",
  "apps/DaemonSet": "image",
  "apps/ReplicaSet": "image",
  "batch/Job": "image",
  "batch/CronJob": "image",
  Pod: "image",
};

const POD_PATHS: Record<string, string> = {
  Pod: "spec.",
  "apps/Deployment": "spec.template.spec.",
  "apps/StatefulSet": "spec.template.spec.",
  "apps/DaemonSet": "spec.template.spec.",
  "apps/ReplicaSet": "spec.template.spec.",
  "batch/Job": "spec.template.spec.",
  "batch/CronJob": "spec.jobTemplate.spec.template.spec.",
};

/** The path of a field without the way to the pod, where it is one of a pod: `containers[app].image`. */
export function withoutPodPath(kind: string, path: string): string {
  const prefix = POD_PATHS[kind];
  return prefix !== undefined && path.startsWith(prefix) ? path.slice(prefix.length) : path;
}

/** The risk of an object that appears; `kind` is `group/Kind`, or `Kind` of the core group. */
export function riskOfObject(kind: string): Risk {
  return BY_KIND[kind] ?? BY_GROUP[kind.split("/")[0] ?? ""] ?? "other";
}

/**
 * The risk of a field that changes.
 * @param kind `group/Kind`, or `Kind` of the core group
 * @param path such as `spec.template.spec.containers[app].image`
 * @param values what it was and is, as far as it is there; they tell what a volume or variable is made of
 */
export function riskOfField(kind: string, path: string, values: readonly unknown[]): Risk {
  if (isImmutable(kind, path)) return "immutable";
  if (/^metadata\.labels\b.*pod-security\.kubernetes\.io/.test(path)) return "security";
  const inPod = withoutPodPath(kind, path);
  if (inPod !== path) return podRisk(inPod, values);
  const isMetadata = path.startsWith("metadata.");
  const risk = riskOfObject(kind);
  if (risk === "network" && path.startsWith("metadata.annotations")) return "network";
  if (isMetadata || path === "apiVersion") return "other";
  if (POD_PATHS[kind] !== undefined) return workloadRisk(path);
  return kind === "ServiceAccount" && /^(imagePullSecrets|secrets)\b/.test(path) ? "secret" : risk;
}

function isImmutable(kind: string, path: string): boolean {
  if ((IMMUTABLE[kind] ?? []).some((field) => isAt(path, field))) return true;
  const mutable = MUTABLE[kind];
  return mutable !== undefined && isAt(path, "spec") && !mutable.some((field) => isAt(path, `spec.${field}`));
}

/** Whether a path is a field or something in it. */
function isAt(path: string, field: string): boolean {
  return path === field || path.startsWith(`${field}.`) || path.startsWith(`${field}[`);
}

function workloadRisk(path: string): Risk {
  if (/^spec\.(replicas|parallelism|completions)$/.test(path)) return "replicas";
  if (/^spec\.(schedule|timeZone|suspend|concurrencyPolicy|startingDeadlineSeconds)$/.test(path))
    return "schedule";
  return isAt(path, "spec.persistentVolumeClaimRetentionPolicy") ? "storage" : "other";
}

const POD_FIELDS: readonly [RegExp, Risk][] = [
  [/^(securityContext|host(Network|PID|IPC|Users)|shareProcessNamespace)\b/, "security"],
  [/^(serviceAccount|serviceAccountName|automountServiceAccountToken)$/, "rbac"],
  [/^imagePullSecrets\b/, "secret"],
  [
    /^(nodeSelector|nodeName|affinity|tolerations|topologySpreadConstraints|priorityClassName|schedulerName|runtimeClassName)\b/,
    "schedule",
  ],
  [/^(hostAliases|dnsPolicy|dnsConfig)\b/, "network"],
  [/^resources\b/, "resources"],
];

const CONTAINER_FIELDS: readonly [RegExp, Risk][] = [
  [/^image/, "image"],
  [/^(livenessProbe|readinessProbe|startupProbe|lifecycle)\b/, "probes"],
  [/^resources\b/, "resources"],
  [/^securityContext\b/, "security"],
  [/^ports\b/, "network"],
  [/^(command|args|workingDir|env|envFrom)\b/, "configuration"],
  [/^volume(Mounts|Devices)\b/, "storage"],
];

function podRisk(path: string, values: readonly unknown[]): Risk {
  const [, field] = /^(?:initContainers|containers)\[[^\]]*\]\.(.*)$/.exec(path) ?? [];
  const text = `${path} ${JSON.stringify(values)}`;
  if (field !== undefined) {
    if (field.startsWith("env") && /secretKeyRef|secretRef/.test(text)) return "secret";
    return riskIn(CONTAINER_FIELDS, field);
  }
  if (!/^volumes\b/.test(path)) return riskIn(POD_FIELDS, path);
  if (/\.secret\b|"secret"|secretName/.test(text)) return "secret";
  if (/\.hostPath\b|"hostPath"/.test(text)) return "security";
  return /\.configMap\b|"configMap"/.test(text) ? "configuration" : "storage";
}

function riskIn(table: readonly [RegExp, Risk][], field: string): Risk {
  return table.find(([pattern]) => pattern.test(field))?.[1] ?? "other";
}
