/** Real Argo CD outside a cluster: one program in five roles, and the objects on the hub that it reads. */
import { createHmac } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse, parseAllDocuments } from "yaml";
import { z } from "zod";
import { replaceFile } from "../file.ts";
import { onPath } from "../tools/go.ts";
import type { Cluster } from "./cluster.ts";
import type { Layout } from "./layout.ts";
import { ensureRepoServerPki } from "./pki.ts";
import { type ProcessSpec } from "./process.ts";
import { credentialOf, portOf, type State } from "./state.ts";

export const ARGOCD_NAMESPACE = "argocd";
const ACCOUNT = "sandbox";
const LOOPBACK = "127.0.0.1";
/** Roles that the program knows by another name than Argo CD's manifests do. */
const BINARY_NAMES: Readonly<Record<string, string>> = {
  "argocd-notifications-controller": "argocd-notifications",
};
/** What calls the repo server. */
const REPO_SERVER_CLIENTS = [
  "argocd-application-controller",
  "argocd-applicationset-controller",
  "argocd-server",
  "argocd-notifications-controller",
] as const;
type RepoServerClient = (typeof REPO_SERVER_CLIENTS)[number];

/** Issue time of the sandbox's token: a fixed one makes the token the same at every start. */
const TOKEN_ISSUED_AT = 1_700_000_000;

export const ARGOCD_PORTS = [
  "redis",
  "argocd-server",
  "argocd-server-metrics",
  "argocd-repo-server",
  "argocd-repo-server-metrics",
  "argocd-application-controller-metrics",
  "argocd-applicationset-metrics",
  "argocd-applicationset-probe",
  "argocd-applicationset-webhook",
  "argocd-notifications-metrics",
];
export const ARGOCD_CREDENTIALS = ["redis", "argocd-server-key", "argocd-token-id"];

export interface ArgocdPrograms {
  readonly argocd: string;
  /** The in-memory Redis that Argo CD embeds; used where the machine has neither redis-server nor valkey-server. */
  readonly miniredis: string;
  /** Argo CD's manifests and scripts. */
  readonly assets: string;
}

/** Where Argo CD's API and user interface answer, without scheme. */
export function argocdServer(state: State): string {
  return `${LOOPBACK}:${portOf(state, "argocd-server")}`;
}

/**
 * Where the forge reports pushes to. Not to the ApplicationSet controller, which answers 400 to Gitea's payload (it reads
 * it as GitHub's, whose times are numbers); new directories are found by its polling.
 */
export function argocdWebhooks(state: State): string[] {
  return [`http://${argocdServer(state)}/api/webhook`];
}

/**
 * A token of the sandbox's account, as argocd-server would issue it: HS256 over the key in `argocd-secret`, known to the
 * account by its id (docs/operator-manual/user-management of Argo CD).
 */
export function argocdToken(state: State): string {
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const claims = {
    iss: "argocd",
    sub: `${ACCOUNT}:apiKey`,
    jti: credentialOf(state, "argocd-token-id"),
    iat: TOKEN_ISSUED_AT,
    nbf: TOKEN_ISSUED_AT,
  };
  const content = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  const signature = createHmac("sha256", credentialOf(state, "argocd-server-key"))
    .update(content)
    .digest("base64url");
  return `${content}.${signature}`;
}

/**
 * The processes of Argo CD; to be declared once its objects are on the hub.
 * @param config the rendered `argocd/config`: its parameters reach the processes as they would in a cluster
 */
