import { describe, expect, it } from "vitest";
import { RefusedError } from "../../../scripts/lib/errors.ts";
import { parseManifests } from "../../../scripts/lib/manifests/manifest.ts";
import {
  asOffers,
  missingReferences,
  neededReferences,
  offeredReferences,
  type Reference,
} from "../../../scripts/lib/manifests/references.ts";

const text = (reference: Pick<Reference, "namespace" | "kind" | "name" | "key">): string =>
  `${reference.namespace ?? "-"} ${reference.kind} ${reference.name} ${reference.key ?? "*"}`;
const needs = (yaml: string): string[] => neededReferences(parseManifests(yaml)).map(text);

const object = (kind: string, name: string, rest: string, apiVersion = "apps/v1"): string =>
  `---\napiVersion: ${apiVersion}\nkind: ${kind}\nmetadata:\n  name: ${name}\n  namespace: shop\n${rest}`;
const indent = (yaml: string, by: number): string => yaml.replaceAll(/^(?=.)/gm, " ".repeat(by));
const pod = (name: string, spec: string): string => object("Pod", name, `spec:\n${indent(spec, 2)}`, "v1");
const deployment = (name: string, spec: string): string =>
  object("Deployment", name, `spec:\n  template:\n    spec:\n${indent(spec, 6)}`);

/** As in the tree: settings as environment, credentials one by one, a store's files as volumes. */
const SERVICE = deployment(
  "user-service",
  `containers:
  - name: app
    image: registry/ecommerce/user-service
    env:
      - name: PLAIN
        value: x
      - name: POD
        valueFrom: {fieldRef: {fieldPath: metadata.name}}
      - name: DB_USERNAME
        valueFrom: {secretKeyRef: {name: database, key: username}}
      - name: DB_PASSWORD
        valueFrom: {secretKeyRef: {name: database, key: password}}
      - name: FLAG
        valueFrom: {secretKeyRef: {name: flags, key: beta, optional: true}}
      - name: LEVEL
        valueFrom: {configMapKeyRef: {name: levels, key: log}}
    envFrom:
      - configMapRef: {name: user-service-config-fkhch772fb}
      - configMapRef: {name: user-service-env, optional: true}
      - secretRef: {name: tokens}
      - secretRef: {name: more-tokens, optional: true}
initContainers:
  - name: migrate
    image: registry/ecommerce/user-service
    env:
      - name: DB_PASSWORD
        valueFrom: {secretKeyRef: {name: database, key: password}}
  - name: proxy
    image: docker.io/envoy
    restartPolicy: Always
    envFrom:
      - secretRef: {name: proxy}
imagePullSecrets:
  - name: registry
`,
);
const VOLUMES = pod(
  "redis",
  `containers:
  - name: redis
    image: docker.io/library/redis
    volumeMounts:
      - {name: config, mountPath: /etc/redis/redis.conf, subPath: redis.conf}
      - {name: config, mountPath: /etc/redis/start.sh, subPath: start.sh}
      - {name: data, mountPath: /data, subPath: redis}
volumes:
  - {name: config, configMap: {name: redis-config-5h8dgd2c9k}}
  - {name: credentials, secret: {secretName: redis, items: [{key: password, path: p}]}}
  - {name: whole, secret: {secretName: certificates}}
  - {name: perhaps, secret: {secretName: perhaps, optional: true}}
  - {name: perhaps-too, configMap: {name: perhaps, optional: true}}
  - {name: data, emptyDir: {}}
  - name: all
    projected:
      sources:
        - serviceAccountToken: {path: token}
        - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
        - secret: {name: signing, items: [{key: private, path: k}, {key: public, path: p}]}
        - configMap: {name: trust}
        - secret: {name: perhaps, optional: true}
  - {name: vault, csi: {driver: vault, nodePublishSecretRef: {name: vault}}}
  - {name: ceph, cephfs: {monitors: [a], secretRef: {name: ceph}}}
  - {name: azure, azureFile: {shareName: x, secretName: azure}}
`,
);

