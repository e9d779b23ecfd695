import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { array, assert, boolean, constantFrom, dictionary, letrec, oneof, property } from "fast-check";
import { describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { run } from "../../../scripts/lib/exec.ts";
import { compareRenderings, type ObjectChange, risksOf } from "../../../scripts/lib/manifests/change.ts";
import { describeChanges, renderedDiffs } from "../../../scripts/lib/manifests/change-report.ts";
import { RISKS } from "../../../scripts/lib/manifests/risk.ts";
import { git, temporary, write } from "../../support/tree.ts";

/** A rendering with one object of each kind, shaped as in the tree. */
const RENDERING = `apiVersion: v1
automountServiceAccountToken: false
kind: ServiceAccount
metadata:
  name: user-service
  namespace: microservices
---
apiVersion: v1
data:
  LOG_LEVEL: info
  application.properties: |
    a = 1
    b = 2
    c = 3
kind: ConfigMap
metadata:
  name: user-service-config-fkhch772fb
  namespace: microservices
---
apiVersion: v1
kind: Namespace
metadata:
  labels:
    pod-security.kubernetes.io/enforce: restricted
    team: users
  name: microservices
---
apiVersion: v1
kind: Service
metadata:
  annotations:
    lb/internal: "true"
  labels:
    app: user-service
  name: user-service
  namespace: microservices
spec:
  clusterIP: 10.0.0.1
  ports:
  - name: http
    port: 8080
    targetPort: http
  selector:
    app.kubernetes.io/name: user-service
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: user-service
  namespace: microservices
spec:
  progressDeadlineSeconds: 600
  replicas: 2
  selector:
    matchLabels:
      app.kubernetes.io/name: user-service
  template:
    metadata:
      annotations:
        checksum: one
    spec:
      automountServiceAccountToken: false
      containers:
      - args:
        - --serve
        env:
        - name: DB_PASSWORD
          valueFrom:
            secretKeyRef:
              key: password
              name: database
        - name: MODE
          value: fast
        envFrom:
        - configMapRef:
            name: user-service-config-fkhch772fb
        image: registry/ecommerce/user-service:8f3c1d0a5b7e4926a1c8d35f60e97b24c41a8d6e
        livenessProbe:
          httpGet:
            path: /healthz
            port: http
          periodSeconds: 15
        name: app
        ports:
        - containerPort: 8080
          name: http
        resources:
          limits:
            cpu: "1"
        securityContext:
          readOnlyRootFilesystem: true
        volumeMounts:
        - mountPath: /tmp
          name: tmp
      - image: docker.io/library/proxy:1
        name: proxy
      securityContext:
        runAsNonRoot: true
      terminationGracePeriodSeconds: 30
      tolerations:
      - key: spot
        operator: Exists
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: ScheduleAnyway
      volumes:
      - emptyDir: {}
        name: tmp
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: redis
  namespace: data
spec:
  replicas: 1
  selector:
    matchLabels:
      app: redis
  serviceName: redis-headless
  template:
    spec:
      containers:
      - image: docker.io/library/redis:7
        name: redis
  volumeClaimTemplates:
  - metadata:
      name: data
    spec:
      resources:
        requests:
          storage: 10Gi
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: report
  namespace: microservices
spec:
  jobTemplate:
    spec:
      template:
        spec:
          containers:
          - image: registry/report:1
            name: report
  schedule: 0 3 * * *
---
apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  namespace: microservices
spec:
  parallelism: 1
  template:
    spec:
      containers:
      - image: registry/migrate:1
        name: migrate
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: user-service
  namespace: microservices
spec:
  maxReplicas: 3
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: user-service
  namespace: microservices
spec:
  minAvailable: 1
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: default-deny
  namespace: microservices
spec:
  ingress:
  - ports:
    - port: 8081
  podSelector: {}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: reader
  namespace: microservices
roleRef:
  kind: Role
  name: reader
subjects:
- kind: ServiceAccount
  name: robot
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: uploads
  namespace: microservices
spec:
  resources:
    requests:
      storage: 5Gi
  storageClassName: fast-ssd
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: fast-ssd
allowVolumeExpansion: true
parameters:
  type: ssd
provisioner: csi.example.com
---
apiVersion: v1
kind: ResourceQuota
metadata:
  name: quota
  namespace: microservices
spec:
  hard:
    pods: "50"
`;

function edited(from: string, to: string): string {
  if (RENDERING.split(from).length !== 2) throw new Error(`there is not one "${from}"`);
  return RENDERING.replace(from, () => to);
}

/** The changes as `risk path: before -> after`. */
function fields(changes: readonly ObjectChange[]): string[] {
  return changes.flatMap((change) =>
    change.fields.map(
      ({ risk, path, before, after }) => `${risk} ${path}: ${before ?? "∅"} -> ${after ?? "∅"}`,
    ),
  );
}

describe("a field that changes", () => {
  const POD = "spec.template.spec.";
  it.each<[string, string, string]>([
    [
      "user-service:8f3c1d0a5b7e4926a1c8d35f60e97b24c41a8d6e",
      "user-service:00001d0a5b7e4926a1c8d35f60e97b24c41a8d6e",
      `image ${POD}containers[app].image: registry/ecommerce/user-service:8f3c1d0a5b7e -> registry/ecommerce/user-service:00001d0a5b7e`,
    ],
    ["  replicas: 2", "  replicas: 3", "replicas spec.replicas: 2 -> 3"],
    ["maxReplicas: 3", "maxReplicas: 5", "replicas spec.maxReplicas: 3 -> 5"],
    ["parallelism: 1", "parallelism: 2", "replicas spec.parallelism: 1 -> 2"],
    ['cpu: "1"', 'cpu: "2"', `resources ${POD}containers[app].resources.limits.cpu: 1 -> 2`],
    ['pods: "50"', 'pods: "60"', "resources spec.hard.pods: 50 -> 60"],
    ["/healthz", "/livez", `probes ${POD}containers[app].livenessProbe.httpGet.path: /healthz -> /livez`],
    ["name: robot", "name: human", 'rbac subjects[robot]: {"kind":"ServiceAccount","name":"robot"} -> ∅'],
    [
      "automountServiceAccountToken: false\nkind",
      "automountServiceAccountToken: true\nkind",
      "rbac automountServiceAccountToken: false -> true",
    ],
    [
      "  automountServiceAccountToken: false\n      containers",
      "  automountServiceAccountToken: true\n      containers",
      `rbac ${POD}automountServiceAccountToken: false -> true`,
    ],
    [
      "automountServiceAccountToken: false\nkind",
      "automountServiceAccountToken: false\nimagePullSecrets: [{name: r}]\nkind",
      'secret imagePullSecrets[r]: ∅ -> {"name":"r"}',
    ],
    ["    port: 8080\n", "    port: 80\n", "network spec.ports[http].port: 8080 -> 80"],
    [
      'lb/internal: "true"',
      'lb/internal: "false"',
      "network metadata.annotations[lb/internal]: true -> false",
    ],
    ["- port: 8081", "- port: 8082", "network spec.ingress[0].ports[0].port: 8081 -> 8082"],
    [
      "containerPort: 8080",
      "containerPort: 8081",
      `network ${POD}containers[app].ports[http].containerPort: 8080 -> 8081`,
    ],
    ["emptyDir: {}", "emptyDir: {medium: Memory}", `storage ${POD}volumes[tmp].emptyDir.medium: ∅ -> Memory`],
    ["emptyDir: {}", "hostPath: {path: /}", `storage ${POD}volumes[tmp].emptyDir: {} -> ∅`],
    [
      "mountPath: /tmp",
      "mountPath: /var/tmp",
      `storage ${POD}containers[app].volumeMounts[/tmp]: {"mountPath":"/tmp","name":"tmp"} -> ∅`,
    ],
    ["storage: 5Gi", "storage: 6Gi", "storage spec.resources.requests.storage: 5Gi -> 6Gi"],
    [
      "allowVolumeExpansion: true",
      "allowVolumeExpansion: false",
      "storage allowVolumeExpansion: true -> false",
    ],
    [
      "key: password",
      "key: secret",
      `secret ${POD}containers[app].env[DB_PASSWORD].valueFrom.secretKeyRef.key: password -> secret`,
    ],
    ["value: fast", "value: slow", `configuration ${POD}containers[app].env[MODE].value: fast -> slow`],
    ["- --serve", "- --listen", `configuration ${POD}containers[app].args: ["--serve"] -> ["--listen"]`],
    ["LOG_LEVEL: info", "LOG_LEVEL: debug", "configuration data.LOG_LEVEL: info -> debug"],
    [
      "    b = 2\n",
      "    b = 3\n",
      "configuration data[application.properties]: line 2: b = 2 -> line 2: b = 3",
    ],
    [
      "    c = 3\n",
      "    c = 3\n    d = 4\n",
      "configuration data[application.properties]: line 4:  -> line 4: d = 4",
    ],
    ["0 3 * * *", "0 4 * * *", "schedule spec.schedule: 0 3 * * * -> 0 4 * * *"],
    [
      "registry/report:1",
      "registry/report:2",
      "image spec.jobTemplate.spec.template.spec.containers[report].image: registry/report:1 -> registry/report:2",
    ],
    [
      "maxSkew: 1",
      "maxSkew: 2",
      `schedule ${POD}topologySpreadConstraints[kubernetes.io/hostname].maxSkew: 1 -> 2`,
    ],
    ["operator: Exists", "operator: Equal", `schedule ${POD}tolerations[spot].operator: Exists -> Equal`],
    ["minAvailable: 1", "minAvailable: 2", "schedule spec.minAvailable: 1 -> 2"],
    [
      "readOnlyRootFilesystem: true",
      "readOnlyRootFilesystem: false",
      `security ${POD}containers[app].securityContext.readOnlyRootFilesystem: true -> false`,
    ],
    [
      "runAsNonRoot: true",
      "runAsNonRoot: false",
      `security ${POD}securityContext.runAsNonRoot: true -> false`,
    ],
    [
      "enforce: restricted",
      "enforce: privileged",
      "security metadata.labels[pod-security.kubernetes.io/enforce]: restricted -> privileged",
    ],
    ["team: users", "team: shop", "other metadata.labels.team: users -> shop"],
    ["    app: user-service", "    app: users", "other metadata.labels.app: user-service -> users"],
    [
      "progressDeadlineSeconds: 600",
      "progressDeadlineSeconds: 60",
      "other spec.progressDeadlineSeconds: 600 -> 60",
    ],
    [
      "terminationGracePeriodSeconds: 30",
      "terminationGracePeriodSeconds: 3",
      `other ${POD}terminationGracePeriodSeconds: 30 -> 3`,
    ],
    ["checksum: one", "checksum: two", "other spec.template.metadata.annotations.checksum: one -> two"],
    // What the API server refuses.
    [
      "name: user-service\n  template",
      "name: users\n  template",
      "immutable spec.selector.matchLabels[app.kubernetes.io/name]: user-service -> users",
    ],
    ["      app: redis", "      app: valkey", "immutable spec.selector.matchLabels.app: redis -> valkey"],
    ["redis-headless", "redis", "immutable spec.serviceName: redis-headless -> redis"],
    [
      "  serviceName",
      "  podManagementPolicy: Parallel\n  serviceName",
      "immutable spec.podManagementPolicy: ∅ -> Parallel",
    ],
    [
      "storage: 10Gi",
      "storage: 20Gi",
      "immutable spec.volumeClaimTemplates[data].spec.resources.requests.storage: 10Gi -> 20Gi",
    ],
    ["10.0.0.1", "10.0.0.2", "immutable spec.clusterIP: 10.0.0.1 -> 10.0.0.2"],
    [
      "storageClassName: fast-ssd",
      "storageClassName: slow",
      "immutable spec.storageClassName: fast-ssd -> slow",
    ],
    ["type: ssd", "type: nvme", "immutable parameters.type: ssd -> nvme"],
    ["csi.example.com", "csi.acme.dev", "immutable provisioner: csi.example.com -> csi.acme.dev"],
    [
      "registry/migrate:1",
      "registry/migrate:2",
      "immutable spec.template.spec.containers[migrate].image: registry/migrate:1 -> registry/migrate:2",
    ],
    [
      "  kind: Role\n  name: reader",
      "  kind: ClusterRole\n  name: reader",
      "immutable roleRef.kind: Role -> ClusterRole",
    ],
    // What is not immutable in a StatefulSet.
    [
      "redis:7",
      "redis:8",
      "image spec.template.spec.containers[redis].image: docker.io/library/redis:7 -> docker.io/library/redis:8",
    ],
    ["replicas: 1", "replicas: 2", "replicas spec.replicas: 1 -> 2"],
  ])("from %j to %j", (from, to, expected) => {
    const changes = compareRenderings(RENDERING, edited(from, to));
    expect(changes).toHaveLength(1);
    expect(fields(changes)[0]).toBe(expected);
    expect(changes[0]?.risks).toContain(expected.split(" ")[0]);
  });

  it("is a secret where a variable or volume becomes one", () => {
    const variable = "valueFrom: {secretKeyRef: {name: a, key: b}}";
    expect(risksOf(compareRenderings(RENDERING, edited("value: fast", variable)))).toContain("secret");
    expect(
      risksOf(compareRenderings(RENDERING, edited("emptyDir: {}", "secret: {secretName: a}"))),
    ).toContain("secret");
    expect(risksOf(compareRenderings(RENDERING, edited("emptyDir: {}", "hostPath: {path: /}")))).toContain(
      "security",
    );
    expect(risksOf(compareRenderings(RENDERING, edited("emptyDir: {}", "configMap: {name: a}")))).toContain(
      "configuration",
    );
  });

  it("is each field of a container that comes or goes", () => {
    const without = edited("      - image: docker.io/library/proxy:1\n        name: proxy\n", "");
    const path = "spec.template.spec.containers[proxy].image";
    expect(fields(compareRenderings(RENDERING, without))).toEqual([
      `image ${path}: docker.io/library/proxy:1 -> ∅`,
    ]);
    expect(fields(compareRenderings(without, RENDERING))).toEqual([
      `image ${path}: ∅ -> docker.io/library/proxy:1`,
    ]);
  });

  it("is a list that is empty where there was none", () => {
    const rules = "  ingress:\n  - ports:\n    - port: 8081\n";
    const changes = compareRenderings(edited(rules, ""), edited(rules, "  ingress: []\n"));
    expect(fields(changes)).toEqual(["network spec.ingress: ∅ -> []"]);
  });

  it("is the order of a list where nothing else differs", () => {
    const swapped = edited(
      RENDERING.slice(RENDERING.indexOf("        - name: DB_PASSWORD"), RENDERING.indexOf("        envFrom")),
      "        - {name: MODE, value: fast}\n        - {name: DB_PASSWORD, valueFrom: {secretKeyRef: {key: password, name: database}}}\n",
    );
    expect(fields(compareRenderings(RENDERING, swapped))).toEqual([
      "configuration spec.template.spec.containers[app].env.order: DB_PASSWORD, MODE -> MODE, DB_PASSWORD",
    ]);
  });

  it("is shown where long values differ", () => {
    const long = `${"x".repeat(200)}1${"y".repeat(200)}`;
    const changes = compareRenderings(
      edited("value: fast", `value: ${long}`),
      edited("value: fast", `value: ${long.replace("1", "2")}`),
    );
    const [field] = changes[0]?.fields ?? [];
    expect(field?.before).toBe(`…${"x".repeat(20)}1${"y".repeat(59)}…`);
    expect(field?.after).toBe(`…${"x".repeat(20)}2${"y".repeat(59)}…`);
  });
});

describe("objects", () => {
  const policy = RENDERING.split("---\n").find((text) => text.includes("kind: NetworkPolicy")) ?? "";

  it("that are equal are no change, whatever the order and layout of the text", () => {
    const documents = RENDERING.split("---\n").toReversed().join("---\n");
    expect(compareRenderings(RENDERING, documents)).toEqual([]);
    expect(compareRenderings("", "")).toEqual([]);
  });

  it("that go are a deletion, beside what they were", () => {
    const [change] = compareRenderings(RENDERING, edited(`---\n${policy}`, ""));
    expect(change).toEqual({
      change: "removed",
      kind: "networking.k8s.io/NetworkPolicy",
      id: "networking.k8s.io/NetworkPolicy microservices/default-deny",
      risks: ["deletion", "network"],
      fields: [],
      rolls: [],
    });
  });

  it("that come bring the risk of their kind", () => {
    expect(compareRenderings(edited(`---\n${policy}`, ""), RENDERING)).toMatchObject([
      { change: "added", risks: ["network"] },
    ]);
    const all = compareRenderings("", RENDERING);
    expect(all).toHaveLength(RENDERING.split("---\n").length);
    expect(all.flatMap(({ risks }) => risks).toSorted((a, b) => RISKS.indexOf(a) - RISKS.indexOf(b))).toEqual(
      all.flatMap(({ risks }) => risks),
    );
  });

  it("that differ in their name only are renamed, which deletes one", () => {
    const changes = compareRenderings(RENDERING, edited("name: default-deny", "name: deny"));
    expect(changes).toEqual([expect.objectContaining({ change: "renamed", risks: ["deletion", "network"] })]);
    expect(changes[0]?.id).toMatch(/default-deny → deny$/);
  });

  it("that differ in more than their name are two, and so are those that could be either", () => {
    const text = policy.replace("name: default-deny", "name: deny");
    const wider = compareRenderings(policy, text.replace("port: 8081", "port: 8082"));
    expect(wider.map(({ change }) => change)).toEqual(["removed", "added"]);
    const both = [text, text.replace("name: deny", "name: other")].join("---\n");
    expect(compareRenderings(policy, both).map(({ change }) => change)).toEqual([
      "removed",
      "added",
      "added",
    ]);
  });

  it("of a secret keep their values to themselves", () => {
    const secret = (kind: string, apiVersion: string, value: string) =>
      `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: {name: a, namespace: b}\nspec:\n  secretTemplates:\n  - {name: a, stringData: {password: ${value}, same: x}}\nsops: {mac: ${value}}\n`;
    const sops = (value: string) => secret("SopsSecret", "isindir.github.com/v1alpha3", value);
    const changes = compareRenderings(sops("one"), sops("two"));
    expect(fields(changes)).toEqual([
      "secret spec.secretTemplates[a].stringData.password: (hidden) -> (hidden)",
    ]);
    expect(JSON.stringify(changes)).not.toMatch(/one|two/);
    const plain = (value: string) =>
      `apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {password: ${value}}\n`;
    expect(JSON.stringify(compareRenderings(plain("one"), plain("two")))).not.toMatch(/one|two/);
    expect(describeChanges(changes, "text")).toBe(
      "secret reference\n  isindir.github.com/SopsSecret b/a spec.secretTemplates[a].stringData.password changes",
    );
  });

  it("that say they are immutable are taken at their word", () => {
    const map = (value: string) =>
      `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nimmutable: true\ndata: {a: ${value}}\n`;
    expect(fields(compareRenderings(map("x"), map("y")))).toEqual(["immutable data.a: x -> y"]);
  });
});

describe("a ConfigMap with the hash of its content in its name", () => {
  const renamed = RENDERING.replaceAll("fkhch772fb", "h8mcd2t74f").replace(
    "LOG_LEVEL: info",
    "LOG_LEVEL: debug",
  );

  it("is the same object with another content, and replaces the pods that use it", () => {
    expect(compareRenderings(RENDERING, renamed)).toEqual([
      {
        change: "changed",
        kind: "ConfigMap",
        id: "ConfigMap microservices/user-service-config",
        risks: ["configuration"],
        fields: [{ path: "data.LOG_LEVEL", risk: "configuration", before: "info", after: "debug" }],
        rolls: ["apps/Deployment microservices/user-service"],
      },
    ]);
  });

  it("is another object, so that it may be immutable", () => {
    const seal = (text: string) => text.replace("data:\n  LOG", "immutable: true\ndata:\n  LOG");
    const changes = compareRenderings(seal(RENDERING), seal(renamed));
    expect(fields(changes)).toEqual(["configuration data.LOG_LEVEL: info -> debug"]);
  });

  it("replaces the pods also where its content is the same", () => {
    const changes = compareRenderings(RENDERING, RENDERING.replaceAll("fkhch772fb", "h8mcd2t74f"));
    expect(fields(changes)).toEqual([
      "configuration metadata.name: user-service-config-fkhch772fb -> user-service-config-h8mcd2t74f",
    ]);
    expect(changes[0]?.rolls).toEqual(["apps/Deployment microservices/user-service"]);
  });

  it.each([
    ["whose name has no hash", ["renamed"], (text: string) => text.replaceAll("-fkhch772fb", "-a")],
    [
      "whose ending is no hash of kustomize",
      ["renamed"],
      (text: string) => text.replaceAll("-fkhch772fb", "-aeiou01356"),
    ],
    [
      "of another namespace",
      ["removed", "added"],
      (text: string) =>
        text.replace("-fkhch772fb\n  namespace: microservices", "-h8mcd2t74f\n  namespace: x"),
    ],
  ])("is another one %s", (_, expected, rename) => {
    const kinds = compareRenderings(RENDERING, rename(RENDERING)).filter(({ kind }) => kind === "ConfigMap");
    expect(kinds.map(({ change }) => change)).toEqual(expected);
  });

  it("is not guessed where there are two of that name", () => {
    const second = RENDERING.split("---\n")[1]?.replace("fkhch772fb", "222222222b") ?? "";
    const changes = compareRenderings(`${RENDERING}---\n${second}`, renamed);
    expect(changes.filter(({ kind }) => kind === "ConfigMap").map(({ change }) => change)).toEqual([
      "removed",
      "removed",
      "added",
    ]);
  });
});

describe("changes in words", () => {
  const after = edited("storage: 10Gi", "storage: 20Gi")
    .replace("LOG_LEVEL: info", "LOG_LEVEL: '`debug` @here'")
    .replaceAll("fkhch772fb", "h8mcd2t74f")
    .replace(
      "user-service:8f3c1d0a5b7e4926a1c8d35f60e97b24c41a8d6e",
      "user-service:00001d0a5b7e4926a1c8d35f60e97b24c41a8d6e",
    )
    .replace(/---\napiVersion: policy[^]*?(?=---)/, "");
  const changes = compareRenderings(RENDERING, after);

  it("are grouped by risk, the riskiest first", () => {
    expect(risksOf(changes)).toEqual(["immutable", "deletion", "configuration", "schedule", "image"]);
    expect(
      describeChanges(changes, "text"),
    ).toBe(`immutable field: the cluster refuses the change, somebody has to delete the object
  apps/StatefulSet data/redis spec.volumeClaimTemplates[data].spec.resources.requests.storage: 10Gi → 20Gi
deletion
  removed policy/PodDisruptionBudget microservices/user-service
configuration
  ConfigMap microservices/user-service-config data.LOG_LEVEL: info → \`debug\` @here
  ConfigMap microservices/user-service-config replaces the pods of apps/Deployment microservices/user-service
image
  apps/Deployment microservices/user-service containers[app].image: registry/ecommerce/user-service:8f3c1d0a5b7e → registry/ecommerce/user-service:00001d0a5b7e`);
  });

  it("are a list in Markdown, in which values are no markup", () => {
    const lines = describeChanges(changes, "markdown").split("\n");
    expect(lines.slice(0, 5)).toEqual([
      "**immutable field: the cluster refuses the change, somebody has to delete the object**",
      "- `apps/StatefulSet data/redis` `spec.volumeClaimTemplates[data].spec.resources.requests.storage`: `10Gi` → `20Gi`",
      "",
      "**deletion**",
      "- removed `policy/PodDisruptionBudget microservices/user-service`",
    ]);
    expect(lines).toContain(
      "- `ConfigMap microservices/user-service-config` `data.LOG_LEVEL`: `info` → `` `debug` @\u200Bhere ``",
    );
  });

  it("are short", () => {
    const many = Array.from({ length: 50 }, (_, index) => `  key${index}: ${index}\n`).join("");
    const text = describeChanges(
      compareRenderings(RENDERING, edited("data:\n  LOG", `data:\n${many}  LOG`)),
      "text",
    ).split("\n");
    expect(text).toHaveLength(22);
    expect(text.at(-1)).toBe("  … and 30 more");
  });

  it("are none where there are no changes", () => {
    expect(describeChanges([], "text")).toBe("");
    expect(describeChanges([], "markdown")).toBe("");
  });
});

it("a comparison finds every difference of the data, and none where there is none", () => {
  const leaf = oneof(constantFrom("a", "b", null), boolean(), array(constantFrom("a", "b")));
  const key = constantFrom("a", "b", "name", "x.y/z", "containers", "env");
  const { data } = letrec((tie) => ({
    data: dictionary(key, oneof({ maxDepth: 3 }, leaf, tie("data"), array(tie("data"), { maxLength: 2 })), {
      maxKeys: 3,
    }),
  }));
  const rendering = (spec: unknown) =>
    stringify({ apiVersion: "example.com/v1", kind: "Thing", metadata: { name: "a" }, spec });
  assert(
    property(data, data, (one, other) => {
      const changes = compareRenderings(rendering(one), rendering(other));
      const isSame = JSON.stringify(sorted(one)) === JSON.stringify(sorted(other));
      expect(changes.flatMap((change) => change.fields).length === 0).toBe(isSame);
      expect(compareRenderings(rendering(one), rendering(one))).toEqual([]);
    }),
  );
});

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([one], [other]) => (one < other ? -1 : 1))
      .map(([key, child]) => [key, sorted(child)]),
  );
}

