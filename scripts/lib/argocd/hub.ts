/** A real hub: what a cluster must hold before Argo CD can bring itself the rest from Git. Through kubectl only. */
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import { RefusedError, UsageError } from "../errors.ts";
import { tryRun } from "../exec.ts";
import { kubectl, type Target } from "../kubectl.ts";
import { parseManifests } from "../manifests/manifest.ts";
import { waitFor } from "../wait.ts";

const NAMESPACE = "argocd";
/** What Argo CD itself applies with, so that a field that leaves Git later is Argo CD's to remove. */
const ARGOCD_MANAGER = "argocd-controller";
const OWN_MANAGER = "bootstrap";
/** Upstream brings one of the Secrets, empty: applied anew by the same manager, it would lose the credential for a moment. */
const CREDENTIAL_MANAGER = "bootstrap-credential";
/** The account that Argo CD uses in a cluster: argocd/cluster. */
const TOKEN = { name: "argocd-manager-long-lived-token", namespace: "kube-system" };
const KINDS = "applications,applicationsets,appprojects";

/** A cluster to be registered: its name starts with its environment, so that the environment's AppProject admits it. */
export interface ClusterRequest {
  readonly name: string;
  readonly environment: string;
  readonly context: string;
}

/** How Argo CD reads the repository. */
export type Credential =
  | { readonly username: string; readonly password: string }
  | { readonly sshPrivateKey: string };

/**
 * Reads `--cluster prod=<context>` or `--cluster prod-eu=<context>`.
 * @param environments the names there are
 * @throws UsageError when it is not of that form, or the name belongs to no environment
 */
export function parseCluster(argument: string, environments: readonly string[]): ClusterRequest {
  const [, name, context] = /^([a-z0-9-]+)=(.+)$/.exec(argument) ?? [];
  if (name === undefined || context === undefined) {
    throw new UsageError(`--cluster ${argument} is not <name>=<kubeconfig context>`, "as in prod=my-context");
  }
  const environment = environments.find((known) => name === known || name.startsWith(`${known}-`));
  if (environment === undefined) {
    const names = environments.join(", ");
    throw new UsageError(
      `the cluster ${name} is of no environment`,
      `its name is one of ${names}, or starts with one and "-"`,
    );
  }
  return { name, environment, context };
}

/**
 * Finds the credential for the repository.
 * @param repoURL decides whether it is a token or a key
 * @param env FORGE_TOKEN and, where the forge wants one, FORGE_USER; or FORGE_SSH_KEY for a repository read over SSH
 * @returns undefined when there is none
 */
export function credentialFor(repoURL: string, env: NodeJS.ProcessEnv): Credential | undefined {
  if (!/^https?:/.test(repoURL)) {
    const sshPrivateKey = env["FORGE_SSH_KEY"];
    return sshPrivateKey ? { sshPrivateKey: `${sshPrivateKey.trimEnd()}\n` } : undefined;
  }
  const password = env["FORGE_TOKEN"];
  // A forge that takes a token does not look at the name, but HTTP wants one.
  return password ? { username: env["FORGE_USER"] || "git", password } : undefined;
}

/** The kubeconfig's current context. */
export async function currentContext(program: string): Promise<string> {
  const result = await tryRun(program, ["config", "current-context"]);
  const context = result.stdout.trim();
  if (result.exitCode === 0 && context !== "") return context;
  throw new UsageError("the kubeconfig has no current context", "name the hub with --context");
}

const KubeconfigCluster = z.object({
  cluster: z.object({
    server: z.string(),
    "certificate-authority-data": z.string().optional(),
    "insecure-skip-tls-verify": z.boolean().optional(),
  }),
});
const KubeconfigView = z.object({ clusters: z.tuple([KubeconfigCluster]).rest(KubeconfigCluster) });

/**
 * Where a context's API server is.
 * @throws UsageError when the kubeconfig has no such context
 * @throws RefusedError when it would have to be trusted unseen
 */
export async function endpointOf(target: Target): Promise<{ server: string; ca: string | undefined }> {
  const args = [
    "config",
    "view",
    "--raw",
    "--minify",
    "--flatten",
    "--context",
    target.context,
    "--output",
    "json",
  ];
  const result = await tryRun(target.kubectl, args);
  const view = result.exitCode === 0 ? KubeconfigView.safeParse(JSON.parse(result.stdout)) : undefined;
  if (view?.success !== true) {
    throw new UsageError(
      `the kubeconfig has no context ${target.context}`,
      "kubectl config get-contexts lists them",
    );
  }
  const { cluster } = view.data.clusters[0];
  if (cluster["insecure-skip-tls-verify"] === true) {
    throw new RefusedError(
      `the context ${target.context} skips the check of its server's certificate`,
      "put the certificate-authority-data into the kubeconfig",
    );
  }
  return { server: cluster.server, ca: cluster["certificate-authority-data"] };
}

