/** `npm run bootstrap`: brings Argo CD and this repository's roots to a real hub cluster. docs/bootstrap.md. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as hub from "./lib/argocd/hub.ts";
import { command, main } from "./lib/cli/command.ts";
import { confirm } from "./lib/cli/confirm.ts";
import { RefusedError } from "./lib/errors.ts";
import { uncommitted } from "./lib/git/checkout.ts";
import type { Target } from "./lib/kubectl.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { progressLines, resolveTool } from "./lib/tools/resolve.ts";
import { readEnvironments } from "./lib/tree/environment.ts";
import { build } from "./lib/tree/kustomize.ts";
import { exampleSettings, readSettings, SETTINGS_FILE, type Settings } from "./lib/tree/settings.ts";

interface Options {
  context?: string;
  cluster: string[];
  public?: true;
  yes?: true;
  dryRun?: true;
}

const root = repositoryRoot();

const program = command("bootstrap", "Install Argo CD on a hub cluster and hand this repository over to it")
  .option("--context <name>", "kubeconfig context of the hub (the current one)")
  .option(
    "--cluster <name=context>",
    "register a cluster, as in prod=<context> or prod-eu=<context>; may be repeated",
    (value: string, earlier: string[]) => [...earlier, value],
    [],
  )
  .option("--public", "the repository is read without a credential")
  .option("--yes", "do not ask")
  .option("--dry-run", "print what would be done and stop")
  .addHelpText(
    "after",
    "\nThe credential comes from the environment: FORGE_TOKEN (and FORGE_USER), or FORGE_SSH_KEY for a repository read over SSH.",
  )
  .action(async (options: Options) => bootstrap(options));

await main(program);

async function bootstrap(options: Options): Promise<void> {
  const settings = await readSettings(root);
  const examples = exampleSettings(settings);
  if (examples.length > 0) {
    throw new RefusedError(
      `${SETTINGS_FILE} still has example values: ${examples.join(", ")}`,
      "put your own there, and push",
    );
  }
  const environments = (await readEnvironments(root)).map(({ name }) => name);
  const clusters = options.cluster.map((argument) => hub.parseCluster(argument, environments));
  const credential = options.public === true ? undefined : hub.credentialFor(settings.repoURL, process.env);
  if (credential === undefined && options.public !== true) {
    const variable = settings.repoURL.startsWith("http") ? "FORGE_TOKEN" : "FORGE_SSH_KEY";
    throw new RefusedError(
      `${variable} is not set`,
      "export it, or say --public if the repository needs none",
    );
  }

  const onProgress = progressLines(say);
  const kustomize = await resolveTool("kustomize", { root, onProgress });
  const kubectl = await resolveTool("kubectl", { root, onProgress });
  const argocd = await resolveTool("argocd", { root, withoutEdits: true, onProgress });
  const target = {
    kubectl: kubectl.path,
    context: options.context ?? (await hub.currentContext(kubectl.path)),
  };
  const plan = await planOf({
    target,
    kustomize: kustomize.path,
    argocd: { version: `v${argocd.version}`, install: join(argocd.assets, "manifests/install.yaml") },
    settings,
    credential: credential !== undefined,
    requests: clusters,
    environments,
  });
  for (const line of hub.describePlan(plan)) say(line);
  if (options.dryRun === true) return;
  const unpushed = await uncommitted(root, ["argocd", "base/transformers", "overlays"]);
  if (unpushed.length > 0) {
    throw new RefusedError(
      `${unpushed[0]} is not committed`,
      "commit and push it: Argo CD deploys what Git has",
    );
  }
  if (options.yes !== true) await confirm();

  await hub.installArgocd(target, plan.argocd);
  say(`done: Argo CD ${plan.argocd.version}`);
  if (credential !== undefined) await hub.storeCredential(target, plan.repository.url, credential);
  for (const cluster of plan.clusters) {
    await hub.registerCluster(target, cluster, plan.account);
    say(`done: cluster ${cluster.name}`);
  }
  for (const { path, manifests } of plan.directories) {
    await hub.applyRendered(target, manifests);
    say(`done: ${path}`);
  }
  say("Argo CD takes it from here. What to do next is in docs/bootstrap.md.");
}

/** Looks at the hub and the clusters, and changes nothing. */
async function planOf(request: {
  target: Target;
  kustomize: string;
  argocd: { version: string; install: string };
  settings: Settings;
  credential: boolean;
  requests: readonly hub.ClusterRequest[];
  environments: readonly string[];
}): Promise<hub.Plan> {
  const { target, settings, credential, requests, environments } = request;
  const render = async (path: string) => build(request.kustomize, join(root, path));
  const { server } = await hub.endpointOf(target);
  await hub.requireRights(target);
  const state = await hub.readHub(target);
  const clusters: hub.Plan["clusters"][number][] = [];
  for (const cluster of requests) {
    const there = { ...target, context: cluster.context };
    const endpoint = await hub.endpointOf(there);
    const known = new Map([
      ...state.clusters,
      ...clusters.map(({ name, server: at }) => [name, at] as const),
    ]);
    const [other] = [...known].find(([name, at]) => name !== cluster.name && at === endpoint.server) ?? [];
    if (other !== undefined) {
      const what = `the context ${cluster.context} is of the cluster ${other}, which is registered already`;
      throw new RefusedError(what, `name the context of ${cluster.name}`);
    }
    await hub.requireRights(there);
    clusters.push({ ...cluster, server: endpoint.server, registered: state.clusters.get(cluster.name) });
  }
  const paths = ["argocd/root", ...environments.map((name) => `overlays/${name}`)];
  return {
    context: target.context,
    server,
    argocd: {
      version: request.argocd.version,
      installed: state.argocd,
      config: await render("argocd/config"),
      install: await readFile(request.argocd.install, "utf8"),
    },
    repository: { url: settings.repoURL, branch: settings.revision, credential },
    clusters,
    account: await render("argocd/cluster"),
    directories: await Promise.all(paths.map(async (path) => ({ path, manifests: await render(path) }))),
  };
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