export async function argocdProcesses(
  layout: Layout,
  state: State,
  hub: Cluster,
  programs: ArgocdPrograms,
  config: string,
): Promise<ProcessSpec[]> {
  const install = await readFile(join(programs.assets, "manifests/install.yaml"), "utf8");
  const configured = configuredEnvironment(install, config);
  const directory = join(layout.data, "argocd");
  const folders = ["tls", "ssh", "gpg", "gnupg", "plugins", "tmp"];
  await Promise.all(
    folders.map((folder) => mkdir(join(directory, folder), { recursive: true, mode: 0o700 })),
  );
  const port = (name: string) => String(portOf(state, name));
  const repoServer = `${LOOPBACK}:${port("argocd-repo-server")}`;
  const redis = `${LOOPBACK}:${port("redis")}`;
  const pki = await ensureRepoServerPki(join(layout.pki, "argocd"), REPO_SERVER_CLIENTS);
  const callsRepoServer = (name: RepoServerClient) => {
    const pair = pki.clients[name];
    return [
      `--repo-server-ca-cert-path=${pki.caFile}`,
      `--repo-server-client-cert-path=${pair?.certificateFile}`,
      `--repo-server-client-cert-key-path=${pair?.keyFile}`,
    ];
  };
  const env = {
    HOME: layout.home,
    ARGOCD_APP_CONF_PATH: pki.config,
    // kustomize and Argo CD's git wrappers first; git and the shell come from the machine.
    PATH: `${layout.bin}:${process.env["PATH"] ?? ""}`,
    TMPDIR: join(directory, "tmp"),
    GIT_CONFIG_NOSYSTEM: "1",
    KUBECONFIG: join(layout.pki, hub.name, "argocd.kubeconfig"),
    REDIS_PASSWORD: credentialOf(state, "redis"),
    ARGOCD_FAKE_IN_CLUSTER: "true",
    ARGOCD_TLS_DATA_PATH: join(directory, "tls"),
    ARGOCD_SSH_DATA_PATH: join(directory, "ssh"),
    ARGOCD_GPG_DATA_PATH: join(directory, "gpg"),
    ARGOCD_GNUPGHOME: join(directory, "gnupg"),
    ARGOCD_PLUGINSOCKFILEPATH: join(directory, "plugins"),
    ARGOCD_GPG_ENABLED: "false",
    // Its default is a fixed path in /tmp, which two sandboxes would fight for.
    ARGOCD_ASK_PASS_SOCK: layout.askPassSocket,
    // Seconds between two sync waves, for controllers to notice the first one. A cluster keeps the default of 2; the
    // sandbox's stand-in for the Secrets' operator needs a fraction of one.
    ARGOCD_SYNC_WAVE_DELAY: "1",
    // One controller for all clusters.
    ARGOCD_CONTROLLER_REPLICAS: "1",
    ARGOCD_CONTROLLER_SHARD: "0",
  };
  const role = (name: string, args: string[], ready: ProcessSpec["ready"]): ProcessSpec => ({
    name,
    command: programs.argocd,
    args: [...args, "--loglevel=warn", "--logformat=text"],
    env: { ...env, ...configured.get(name), ARGOCD_BINARY_NAME: BINARY_NAMES[name] ?? name },
    after: ["redis", `${hub.name}-apiserver`],
    ...(ready === undefined ? {} : { ready }),
  });
  const listens = (name: string) => ({ port: portOf(state, name) });

  return [
    await redisProcess(layout, state, programs.miniredis),
    role(
      "argocd-repo-server",
      [
        `--address=${LOOPBACK}`,
        `--port=${port("argocd-repo-server")}`,
        `--metrics-address=${LOOPBACK}`,
        `--metrics-port=${port("argocd-repo-server-metrics")}`,
        `--redis=${redis}`,
        `--client-ca-path=${pki.caFile}`,
      ],
      listens("argocd-repo-server"),
    ),
    role(
      "argocd-application-controller",
      [
        `--redis=${redis}`,
        `--repo-server=${repoServer}`,
        ...callsRepoServer("argocd-application-controller"),
        `--metrics-port=${port("argocd-application-controller-metrics")}`,
      ],
      listens("argocd-application-controller-metrics"),
    ),
    role(
      "argocd-applicationset-controller",
      [
        `--argocd-repo-server=${repoServer}`,
        ...callsRepoServer("argocd-applicationset-controller"),
        `--metrics-addr=${LOOPBACK}:${port("argocd-applicationset-metrics")}`,
        `--probe-addr=${LOOPBACK}:${port("argocd-applicationset-probe")}`,
        `--webhook-addr=${LOOPBACK}:${port("argocd-applicationset-webhook")}`,
      ],
      listens("argocd-applicationset-webhook"),
    ),
    role(
      "argocd-server",
      [
        `--address=${LOOPBACK}`,
        `--port=${port("argocd-server")}`,
        `--metrics-address=${LOOPBACK}`,
        `--metrics-port=${port("argocd-server-metrics")}`,
        "--insecure",
        `--redis=${redis}`,
        `--repo-server=${repoServer}`,
        ...callsRepoServer("argocd-server"),
      ],
      listens("argocd-server"),
    ),
    role(
      "argocd-notifications-controller",
      [
        `--argocd-repo-server=${repoServer}`,
        ...callsRepoServer("argocd-notifications-controller"),
        `--metrics-port=${port("argocd-notifications-metrics")}`,
      ],
      listens("argocd-notifications-metrics"),
    ),
  ];
}

/**
 * What Argo CD's manifests read from its ConfigMaps into the environment of each component.
 * @param install the manifests of an installation
 * @param config ConfigMaps with the settings
 * @returns variables by the component's name; only those that the ConfigMaps set
 */
export function configuredEnvironment(install: string, config: string): Map<string, Record<string, string>> {
  const values = new Map(
    parseAllDocuments(config)
      .map((document) => ConfigMap.safeParse(document.toJS()))
      .flatMap(({ data }) =>
        Object.entries(data?.data ?? {}).map(([key, value]) => [`${data?.metadata.name}/${key}`, value]),
      ),
  );
  // The definitions of Argo CD's kinds are most of the file, and slow to parse.
  const workloads = install.split(/^---$/m).filter((text) => /^kind: (Deployment|StatefulSet)$/m.test(text));
  return new Map(
    workloads.map((text) => {
      const { metadata, spec } = Component.parse(parse(text));
      const variables = spec.template.spec.containers.flatMap(({ env }) => env ?? []);
      const set = variables.flatMap(({ name, valueFrom }) => {
        const reference = valueFrom?.configMapKeyRef;
        const value = values.get(`${reference?.name}/${reference?.key}`);
        return value === undefined ? [] : [[name, value] as const];
      });
      return [metadata.name, Object.fromEntries(set)];
    }),
  );
}

