/** A cluster that is lost with all that it had. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { ExternalError } from "../errors.ts";
import { run } from "../exec.ts";
import { programLine } from "../repository.ts";
import { startedProcesses } from "../sandbox/process.ts";
import type { Fault } from "./fault.ts";
import { type FaultSandbox, secondsOf } from "./sandbox.ts";

/** Everything that Git describes has it, and so do the Secrets that are made of sealed ones. */
const OURS = "--selector=app.kubernetes.io/part-of=ecommerce";
/** Kinds that Git describes; pods and what controllers make of them are not compared. */
const KINDS = [
  "namespaces,resourcequotas,limitranges,networkpolicies,storageclasses,ingressclasses",
  "clusterroles,clusterrolebindings,roles,rolebindings,serviceaccounts",
  "deployments,statefulsets,daemonsets,cronjobs,services,ingresses,hpa,pdb,configmaps,secrets",
  "validatingadmissionpolicies,validatingadmissionpolicybindings",
  "sopssecrets,servicemonitors,prometheusrules,apisixpluginconfigs,apisixconsumers,gatewayproxies",
].join(",");

const Metadata = z.object({
  name: z.string(),
  namespace: z.string().default(""),
  labels: z.record(z.string(), z.string()).default({}),
  annotations: z.record(z.string(), z.string()).default({}),
});
const Objects = z.object({
  items: z.array(z.looseObject({ kind: z.string(), metadata: Metadata, spec: z.looseObject({}).optional() })),
});

export const lostCluster: Fault = {
  name: "lost-cluster",
  expected:
    "dev, thrown away with its etcd and registered anew, is rebuilt from Git alone to the same objects",
  isSlow: true,
  async run(sandbox) {
    const { layout } = sandbox;
    const before = await objects(sandbox);
    const seconds = await secondsOf(async () => {
      const started = await startedProcesses(layout);
      await rm(join(layout.data, "dev/etcd"), { recursive: true });
      // All of them: one that remembers the old cluster would wait for news of it.
      for (const [name, { pid }] of started) if (name.startsWith("dev-")) process.kill(pid, "SIGKILL");
      // It registers the cluster anew.
      await run(...programLine(layout.root, "start", []));
      await sandbox.untilHealthy("dev", 240);
    });
    const after = await objects(sandbox);
    const differing = [...new Set([...before.keys(), ...after.keys()])].filter(
      (id) => !isDeepStrictEqual(before.get(id), after.get(id)),
    );
    if (differing.length > 0)
      throw new ExternalError(`${differing.length} objects differ: ${differing.slice(0, 8).join(", ")}`);
    return `${before.size} objects are the same, field by field, after ${seconds} s`;
  },
};

/** By kind, namespace and name, each object with all that Git and the sealed Secrets say of it. */
async function objects(sandbox: FaultSandbox): Promise<Map<string, unknown>> {
  const { items } = await sandbox.get("dev", Objects, KINDS, "--all-namespaces", OURS);
  return new Map(
    items.map(({ metadata, spec, ...object }) => {
      const { name, namespace, labels, annotations } = metadata;
      const kept = Object.entries(annotations).filter(
        ([key]) => !key.startsWith("deployment.kubernetes.io/"),
      );
      return [
        `${object.kind} ${namespace}/${name}`,
        { ...object, status: undefined, labels, annotations: Object.fromEntries(kept), spec: chosen(spec) },
      ];
    }),
  );
}

/** Without the addresses and ports that a cluster chooses. */
function chosen(spec: Record<string, unknown> | undefined): unknown {
  if (spec === undefined) return undefined;
  const ports = z.array(z.looseObject({})).safeParse(spec["ports"]).data;
  return {
    ...spec,
    clusterIP: undefined,
    clusterIPs: undefined,
    healthCheckNodePort: undefined,
    ports: ports?.map((port) => ({ ...port, nodePort: undefined })),
  };
}
