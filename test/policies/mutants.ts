/** For each policy objects that break its rule and no other, made of an object of the tree. */
import { exceptionsOf } from "../../scripts/lib/admission/exception.ts";
import {
  autoscalerOf,
  type Container,
  type Manifest,
  ofKind,
  type PodSpec,
  podTemplates,
  type Workload,
  workloads,
} from "../../scripts/lib/manifests/manifest.ts";

type Mutation = (object: Manifest, all: readonly Manifest[]) => void;

/** Thrown by a mutation that has nothing to change in an object. */
class NotHere extends Error {}

function some<T>(value: T | undefined): T {
  if (value === undefined) throw new NotHere();
  return value;
}

function inPod(change: (pod: PodSpec, main: Container) => void): Mutation {
  return (object) => {
    const { spec } = some(podTemplates([object])[0]);
    change(spec, some(spec.containers[0]));
  };
}

/** In a workload that runs until it is told to end. */
function inWorkload(change: (workload: Workload, main: Container) => void, kind = ""): Mutation {
  return (object) => {
    const [workload] = workloads([object]);
    const { spec } = some(workload).spec.template;
    if (!object.kind.includes(kind)) throw new NotHere();
    change(some(workload), some(spec.containers[0]));
  };
}

function inKind(kind: string, change: (fields: Record<string, unknown>) => void): Mutation {
  return (object) => {
    if (object.kind !== kind) throw new NotHere();
    change(Object(object));
  };
}

function annotated(name: string, value: string): Mutation {
  return (object) => {
    if (podTemplates([object]).length === 0) throw new NotHere();
    object.metadata.annotations = { ...object.metadata.annotations, [`exception.ecommerce/${name}`]: value };
  };
}

const LABELLED = [
  "CronJob",
  "DaemonSet",
  "Deployment",
  "HorizontalPodAutoscaler",
  "Ingress",
  "PodDisruptionBudget",
  "Service",
  "StatefulSet",
];

