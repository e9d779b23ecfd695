/**
 * One Kubernetes cluster of the sandbox: real etcd, API server, controller manager and scheduler. kwok stands in for
 * the machines (kubelets, disks), and a real metrics-server reads the usage that kwok reports.
 */
import { join } from "node:path";
import { type Context, writeKubeconfig } from "./kubeconfig.ts";
import type { Layout } from "./layout.ts";
import { type ClusterPki, ensurePki, type Subject } from "./pki.ts";
import type { ProcessSpec } from "./process.ts";
import { portOf, type State } from "./state.ts";

/** What an API server consists of, by name. */
export interface ApiServerPrograms {
  readonly etcd: string;
  readonly kubeApiserver: string;
}

/** Programs a cluster needs, by name, and kwok's own Stages and metrics beside it. */
export interface ClusterPrograms extends ApiServerPrograms {
  readonly kubeControllerManager: string;
  readonly kubeScheduler: string;
  readonly kwok: string;
  readonly kwokAssets: string;
  readonly metricsServer: string;
}

export interface Cluster {
  readonly name: string;
  /** Each has 32 CPU and 128Gi. Without any nothing is scheduled, simulated or measured there. */
  readonly nodes: number;
  readonly pki: ClusterPki;
  readonly server: string;
  readonly admin: Context;
  readonly adminKubeconfig: string;
}

/** The users that Kubernetes' own RBAC rules know (https://kubernetes.io/docs/reference/access-authn-authz/rbac/). */
const CLIENTS = {
  admin: { name: "sandbox-admin", group: "system:masters" },
  argocd: { name: "argocd" },
  "kube-controller-manager": { name: "system:kube-controller-manager" },
  "kube-scheduler": { name: "system:kube-scheduler" },
  kwok: { name: "kwok", group: "system:masters" },
  "metrics-server": { name: "metrics-server", group: "system:masters" },
} satisfies Record<string, Subject>;

const COMPONENTS = [
  "etcd",
  "etcd-peer",
  "apiserver",
  "controller-manager",
  "scheduler",
  "kwok",
  "metrics-server",
];
const LOOPBACK = "127.0.0.1";

/** What needs a port in a cluster. */
export function clusterPorts(cluster: string): string[] {
  return COMPONENTS.map((component) => `${cluster}-${component}`);
}

/** Makes a cluster's certificates and kubeconfigs. */
export async function prepareCluster(
  layout: Layout,
  state: State,
  name: string,
  nodes: number,
): Promise<Cluster> {
  const directory = join(layout.pki, name);
  const pki = await ensurePki(directory, CLIENTS);
  const server = `https://${LOOPBACK}:${portOf(state, `${name}-apiserver`)}`;
  const contextOf = (user: string): Context => {
    const pair = pki.clients[user];
    if (pair === undefined) throw new Error(`no certificate was made for ${user}`);
    // Argo CD takes the namespace of its own objects from here.
    return { name, server, ca: pki.ca, user: pair, ...(user === "argocd" ? { namespace: "argocd" } : {}) };
  };
  for (const user of Object.keys(CLIENTS)) {
    await writeKubeconfig(join(directory, `${user}.kubeconfig`), [contextOf(user)]);
  }
  return {
    name,
    nodes,
    pki,
    server,
    admin: contextOf("admin"),
    adminKubeconfig: join(directory, "admin.kubeconfig"),
  };
}

