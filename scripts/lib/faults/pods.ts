/** Faults of pods and nodes. */
import { z } from "zod";
import { ExternalError } from "../errors.ts";
import type { Fault } from "./fault.ts";
import { isReady } from "./sandbox.ts";

const service = (app: string) => ({ cluster: "prod", namespace: "microservices", app });

export const deletedPods: Fault = {
  name: "deleted-pods",
  expected: "all pods of user-service in prod, deleted at once, come back",
  async run(sandbox) {
    const place = service("user-service");
    const before = await sandbox.pods(place);
    const names = before.map(({ metadata }) => metadata.name);
    const force = [`--namespace=${place.namespace}`, "--force", "--grace-period=0"];
    await sandbox.kubectl(place.cluster, "delete", "pods", ...force, ...names);
    const seconds = await sandbox.untilReady(place, before.length);
    return `${before.length} deleted, ${before.length} others ready after ${seconds} s`;
  },
};

export const drainedNode: Fault = {
  name: "drained-node",
  expected: "a node of prod drains, and its pods run elsewhere",
  async run(sandbox) {
    const place = service("order-service");
    const before = await sandbox.pods(place);
    const node = before[0]?.spec.nodeName ?? "";
    const drain = ["--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s"];
    try {
      await sandbox.kubectl(place.cluster, "drain", node, ...drain);
      const seconds = await sandbox.untilReady(place, before.length);
      const left = (await sandbox.pods(place)).filter(({ spec }) => spec.nodeName === node);
      if (left.length > 0) throw new ExternalError(`${node} still has ${left.length} pods of ${place.app}`);
      return `${node} is empty, and ${place.app} is whole elsewhere after ${seconds} s`;
    } finally {
      await sandbox.kubectl(place.cluster, "uncordon", node);
    }
  },
};

export const closedBudget: Fault = {
  name: "closed-budget",
  expected: "with no room for a new pod, one pod of payment-service may go, and a second one may not",
  async run(sandbox) {
    const place = service("payment-service");
    const before = await sandbox.pods(place);
    const [first, second] = before.map(({ metadata }) => metadata.name);
    if (first === undefined || second === undefined)
      throw new ExternalError(`prod has ${before.length} pods of ${place.app}; at least two are needed`);
    const answers = await sandbox.withoutRoom(place.cluster, async () => [
      await sandbox.evict(place, first),
      await sandbox.evict(place, second),
    ]);
    await sandbox.untilReady(place, before.length);
    if (answers[0] === true && answers[1] === false)
      return "the first eviction was granted, the second one refused by the budget";
    const words = answers.map((isGranted) => (isGranted ? "granted" : "refused"));
    throw new ExternalError(`the evictions were ${words.join(" and ")}`);
  },
};

const Claim = z.object({ spec: z.object({ volumeName: z.string() }) });

/** Simulated pods make no connections: this shows what the cluster does. docs/verification.md */
export const databaseDown: Fault = {
  name: "database-down",
  expected: "PostgreSQL of dev comes back with its volume, and no pod of a service is replaced meanwhile",
  async run(sandbox) {
    const database = { cluster: "dev", namespace: "data", app: "postgresql" };
    const services = ["user-service", "product-service", "order-service", "payment-service"];
    const uids = async () => {
      const places = services.map((app) => ({ cluster: "dev", namespace: "microservices", app }));
      const pods = await Promise.all(places.map(async (place) => sandbox.pods(place)));
      return pods.flatMap((some) => some.map(({ metadata }) => metadata.uid)).toSorted();
    };
    const volume = async () =>
      (await sandbox.get("dev", Claim, "pvc", "data-postgresql-0", "--namespace=data")).spec.volumeName;
    const [before, volumeBefore] = [await uids(), await volume()];
    await sandbox.withoutRoom("dev", async () => {
      await sandbox.kubectl("dev", "delete", "pod", "postgresql-0", "--namespace=data", "--wait=true");
      if ((await sandbox.pods(database)).some(isReady))
        throw new ExternalError("postgresql-0 is ready although no node takes pods");
    });
    const seconds = await sandbox.untilReady(database, 1);
    if ((await volume()) !== volumeBefore) throw new ExternalError("postgresql-0 has another volume");
    if (String(await uids()) !== String(before)) throw new ExternalError("pods of services were replaced");
    return `back with its volume ${seconds} s after a node took pods again; all ${before.length} pods of services stayed`;
  },
};
