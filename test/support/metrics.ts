/** The metrics that rules and dashboards ask for, and those that an exporter gives. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import getPort from "get-port";
import { onTestFinished } from "vitest";
import { type Manifest, ofKind } from "../../scripts/lib/manifests/manifest.ts";
import { resolveTool } from "../../scripts/lib/tools/resolve.ts";
import { waitFor } from "../../scripts/lib/wait.ts";

/** The metrics with a prefix that the expressions of rules and dashboards name. */
export function metricsUsed(monitoring: readonly Manifest[], prefix: string): string[] {
  const rules = monitoring.filter(({ kind }) => kind === "PrometheusRule");
  const texts = JSON.stringify([rules, ofKind(monitoring, "ConfigMap").map(({ data }) => data)]);
  // Not the name of a recorded series, which has a colon or a rule of its own.
  const recorded = texts.matchAll(/"record":"(\w+)"/g);
  const own = new Set([...recorded].map(([, name]) => name));
  const found = texts.match(new RegExp(`\\b${prefix}_[a-z0-9_]+\\b`, "g")) ?? [];
  return [...new Set(found)].filter((name) => !own.has(name)).sort();
}

/** Runs an exporter of the tools until the test ends, and returns the names of the metrics that it gives. */
export async function metricsExported(
  tool: string,
  env: Record<string, string>,
  args: readonly string[] = [],
): Promise<Set<string>> {
  const { path } = await resolveTool(tool);
  const port = await getPort({ host: "127.0.0.1" });
  const exporter = spawn(path, [`--web.listen-address=127.0.0.1:${port}`, ...args], { env, stdio: "ignore" });
  onTestFinished(async () => {
    exporter.kill("SIGKILL");
    if (exporter.exitCode === null) await once(exporter, "exit");
  });
  const text = await waitFor(`${tool} answers`, async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/metrics`).catch(() => undefined);
    return answer?.ok === true ? answer.text() : undefined;
  });
  return new Set([...text.matchAll(/^([a-z_][a-z0-9_]*)[ {]/gm)].map(([, name = ""]) => name));
}
