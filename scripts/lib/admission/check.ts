/** Whether an API server with an environment's policies takes what a change makes of it, as `npm run check` asks. */
import type { Finding } from "../finding.ts";
import { inNamespace } from "../manifests/manifest.ts";
import type { Rendering } from "../manifests/rendering.ts";
import { type Definition, operatorDefinitions, readDefinitions } from "../sandbox/definitions.ts";
import { presentTools } from "../tools/resolve.ts";
import type { App } from "../tree/catalogue.ts";
import { withApiServer } from "./api-server-process.ts";
import { DryRun } from "./dry-run.ts";
import { exceptionFindings, quotaFindings, refusedFindings } from "./findings.ts";

const TOOLS = ["etcd", "kube-apiserver"];
const MONITORING = "monitoring.coreos.com";

/**
 * @param server whether an API server may be started; without one the rest is looked at
 * @param asked the overlays of apps that are asked about
 * @param rendered every app's overlay of their environments; the server starts meanwhile
 * @param options.first the environment that builds the live base
 * @returns what is found, and a line about what was asked
 */
export async function checkAdmission(
  root: string,
  server: boolean,
  asked: readonly string[],
  rendered: Promise<readonly Rendering[]>,
  { apps, ...options }: { apps: readonly App[]; first: string; now: Date },
): Promise<{ findings: Finding[]; said: string }> {
  if (asked.length === 0) return { findings: [], said: "" };
  const overlays = `${asked.length} ${asked.length === 1 ? "overlay" : "overlays"}`;
  const placed = rendered.then((renderings) => {
    const all = renderings.map(({ overlay, manifests }) => {
      const app = apps.find((candidate) => candidate.app === overlay.split("/")[2]);
      return { overlay, manifests: manifests.map((one) => inNamespace(one, app?.namespace ?? "default")) };
    });
    return { all, changed: all.filter(({ overlay }) => asked.includes(overlay)) };
  });
  const present = server ? await presentTools(TOOLS) : new Map<string, string>();
  const [etcd, kubeApiserver] = TOOLS.map((name) => present.get(name));
  const others = async () => {
    const { all, changed } = await placed;
    return [...quotaFindings(all), ...exceptionFindings(changed, options)];
  };
  if (!server) return { findings: await others(), said: "" };
  if (etcd === undefined || kubeApiserver === undefined) {
    const missing = TOOLS.filter((name) => !present.has(name)).join(" and ");
    const fact = `${overlays} NOT put before an API server: ${missing} not built`;
    return { findings: await others(), said: `${fact}; run \`npm run tools -- ${TOOLS.join(" ")}\`` };
  }
  const [refused, rest] = await Promise.all([
    withApiServer({ etcd, kubeApiserver }, async (api) => {
      const { all, changed } = await placed;
      const dryRun = await DryRun.prepare(api, await definitionsFor(root, changed));
      return refusedFindings(dryRun, all, new Set(asked));
    }),
    others(),
  ]);
  return { findings: [...refused, ...rest], said: `${overlays} put before an API server` };
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