const ConfigMap = z.object({
  kind: z.literal("ConfigMap"),
  metadata: z.object({ name: z.string() }),
  data: z.record(z.string(), z.string()),
});
const Component = z.object({
  metadata: z.object({ name: z.string() }),
  spec: z.object({
    template: z.object({
      spec: z.object({
        containers: z.array(
          z.object({
            env: z
              .array(
                z.object({
                  name: z.string(),
                  valueFrom: z
                    .object({ configMapKeyRef: z.object({ name: z.string(), key: z.string() }).optional() })
                    .optional(),
                }),
              )
              .optional(),
          }),
        ),
      }),
    }),
  }),
});

/** A real Redis where the machine has one, without persistence: Argo CD only caches in it. */
async function redisProcess(layout: Layout, state: State, miniredis: string): Promise<ProcessSpec> {
  const port = portOf(state, "redis");
  const password = credentialOf(state, "redis");
  const spec = { name: "redis", after: [], ready: { port } };
  const [installed] = ["redis-server", "valkey-server"].flatMap((name) => onPath(name, process.env));
  if (installed === undefined) {
    return { ...spec, command: miniredis, args: [`${LOOPBACK}:${port}`], env: { REDIS_PASSWORD: password } };
  }
  const file = join(layout.data, "redis.conf");
  const lines = [
    `bind ${LOOPBACK}`,
    `port ${port}`,
    'save ""',
    "appendonly no",
    `requirepass ${password}`,
    "",
  ];
  await replaceFile(file, lines.join("\n"));
  return { ...spec, command: installed, args: [file], env: {} };
}

export interface HubFacts {
  readonly repoURL: string;
  readonly forgeUser: string;
  readonly forgeToken: string;
  /** Clusters that applications are delivered to, by environment. */
  readonly clusters: readonly { readonly environment: string; readonly cluster: Cluster }[];
}

/** What only a sandbox has on its hub: credentials, registered clusters, and an account for its user. */
export function hubObjects(state: State, facts: HubFacts): object[] {
  const webhook = credentialOf(state, "webhook");
  const tokens = [{ id: credentialOf(state, "argocd-token-id"), iat: TOKEN_ISSUED_AT }];
  return [
    secret("argocd-secret", undefined, {
      "server.secretkey": credentialOf(state, "argocd-server-key"),
      [`accounts.${ACCOUNT}.tokens`]: JSON.stringify(tokens),
      // Gitea signs as Gogs does.
      "webhook.gogs.secret": webhook,
    }),
    secret("argocd-notifications-secret", undefined, { "forge-token": facts.forgeToken }),
    secret("repository", "repository", {
      type: "git",
      url: facts.repoURL,
      username: facts.forgeUser,
      password: facts.forgeToken,
    }),
    ...facts.clusters.map(({ environment, cluster }) => clusterSecret(environment, cluster)),
    argocdRights("cluster-admin"),
    configMap("argocd-cm", { [`accounts.${ACCOUNT}`]: "apiKey" }),
    configMap("argocd-rbac-cm", { "policy.sandbox.csv": `g, ${ACCOUNT}, role:admin\n` }),
  ];
}

/** Gives Argo CD's certificate a role in a cluster. */
export function argocdRights(role: string): object {
  const apiGroup = "rbac.authorization.k8s.io";
  return {
    apiVersion: `${apiGroup}/v1`,
    kind: "ClusterRoleBinding",
    metadata: { name: "sandbox-argocd" },
    roleRef: { apiGroup, kind: "ClusterRole", name: role },
    subjects: [{ apiGroup, kind: "User", name: "argocd" }],
  };
}

function clusterSecret(environment: string, cluster: Cluster): object {
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const user = cluster.pki.clients["argocd"];
  if (user === undefined) throw new Error("no certificate was made for argocd");
  const object = secret(`cluster-${cluster.name}`, "cluster", {
    name: cluster.name,
    server: cluster.server,
    config: JSON.stringify({
      tlsClientConfig: {
        caData: base64(cluster.pki.ca),
        certData: base64(user.certificate),
        keyData: base64(user.key),
      },
    }),
  });
  object.metadata.labels["environment"] = environment;
  return object;
}

function secret(name: string, type: string | undefined, stringData: Record<string, string>) {
  const labels: Record<string, string> = { "app.kubernetes.io/part-of": "argocd" };
  if (type !== undefined) labels["argocd.argoproj.io/secret-type"] = type;
  return {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name, namespace: ARGOCD_NAMESPACE, labels },
    stringData,
  };
}

function configMap(name: string, data: Record<string, string>): object {
  const labels = { "app.kubernetes.io/part-of": "argocd" };
  return {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name, namespace: ARGOCD_NAMESPACE, labels },
    data,
  };
}