/** The processes of a cluster's API server: etcd, and the server itself; the caller says who may do what. */
export function apiServerProcesses(
  layout: Layout,
  state: State,
  { name, pki }: Cluster,
  programs: ApiServerPrograms,
): [etcd: ProcessSpec, apiserver: ProcessSpec] {
  const port = (component: string) => portOf(state, `${name}-${component}`);
  const etcdUrl = `https://${LOOPBACK}:${port("etcd")}`;
  const peerUrl = `https://${LOOPBACK}:${port("etcd-peer")}`;
  const env = { HOME: layout.home };
  const etcd: ProcessSpec = {
    name: `${name}-etcd`,
    env,
    command: programs.etcd,
    args: [
      `--name=${name}`,
      `--data-dir=${join(layout.data, name, "etcd")}`,
      `--listen-client-urls=${etcdUrl}`,
      `--advertise-client-urls=${etcdUrl}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=${name}=${peerUrl}`,
      `--cert-file=${pki.etcd.certificateFile}`,
      `--key-file=${pki.etcd.keyFile}`,
      `--trusted-ca-file=${pki.etcdCaFile}`,
      "--client-cert-auth",
      `--peer-cert-file=${pki.etcd.certificateFile}`,
      `--peer-key-file=${pki.etcd.keyFile}`,
      `--peer-trusted-ca-file=${pki.etcdCaFile}`,
      "--peer-client-cert-auth",
      "--auto-compaction-mode=periodic",
      "--auto-compaction-retention=5m",
      // Four of them wait for one disk, and a slow one would end a start. Only a crash of the machine loses what it had written.
      "--unsafe-no-fsync",
      "--log-level=warn",
    ],
    after: [],
    ready: { port: port("etcd") },
  };

  const apiserver: ProcessSpec = {
    name: `${name}-apiserver`,
    env,
    command: programs.kubeApiserver,
    args: [
      `--bind-address=${LOOPBACK}`,
      `--advertise-address=${LOOPBACK}`,
      `--secure-port=${port("apiserver")}`,
      `--etcd-servers=${etcdUrl}`,
      `--etcd-cafile=${pki.etcdCaFile}`,
      `--etcd-certfile=${pki.etcd.certificateFile}`,
      `--etcd-keyfile=${pki.etcd.keyFile}`,
      ...servingArgs(pki),
      `--client-ca-file=${pki.caFile}`,
      "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
      `--service-account-key-file=${pki.serviceAccountKeyFile}`,
      `--service-account-signing-key-file=${pki.serviceAccountKeyFile}`,
      "--service-cluster-ip-range=10.96.0.0/16",
      `--requestheader-client-ca-file=${pki.frontProxyCaFile}`,
      "--requestheader-allowed-names=front-proxy",
      "--requestheader-username-headers=X-Remote-User",
      "--requestheader-group-headers=X-Remote-Group",
      "--requestheader-extra-headers-prefix=X-Remote-Extra-",
      `--proxy-client-cert-file=${pki.frontProxy.certificateFile}`,
      `--proxy-client-key-file=${pki.frontProxy.keyFile}`,
      // A certificate for every port is signed by the cluster's own authority; kwok's kubelet serves one of them.
      `--kubelet-certificate-authority=${pki.caFile}`,
      // One server a cluster: nothing to elect, and the endpoint of a server that was killed is gone at once.
      "--endpoint-reconciler-type=none",
    ],
    after: [etcd.name],
    ready: { port: port("apiserver"), path: "/readyz" },
  };
  return [etcd, apiserver];
}

function servingArgs({ server }: ClusterPki): string[] {
  return [`--tls-cert-file=${server.certificateFile}`, `--tls-private-key-file=${server.keyFile}`];
}

/** The processes of a cluster. */
export function clusterProcesses(
  layout: Layout,
  state: State,
  cluster: Cluster,
  programs: ClusterPrograms,
): ProcessSpec[] {
  const { name, pki } = cluster;
  const port = (component: string) => portOf(state, `${name}-${component}`);
  const kubeconfig = (user: string) => join(layout.pki, name, `${user}.kubeconfig`);
  const env = { HOME: layout.home };
  const serving = servingArgs(pki);
  const component = (role: string, spec: Omit<ProcessSpec, "name" | "env">): ProcessSpec => ({
    name: `${name}-${role}`,
    env,
    ...spec,
  });
  const [etcd, server] = apiServerProcesses(layout, state, cluster, programs);
  const apiserver = { ...server, args: [...server.args, "--authorization-mode=Node,RBAC"] };

  const authenticated = (user: string) => [
    `--kubeconfig=${kubeconfig(user)}`,
    `--authentication-kubeconfig=${kubeconfig(user)}`,
    `--authorization-kubeconfig=${kubeconfig(user)}`,
    `--bind-address=${LOOPBACK}`,
    ...serving,
  ];

  const controllerManager = component("controller-manager", {
    command: programs.kubeControllerManager,
    args: [
      ...authenticated("kube-controller-manager"),
      `--secure-port=${port("controller-manager")}`,
      "--leader-elect=false",
      "--use-service-account-credentials",
      // Its default of 15 s is most of what a new app with an autoscaler waits for until it is Healthy.
      "--horizontal-pod-autoscaler-sync-period=5s",
      `--service-account-private-key-file=${pki.serviceAccountKeyFile}`,
      `--root-ca-file=${pki.caFile}`,
      // No nodes or clouds to look after in a sandbox of simulated machines.
      "--controllers=*,-nodeipam,-cloud-node-lifecycle,-service-lb-controller,-node-route-controller",
    ],
    after: [apiserver.name],
    ready: { port: port("controller-manager"), path: "/healthz" },
  });

  const scheduler = component("scheduler", {
    command: programs.kubeScheduler,
    args: [...authenticated("kube-scheduler"), `--secure-port=${port("scheduler")}`, "--leader-elect=false"],
    after: [apiserver.name],
    ready: { port: port("scheduler"), path: "/healthz" },
  });

  const kwok = component("kwok", {
    command: programs.kwok,
    args: [
      `--kubeconfig=${kubeconfig("kwok")}`,
      ...kwokConfigs(layout, programs.kwokAssets).map((file) => `--config=${file}`),
      "--manage-all-nodes=true",
      `--node-ip=${LOOPBACK}`,
      `--node-port=${port("kwok")}`,
      `--server-address=${LOOPBACK}:${port("kwok")}`,
      ...serving,
      "--node-lease-duration-seconds=20",
    ],
    after: [apiserver.name],
    ready: { port: port("kwok") },
  });

  const metricsServer = component("metrics-server", {
    command: programs.metricsServer,
    args: [
      ...authenticated("metrics-server"),
      `--secure-port=${port("metrics-server")}`,
      `--kubelet-certificate-authority=${pki.caFile}`,
      "--kubelet-use-node-status-port",
      "--kubelet-preferred-address-types=InternalIP",
      // The shortest that metrics-server allows: autoscaling can be watched without waiting a minute.
      "--metric-resolution=10s",
      "--kubelet-request-timeout=5s",
    ],
    after: [kwok.name],
    ready: { port: port("metrics-server"), path: "/livez" },
  });

  const control = [etcd, apiserver, controllerManager];
  return cluster.nodes === 0 ? control : [...control, scheduler, kwok, metricsServer];
}