/** By the name of the policy, and of the mutant. */
export const MUTATIONS: Readonly<Record<string, Readonly<Record<string, Mutation>>>> = {
  images: {
    "a moving tag": inPod((_, main) => {
      main.image = main.image.replace(/:[^/]*$/, ":latest");
    }),
    "no tag": inPod((_, main) => {
      main.image = main.image.replace(/:[^/]*$/, "");
    }),
  },
  registries: {
    "a registry that nobody has chosen": inPod((_, main) => {
      main.image = "registry.example.net/any/image:1.2.3";
    }),
  },
  resources: {
    "no limit of memory": inPod((_, main) => {
      delete main.resources?.limits?.["memory"];
    }),
    "no request of ephemeral storage": inPod((_, main) => {
      delete main.resources?.requests?.["ephemeral-storage"];
    }),
  },
  "security-context": {
    "more privileges than its parent": inPod((_, main) => {
      main.securityContext = { ...main.securityContext, allowPrivilegeEscalation: true };
    }),
    "a capability": inPod((_, main) => {
      main.securityContext = { ...main.securityContext, capabilities: { drop: ["ALL"], add: ["SYS_TIME"] } };
    }),
    root: inPod((pod) => {
      pod.securityContext = { ...pod.securityContext, runAsUser: 0 };
    }),
    "the node's network": inPod((pod) => {
      pod.hostNetwork = true;
    }),
  },
  "writable-root": {
    "a writable root file system": inPod((_, main) => {
      main.securityContext = { ...main.securityContext, readOnlyRootFilesystem: false };
    }),
  },
  "service-account-token": {
    "a mounted token": inPod((pod) => {
      pod.automountServiceAccountToken = true;
    }),
    "a projected token": inPod((pod) => {
      const projected = { sources: [{ serviceAccountToken: { path: "token" } }] };
      pod.volumes = [...(pod.volumes ?? []), { name: "mutant", projected }];
    }),
  },
  "service-account": {
    "the account of the namespace": inPod((pod) => {
      pod.serviceAccountName = "default";
    }),
  },
  "host-paths": {
    "a path of the node": (object) => {
      if (object.metadata.namespace === "logging") throw new NotHere();
      const { spec } = some(podTemplates([object])[0]);
      spec.volumes = [...(spec.volumes ?? []), { name: "mutant", hostPath: { path: "/var/log" } }];
    },
  },
  "port-names": {
    "a port without a name": inPod((_, main) => {
      delete some(main.ports?.[0]).name;
    }),
  },
  probes: {
    "no liveness": inWorkload((_, main) => {
      delete main.livenessProbe;
    }),
    "no readiness": inWorkload((_, main) => {
      delete main.readinessProbe;
    }),
    "no time to start": inWorkload((_, main) => {
      delete main.startupProbe;
    }),
    "one question for both": inWorkload((_, main) => {
      const { httpGet, exec } = some(main.livenessProbe);
      const { periodSeconds = 10, timeoutSeconds = 3 } = some(main.readinessProbe);
      main.readinessProbe = {
        ...(httpGet === undefined ? {} : { httpGet }),
        ...(exec === undefined ? {} : { exec }),
        periodSeconds,
        timeoutSeconds,
      };
    }),
  },
  "probe-times": {
    "a liveness that is asked all the time": inWorkload((_, main) => {
      some(main.livenessProbe).periodSeconds = 1;
    }),
    "less time to start": inWorkload((_, main) => {
      some(main.startupProbe).failureThreshold = 3;
    }),
  },
  "graceful-stop": {
    "no sleep": inWorkload((_, main) => {
      delete main.lifecycle;
    }, "Deployment"),
    "a sleep by a shell": inWorkload((_, main) => {
      main.lifecycle = { preStop: { exec: { command: ["sleep", "10"] } } };
    }, "Deployment"),
    "no time after its sleep": inWorkload((workload, main) => {
      const { seconds = 0 } = main.lifecycle?.preStop?.sleep ?? {};
      workload.spec.template.spec.terminationGracePeriodSeconds = seconds + 5;
    }),
  },
  replicas: {
    "replicas beside an autoscaler": (object, all) => {
      const workload = some(workloads([object])[0]);
      some(autoscalerOf(workload, all));
      workload.spec.replicas = 2;
    },
  },
  spread: {
    "pods on one node": inWorkload((workload) => {
      delete workload.spec.template.spec.topologySpreadConstraints;
    }, "Deployment"),
    "a number of replicas that the nodes cap": inWorkload((workload) => {
      for (const one of workload.spec.template.spec.topologySpreadConstraints ?? [])
        one.whenUnsatisfiable = "DoNotSchedule";
    }, "Deployment"),
    "a rollout with a gap": inWorkload((workload) => {
      workload.spec.strategy = { type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: 1 } };
    }, "Deployment"),
  },
  budgets: {
    "as many as run": inKind("PodDisruptionBudget", (budget) => {
      budget["spec"] = { minAvailable: 1, unhealthyPodEvictionPolicy: "AlwaysAllow", selector: {} };
    }),
    "none may go": inKind("PodDisruptionBudget", (budget) => {
      budget["spec"] = { maxUnavailable: "0%", unhealthyPodEvictionPolicy: "AlwaysAllow", selector: {} };
    }),
  },
  labels: {
    "no component": ({ kind, metadata }) => {
      if (!LABELLED.includes(kind)) throw new NotHere();
      delete some(metadata.labels)["app.kubernetes.io/component"];
    },
    "a part of something else": ({ kind, metadata }) => {
      if (!LABELLED.includes(kind)) throw new NotHere();
      some(metadata.labels)["app.kubernetes.io/part-of"] = "another-system";
    },
  },
  "service-ports": {
    "a number to send to": (object) => {
      const [service] = ofKind([object], "Service");
      some(some(service).spec.ports[0]).targetPort = 8080;
    },
  },
  urls: Object.fromEntries(
    [
      ["PEER_URL", "http://user-service:8080/api"],
      ["PEER_URL", "http://user-service.microservices:8080"],
      ["PEER_URL", "redis://:password@redis.data.svc/0"],
      ["DB_HOST", "postgresql"],
    ].map(([key = "", value = ""]) => [
      `${key}=${value}`,
      inKind("ConfigMap", (map) => {
        map["data"] = { ...Object(map["data"]), [key]: value };
      }),
    ]),
  ),
  ingress: {
    "another class": inKind("Ingress", ({ spec }) => {
      Object(spec).ingressClassName = "nginx";
    }),
    "no certificate": inKind("Ingress", ({ spec }) => {
      delete Object(spec).tls;
    }),
    "a certificate for another host": inKind("Ingress", ({ spec }) => {
      Object(spec).tls = [{ hosts: ["other.example.com"], secretName: "gateway-tls" }];
    }),
  },
  exceptions: {
    "no end": annotated("labels", "the labels of this one are chosen by somebody else, upstream"),
    "no reason": annotated("labels", "until 2099-01-01: because"),
    "a rule that there is not": annotated(
      "any",
      "until 2099-01-01: the reason is long enough, but the rule is not there",
    ),
  },
};

export interface Mutant {
  policy: string;
  name: string;
  object: Manifest;
}

/** The mutants of one policy; none of an object that declares an exception from it. */
export function mutantsOf(policy: string, manifests: readonly Manifest[]): Mutant[] {
  return Object.entries(MUTATIONS[policy] ?? {}).flatMap(([name, mutate]) =>
    manifests.flatMap((manifest) => {
      // Where nothing is enforced: base/policies/bindings.
      if (manifest.metadata.namespace === "monitoring") return [];
      if (exceptionsOf(manifest).some(({ rule }) => rule === policy)) return [];
      const object = structuredClone(manifest);
      try {
        mutate(object, manifests);
        return [{ policy, name, object }];
      } catch (error) {
        if (error instanceof NotHere) return [];
        throw error;
      }
    }),
  );
}