const Installed = z.object({
  items: z.array(
    z.object({
      kind: z.string(),
      metadata: z.object({ name: z.string() }),
      data: z.record(z.string(), z.string()).optional(),
      spec: z
        .object({
          template: z.object({ spec: z.object({ containers: z.array(z.object({ image: z.string() })) }) }),
        })
        .optional(),
    }),
  ),
});

/** What is on the hub already. */
export interface HubState {
  /** Argo CD's version, such as v3.6.1; undefined when it is not there. */
  readonly argocd: string | undefined;
  /** API server by the name of the registered cluster. */
  readonly clusters: ReadonlyMap<string, string>;
}

/**
 * Looks at the hub; changes nothing.
 * @throws ExternalError when it does not answer
 */
export async function readHub(target: Target): Promise<HubState> {
  const list = async (...what: string[]) => {
    const out = await kubectl(target, ["get", ...what, "--namespace", NAMESPACE, "--output", "json"]);
    return Installed.parse(JSON.parse(out)).items;
  };
  const deployments = await list("deployments");
  const secrets = await list("secrets", "--selector", "argocd.argoproj.io/secret-type=cluster");
  const server = deployments.find((deployment) => deployment.metadata.name === "argocd-server");
  const image = server?.spec?.template.spec.containers[0]?.image;
  const text = (value: string | undefined) => Buffer.from(value ?? "", "base64").toString();
  return {
    argocd: image === undefined ? undefined : (/:([^@]+)/.exec(image)?.[1] ?? image),
    clusters: new Map(secrets.map(({ data }) => [text(data?.["name"]), text(data?.["server"])])),
  };
}

/**
 * Looks whether an account may do everything in its cluster: it gives Argo CD rights, and nobody gives rights that they lack.
 * @throws RefusedError when it may not; ExternalError when the cluster does not answer
 */
export async function requireRights(target: Target): Promise<void> {
  // It ends with 1 for "no", as for a cluster that does not answer.
  const args = ["auth", "can-i", "*", "*", "--all-namespaces", "--context", target.context];
  const { stdout } = await tryRun(target.kubectl, [...args, "--request-timeout=30s"]);
  if (stdout.trim() === "yes") return;
  await kubectl(target, ["version"]);
  throw new RefusedError(
    `${target.context}: your account may not do everything there`,
    "use one that may, such as one of cluster-admin",
  );
}

/** What a bootstrap does. */
export interface Plan {
  readonly context: string;
  readonly server: string;
  /** `installed` is what is there now; `config` are Argo CD's settings, `install` upstream's manifests. */
  readonly argocd: {
    readonly version: string;
    readonly installed: string | undefined;
    readonly config: string;
    readonly install: string;
  };
  readonly repository: { readonly url: string; readonly branch: string; readonly credential: boolean };
  /** `registered` is the API server that the hub has for the name now. */
  readonly clusters: readonly (ClusterRequest & {
    readonly server: string;
    readonly registered: string | undefined;
  })[];
  /** What each cluster gets: Argo CD's account. */
  readonly account: string;
  /** Kustomizations as rendered, in the order in which they are applied. */
  readonly directories: readonly { readonly path: string; readonly manifests: string }[];
}

/** The plan, for people, line by line: what is done, and below it every object that is applied. */
export function describePlan({
  context,
  server,
  argocd,
  repository,
  clusters,
  account,
  directories,
}: Plan): string[] {
  const now = (there: string | undefined, wanted: string) =>
    there === undefined ? "new" : there === wanted ? "it is there" : `now ${there}`;
  const secrets = repository.credential ? ["repository", "argocd-notifications-secret"] : [];
  return [
    `On ${context} (${server}):`,
    `  install Argo CD ${argocd.version} (${now(argocd.installed, argocd.version)}), in the namespace ${NAMESPACE}`,
    ...lineOf("Namespace", [NAMESPACE]),
    ...objectsIn(`${argocd.install}\n---\n${argocd.config}`),
    `  let it read ${repository.url}, branch ${repository.branch}, ${repository.credential ? "with your credential" : "without a credential"}`,
    ...lineOf("Secret", secrets),
    ...clusters.flatMap((cluster) => [
      `  register the cluster ${cluster.name} for ${cluster.environment}: ${cluster.server} (${now(cluster.registered, cluster.server)})`,
      ...lineOf("Secret", [`cluster-${cluster.name}`]),
    ]),
    ...directories.flatMap(({ path, manifests }) => [`  apply ${path}`, ...objectsIn(manifests)]),
    ...clusters.flatMap((cluster) => [
      `On ${cluster.context} (${cluster.server}):`,
      "  give Argo CD an account",
      ...objectsIn(account),
    ]),
  ];
}

