/** Judges an environment on a cluster: what Git has of it, and what the cluster says. Plain data in, plain data out. */
import type { Application } from "../argocd/applications.ts";
import { inWords } from "../duration.ts";
import { containersOf, idOf, type Manifest, podTemplates } from "../manifests/manifest.ts";
import type { Alert } from "../status/alerts.ts";
import type { Live } from "./cluster.ts";

export interface Check {
  name: string;
  /** In a few words, such as `31 of 31 ready`. */
  seen: string;
  /** `not asked` where nobody could be asked, and `seen` says why. */
  verdict: "ok" | "failed" | "not asked";
  /** `<object>: <fact>; <what to do>`, a line each. */
  findings: readonly string[];
}

/** An environment on one cluster. */
export interface Evidence {
  /** As Git has the environment, rendered. */
  wanted: readonly Manifest[];
  live: readonly Live[];
  now: Date;
}

/** How long before its end a certificate has to be renewed. Chosen: time for a person to do it in office hours. */
const CERTIFICATE_DAYS = 21;
/** How long after its last success a nightly job is late: a night, and two hours to run. */
const NIGHTLY_HOURS = 26;
const DAY_MS = 86_400_000;

/** All checks that the cluster alone answers, in the order of a request's way through the system. */
export function checkCluster(evidence: Evidence): Check[] {
  return [pods, endpoints, ingresses, autoscalers, budgets, claims, sealedSecrets, jobs].map((check) =>
    check(evidence),
  );
}

/** Every workload that Git has runs, whole, with the images that Git has. */
function pods(evidence: Evidence): Check {
  const pairs = paired(evidence, ["Deployment", "StatefulSet", "DaemonSet"]);
  const counts = pairs.map(({ live }) => (live === undefined ? { ready: 0, wanted: 0 } : countOf(live)));
  const sum = (key: "ready" | "wanted") => counts.reduce((total, found) => total + found[key], 0);
  return verdict("pods", `${sum("ready")} of ${sum("wanted")} ready`, [
    ...missing(pairs),
    ...pairs.flatMap(({ manifest, id, live }) => {
      if (live === undefined) return [];
      const wanted = podTemplates([manifest]).flatMap((template) => containersOf(template));
      const others = (live.spec.template?.spec.containers ?? []).filter(({ name, image }) =>
        wanted.some((container) => container.name === name && container.image !== image),
      );
      const pod = countOf(live);
      const isBehind = (live.status.observedGeneration ?? 0) < live.metadata.generation;
      const describe = `kubectl -n ${live.metadata.namespace} describe pods`;
      return [
        ...others.map(({ image }) => `${id}: runs ${image}, which Git does not have; npm run sync brings it`),
        ...(pod.ready < pod.wanted
          ? [`${id}: ${pod.ready} of ${pod.wanted} pods are ready${waiting(evidence, live)}; ${describe}`]
          : []),
        ...(isBehind || pod.updated < pod.wanted ? [`${id}: a rollout has not ended; ${describe}`] : []),
      ];
    }),
  ]);
}

function countOf({ kind, spec, status }: Live): { ready: number; updated: number; wanted: number } {
  return kind === "DaemonSet"
    ? {
        ready: status.numberReady,
        updated: status.updatedNumberScheduled,
        wanted: status.desiredNumberScheduled,
      }
    : { ready: status.readyReplicas, updated: status.updatedReplicas, wanted: spec.replicas };
}

/** Why pods of a workload wait, if one of them says so. */
function waiting({ live }: Evidence, { metadata }: Live): string {
  const reasons = live
    .filter(({ kind, metadata: pod }) => kind === "Pod" && pod.namespace === metadata.namespace)
    .filter(({ metadata: pod }) => pod.name.startsWith(`${metadata.name}-`))
    .flatMap(({ status }) => status.containerStatuses.flatMap(({ state }) => state.waiting?.reason ?? []));
  return reasons.length === 0 ? "" : ` (${[...new Set(reasons)].join(", ")})`;
}

/** Every Service that selects pods has one that is ready. */
function endpoints(evidence: Evidence): Check {
  const services = paired(evidence, ["Service"]).filter(({ manifest }) => "selector" in specOf(manifest));
  const slices = evidence.live.filter(({ kind }) => kind === "EndpointSlice");
  const silent = services.filter(
    ({ manifest, live }) =>
      live !== undefined &&
      !slices.some(
        ({ metadata, endpoints: found }) =>
          metadata.namespace === live.metadata.namespace &&
          metadata.labels["kubernetes.io/service-name"] === manifest.metadata.name &&
          (found ?? []).some(({ conditions }) => conditions.ready !== false),
      ),
  );
  const served = count(services) - silent.length;
  return verdict("endpoints", `${served} of ${services.length} Services have a ready pod`, [
    ...missing(services),
    ...silent.map(({ id }) => `${id}: no pod behind it is ready; look at its pods and its selector`),
  ]);
}

