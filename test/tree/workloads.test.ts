import { readFile } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import { glob } from "tinyglobby";
import { describe, expect, it } from "vitest";
import { exceptionsOf } from "../../scripts/lib/admission/exception.ts";
import { SYNC_SECONDS } from "../../scripts/lib/argocd/sync-plan.ts";
import {
  autoscalerOf,
  type ConfigMap,
  type Container,
  containersOf,
  idOf,
  type Manifest,
  ofKind,
  type Probe,
  podTemplates,
  selects,
  workloads,
} from "../../scripts/lib/manifests/manifest.ts";
import { RESOURCES, thousandths } from "../../scripts/lib/manifests/quota.ts";
import { readSettings } from "../../scripts/lib/tree/settings.ts";
import { configurationOf, manifestsOf, ROOT, renderTree } from "./support.ts";

const tree = await renderTree();
const { registry } = await readSettings(ROOT);

/** Volume types that the "restricted" Pod Security Standard allows. */
const VOLUMES = [
  "configMap",
  "csi",
  "downwardAPI",
  "emptyDir",
  "ephemeral",
  "image",
  "persistentVolumeClaim",
  "projected",
  "secret",
];

const pods = tree.environments.flatMap(({ name: env }) => {
  const manifests = manifestsOf(tree, env);
  return podTemplates(manifests).map(({ owner, labels, spec }) => {
    const { name: app, namespace = "" } = owner.metadata;
    return {
      env,
      id: idOf(owner),
      app,
      namespace,
      owner,
      labels,
      pod: spec,
      containers: containersOf({ spec }),
      manifests,
    };
  });
});

/** Those that run until they are told to end. */
const cases = tree.environments.flatMap(({ name: env }) => {
  const manifests = manifestsOf(tree, env);
  return workloads(manifests).map((workload) => {
    const { containers } = workload.spec.template.spec;
    return { env, id: idOf(workload), app: workload.metadata.name, workload, containers, manifests };
  });
});

/** Names of the containers for which something does not hold. */
function without(containers: readonly Container[], holds: (container: Container) => boolean): string[] {
  return containers.filter((container) => !holds(container)).map(({ name }) => name);
}

function sameAction(a: Probe | undefined, b: Probe | undefined): boolean {
  const action = ({ httpGet, exec, tcpSocket, grpc }: Probe = {}) =>
    JSON.stringify([httpGet, exec, tcpSocket, grpc]);
  return action(a) === action(b);
}

function configMap(manifests: readonly Manifest[], namespace: string, name: string): ConfigMap | undefined {
  return ofKind(manifests, "ConfigMap").find(
    ({ metadata }) => metadata.name === name && metadata.namespace === namespace,
  );
}

it("every service and every store has a workload of its name, and no workload has another", () => {
  const kinds = new Map(tree.catalogue.map(({ app, kind }) => [app, kind]));
  const names = (list: readonly { env: string; app: string }[]) =>
    list.map(({ env, app }) => `${env}/${app}`).sort();
  const wanted = tree.overlays.filter(({ app }) => ["service", "store"].includes(kinds.get(app) ?? ""));
  // A CronJob has pods, too.
  expect(names(pods)).toEqual(expect.arrayContaining(names(wanted)));
  expect(names(tree.overlays)).toEqual(expect.arrayContaining(names(cases)));
});

/** Whether an object declares an exception from a rule; base/policies reads the same annotation. */
function isException(manifest: Manifest, name: string): boolean {
  return exceptionsOf(manifest).some(({ rule }) => rule === name);
}

