/** Whether an API server with an environment's policies takes what a change makes of it, as `npm run check` asks. */
import type { Finding } from "../finding.ts";
import { inNamespace } from "../manifests/manifest.ts";
import type { Rendering } from "../manifests/rendering.ts";
import { type Definition, operatorDefinitions, readDefinitions } from "../sandbox/definitions.ts";
import type { KubernetesClient } from "../sandbox/kubernetes-client.ts";
import { presentTools } from "../tools/resolve.ts";
import type { App } from "../tree/catalogue.ts";
import { withApiServer } from "./api-server-process.ts";
import { DryRun } from "./dry-run.ts";
import { exceptionFindings, quotaFindings, refusedFindings } from "./findings.ts";

const TOOLS = ["etcd", "kube-apiserver"];
const MONITORING = "monitoring.coreos.com";

/** An API server that starts, or the tools that are not built for it. */
export type ApiServer = { readonly api: Promise<KubernetesClient> } | { readonly missing: readonly string[] };

/** Calls a function while an API server starts, which takes longer than anything else of a check. */
export async function whileServerStarts<T>(use: (server: ApiServer) => Promise<T>): Promise<T> {
  const present = await presentTools(TOOLS);
  const [etcd, kubeApiserver] = TOOLS.map((name) => present.get(name));
  if (etcd === undefined || kubeApiserver === undefined)
    return use({ missing: TOOLS.filter((name) => !present.has(name)) });
  return withApiServer({ etcd, kubeApiserver }, async (api) => use({ api }));
}

/**
 * @param server the one to ask; without one the rest is looked at
 * @param asked the overlays of apps that are asked about
 * @param rendered every app's overlay of their environments
 * @param options.first the environment that builds the live base
 * @returns what is found, and a line about what was asked
 */
export async function checkAdmission(
  root: string,
  server: ApiServer | undefined,
  asked: readonly string[],
  rendered: Promise<readonly Rendering[]>,
  { apps, ...options }: { apps: readonly App[]; first: string; now: Date },
): Promise<{ findings: Finding[]; said: string }> {
  if (asked.length === 0) return { findings: [], said: "" };
  const all = (await rendered).map(({ overlay, manifests }) => {
    const app = apps.find((candidate) => candidate.app === overlay.split("/")[2]);
    return { overlay, manifests: manifests.map((one) => inNamespace(one, app?.namespace ?? "default")) };
  });
  const changed = all.filter(({ overlay }) => asked.includes(overlay));
  const findings = [...quotaFindings(all), ...exceptionFindings(changed, options)];
  if (server === undefined) return { findings, said: "" };
  const overlays = `${asked.length} ${asked.length === 1 ? "overlay" : "overlays"}`;
  if ("missing" in server) {
    const fact = `${overlays} NOT put before an API server: ${server.missing.join(" and ")} not built`;
    return { findings, said: `${fact}; run \`npm run tools -- ${TOOLS.join(" ")}\`` };
  }
  const definitions = await definitionsFor(root, changed);
  const dryRun = await DryRun.prepare(await server.api, definitions);
  const refused = await refusedFindings(dryRun, all, new Set(asked));
  return { findings: [...refused, ...findings], said: `${overlays} put before an API server` };
}

/** The definitions of the kinds in some renderings: the server takes a while for each, and the operator's are large. */
async function definitionsFor(root: string, renderings: readonly Rendering[]): Promise<Definition[]> {
  const groupOf = (apiVersion: string) => apiVersion.split("/")[0] ?? "";
  const kinds = new Set(
    renderings.flatMap(({ manifests }) =>
      manifests.map(({ apiVersion, kind }) => `${groupOf(apiVersion)}/${kind}`),
    ),
  );
  const isMonitored = [...kinds].some((kind) => kind.startsWith(`${MONITORING}/`));
  const operator = isMonitored ? await operatorDefinitions() : undefined;
  const all = await readDefinitions(root, undefined, operator);
  return all.filter(({ spec }) => kinds.has(`${spec.group}/${spec.names.kind}`));
}