describe("the difference in full", () => {
  const renderedDiff = async (before: string, after: string, label: string) =>
    (await renderedDiffs([{ before, after, label }]))[0] ?? "";

  it("is of each by itself, in their order", async () => {
    const [b, none, a] = await renderedDiffs([
      { label: "staging/b", before: "1\n", after: "2\ndiff --git a/staging/a b/staging/a\n" },
      { label: "staging/none", before: "1\n", after: "1\n" },
      { label: "staging/a", before: "", after: "3\n" },
    ]);
    expect(none).toBe("");
    expect(b).toMatch(
      /^diff --git a\/staging\/b b\/staging\/b\n[^]*\n-1\n\+2\n\+diff --git a\/staging\/a b\/staging\/a\n$/,
    );
    expect(a).toMatch(/^diff --git a\/staging\/a b\/staging\/a\n[^]*\n\+3\n$/);
  });

  it("is git's, under a label", async () => {
    const text = await renderedDiff("a\nb\nc\n", "a\nB\nc\n", "staging/user-service");
    expect(text.split("\n").slice(2)).toEqual([
      "--- a/staging/user-service",
      "+++ b/staging/user-service",
      "@@ -1,3 +1,3 @@",
      " a",
      "-b",
      "+B",
      " c",
      "",
    ]);
  });

  it("is empty where nothing differs", async () => {
    expect(await renderedDiff("a\n", "a\n", "staging/user-service")).toBe("");
  });

  it("is whole where there was nothing", async () => {
    expect(await renderedDiff("", "a\nb\n", "x")).toContain("@@ -0,0 +1,2 @@\n+a\n+b\n");
  });

  it("can be applied", async () => {
    const root = await temporary();
    await mkdir(join(root, "staging"));
    await write(root, { "staging/web": RENDERING });
    const after = edited("value: fast", "value: slow");
    await write(root, { "the.diff": await renderedDiff(RENDERING, after, "staging/web") });
    await git(root, "init", "--quiet");
    await git(root, "apply", "the.diff");
    expect(await run("cat", [join(root, "staging/web")])).toBe(after);
  });
});