describe.each(pods)(
  "the pods of $env $id",
  ({ app, namespace, owner, labels, pod, containers, manifests }) => {
    it("meets the restricted Pod Security Standard", () => {
      expect([pod.hostNetwork, pod.hostPID, pod.hostIPC]).toEqual([undefined, undefined, undefined]);
      const isRoot = isException(owner, "security-context");
      expect(pod.securityContext?.runAsNonRoot).toBe(!isRoot);
      expect(pod.securityContext?.runAsUser === 0).toBe(isRoot);
      expect(pod.securityContext?.seccompProfile?.type).toBe("RuntimeDefault");
      const secure = ({
        securityContext: context,
        startupProbe,
        livenessProbe,
        readinessProbe,
      }: Container): boolean =>
        context?.allowPrivilegeEscalation === false &&
        context.privileged === undefined &&
        context.runAsUser !== 0 &&
        context.runAsNonRoot !== false &&
        (context.seccompProfile === undefined || context.seccompProfile.type === "RuntimeDefault") &&
        context.capabilities?.drop?.includes("ALL") === true &&
        (context.capabilities.add ?? []).every((capability) => capability === "NET_BIND_SERVICE") &&
        [startupProbe, livenessProbe, readinessProbe].every(
          (probe) => !JSON.stringify(probe ?? {}).includes('"host"'),
        );
      expect(without(containers, secure)).toEqual([]);
      const types = (pod.volumes ?? []).flatMap((volume) =>
        Object.keys(volume).filter((key) => key !== "name"),
      );
      const further = namespace === "logging" ? ["hostPath"] : [];
      expect([...new Set(types.filter((type) => !VOLUMES.includes(type)))]).toEqual(further);
    });

    it("has a read-only root file system, no token and no service links", () => {
      const writable = without(
        containers,
        (container) => container.securityContext?.readOnlyRootFilesystem === true,
      );
      expect(writable.length > 0).toBe(isException(owner, "writable-root"));
      expect(pod.automountServiceAccountToken).toBe(isException(owner, "service-account-token"));
      expect(pod.enableServiceLinks).toBe(false);
      const account = ofKind(manifests, "ServiceAccount").find(
        ({ metadata }) => metadata.name === pod.serviceAccountName && metadata.namespace === namespace,
      );
      expect(account?.metadata.name).toBe(labels["app.kubernetes.io/name"]);
      expect(account?.automountServiceAccountToken).toBe(false);
    });

    it("says what every container may use", () => {
      const amounts = ({ resources }: Container) =>
        RESOURCES.every(
          (name) => resources?.requests?.[name] !== undefined && resources.limits?.[name] !== undefined,
        );
      expect(without(containers, amounts)).toEqual([]);
    });

    it("may write as much as its directories hold, and the logs that the kubelet keeps", () => {
      const onDisk = (pod.volumes ?? []).flatMap(({ emptyDir }) =>
        emptyDir === undefined || emptyDir.medium === "Memory" ? [] : [emptyDir.sizeLimit ?? "unlimited"],
      );
      // 5 files of 10Mi, by default: kubernetes.io, concepts/cluster-administration/logging.
      const needed = [...onDisk, ...containers.map(() => "50Mi")].map(thousandths);
      const limits = containers.map(({ resources }) =>
        thousandths(resources?.limits?.["ephemeral-storage"] ?? 0),
      );
      const sum = (amounts: readonly number[]) => amounts.reduce((one, other) => one + other, 0);
      expect(sum(limits)).toBeGreaterThanOrEqual(sum(needed));
    });

    it("pins every image", () => {
      const fact = tree.catalogue.find((entry) => entry.app === app);
      const pinned = ({ name, image }: Container) =>
        fact?.kind === "service" && name === "app"
          ? image.startsWith(`${registry}/${fact.image}:`) &&
            /:[0-9a-f]{40}(@sha256:[0-9a-f]{64})?$/.test(image)
          : /^[a-z0-9.-]+\.[a-z]+\/[a-z0-9_./-]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?(@sha256:[0-9a-f]{64})?$/.test(
              image,
            );
      expect(without(containers, pinned)).toEqual([]);
    });

    it("probes a port that the container has", () => {
      const strangers = containers.flatMap(({ ports = [], startupProbe, livenessProbe, readinessProbe }) =>
        [startupProbe, livenessProbe, readinessProbe]
          .flatMap((probe) => probe?.httpGet?.port ?? [])
          .filter((port) => !ports.some(({ name }) => name === port)),
      );
      expect(strangers).toEqual([]);
    });

    it("counts on no $(VAR) in probes and hooks, where nothing expands it", () => {
      const commands = containers.map(({ startupProbe, livenessProbe, readinessProbe, lifecycle }) => [
        startupProbe,
        livenessProbe,
        readinessProbe,
        lifecycle,
      ]);
      expect(JSON.stringify(commands)).not.toMatch(/\$\(\w+\)/);
    });

    it("refers to ConfigMaps that are there, by a name that changes with their content", () => {
      const names = [
        ...containers.flatMap(({ envFrom = [] }) => envFrom.map((source) => source.configMapRef?.name)),
        ...containers
          .flatMap((container) => container.env ?? [])
          .map((entry) => entry.valueFrom?.configMapKeyRef?.name),
        ...(pod.volumes ?? []).map((volume) => volume.configMap?.name),
      ].filter((name) => name !== undefined);
      expect(names.filter((name) => configMap(manifests, namespace, name) === undefined)).toEqual([]);
      expect(names.filter((name) => !/-[a-z0-9]{10}$/.test(name))).toEqual([]);
      expect(names.length).toBeGreaterThan(0);
    });

    it("keeps credentials out of commands and plain values", () => {
      const plain = containers.map((container) => [
        container.command,
        container.args,
        container.env?.map(({ value }) => value),
      ]);
      expect(JSON.stringify(plain)).not.toMatch(/requirepass|PGPASSWORD|:\/\/[^/"]*:[^/"]*@/i);
    });
  },
);