/** A line for each kind. */
function objectsIn(manifests: string): string[] {
  const byKind = new Map<string, Set<string>>();
  for (const { kind, metadata } of parseManifests(manifests)) {
    byKind.set(kind, (byKind.get(kind) ?? new Set()).add(metadata.name));
  }
  return [...byKind].flatMap(([kind, names]) => lineOf(kind, [...names]));
}

function lineOf(kind: string, names: readonly string[]): string[] {
  return names.length === 0 ? [] : [`    ${kind} ${names.join(", ")}`];
}

/** Installs Argo CD, or brings it to this version. */
export async function installArgocd(target: Target, { config, install }: Plan["argocd"]): Promise<void> {
  await apply(target, OWN_MANAGER, [{ apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } }]);
  // Argo CD's processes read some of the settings only when they start.
  const objects = parseAllDocuments(config).map((document): unknown => document.toJS());
  await apply(target, ARGOCD_MANAGER, objects.filter(isConfigMap));
  await apply(target, OWN_MANAGER, install, ["--namespace", NAMESPACE]);
  // Not `kubectl wait`: it fails on a definition that has no conditions yet.
  await waitFor("the hub serves Argo CD's kinds", async () =>
    kubectl(target, ["get", KINDS, "--namespace", NAMESPACE]).then(
      () => true,
      () => undefined,
    ),
  );
}

function isConfigMap(object: unknown): boolean {
  return typeof object === "object" && object !== null && "kind" in object && object.kind === "ConfigMap";
}

/** Applies manifests as Argo CD would, so that it takes them over without a difference. */
export async function applyRendered(target: Target, manifests: string): Promise<void> {
  await apply(target, ARGOCD_MANAGER, manifests);
}

/** Stores the repository's credential, and for a token also the one that reports commit statuses with. */
export async function storeCredential(
  target: Target,
  repoURL: string,
  credential: Credential,
): Promise<void> {
  const objects = [
    secret(
      "repository",
      { "argocd.argoproj.io/secret-type": "repository" },
      { type: "git", url: repoURL, ...credential },
    ),
  ];
  if ("password" in credential) {
    objects.push(secret("argocd-notifications-secret", {}, { "forge-token": credential.password }));
  }
  await apply(target, CREDENTIAL_MANAGER, objects);
}

/**
 * Gives Argo CD an account in a cluster and registers the cluster on the hub.
 * @param account the rendered argocd/cluster
 */
export async function registerCluster(hub: Target, request: ClusterRequest, account: string): Promise<void> {
  const cluster: Target = { kubectl: hub.kubectl, context: request.context };
  const { server, ca } = await endpointOf(cluster);
  await apply(cluster, OWN_MANAGER, account);
  const bearerToken = await waitFor(`the cluster ${request.name} issues a token`, async () => {
    const where = ["secret", TOKEN.name, "--namespace", TOKEN.namespace];
    const out = await kubectl(cluster, ["get", ...where, "--output", "jsonpath={.data.token}"]);
    return out === "" ? undefined : Buffer.from(out, "base64").toString();
  });
  const labels = { "argocd.argoproj.io/secret-type": "cluster", environment: request.environment };
  const config = { bearerToken, tlsClientConfig: ca === undefined ? {} : { caData: ca } };
  await apply(hub, OWN_MANAGER, [
    secret(`cluster-${request.name}`, labels, { name: request.name, server, config: JSON.stringify(config) }),
  ]);
}

function secret(name: string, labels: Record<string, string>, stringData: Record<string, string>): object {
  const metadata = {
    name,
    namespace: NAMESPACE,
    labels: { "app.kubernetes.io/part-of": "argocd", ...labels },
  };
  return { apiVersion: "v1", kind: "Secret", metadata, stringData };
}

/** Objects go through standard input: nothing of them is in a process list. */
async function apply(
  target: Target,
  manager: string,
  manifests: string | readonly unknown[],
  options: readonly string[] = [],
): Promise<void> {
  const input =
    typeof manifests === "string"
      ? manifests
      : JSON.stringify({ apiVersion: "v1", kind: "List", items: manifests });
  const serverSide = ["--server-side", "--force-conflicts", `--field-manager=${manager}`];
  await kubectl(target, ["apply", ...options, ...serverSide, "--filename", "-"], input);
}
