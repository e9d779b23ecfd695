/** `npm run verify <env>`: whether what Git has of an environment runs on a cluster, as a table with a verdict. docs/verify.md. */
import { join } from "node:path";
import { compareAnew, listApplications } from "./lib/argocd/applications.ts";
import { connectArgocd } from "./lib/argocd/connection.ts";
import { command, main, onInterrupt } from "./lib/cli/command.ts";
import { confirm } from "./lib/cli/confirm.ts";
import { table } from "./lib/cli/table.ts";
import { CommandError, FindingsError, messageOf, RefusedError } from "./lib/errors.ts";
import type { Target } from "./lib/kubectl.ts";
import type { Manifest } from "./lib/manifests/manifest.ts";
import { renderCheckout } from "./lib/render/checkout.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { findSandbox } from "./lib/sandbox/variables.ts";
import { firingAlerts } from "./lib/status/alerts.ts";
import { toolPath } from "./lib/tools/path.ts";
import { findEnvironment, readEnvironments } from "./lib/tree/environment.ts";
import { build } from "./lib/tree/kustomize.ts";
import { allOverlays } from "./lib/tree/overlays.ts";
import {
  type Check,
  certificatePlaces,
  checkAlerts,
  checkApplications,
  checkCertificates,
  checkCluster,
  notAsked,
  type ServedCertificate,
} from "./lib/verify/checks.ts";
import { readCertificate, readCluster } from "./lib/verify/cluster.ts";
import { gatewayAddress, loadManifests, runLoad } from "./lib/verify/load.ts";

interface Options {
  context?: string;
  json?: true;
  load?: true;
  yes?: true;
}

const program = command("verify", "Whether what Git has of an environment runs on a cluster.")
  .usage("[options] <env>")
  .argument("<env>", "the environment, such as prod")
  .option("--context <context>", "the cluster, of your kubeconfig; by default the environment's name")
  .option("--json", "the checks as a list of objects")
  .option("--load", "besides, have a Job sign in 100 times and place 500 orders, and watch the autoscalers")
  .option("--yes", "do not ask before the load")
  .action(verify);
await main(program);

async function verify(env: string, { context = env, json, load, yes }: Options): Promise<void> {
  const root = repositoryRoot();
  findEnvironment(await readEnvironments(root), env);
  const sandbox = await findSandbox(root, process.env);
  const target = {
    kubectl: await toolPath("kubectl"),
    context,
    env: { ...process.env, ...sandbox?.variables },
  };
  const wanted = await rendered(root, env);
  const [live, certificates, applications, alerts] = await Promise.all([
    readCluster(target),
    readCertificates(target, wanted),
    askArgocd(root, env, context),
    askAlertmanager(root, env),
  ]);
  const now = new Date();
  const checks = [
    ...checkCluster({ wanted, live, now }),
    checkCertificates(certificates, now),
    applications,
    alerts,
    ...(load === true ? [await putLoad(target, { env, certificates, isSure: yes === true })] : []),
  ];
  process.stdout.write(json ? `${JSON.stringify(checks, null, 2)}\n` : describe(env, context, checks));
  const failed = checks.filter(({ verdict }) => verdict === "failed");
  if (failed.length > 0)
    throw new FindingsError(
      `${env}: ${failed.map(({ name }) => name).join(", ")} failed`,
      "each line above says what to do",
    );
}

/** The environment as Git has it. */
async function rendered(root: string, env: string): Promise<Manifest[]> {
  const overlays = (await allOverlays(root)).filter((overlay) => overlay.startsWith(`overlays/${env}/`));
  const { renderings, findings } = await renderCheckout(root, overlays);
  const [broken] = findings;
  if (broken !== undefined) throw new FindingsError(`${broken.path}: ${broken.what}`, broken.way);
  return renderings.flatMap(({ manifests }) => manifests);
}

async function readCertificates(target: Target, wanted: readonly Manifest[]) {
  return Promise.all(
    certificatePlaces(wanted).map(async ({ namespace, name, host }) => ({
      secret: `${namespace}/${name}`,
      host,
      certificate: await readCertificate(target, { namespace, name }),
    })),
  );
}

/** The load goes to the first host that has a certificate. */
async function putLoad(
  target: Target,
  { env, certificates, isSure }: { env: string; certificates: readonly ServedCertificate[]; isSure: boolean },
): Promise<Check> {
  const [served] = certificates.filter(({ certificate }) => certificate !== undefined);
  if (served?.certificate === undefined)
    throw new RefusedError(`${env} has no host with a certificate`, "sync it first, or leave --load out");
  const { host, certificate } = served;
  process.stderr.write(
    `In ${target.context}: a Job in a namespace of its own, load, that is deleted afterwards.\n` +
      `At https://${host}: it signs one user up, signs in 100 times, 20 at once, and places 500 orders, 50 at once.\n`,
  );
  if (!isSure) await confirm();
  const job = await build(await toolPath("kustomize"), join(repositoryRoot(), "load"));
  const place = { host, address: await gatewayAddress(target), certificate: certificate.toString() };
  return runLoad(target, loadManifests(job, place), onInterrupt);
}

/** A cluster is called in Argo CD as in the kubeconfig, or Argo CD has one of the environment only. */
async function askArgocd(root: string, env: string, context: string): Promise<Check> {
  try {
    const argocd = await connectArgocd(root, process.env);
    const all = await listApplications(argocd, env);
    const here = all.filter(({ cluster }) => cluster === context);
    return checkApplications(await compareAnew(argocd, here.length > 0 ? here : all));
  } catch (error) {
    if (error instanceof CommandError) return notAsked("applications", messageOf(error));
    throw error;
  }
}

async function askAlertmanager(root: string, env: string): Promise<Check> {
  const found = await firingAlerts(root, process.env, env);
  if (found === undefined) return notAsked("alerts", "ALERTMANAGER_URLS has none of this environment");
  const [note] = found.notes;
  return note === undefined ? checkAlerts(found.alerts) : notAsked("alerts", note);
}

function describe(env: string, context: string, checks: readonly Check[]): string {
  const rows = checks.map(({ name, seen, verdict }) => [name, verdict, seen]);
  const findings = checks.flatMap((check) => check.findings.map((line) => `${line}\n`));
  const below = findings.length === 0 ? "" : `\n${findings.join("")}`;
  return `${env} on the cluster ${context}\n\n${table(["CHECK", "VERDICT", "SEEN"], rows)}\n${below}`;
}
