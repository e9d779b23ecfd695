/** `npm run bootstrap`: brings Argo CD and this repository's roots to a real hub cluster. docs/bootstrap.md. */
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import * as hub from "./lib/argocd/hub.ts";
import { command, main } from "./lib/cli/command.ts";
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
  const plan = await planOf(
    target,
    `v${argocd.version}`,
    settings,
    credential !== undefined,
    clusters,
    environments,
  );
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

  const render = async (directory: string) => build(kustomize.path, join(root, directory));
  const manifest = join(argocd.assets, "manifests/install.yaml");
  await hub.installArgocd(target, manifest, await render("argocd/config"));
  say(`done: Argo CD ${plan.argocd.version}`);
  if (credential !== undefined) await hub.storeCredential(target, plan.repository.url, credential);
  for (const cluster of plan.clusters) {
    await hub.registerCluster(target, cluster);
    say(`done: cluster ${cluster.name}`);
  }
  for (const directory of plan.directories) {
    await hub.applyRendered(target, await render(directory));
    say(`done: ${directory}`);
  }
  say("Argo CD takes it from here. What to do next is in docs/bootstrap.md.");
}

async function planOf(
  target: Target,
  version: string,
  settings: Settings,
  credential: boolean,
  requests: readonly hub.ClusterRequest[],
  environments: readonly string[],
): Promise<hub.Plan> {
  const { server } = await hub.endpointOf(target);
  const state = await hub.readHub(target);
  const clusters: hub.Plan["clusters"][number][] = [];
  for (const request of requests) {
    const endpoint = await hub.endpointOf({ ...target, context: request.context });
    clusters.push({ ...request, server: endpoint.server, registered: state.clusters.get(request.name) });
  }
  return {
    context: target.context,
    server,
    argocd: { version, installed: state.argocd },
    repository: { url: settings.repoURL, branch: settings.revision, credential },
    clusters,
    directories: ["argocd/root", ...environments.map((name) => `overlays/${name}`)],
  };
}

async function confirm(): Promise<void> {
  if (!process.stdin.isTTY)
    throw new RefusedError("nobody can be asked here", "say --yes if the plan above is right");
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await terminal.question("Do this? [y/N] ");
  terminal.close();
  if (!/^y(es)?$/i.test(answer.trim())) throw new RefusedError("nothing was changed");
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
