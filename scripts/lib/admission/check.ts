/** Whether an API server with an environment's policies takes what a change makes of it, as `npm run check` asks. */
import type { Acknowledged } from "../check/acknowledged.ts";
import { type CheckedChange, differingIn, placed } from "../check/change.ts";
import { NOT_ASKED, type Part } from "../check/report.ts";
import { counted } from "../cli/counted.ts";
import type { Rendering } from "../manifests/rendering.ts";
import { type Definition, operatorDefinitions, readDefinitions } from "../sandbox/definitions.ts";
import type { KubernetesClient } from "../sandbox/kubernetes-client.ts";
import { presentTools } from "../tools/resolve.ts";
import type { App } from "../tree/catalogue.ts";
import { environmentOf } from "../tree/overlays.ts";
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

export interface AdmissionOptions {
  apps: readonly App[];
  /** The environment that builds the live base. */
  first: string;
  now: Date;
  acknowledged: Acknowledged;
}

/**
 * Whether the quotas hold what the environments' apps may need, and whether exceptions are over.
 * @param change.summed where the change needs more of a quota
 */
export async function checkQuotas(change: CheckedChange, options: AdmissionOptions): Promise<Part> {
  const all = placed(change.after, options.apps);
  const changed = differingIn({ ...change, after: all });
  const summed = all.filter(({ overlay }) => change.summed.has(environmentOf(overlay)));
  const findings = [...quotaFindings(summed), ...exceptionFindings(changed, options)];
  return {
    name: "quotas",
    looked: change.summed.size === 0 ? undefined : [...change.summed].join(", "),
    findings,
  };
}

/**
 * Asks an API server about the overlays that differ.
 * @param server undefined: no overlay was likely to differ
 */
export async function checkAdmission(
  root: string,
  server: ApiServer | "not asked" | undefined,
  change: CheckedChange,
  options: AdmissionOptions,
): Promise<Part> {
  const name = "API server";
  const nothing = (why: string): Part => ({ name, looked: `${NOT_ASKED}${why}`, findings: [] });
  if (change.differing.size === 0 || server === undefined) return { name, looked: undefined, findings: [] };
  if (server === "not asked") return nothing("--no-server");
  if ("missing" in server)
    return nothing(`${server.missing.join(" and ")} not built; run \`npm run tools -- ${TOOLS.join(" ")}\``);
  const all = placed(change.after, options.apps);
  const definitions = await definitionsFor(root, differingIn({ ...change, after: all }));
  const dryRun = await DryRun.prepare(await server.api, definitions);
  const { acknowledged } = options;
  const before = placed(change.before, options.apps);
  const findings = await refusedFindings(dryRun, all, before, { asked: change.differing, acknowledged });
  return { name, looked: counted(change.differing.size, "overlay"), findings };
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