function ingresses(evidence: Evidence): Check {
  const pairs = paired(evidence, ["Ingress"]);
  const bare = pairs.filter(({ live }) => live?.status.loadBalancer.ingress.length === 0);
  const served = count(pairs) - bare.length;
  return verdict("ingress", `${served} of ${pairs.length} have an address`, [
    ...missing(pairs),
    ...bare.map(({ id }) => `${id}: it has no address; does its controller run, and has the gateway one?`),
  ]);
}

function autoscalers(evidence: Evidence): Check {
  const pairs = paired(evidence, ["HorizontalPodAutoscaler"]);
  const sizes = pairs.flatMap(({ live, manifest }) =>
    live === undefined
      ? []
      : [`${manifest.metadata.name} ${live.status.currentReplicas} of ${live.spec.maxReplicas}`],
  );
  return verdict("autoscalers", sizes.join(", ") || "none", [
    ...missing(pairs),
    ...pairs.flatMap(({ id, live }) =>
      (live?.status.conditions ?? [])
        .filter(({ type, status }) => ["AbleToScale", "ScalingActive"].includes(type) && status !== "True")
        .map(({ message }) => `${id}: it cannot scale: ${message}; does the metric exist?`),
    ),
    ...pairs.flatMap(({ id, live }) =>
      live !== undefined && live.status.currentReplicas >= live.spec.maxReplicas
        ? [`${id}: it is at its maximum of ${live.spec.maxReplicas}; docs/runbooks/alerts.md`]
        : [],
    ),
  ]);
}

/** No budget blocks a drain. */
function budgets(evidence: Evidence): Check {
  const pairs = paired(evidence, ["PodDisruptionBudget"]);
  const closed = pairs.flatMap(({ id, live }) => {
    if (live === undefined || live.status.disruptionsAllowed > 0 || live.status.expectedPods === 0) return [];
    const { currentHealthy, desiredHealthy } = live.status;
    return [
      `${id}: no pod may be evicted, ${currentHealthy} healthy and ${desiredHealthy} needed; wait until its pods are ready`,
    ];
  });
  const open = count(pairs) - closed.length;
  return verdict("budgets", `${open} of ${pairs.length} let a pod go`, [...missing(pairs), ...closed]);
}

function claims({ live }: Evidence): Check {
  const found = live.filter(({ kind }) => kind === "PersistentVolumeClaim");
  const open = found.filter(({ status }) => status.phase !== "Bound");
  return verdict(
    "claims",
    `${found.length - open.length} of ${found.length} bound`,
    open.map(
      ({ metadata: { namespace, name }, status }) =>
        `PersistentVolumeClaim ${namespace}/${name}: ${status.phase ?? "Pending"}; kubectl -n ${namespace} describe pvc ${name}`,
    ),
  );
}

function sealedSecrets(evidence: Evidence): Check {
  const pairs = paired(evidence, ["SopsSecret"]);
  const closed = pairs.filter(({ live }) => live !== undefined && live.status.message !== "Healthy");
  const open = count(pairs) - closed.length;
  return verdict("secrets", `${open} of ${pairs.length} decrypted`, [
    ...missing(pairs),
    ...closed.map(
      ({ id, live }) =>
        `${id}: ${live?.status.message ?? "its operator has not looked at it"}; docs/secrets.md`,
    ),
  ]);
}

/** Jobs that run by the clock: the backup is one. */
function jobs(evidence: Evidence): Check {
  const pairs = paired(evidence, ["CronJob"]);
  const ages = pairs.map(({ manifest: { metadata }, live, id }) => {
    const success = live?.status.lastSuccessfulTime;
    const scheduled = live?.status.lastScheduleTime;
    if (success === undefined)
      return scheduled === undefined
        ? { seen: `${metadata.name} has not run yet`, late: [] }
        : {
            seen: `${metadata.name} never succeeded`,
            late: [`${id}: it never succeeded; read its pod's log`],
          };
    const hours = (evidence.now.getTime() - new Date(success).getTime()) / 3_600_000;
    const age = inWords(hours * 3600);
    const remedy = `kubectl -n ${metadata.namespace} get jobs, and read the log of its last pod`;
    return {
      seen: `${metadata.name} ${age} ago`,
      late: hours > NIGHTLY_HOURS ? [`${id}: it succeeded last ${age} ago; ${remedy}`] : [],
    };
  });
  return verdict("jobs", ages.map(({ seen }) => seen).join(", ") || "none", [
    ...missing(pairs),
    ...ages.flatMap(({ late }) => late),
  ]);
}

/** A host of an Ingress and the certificate that its Secret has. */
export interface ServedCertificate {
  /** Namespace and name of the Secret. */
  secret: string;
  host: string;
  certificate: Certificate | undefined;
}

/** As `X509Certificate` of node:crypto has it. */
interface Certificate {
  readonly validTo: string;
  checkHost(host: string): string | undefined;
  /** In PEM. */
  toString(): string;
}

