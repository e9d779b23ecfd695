/** A bounded load on an environment: a Job in a namespace of its own, applied, awaited and deleted. load/. */
import { z } from "zod";
import { ExternalError, messageOf, RefusedError } from "../errors.ts";
import { kubectl, type Target } from "../kubectl.ts";
import { type Manifest, parseManifests } from "../manifests/manifest.ts";
import { waitFor } from "../wait.ts";
import { type Check, notAsked } from "./checks.ts";
import { parseLive } from "./cluster.ts";

const NAMESPACE = "load";
/** The alert ServiceSlow fires above it: base/monitoring/rules/services.yaml. */
const SLOW_MS = 1000;
/** One request in a hundred: the gateway answers some by itself when a pod goes. */
const FAILED_SHARE = 0.01;

const Phase = z.object({
  total: z.number(),
  failed: z.record(z.string(), z.number()),
  p99Ms: z.number(),
});
const Result = z.union([z.object({ error: z.string() }), z.object({ signIns: Phase, orders: Phase })]);
type Result = z.infer<typeof Result>;

/** Where the load goes. */
export interface LoadTarget {
  host: string;
  /** The cluster's address of the gateway's Service. */
  address: string;
  /** The certificate that the gateway shows for the host, in PEM. */
  certificate: string;
}

/**
 * The manifests of `load/` for one environment.
 * @param rendered what kustomize makes of `load/`
 */
export function loadManifests(rendered: string, { host, address, certificate }: LoadTarget): Manifest[] {
  // As load/job.yaml has both.
  const text = rendered.replaceAll("api.domain", host).replaceAll("192.0.2.1", address);
  const metadata = { name: "certificate", namespace: NAMESPACE };
  const configMap = { apiVersion: "v1", kind: "ConfigMap", metadata, data: { "tls.crt": certificate } };
  return [...parseManifests(text), configMap];
}

/**
 * The address of the gateway's Service.
 * @throws RefusedError when there is none
 */
export async function gatewayAddress(target: Target): Promise<string> {
  const args = ["get", "service", "apisix", "--namespace=gateway", "--ignore-not-found"];
  const address = await kubectl(target, [...args, "--output=jsonpath={.spec.clusterIP}"]);
  if (address !== "") return address;
  throw new RefusedError(`${target.context} has no gateway`, "sync the environment first");
}

/**
 * Runs the load and deletes it, also when it fails or is interrupted.
 * @param onInterrupt has the deletion done when the command is interrupted
 * @returns how it went, and how far the autoscalers went with it
 */
export async function runLoad(
  target: Target,
  manifests: readonly Manifest[],
  onInterrupt: (undo: () => Promise<unknown>) => void,
): Promise<Check> {
  const remove = async () =>
    kubectl(target, ["delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false"]);
  onInterrupt(remove);
  try {
    const [namespaces, others] = [true, false].map((first) =>
      manifests.filter(({ kind }) => (kind === "Namespace") === first),
    );
    for (const items of [namespaces, others])
      await kubectl(
        target,
        ["apply", "--server-side", "--field-manager=verify", "--filename=-"],
        JSON.stringify({ apiVersion: "v1", kind: "List", items }),
      );
    const sizes = await ended(target);
    const log = await kubectl(target, ["logs", "job/load", `--namespace=${NAMESPACE}`, "--tail=1"]);
    return judgeLoad(parseResult(log), sizes);
  } catch (error) {
    if (error instanceof ExternalError) return notAsked("load", messageOf(error));
    throw error;
  } finally {
    await remove();
  }
}

const Job = z.object({
  status: z
    .object({
      succeeded: z.number().default(0),
      failed: z.number().default(0),
      active: z.number().default(0),
    })
    .default({ succeeded: 0, failed: 0, active: 0 }),
});

/** Waits for the Job's end. @returns by autoscaler, the least and the most pods meanwhile */
async function ended(target: Target): Promise<Map<string, [least: number, most: number]>> {
  const sizes = new Map<string, [number, number]>();
  let word = "";
  await waitFor(
    "the load has ended",
    async () => {
      const json = await kubectl(target, ["get", "hpa", "--all-namespaces", "--output=json"]);
      for (const { metadata, status } of parseLive(json)) {
        const [least, most] = sizes.get(metadata.name) ?? [status.currentReplicas, status.currentReplicas];
        const now = status.currentReplicas;
        sizes.set(metadata.name, [Math.min(least, now), Math.max(most, now)]);
      }
      const job = await kubectl(target, ["get", "job", "load", `--namespace=${NAMESPACE}`, "--output=json"]);
      const { succeeded, failed, active } = Job.parse(JSON.parse(job)).status;
      word = active > 0 ? `its pod runs; ${inWordsOf(sizes)}` : "it has no pod yet";
      return succeeded + failed > 0 ? true : undefined;
    },
    // The Job ends itself after ten minutes.
    { lastWord: () => word, everyMs: 2000, timeoutMs: 660_000 },
  );
  return sizes;
}

/** Reads the line that load/load.mjs prints. @throws ExternalError for anything else */
export function parseResult(line: string): Result {
  try {
    return Result.parse(JSON.parse(line));
  } catch (error) {
    throw new ExternalError("the load has said nothing that can be read", undefined, { cause: error });
  }
}

/** @param sizes by autoscaler, the least and the most pods while it ran */
export function judgeLoad(result: Result, sizes: ReadonlyMap<string, readonly [number, number]>): Check {
  if ("error" in result)
    return {
      name: "load",
      seen: result.error,
      verdict: "failed",
      findings: [`load: ${result.error}; load/load.mjs`],
    };
  const phases = [
    { name: "sign-ins", ...result.signIns },
    { name: "orders", ...result.orders },
  ];
  const findings = phases.flatMap(({ name, total, failed, p99Ms }) => {
    const count = Object.values(failed).reduce((sum, some) => sum + some, 0);
    const answers = Object.entries(failed).map(([answer, some]) => `${some} times ${answer}`);
    return [
      ...(count > total * FAILED_SHARE
        ? [`load: ${count} of ${total} ${name} failed: ${answers.join(", ")}; look at the services' logs`]
        : []),
      ...(p99Ms > SLOW_MS
        ? [`load: one of a hundred ${name} took longer than ${p99Ms} ms; docs/runbooks/alerts.md`]
        : []),
    ];
  });
  const seen = phases.map(({ name, total, p99Ms }) => `${total} ${name} (p99 ${p99Ms} ms)`);
  return {
    name: "load",
    seen: [...seen, ...(sizes.size === 0 ? [] : [inWordsOf(sizes)])].join(", "),
    verdict: findings.length === 0 ? "ok" : "failed",
    findings,
  };
}

function inWordsOf(sizes: ReadonlyMap<string, readonly [number, number]>): string {
  return [...sizes]
    .map(([name, [least, most]]) => `${name} ${least === most ? least : `${least} to ${most}`}`)
    .join(", ");
}