describe("what manifests need", () => {
  it("is in the environment of containers, init containers and sidecars", () => {
    expect(needs(SERVICE)).toEqual([
      "shop Secret database password",
      "shop Secret proxy *",
      "shop Secret database username",
      "shop ConfigMap levels log",
      "shop ConfigMap user-service-config-fkhch772fb *",
      "shop Secret tokens *",
      "shop Secret registry *",
    ]);
  });

  it("is in volumes of every kind, and in the parts of them that are mounted", () => {
    expect(needs(VOLUMES)).toEqual([
      "shop ConfigMap redis-config-5h8dgd2c9k *",
      "shop ConfigMap redis-config-5h8dgd2c9k redis.conf",
      "shop ConfigMap redis-config-5h8dgd2c9k start.sh",
      "shop Secret redis password",
      "shop Secret certificates *",
      "shop ConfigMap kube-root-ca.crt ca.crt",
      "shop Secret signing private",
      "shop Secret signing public",
      "shop ConfigMap trust *",
      "shop Secret vault *",
      "shop Secret ceph *",
      "shop Secret azure *",
    ]);
  });

  const spec = "template:\n  spec:\n    containers: []\n    imagePullSecrets: [{name: registry}]\n";
  it.each([
    ["Deployment", object("Deployment", "x", `spec:\n${indent(spec, 2)}`)],
    ["StatefulSet", object("StatefulSet", "x", `spec:\n${indent(spec, 2)}`)],
    ["DaemonSet", object("DaemonSet", "x", `spec:\n${indent(spec, 2)}`)],
    ["ReplicaSet", object("ReplicaSet", "x", `spec:\n${indent(spec, 2)}`)],
    ["Job", object("Job", "x", `spec:\n${indent(spec, 2)}`, "batch/v1")],
    ["CronJob", object("CronJob", "x", `spec:\n  jobTemplate:\n    spec:\n${indent(spec, 6)}`, "batch/v1")],
    ["ServiceAccount", object("ServiceAccount", "x", "imagePullSecrets: [{name: registry}]\n", "v1")],
    [
      "Ingress",
      object("Ingress", "x", "spec: {tls: [{hosts: [a]}, {secretName: registry}]}\n", "networking.k8s.io/v1"),
    ],
    [
      "ApisixPluginConfig",
      object(
        "ApisixPluginConfig",
        "x",
        "spec: {plugins: [{name: a}, {name: b, secretRef: registry}]}\n",
        "apisix.apache.org/v2",
      ),
    ],
    [
      "ApisixConsumer",
      object(
        "ApisixConsumer",
        "x",
        "spec: {authParameter: {jwtAuth: {secretRef: {name: registry}}}}\n",
        "apisix.apache.org/v2",
      ),
    ],
  ])("is found in a %s", (_, yaml) => {
    expect(needs(yaml)).toEqual(["shop Secret registry *"]);
  });

  it("is a key in a GatewayProxy, which signs in with it", () => {
    const auth = "{type: AdminKey, adminKey: {valueFrom: {secretKeyRef: {name: admin, key: admin-key}}}}";
    const proxy = `spec: {provider: {type: ControlPlane, controlPlane: {auth: ${auth}}}}\n`;
    expect(needs(object("GatewayProxy", "x", proxy, "apisix.apache.org/v1alpha1"))).toEqual([
      "shop Secret admin admin-key",
    ]);
  });

  it.each([
    object("Service", "x", "spec: {ports: []}\n", "v1"),
    object("Ingress", "x", "spec: {rules: []}\n", "networking.k8s.io/v1"),
    object("ServiceAccount", "x", "", "v1"),
  ])("is nothing for others", (yaml) => {
    expect(needs(yaml)).toEqual([]);
  });

  it("names each object that needs it, once", () => {
    const second = deployment(
      "api",
      "containers:\n  - name: app\n    envFrom: [{secretRef: {name: tokens}}]\n",
    );
    const [tokens] = neededReferences(parseManifests(SERVICE + second)).filter(
      ({ name }) => name === "tokens",
    );
    expect(tokens?.neededBy).toEqual(["apps/Deployment shop/user-service", "apps/Deployment shop/api"]);
    const [database] = neededReferences(parseManifests(SERVICE)).filter(({ key }) => key === "password");
    expect(database?.neededBy).toEqual(["apps/Deployment shop/user-service"]);
  });

  it("is not guessed from a reference without a name", () => {
    const broken = pod("x", "containers:\n  - name: app\n    envFrom: [{secretRef: {}}]\n");
    expect(() => needs(broken)).toThrow(RefusedError);
    expect(() => needs(broken)).toThrow("Pod shop/x: spec.containers.0.envFrom.0.secretRef.name: ");
  });
});

