/** What goes and what stays when something leaves Git or is deleted by hand. docs/verification.md says which sentence is shown where. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { run } from "../../scripts/lib/exec.ts";
import {
  applicationOf,
  applications,
  ENVIRONMENTS,
  edit,
  ensureProd,
  env,
  hub,
  kubectl,
  npm,
  push,
  refresh,
  revert,
  until,
  untilHealthy,
  work,
} from "./support.ts";

type Environment = (typeof ENVIRONMENTS)[number];

async function argocd(...args: string[]): Promise<string> {
  return run("argocd", ["app", ...args], { env });
}

/** Objects of these kinds, each as kind, name and the identity that only this one has. */
async function identities(context: Environment, kinds: string): Promise<string[]> {
  const path = "jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.uid}{'\\n'}{end}";
  const text = await kubectl(context, "get", kinds, "--all-namespaces", "-o", path);
  return text.trim().split("\n").toSorted();
}

/** Everything that holds data. */
async function holders(): Promise<Record<string, string[]>> {
  const lists = ENVIRONMENTS.map(async (context) => [
    context,
    [
      ...(await identities(context, "namespaces")),
      ...(await identities(context, "statefulsets,persistentvolumeclaims")),
    ],
  ]);
  return Object.fromEntries(await Promise.all(lists));
}

async function removeOverlays(...paths: string[]): Promise<void> {
  for (const path of paths) await rm(join(work, "overlays", path), { recursive: true });
}

/** Waits until Argo CD is to delete all of these applications. */
async function untilTheyAreToGo(...names: string[]): Promise<void> {
  await until(`${names.join(", ")} are to go`, async () => {
    const path = "jsonpath={.items[*].metadata.deletionTimestamp}";
    const times = (await hub("get", "applications", ...names, "-o", path)).trim();
    return times.split(" ").length === names.length || undefined;
  });
}

/** No, it was a mistake: docs/decisions/0004-prod-waits.md. */
async function keep(name: string): Promise<void> {
  await hub("patch", "application", name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}');
}

async function untilGone(...names: string[]): Promise<void> {
  await until(`${names.join(", ")} are gone`, async () => {
    const left = (await applications()).map(({ name }) => name);
    return !names.some((name) => left.includes(name)) || undefined;
  });
}

beforeAll(ensureProd);

describe("an overlay that leaves Git, and a cluster that loses its label", () => {
  // The apps with claims.
  const STORES = ["postgresql", "postgresql-backup", "redis"];

  it("take their applications along in dev and staging, but nothing that holds data; prod runs on", async () => {
    const before = await holders();
    const staging = (await applications()).filter((app) => app.env === "staging").map(({ name }) => name);
    await removeOverlays("dev/foundation", "dev/postgresql", "dev/product-service", "prod/product-service");
    await push("product-service is given up, and more by mistake");
    await hub("label", "secrets", "cluster-staging", "cluster-prod", "environment-");
    await refresh(...ENVIRONMENTS);

    const waiting = ["foundation", ...STORES].map((app) => `staging-${app}`);
    await untilTheyAreToGo("dev-foundation", "dev-postgresql", ...waiting);
    await untilGone("dev-product-service", ...staging.filter((name) => !waiting.includes(name)));
    const left = await kubectl("dev", "-n", "microservices", "get", "deployments,services", "-o", "name");
    expect(left).not.toContain("product-service");
    expect(await kubectl("staging", "-n", "microservices", "get", "deployments", "-o", "name")).toBe("");
    expect(await holders()).toEqual(before);

    const prod = await until("prod-product-service is reported", async () => {
      const app = await applicationOf("prod-product-service");
      return app?.sync === "Unknown" && /app path does not exist/.test(app.message) ? app : undefined;
    });
    expect(prod.message).toContain("overlays/prod/product-service");
    expect((await applications()).filter((app) => app.env === "prod")).toHaveLength(staging.length);
    expect(await kubectl("prod", "-n", "microservices", "get", "deployments", "-o", "name")).toContain(
      "product-service",
    );

    // On purpose: docs/new-service.md.
    await argocd("delete", "prod-product-service", "--cascade", "--yes");
    await untilGone("prod-product-service");
    expect(await kubectl("prod", "-n", "microservices", "get", "all", "-o", "name")).not.toContain(
      "product-service",
    );

    await revert();
    for (const name of ["staging", "prod"])
      await hub("label", "secret", `cluster-${name}`, `environment=${name}`);
    for (const name of ["dev-foundation", ...waiting]) await keep(name);
    await argocd("confirm-deletion", "dev-postgresql");
    await refresh(...ENVIRONMENTS);
    await until("prod has product-service again", async () => {
      return (await applicationOf("prod-product-service")) === undefined ? undefined : true;
    });
    expect((await npm("run", "sync", "prod", "product-service")).stderr).toBe("");
    await Promise.all(
      [...staging, "dev-foundation", "dev-product-service"].map(async (name) => untilHealthy(name)),
    );

    // Yes, it shall go: the StatefulSet is another one, with the claim of before.
    await until("dev's postgresql is made anew", async () => {
      const names = (await identities("dev", "statefulsets")).filter((one) => !before["dev"]?.includes(one));
      return names.length === 1 || undefined;
    });
    await untilHealthy("dev-postgresql");
    const after = await holders();
    const gone = (name: Environment) => before[name]?.filter((one) => !after[name]?.includes(one));
    expect(gone("dev")).toEqual([expect.stringMatching(/^StatefulSet postgresql /)]);
    expect(gone("staging")).toEqual([]);
    expect(gone("prod")).toEqual([]);
  });
});

