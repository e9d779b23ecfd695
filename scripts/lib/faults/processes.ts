/** Faults of the programs that deliver: killed while a sync runs. */
import { readApplication } from "../argocd/applications.ts";
import { ExternalError, messageOf } from "../errors.ts";
import { startedProcesses } from "../sandbox/process.ts";
import { waitFor } from "../wait.ts";
import type { Fault } from "./fault.ts";
import { type FaultSandbox, type Place, secondsOf } from "./sandbox.ts";

/**
 * All that a sync of dev goes through, each with an object that is deleted. They are of different applications: Argo CD heals the
 * same one a second time after a pause that triples.
 */
const KILLED = [
  ["argocd-application-controller", "user-service", "microservices"],
  ["argocd-repo-server", "product-service", "microservices"],
  ["argocd-server", "order-service", "microservices"],
  ["dev-apiserver", "payment-service", "microservices"],
  ["dev-etcd", "apisix", "gateway"],
  ["dev-controller-manager", "apisix-ingress-controller", "gateway"],
  ["hub-apiserver", "redis", "data"],
  ["hub-etcd", "postgresql", "data"],
] as const;

export const killedWhileSyncing: Fault = {
  name: "killed-while-syncing",
  expected: "dev heals a deleted Service, whichever program is killed meanwhile",
  async run(sandbox) {
    const took: string[] = [];
    for (const [name, app, namespace] of KILLED)
      took.push(`${name} ${await killed(sandbox, name, { cluster: "dev", app, namespace })} s`);
    return `healed after ${took.join(", ")}`;
  },
};

/** @returns the seconds until all was well */
async function killed(
  sandbox: FaultSandbox,
  name: string,
  { cluster, app, namespace }: Place,
): Promise<number> {
  const started = (await startedProcesses(sandbox.layout)).get(name);
  if (started === undefined) throw new ExternalError(`the sandbox has no process ${name}`);
  const service = ["service", app, `--namespace=${namespace}`];
  const uid = async () =>
    sandbox.kubectl(cluster, "get", ...service, "--ignore-not-found", "--output=jsonpath={.metadata.uid}");
  const before = await uid();
  let word = "";
  return secondsOf(async () => {
    await sandbox.kubectl(cluster, "delete", ...service, "--wait=false");
    process.kill(started.pid, "SIGKILL");
    await waitFor(
      `${cluster}-${app} is Healthy again after ${name} was killed`,
      async () => {
        try {
          const now = await uid();
          const { sync, health } = await readApplication(sandbox.argocd, `${cluster}-${app}`);
          word = `${sync} ${health}`;
          return (now !== "" && now !== before && sync === "Synced" && health === "Healthy") || undefined;
        } catch (error) {
          // The program that would answer has just been killed.
          if (!(error instanceof ExternalError)) throw error;
          word = messageOf(error);
          return undefined;
        }
      },
      // Argo CD repeats a comparison that was cut off after two to three minutes.
      { lastWord: () => word, quietMs: 300_000 },
    );
  });
}