/** The Secrets that Ingresses name, with their hosts. */
export function certificatePlaces(
  wanted: readonly Manifest[],
): { namespace: string; name: string; host: string }[] {
  const places = wanted
    .filter(({ kind }) => kind === "Ingress")
    .flatMap((ingress) => {
      const { tls = [] } = specOf(ingress) as { tls?: { hosts?: string[]; secretName?: string }[] };
      return tls.flatMap(({ hosts = [], secretName: name = "" }) =>
        hosts.map((host) => ({ namespace: ingress.metadata.namespace ?? "", name, host })),
      );
    });
  return [...new Map(places.map((place) => [Object.values(place).join(" "), place])).values()];
}

/** Every host has a certificate of its name that lasts. */
export function checkCertificates(found: readonly ServedCertificate[], now: Date): Check {
  const faults = found.flatMap(({ secret, host, certificate }) => {
    if (certificate === undefined) return [`Secret ${secret}: it has no certificate for ${host}; seal one`];
    const days = Math.floor((new Date(certificate.validTo).getTime() - now.getTime()) / DAY_MS);
    return [
      ...(certificate.checkHost(host) === undefined
        ? [`Secret ${secret}: its certificate is not for ${host}; seal one that is`]
        : []),
      ...(days < CERTIFICATE_DAYS
        ? [
            `Secret ${secret}: its certificate ${days < 0 ? "has ended" : `ends in ${days} days`}; seal a new one`,
          ]
        : []),
    ];
  });
  const ends = found.flatMap(({ certificate }) => (certificate === undefined ? [] : [certificate.validTo]));
  const first = ends.map((end) => new Date(end)).toSorted((a, b) => a.getTime() - b.getTime())[0];
  const until = first === undefined ? "none" : `valid until ${first.toISOString().slice(0, 10)}`;
  return verdict("certificates", until, faults);
}

/** Every application of the environment on the cluster is Synced and Healthy. */
export function checkApplications(applications: readonly Application[]): Check {
  const faults = applications.filter(({ sync, health }) => sync !== "Synced" || health !== "Healthy");
  const healthy = applications.length - faults.length;
  return verdict("applications", `${healthy} of ${applications.length} Synced and Healthy`, [
    ...faults.map(({ name, sync, health, message, env, app }) => {
      const reason = message === "" ? "" : `: ${message.replaceAll(/\s+/g, " ")}`;
      return `Application ${name}: ${sync} ${health}${reason}; npm run sync ${env} ${app}`;
    }),
    ...(applications.length === 0 ? ["Argo CD: it has no application here; docs/bootstrap.md"] : []),
  ]);
}

/** No alert of the environment fires, but for those that only inform. */
export function checkAlerts(alerts: readonly Alert[]): Check {
  const pressing = alerts.filter(({ labels }) => labels["severity"] !== "info");
  const findings = pressing.map(({ labels, summary }) => {
    const { alertname = "", severity = "" } = labels;
    return `alert ${alertname} (${severity}): ${summary}; docs/runbooks/alerts.md`;
  });
  const seen = alerts.length === 0 ? "none fires" : `${alerts.length} fire, ${pressing.length} of them press`;
  return verdict("alerts", seen, [...new Set(findings)]);
}

/** A check that nobody could answer. */
export function notAsked(name: string, reason: string): Check {
  return { name, seen: reason, verdict: "not asked", findings: [] };
}

interface Pair {
  manifest: Manifest;
  id: string;
  /** Undefined where the cluster does not have it. */
  live: Live | undefined;
}

/** What Git has of some kinds, each with what the cluster has of it. */
function paired({ wanted, live }: Evidence, kinds: readonly string[]): Pair[] {
  return wanted
    .filter(({ kind }) => kinds.includes(kind))
    .map((manifest) => ({
      manifest,
      id: idOf(manifest).replace(/^[^ ]*\//, ""),
      live: live.find(
        ({ kind, metadata }) =>
          kind === manifest.kind &&
          metadata.name === manifest.metadata.name &&
          metadata.namespace === (manifest.metadata.namespace ?? ""),
      ),
    }));
}

/** How many of them the cluster has. */
function count(pairs: readonly Pair[]): number {
  return pairs.filter(({ live }) => live !== undefined).length;
}

/** In one line: an environment that was never synced lacks everything. */
function missing(pairs: readonly Pair[]): string[] {
  const [first, ...others] = pairs.flatMap(({ id, live }) => (live === undefined ? [id] : []));
  if (first === undefined) return [];
  return others.length === 0
    ? [`${first}: the cluster does not have it; npm run sync brings it`]
    : [`${first} and ${others.length} more: the cluster does not have them; npm run sync brings them`];
}

function specOf(manifest: Manifest): object {
  return "spec" in manifest && typeof manifest.spec === "object" ? (manifest.spec ?? {}) : {};
}

function verdict(name: string, seen: string, findings: readonly string[]): Check {
  return { name, seen, verdict: findings.length === 0 ? "ok" : "failed", findings };
}