describe("a file of the catalogue that leaves Git", () => {
  it("takes no namespace and nothing in it along, in no environment", async () => {
    const before = await holders();
    for (const app of ["foundation", "payment-service"]) await rm(join(work, `apps/${app}.yaml`));
    await push("The foundation leaves the catalogue, and a service, too");
    await refresh(...ENVIRONMENTS);
    await untilTheyAreToGo("dev-foundation", "staging-foundation");
    await untilGone("dev-payment-service", "staging-payment-service");
    expect(await holders()).toEqual(before);
    const prod = await hub(
      "get",
      "application",
      "prod-foundation",
      "-o",
      "jsonpath={.metadata.deletionTimestamp}",
    );
    expect(prod).toBe("");

    await revert();
    for (const name of ["dev-foundation", "staging-foundation"]) await keep(name);
    await refresh(...ENVIRONMENTS);
    for (const name of ENVIRONMENTS)
      for (const app of ["foundation", "payment-service"]) await untilHealthy(`${name}-${app}`);
    expect(await holders()).toEqual(before);
  });
});

describe("a namespace or a StatefulSet that leaves Git while its application stays", () => {
  const drop = (kind: string, name: string) => (text: string) =>
    `${text}  - target:\n      kind: ${kind}\n      name: ${name}\n    patch: |\n      kind: ${kind}\n      metadata:\n        name: ${name}\n      $patch: delete\n`;
  const untilItWaits = async (name: string) =>
    until(`the sync of ${name} waits`, async () => {
      const path = "jsonpath={.status.operationState.phase} {.status.operationState.message}";
      const text = await hub("get", "application", name, "-o", path);
      return /^Running .*waiting for pruning confirmation/.test(text) || undefined;
    });

  it("stays until a person has said so; what comes back to Git meanwhile has never gone", async () => {
    const before = await holders();
    await edit("overlays/dev/foundation/kustomization.yaml", (text) =>
      drop("Namespace", "logging")(`${text}patches:\n`),
    );
    await edit("overlays/dev/redis/kustomization.yaml", drop("StatefulSet", "redis"));
    await push("A namespace and a store are given up");
    await untilItWaits("dev-foundation");
    await untilItWaits("dev-redis");
    expect(await holders()).toEqual(before);

    await argocd("confirm-deletion", "dev-redis");
    await until("the StatefulSet is gone", async () => {
      return (await identities("dev", "statefulsets")).every((one) => !one.includes(" redis ")) || undefined;
    });
    const claims = (list: string[] = []) => list.filter((one) => one.startsWith("PersistentVolumeClaim"));
    expect(claims((await holders())["dev"])).toEqual(claims(before["dev"]));

    await revert();
    await argocd("terminate-op", "dev-foundation");
    for (const name of ["dev-foundation", "dev-redis"]) await untilHealthy(name);
    const after = await holders();
    expect(before["dev"]?.filter((one) => !after["dev"]?.includes(one))).toEqual([
      expect.stringMatching(/^StatefulSet redis /),
    ]);
  });
});