describe.each(cases)("$env $id", ({ workload, containers, manifests }) => {
  const pod = workload.spec.template.spec;
  const namespace = workload.metadata.namespace ?? "";

  it("has a liveness probe everywhere, another one for readiness, and up to 300 s to start", () => {
    expect(without(containers, ({ livenessProbe }) => livenessProbe !== undefined)).toEqual([]);
    expect(without(containers, (c) => !sameAction(c.livenessProbe, c.readinessProbe))).toEqual([]);
    const [main] = pod.containers;
    expect(main?.readinessProbe).toBeDefined();
    const { periodSeconds = 0, failureThreshold = 0 } = main?.startupProbe ?? {};
    expect([periodSeconds, periodSeconds * failureThreshold]).toEqual([10, 300]);
    const times = [main?.livenessProbe, main?.readinessProbe].map((probe) => [
      probe?.periodSeconds,
      probe?.timeoutSeconds,
    ]);
    const rule = [
      [15, 5],
      [10, 3],
    ];
    expect(isDeepStrictEqual(times, rule)).toBe(!isException(workload, "probe-times"));
  });

  it("has time to stop", () => {
    const grace = pod.terminationGracePeriodSeconds ?? 0;
    const sleep = pod.containers[0]?.lifecycle?.preStop?.sleep?.seconds ?? 0;
    // A Deployment's endpoints need the sleep to forget the pod; a store has nothing in front of it that balances.
    expect(sleep).toBeGreaterThanOrEqual(workload.kind === "Deployment" ? 10 : 0);
    // The longest request, by the services' general configuration.
    expect(sleep + 10).toBeLessThan(grace);
  });

  it("leaves its replicas to the autoscaler, or states them", () => {
    const owned = autoscalerOf(workload, manifests) !== undefined;
    // As many as there are nodes.
    const isEverywhere = workload.kind === "DaemonSet";
    expect(workload.spec.replicas === undefined).toBe(owned || isEverywhere);
  });

  it("selects its own pods and nobody else's", () => {
    const { matchLabels } = workload.spec.selector;
    expect(Object.keys(matchLabels)).toEqual(["app.kubernetes.io/name"]);
    const selected = workloads(manifests).filter(
      (other) =>
        other.metadata.namespace === namespace && selects(matchLabels, other.spec.template.metadata.labels),
    );
    expect(selected.map(idOf)).toEqual([idOf(workload)]);
  });
});

it("every image of others in base has a digest, or says why not and how to get it", async () => {
  const files = await glob("base/**/*.yaml", { cwd: ROOT });
  const bare: string[] = [];
  for (const file of files) {
    const lines = (await readFile(`${ROOT}/${file}`, "utf8")).split("\n");
    for (const [index, line] of lines.entries()) {
      const image = /^\s*(?:- )?image: (\S+)$/.exec(line)?.[1] ?? "registry/";
      const isPinned = image.startsWith("registry/") || /@sha256:[0-9a-f]{64}$/.test(image);
      const [reason, way] = lines.slice(Math.max(index - 2, 0), index);
      const isExplained =
        /^\s*# By tag only: /.test(reason ?? "") && way?.trim() === `# crane digest ${image}`;
      if (!isPinned && !isExplained) bare.push(`${file}: ${image}`);
    }
  }
  expect(bare).toEqual([]);
});