/** As it stands in Git: values are encrypted, the names of keys are not. */
const SEALED = `apiVersion: isindir.github.com/v1alpha3
kind: SopsSecret
metadata:
  name: database
  namespace: shop
spec:
  secretTemplates:
    - name: database
      stringData:
        username: ENC[AES256_GCM,data:AAAA,iv:AAAA,tag:AAAA,type:str]
        password: ENC[AES256_GCM,data:BBBB,iv:BBBB,tag:BBBB,type:str]
    - name: proxy
      labels: {a: b}
      data:
        cert: ENC[AES256_GCM,data:CCCC,iv:CCCC,tag:CCCC,type:str]
sops:
  mac: ENC[AES256_GCM,data:DDDD,iv:DDDD,tag:DDDD,type:str]
`;

describe("what manifests bring", () => {
  it("are ConfigMaps, Secrets, and the Secrets of a SopsSecret", () => {
    const others = [
      object("ConfigMap", "levels", "data: {log: info}\nbinaryData: {logo: AAAA}\n", "v1"),
      object("Secret", "plain", "stringData: {a: b}\ndata: {a: Yg==, c: Yg==}\n", "v1"),
      object("ConfigMap", "empty", "", "v1"),
      object("Service", "web", "spec: {}\n", "v1"),
    ];
    expect(offeredReferences(parseManifests(SEALED + others.join("")))).toEqual([
      { namespace: "shop", kind: "Secret", name: "database", keys: ["username", "password"] },
      { namespace: "shop", kind: "Secret", name: "proxy", keys: ["cert"] },
      { namespace: "shop", kind: "ConfigMap", name: "levels", keys: ["log", "logo"] },
      { namespace: "shop", kind: "Secret", name: "plain", keys: ["a", "c"] },
      { namespace: "shop", kind: "ConfigMap", name: "empty", keys: [] },
    ]);
  });

  it("is not guessed from a SopsSecret without templates", () => {
    const broken = object("SopsSecret", "x", "spec: {}\n", "isindir.github.com/v1alpha3");
    expect(() => offeredReferences(parseManifests(broken))).toThrow(
      "isindir.github.com/SopsSecret shop/x: spec.secretTemplates: ",
    );
  });
});

describe("what is missing", () => {
  const key = (name: string, key_?: string, kind: "Secret" | "ConfigMap" = "Secret"): Reference => ({
    namespace: "shop",
    kind,
    name,
    key: key_,
    neededBy: ["Pod shop/x"],
  });
  const offer = (name: string, ...keys: string[]) => ({
    namespace: "shop",
    kind: "Secret" as const,
    name,
    keys,
  });

  it.each<[string, Reference, boolean]>([
    ["a key that is offered", key("database", "username"), false],
    ["a key that another offer of the same object has", key("database", "password"), false],
    ["an object of which some key is offered", key("database"), false],
    ["a key that the object does not have", key("database", "host"), true],
    ["an object that nobody offers", key("tokens"), true],
    ["a key of such an object", key("tokens", "a"), true],
    ["an object of another kind", key("database", undefined, "ConfigMap"), true],
    ["an object of another namespace", { ...key("database"), namespace: "data" }, true],
    ["an object of no namespace", { ...key("database"), namespace: undefined }, true],
    ["what the API server puts everywhere", key("kube-root-ca.crt", "ca.crt", "ConfigMap"), false],
    ["a Secret of that name", key("kube-root-ca.crt", "ca.crt"), true],
  ])("%s", (_, reference, isMissing) => {
    const missing = missingReferences(
      [reference],
      [offer("database", "username"), offer("database", "password")],
    );
    expect(missing).toEqual(isMissing ? [reference] : []);
  });

  it("is nothing of what runs today", () => {
    const today = neededReferences(parseManifests(SERVICE));
    expect(missingReferences(today, asOffers(today))).toEqual([]);
  });

  it("is a key of which today only the object is known", () => {
    const today = [key("tokens")];
    expect(missingReferences([key("tokens"), key("tokens", "a")], asOffers(today))).toEqual([
      key("tokens", "a"),
    ]);
  });
});