/** What kwok simulates: kubelets that make pods ready, or not; the usage they report; disks that get bound; and addresses of load balancers. */
function kwokConfigs(layout: Layout, assets: string): string[] {
  const upstream = [
    "stage/node/fast/node-initialize",
    "stage/node/heartbeat-with-lease/node-heartbeat-with-lease",
    "stage/pod/fast/pod-ready",
    "stage/pod/fast/pod-complete",
    "stage/pod/fast/pod-delete",
    "metrics/resource/metrics-resource",
  ];
  return [
    ...upstream.map((file) => join(assets, "kustomize", `${file}.yaml`)),
    join(layout.root, "sandbox/kwok/usage.yaml"),
    join(layout.root, "sandbox/kwok/claim.yaml"),
    join(layout.root, "sandbox/kwok/crash.yaml"),
    join(layout.root, "sandbox/kwok/node-ready-again.yaml"),
    join(layout.root, "sandbox/kwok/pod-ready-again.yaml"),
    join(layout.root, "sandbox/kwok/service-address.yaml"),
    join(layout.root, "sandbox/kwok/ingress-address.yaml"),
  ];
}

/** What a cluster of simulated machines has before anything is delivered: nodes in three zones, and the metrics API. */
export function clusterObjects(state: State, { name: cluster, nodes }: Cluster): object[] {
  if (nodes === 0) return [];
  const machines = Array.from({ length: nodes }, (_, index) => {
    const name = `${cluster}-${index + 1}`;
    const capacity = { cpu: "32", memory: "128Gi", "ephemeral-storage": "100Gi", pods: "110" };
    return {
      apiVersion: "v1",
      kind: "Node",
      metadata: {
        name,
        annotations: {
          "kwok.x-k8s.io/node": "fake",
          "metrics.k8s.io/resource-metrics-path": `/metrics/nodes/${name}/metrics/resource`,
        },
        labels: {
          "kubernetes.io/hostname": name,
          "kubernetes.io/os": "linux",
          "topology.kubernetes.io/zone": `zone-${"abc"[index % 3]}`,
        },
      },
      status: { allocatable: capacity, capacity },
    };
  });
  const port = portOf(state, `${cluster}-metrics-server`);
  return [
    ...machines,
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "metrics-server", namespace: "kube-system" },
      spec: {
        type: "ExternalName",
        externalName: "localhost",
        ports: [{ name: "https", port, protocol: "TCP" }],
      },
    },
    {
      apiVersion: "apiregistration.k8s.io/v1",
      kind: "APIService",
      metadata: { name: "v1beta1.metrics.k8s.io" },
      spec: {
        group: "metrics.k8s.io",
        version: "v1beta1",
        groupPriorityMinimum: 100,
        versionPriority: 100,
        insecureSkipTLSVerify: true,
        service: { name: "metrics-server", namespace: "kube-system", port },
      },
    },
  ];
}