describe("what a person deletes on the hub", () => {
  const WORKLOADS = "deployments,statefulsets,services,configmaps";

  it.each([
    ["an Application of prod", ["application", "prod-redis"]],
    ["prod's ApplicationSet", ["applicationset", "prod"]],
    ["prod's ApplicationSet and all that belongs to it", ["applicationset", "prod", "--cascade=foreground"]],
  ])("%s comes again, and what it has deployed never goes", async (_, what) => {
    const before = await identities("prod", WORKLOADS);
    await hub("delete", ...what);
    if (what[0] === "applicationset") await argocd("sync", "root-prod");
    await untilHealthy("prod-redis");
    await untilHealthy("prod-user-service");
    expect(await identities("prod", WORKLOADS)).toEqual(before);
  });
});

describe("what a person deletes in a cluster", () => {
  it("a StorageClass comes again with another driver, and its volumes stay", async () => {
    const volumes = await identities("dev", "persistentvolumes");
    expect(volumes).not.toEqual([""]);
    await edit("overlays/dev/storage/fast-ssd.yaml", (text) =>
      text.replace("ebs.csi.aws.com", "csi.example.com"),
    );
    await push("Another storage driver");
    const untilRefused = async () =>
      until("dev-storage is refused", async () => {
        return (
          /updates to provisioner are forbidden/.test((await applicationOf("dev-storage"))?.message ?? "") ||
          undefined
        );
      });
    await untilRefused();
    await kubectl("dev", "delete", "storageclass", "fast-ssd");
    await untilHealthy("dev-storage");
    const path = "jsonpath={.provisioner}";
    expect(await kubectl("dev", "get", "storageclass", "fast-ssd", "-o", path)).toBe("csi.example.com");
    await revert();
    await untilRefused();
    await kubectl("dev", "delete", "storageclass", "fast-ssd");
    await untilHealthy("dev-storage");
    expect(await identities("dev", "persistentvolumes")).toEqual(volumes);
  });

  it("a StatefulSet that is deleted around its pod comes again with a larger claim, and the pod runs on", async () => {
    const pods = async () =>
      (await identities("dev", "pods")).filter((one) => one.includes(" postgresql-0 "));
    const before = await pods();
    const size = '{"spec":{"resources":{"requests":{"storage":"12Gi"}}}}';
    await kubectl("dev", "-n", "data", "patch", "pvc", "data-postgresql-0", "--type", "merge", "-p", size);
    const sizes = ["10Gi", "12Gi", "10Gi"] as const;
    for (const [from, to] of [sizes.slice(0, 2), sizes.slice(1)]) {
      await edit("overlays/dev/postgresql/storage.yaml", (text) => text.replace(String(from), String(to)));
      await push(`A disk of ${to}`);
      await until("dev-postgresql is refused", async () => {
        const { message = "" } = (await applicationOf("dev-postgresql")) ?? {};
        return /updates to statefulset spec for fields other than/.test(message) || undefined;
      });
      await kubectl("dev", "-n", "data", "delete", "statefulset", "postgresql", "--cascade=orphan");
      expect((await npm("run", "sync", "dev", "postgresql")).stderr).toBe("");
      expect(await pods()).toEqual(before);
    }
  });

  it("a namespace goes with its claims", async () => {
    const claim = {
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      metadata: { name: "data", namespace: "given-up" },
      spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
    };
    await kubectl("dev", "create", "namespace", "given-up");
    const create = ["--context", "dev", "create", "--filename", "-"];
    await run("kubectl", create, { env, input: JSON.stringify(claim) });
    await kubectl("dev", "delete", "namespace", "given-up");
    expect((await identities("dev", "persistentvolumeclaims")).join()).not.toContain(
      "PersistentVolumeClaim data ",
    );
  });
});