describe.each(cases.filter(({ workload }) => workload.kind === "Deployment"))(
  "$env $id, as a service,",
  ({ app, workload, manifests }) => {
    const pod = workload.spec.template.spec;

    it("rolls without a gap, and spreads over zones and nodes", () => {
      expect(workload.spec.strategy).toEqual({
        type: "RollingUpdate",
        rollingUpdate: { maxSurge: 1, maxUnavailable: 0 },
      });
      const rule = (topologyKey: string) => ({
        topologyKey,
        maxSkew: 1,
        whenUnsatisfiable: "ScheduleAnyway",
        labelSelector: { matchLabels: { "app.kubernetes.io/name": app } },
        matchLabelKeys: ["pod-template-hash"],
      });
      expect(pod.topologySpreadConstraints).toEqual([
        rule("topology.kubernetes.io/zone"),
        rule("kubernetes.io/hostname"),
      ]);
    });

    it("is given up, when it stands still, after a pod's longest start and before a sync by hand ends", () => {
      const [main] = pod.containers;
      const { periodSeconds = 0, failureThreshold = 0 } = main?.startupProbe ?? {};
      expect(workload.spec.progressDeadlineSeconds).toBeGreaterThan(periodSeconds * failureThreshold);
      expect(workload.spec.progressDeadlineSeconds).toBeLessThan(SYNC_SECONDS);
    });

    const isService = tree.catalogue.some((fact) => fact.app === app && fact.kind === "service");
    it.runIf(isService)("is told its own name and port, and where other services really are", () => {
      const [main] = pod.containers;
      const values = configurationOf(manifests, workload);
      expect(values).toMatchObject({
        SERVICE_NAME: app,
        // A worker has none.
        ...(main?.ports === undefined ? {} : { SERVICE_PORT: String(main.ports[0]?.containerPort) }),
      });
      for (const [, url] of Object.entries(values).filter(([key]) => key.endsWith("_SERVICE_URL"))) {
        const { hostname, port } = new URL(url);
        const [name, space] = hostname.split(".");
        const target = ofKind(manifests, "Service").find(
          ({ metadata }) => metadata.name === name && metadata.namespace === space,
        );
        expect(hostname).toBe(`${name}.${space}.svc.cluster.local`);
        expect(target?.spec.ports.map((entry) => String(entry.port))).toContain(port);
      }
    });
  },
);

describe.each(tree.environments)("the Services of $name", ({ name: env }) => {
  const manifests = manifestsOf(tree, env);
  it.each(ofKind(manifests, "Service").map((service) => ({ id: idOf(service), service })))(
    "$id",
    ({ service }) => {
      const targets = workloads(manifests).filter(
        ({ metadata, spec }) =>
          metadata.namespace === service.metadata.namespace &&
          selects(service.spec.selector, spec.template.metadata.labels),
      );
      expect(targets).toHaveLength(1);
      expect(Object.keys(service.spec.selector)).not.toHaveLength(0);
      const ports = (targets[0]?.spec.template.spec.containers ?? []).flatMap(
        (container) => container.ports ?? [],
      );
      for (const { name, port, targetPort } of service.spec.ports) {
        const target = ports.find((entry) => entry.name === targetPort);
        // From outside the usual ports, inside those that need no right.
        const inside = service.spec.type === "LoadBalancer" ? target?.containerPort : port;
        expect([name, target?.containerPort]).toEqual([targetPort, inside]);
      }
    },
  );

  it("name every StatefulSet's pods", () => {
    for (const set of ofKind(manifests, "StatefulSet")) {
      const governing = ofKind(manifests, "Service").find(
        ({ metadata }) => metadata.name === set.spec.serviceName,
      );
      expect(governing?.spec.clusterIP).toBe("None");
    }
  });
});
