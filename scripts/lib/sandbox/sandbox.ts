/** The sandbox as a whole: what `npm start` brings up, step by step. Every step may be repeated and repairs. */

import { mkdir, readdir, readFile, readlink, rm, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import pLimit from "p-limit";
import type { Application, Argocd } from "../argocd/applications.ts";
import { messageOf } from "../errors.ts";
import { run } from "../exec.ts";
import { repositoryNamed, repositoryOf } from "../forge/address.ts";
import { programLine, repositoryRoot } from "../repository.ts";
import type { ResolvedTool } from "../tools/resolve.ts";
import { type App, readCatalogue } from "../tree/catalogue.ts";
import { readEnvironments } from "../tree/environment.ts";
import { build } from "../tree/kustomize.ts";
import { readSettings, SETTINGS_FILE } from "../tree/settings.ts";
import { waitFor } from "../wait.ts";
import {
  ARGOCD_CREDENTIALS,
  ARGOCD_NAMESPACE,
  ARGOCD_PORTS,
  argocdProcesses,
  argocdRights,
  argocdServer,
  argocdToken,
  argocdWebhooks,
  hubObjects,
} from "./argocd-processes.ts";
import { BRANCH, ensureWork, exportDelivered, gitEnv, writeGitConfig, writeGitCredentials } from "./clone.ts";
import { type Cluster, clusterObjects, clusterPorts, clusterProcesses, prepareCluster } from "./cluster.ts";
import { operatorDefinitions, readDefinitions } from "./definitions.ts";
import {
  ensureAdopted,
  ensureReporter,
  ensureRepository,
  ensureTeams,
  ensureToken,
  FORGE_CREDENTIALS,
  FORGE_PORTS,
  FORGE_USER,
  forgeUrl,
  prepareForge,
  REPORTER,
} from "./gitea.ts";
import { ensureKeys, keyFile, sealAnew } from "./keys.ts";
import { writeKubeconfig } from "./kubeconfig.ts";
import type { Layout } from "./layout.ts";
import { refuseFullDisk, refuseTakenPorts } from "./lifetime.ts";
import {
  isMonitored,
  MONITORING_NAMESPACE,
  monitoringObjects,
  monitoringPorts,
  monitoringProcesses,
  monitoringUrls,
} from "./monitoring.ts";
import type { OperatorWork } from "./operators-process.ts";
import {
  declareProcess,
  digestOf,
  isReady,
  lastLines,
  type ProcessSpec,
  startedProcesses,
} from "./process.ts";
import { untilSettled } from "./settled.ts";
import { makeSource, readSources } from "./sources.ts";
import { credentialOf, ensureState, portOf, type State } from "./state.ts";
import { ANSWER_MS, ensureSupervisor } from "./supervisor.ts";
import { writeVariables } from "./variables.ts";

/** Everything the sandbox runs or calls. */
export const SANDBOX_TOOLS = [
  "etcd",
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
  "kubectl",
  "kwok",
  "metrics-server",
  "argocd",
  "miniredis",
  "gitea",
  "kustomize",
  "sops",
  "age",
  "age-keygen",
] as const;

const HUB = "hub";
/** Argo CD runs beside the hub, not in it. */
const HUB_NODES = 0;
/** They hold production at its autoscaling maxima (74 CPU). */
const ENVIRONMENT_NODES = 6;

/** Twice what the supervisor gives a process that says nothing: the second one may answer. */
const READY_QUIET_MS = 2 * ANSWER_MS;

/** Gets a line now and then while a step waits. */
type Tell = (line: string) => void;

/** Long enough to be seen, short enough to be waited for. */
const SOAK = "5s";

export class Sandbox {
  readonly layout: Layout;
  readonly #tools: ReadonlyMap<string, ResolvedTool>;
  readonly state: State;
  readonly hub: Cluster;
  /** By environment, in the order of promotion. */
  readonly clusters: ReadonlyMap<string, Cluster>;
  /** What was declared so far. */
  readonly #specs: ProcessSpec[] = [];
  readonly #definitions: readonly object[];

  private constructor(
    layout: Layout,
    tools: ReadonlyMap<string, ResolvedTool>,
    state: State,
    hub: Cluster,
    clusters: ReadonlyMap<string, Cluster>,
    definitions: readonly object[],
  ) {
    this.layout = layout;
    this.#tools = tools;
    this.state = state;
    this.hub = hub;
    this.clusters = clusters;
    this.#definitions = definitions;
  }

  /**
   * Reserves ports, makes credentials and certificates, and writes the kubeconfigs; starts nothing.
   * @param vendors a directory with the operators' own CustomResourceDefinitions; see `readDefinitions`
   * @param monitored the environment that gets the monitoring stack
   */
  static async prepare(
    layout: Layout,
    tools: readonly ResolvedTool[],
    vendors: string | undefined,
    monitored?: string,
  ): Promise<Sandbox> {
    const definitions = await readDefinitions(layout.root, vendors, await operatorDefinitions());
    const environments = (await readEnvironments(layout.root)).map(({ name }) => name);
    const names = [HUB, ...environments];
    const state = await ensureState(
      layout,
      [
        ...FORGE_PORTS,
        ...ARGOCD_PORTS,
        ...names.flatMap((name) => clusterPorts(name)),
        ...(monitored === undefined ? [] : monitoringPorts(monitored)),
      ],
      [...FORGE_CREDENTIALS, ...ARGOCD_CREDENTIALS],
    );
    const [hub, ...clusters] = await Promise.all(
      names.map((name) => prepareCluster(layout, state, name, name === HUB ? HUB_NODES : ENVIRONMENT_NODES)),
    );
    if (hub === undefined) throw new Error("the hub is always prepared");
    await writeKubeconfig(layout.kubeconfig, [hub.admin, ...clusters.map((cluster) => cluster.admin)]);
    const sandbox = new Sandbox(
      layout,
      new Map(tools.map((tool) => [tool.name, tool])),
      state,
      hub,
      new Map(clusters.map((cluster) => [cluster.name, cluster])),
      definitions,
    );
    await sandbox.#linkPrograms();
    await refuseTakenPorts(layout, state);
    return sandbox;
  }

  get forge(): string {
    return forgeUrl(this.state);
  }

  get argocdServer(): string {
    return argocdServer(this.state);
  }

  /** How to ask the sandbox's Argo CD. */
  get argocd(): Argocd {
    return { program: this.#program("argocd"), env: { ...process.env, ...this.#argocdVariables() } };
  }

  /** Starts the clusters and the forge, and whatever of them is not running. */
  async startProcesses(): Promise<void> {
    const programs = {
      etcd: this.#program("etcd"),
      kubeApiserver: this.#program("kube-apiserver"),
      kubeControllerManager: this.#program("kube-controller-manager"),
      kubeScheduler: this.#program("kube-scheduler"),
      kwok: this.#program("kwok"),
      kwokAssets: this.#tool("kwok").assets,
      metricsServer: this.#program("metrics-server"),
    };
    const specs = [
      await prepareForge(this.layout, this.state, this.#tool("gitea")),
      ...[this.hub, ...this.clusters.values()].flatMap((cluster) =>
        clusterProcesses(this.layout, this.state, cluster, programs),
      ),
    ];
    await this.#declare(specs);
    await ensureSupervisor(this.layout);
  }

  /** Makes the forge's user and repository, and pushes the checkout into it, with Secrets for the clusters' own keys. */
  async deliverCheckout(tell: Tell): Promise<void> {
    const forge = forgeUrl(this.state);
    const repository = repositoryOf((await readSettings(this.layout.root)).repoURL);
    const url = `${forge}/${repository.owner}/${repository.name}.git`;
    const environments = [...this.clusters.keys()];
    const rules = await ensureKeys(this.layout, this.#program("age-keygen"), environments);
    const changes = {
      settings: {
        [SETTINGS_FILE]: { repoURL: url, forgeAPI: `${forge}/api/v1`, revision: BRANCH, reporter: REPORTER },
        ...Object.fromEntries(
          environments.map((name) => [`overlays/${name}/environment.yaml`, { soak: SOAK }]),
        ),
      },
      seal: async (root: string) => sealAnew(root, this.#program("sops"), this.#env(), rules),
    };
    await writeGitConfig(this.layout);
    let token = "";
    await ensureWork(this.layout, url, changes, async () => {
      await this.#untilReady("forge", tell);
      token = await ensureToken(this.layout, this.#tool("gitea"), FORGE_USER);
      await writeGitCredentials(this.layout, { url, user: FORGE_USER, token });
      await ensureRepository(forge, token, repository, {
        urls: argocdWebhooks(this.state),
        secret: credentialOf(this.state, "webhook"),
      });
      const catalogue = await readCatalogue(this.layout.root);
      await ensureTeams(forge, token, repository, [...new Set(catalogue.flatMap(({ owners }) => owners))]);
      await this.#deliverSources(token, catalogue);
    });
    await exportDelivered(this.layout);
    const [first] = environments;
    await writeVariables(this.layout, {
      KUBECONFIG: this.layout.kubeconfig,
      KUBECACHEDIR: join(this.layout.home, ".kube/cache"),
      FORGE_URL: forge,
      FORGE_TOKEN: token,
      // What people work on; the keys of the others are for their clusters only.
      ...(first === undefined ? {} : { SOPS_AGE_KEY_FILE: keyFile(this.layout, first) }),
      ...this.#argocdVariables(),
      ...this.#monitoringVariables(),
    });
  }

  /** Gives the services whose commits are made up their own repositories in the forge. */
  async #deliverSources(token: string, catalogue: readonly App[]): Promise<void> {
    const env = gitEnv(this.layout);
    for (const { app, commits } of await readSources(this.layout.root)) {
      const service = catalogue.find((candidate) => candidate.app === app);
      const source = service?.kind === "service" ? repositoryNamed(service.source) : undefined;
      if (source === undefined) continue;
      await ensureAdopted(this.layout, this.forge, token, source, async (directory) =>
        makeSource(directory, commits, env),
      );
    }
  }

  /** Gives a cluster its simulated nodes, the metrics API, and the kinds of the operators that its environment needs. */
  async furnishCluster(cluster: Cluster, tell: Tell): Promise<void> {
    await this.#untilReady(`${cluster.name}-apiserver`, tell);
    if (cluster === this.hub) return;
    const objects = [...clusterObjects(this.state, cluster), ...this.#definitions];
    await this.#apply(cluster, JSON.stringify(list(objects)));
  }

  /** Puts Argo CD's own objects on the hub, and starts it. */
  async startArgocd(tell: Tell): Promise<void> {
    const { hub } = this;
    const token = await ensureToken(this.layout, this.#tool("gitea"), REPORTER);
    const { repoURL } = await readSettings(this.layout.delivered);
    const user = await ensureToken(this.layout, this.#tool("gitea"), FORGE_USER);
    await ensureReporter(this.forge, user, repositoryOf(repoURL));
    const crds = join(this.#tool("argocd").assets, "manifests/crds");
    const files = (await readdir(crds)).filter((name) => name.endsWith("-crd.yaml"));
    const texts = await Promise.all(files.map((name) => readFile(join(crds, name), "utf8")));
    await this.#apply(hub, [JSON.stringify(namespace(ARGOCD_NAMESPACE)), ...texts].join("\n---\n"));
    let word = "";
    await waitFor(
      "the hub serves Argo CD's kinds",
      async () =>
        this.#kubectl(hub, ["get", "appprojects,applications,applicationsets"]).then(
          () => true,
          (error: unknown) => {
            word = messageOf(error);
          },
        ),
      { lastWord: () => word, tell },
    );
    const base = join(this.#tool("argocd").assets, "manifests/base/config");
    await this.#apply(hub, await build(this.#program("kustomize"), base));
    const config = await this.#render("argocd/config");
    await this.#apply(hub, config);
    // What Argo CD may do in a real cluster, without the add-ons, which the sandbox has not.
    const account = await this.#render("argocd/cluster");
    const rights = JSON.stringify(argocdRights("argocd-environment"));
    for (const cluster of this.clusters.values())
      await this.#apply(cluster, [account, rights].join("\n---\n"));
    const clusters = [...this.clusters].map(([environment, cluster]) => ({ environment, cluster }));
    const facts = { repoURL, forgeUser: REPORTER, forgeToken: token, clusters };
    await this.#apply(hub, JSON.stringify(list(hubObjects(this.state, facts))), "sandbox");
    const programs = {
      argocd: this.#program("argocd"),
      miniredis: this.#program("miniredis"),
      assets: this.#tool("argocd").assets,
    };
    const specs = await argocdProcesses(this.layout, this.state, hub, programs, config);
    await this.#declare(specs);
  }

  /**
   * Hands the environments to Argo CD: their root applications, ApplicationSets and projects. Those that it has are left
   * alone: from then on Git is the way in, and prod's waits for a human.
   */
  async handOver(): Promise<void> {
    const render = pLimit(2);
    const roots = await this.#kubectl(this.hub, [
      "get",
      "applications",
      "--namespace",
      ARGOCD_NAMESPACE,
      "--output",
      "name",
    ]);
    const missing = [...this.clusters.keys()].filter((name) => !roots.includes(`/root-${name}\n`));
    const shapes = await Promise.all(
      missing.map((name) => render(async () => this.#render(`overlays/${name}`))),
    );
    if (shapes.length > 0) await this.#apply(this.hub, shapes.join("\n---\n"));
  }

  /** Starts the stand-ins for sops-secrets-operator and apisix-ingress-controller in every environment's cluster. */
  async startOperators(): Promise<void> {
    const clusters = [...this.clusters].map(([environment, { name, adminKubeconfig }]) => ({
      name,
      kubeconfig: adminKubeconfig,
      keyFile: keyFile(this.layout, environment),
    }));
    const work: OperatorWork = { sops: this.#program("sops"), clusters };
    const operators = "lib/sandbox/operators-process";
    const [command, args] = programLine(repositoryRoot(), operators, [JSON.stringify(work)]);
    await declareProcess(this.layout, {
      name: "operators",
      command,
      args,
      env: { PATH: process.env["PATH"] ?? "", HOME: this.layout.home },
      after: [...this.clusters.keys()].map((name) => `${name}-apiserver`),
    });
  }

  /**
   * Starts the monitoring stack of an environment, as soon as Argo CD has made its namespace, and waits until it answers.
   * @param pace by how much scrapes and times of alerts are shorter
   */
  async startMonitoring(environment: string, pace: number, tell: Tell): Promise<void> {
    const cluster = this.clusters.get(environment);
    if (cluster === undefined) throw new Error(`${environment} has no cluster`);
    const get = ["get", "namespace", MONITORING_NAMESPACE, "--ignore-not-found", "--output", "name"];
    await waitFor(
      `${environment} has the namespace ${MONITORING_NAMESPACE}`,
      async () => ((await this.#kubectl(cluster, get)) === "" ? undefined : true),
      { tell },
    );
    const tree = this.layout.delivered;
    const objects = await monitoringObjects(this.state, cluster, tree);
    await this.#apply(cluster, JSON.stringify(list(objects)));
    const programs = {
      operator: this.#program("prometheus-operator"),
      prometheus: this.#program("prometheus"),
      alertmanager: this.#program("alertmanager"),
      stateMetrics: this.#program("kube-state-metrics"),
      adapter: this.#program("prometheus-adapter"),
    };
    const metrics = ARGOCD_PORTS.filter((name) => name.endsWith("-metrics"));
    const argocdPorts = Object.fromEntries(metrics.map((name) => [name, portOf(this.state, name)]));
    const facts = { tree, argocdPorts, pace };
    const specs = await monitoringProcesses(this.layout, this.state, cluster, programs, facts);
    await this.#declare(specs);
    await Promise.all(specs.map(async ({ name }) => this.#untilReady(name, tell)));
  }

  /** Waits until every process answers. */
  async untilAllReady(tell: Tell): Promise<void> {
    await Promise.all(this.#specs.map(async (spec) => this.#untilReady(spec.name, tell)));
  }

  /** Waits until the environments that heal by themselves are Synced and Healthy; see `untilSettled`. */
  async untilHealthy(healing: readonly string[], tell: Tell): Promise<Application[]> {
    return untilSettled(this.argocd, this.layout.delivered, [...this.clusters.keys()], healing, tell);
  }

  async #declare(specs: readonly ProcessSpec[]): Promise<void> {
    for (const spec of specs) await declareProcess(this.layout, spec);
    this.#specs.push(...specs);
  }

  async #untilReady(name: string, tell: Tell): Promise<void> {
    const spec = this.#specs.find((candidate) => candidate.name === name);
    if (spec === undefined) throw new Error(`${name} was not declared`);
    const look = async () => {
      await refuseFullDisk(this.layout);
      // One that runs as it was declared before answers, too, until the supervisor ends it.
      const started = (await startedProcesses(this.layout)).get(name);
      return (started?.spec === digestOf(spec) && (await isReady(spec.ready))) || undefined;
    };
    await waitFor(`${name} answers`, look, {
      quietMs: READY_QUIET_MS,
      lastWord: async () => lastLines(this.layout, name),
      tell,
    });
  }

  /** Server-side apply, with conflicts decided for the sandbox: it repairs. */
  async #apply(cluster: Cluster, manifests: string, manager = "npm-start"): Promise<void> {
    const args = [
      "apply",
      "--server-side",
      "--force-conflicts",
      `--field-manager=${manager}`,
      "--filename",
      "-",
    ];
    const applied = async () => {
      try {
        return await this.#kubectl(cluster, args, manifests);
      } catch (error) {
        // To apply again is harmless, and on a machine with much to do etcd may not answer in time.
        if (!messageOf(error).includes("etcdserver: request timed out")) throw error;
        return undefined;
      }
    };
    await waitFor(`${cluster.name} stores its objects`, applied);
  }

  async #kubectl(cluster: Cluster, args: readonly string[], input?: string): Promise<string> {
    const env = {
      ...this.#env(),
      KUBECONFIG: cluster.adminKubeconfig,
      KUBECACHEDIR: join(this.layout.home, ".kube/cache"),
    };
    return run(this.#program("kubectl"), args, input === undefined ? { env } : { env, input });
  }

  async #render(path: string): Promise<string> {
    return build(this.#program("kustomize"), join(this.layout.delivered, path));
  }

  /** Of programs that have nothing of their user's. */
  #env(): NodeJS.ProcessEnv {
    return { PATH: process.env["PATH"], HOME: this.layout.home };
  }

  #argocdVariables(): Record<string, string> {
    return {
      ARGOCD_SERVER: argocdServer(this.state),
      ARGOCD_AUTH_TOKEN: argocdToken(this.state),
      ARGOCD_OPTS: "--plaintext",
    };
  }

  /** Where `npm run status` finds what fires. */
  #monitoringVariables(): Record<string, string> {
    const monitored = [...this.clusters.keys()].filter((name) => isMonitored(this.state, name));
    const urls = monitored.map((name) => `${name}=${monitoringUrls(this.state, name).alertmanager}`);
    return urls.length === 0 ? {} : { ALERTMANAGER_URLS: urls.join(",") };
  }

  /** Puts the programs on the sandbox's PATH, Argo CD's git wrappers among them. */
  async #linkPrograms(): Promise<void> {
    const { bin } = this.layout;
    const programs = await Promise.all(
      ["kubectl", "argocd", "kustomize", "sops", "age", "age-keygen"].map(async (name) => {
        const path = this.#program(name);
        // In a shell with `.sandbox/env` the program on PATH is the link itself.
        return [name, dirname(path) === bin ? await readlink(path) : path] as const;
      }),
    );
    await rm(bin, { recursive: true, force: true });
    await mkdir(bin, { recursive: true, mode: 0o700 });
    const wrappers = ["git-verify-wrapper.sh", "gpg-wrapper.sh", "git-ask-pass.sh"];
    await Promise.all([
      ...programs.map(([name, path]) => symlink(path, join(bin, name))),
      ...wrappers.map((name) => symlink(join(this.#tool("argocd").assets, "hack", name), join(bin, name))),
    ]);
    await mkdir(this.layout.home, { recursive: true, mode: 0o700 });
  }

  #program(name: string): string {
    return this.#tool(name).path;
  }

  #tool(name: string): ResolvedTool {
    const tool = this.#tools.get(name);
    if (tool === undefined) throw new Error(`${name} was not resolved`);
    return tool;
  }
}

function list(items: readonly object[]): object {
  return { apiVersion: "v1", kind: "List", items };
}

function namespace(name: string): object {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name } };
}
