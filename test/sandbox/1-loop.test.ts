import { appendFile, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { applicationsOf } from "../../scripts/lib/check/applications.ts";
import { tryRun } from "../../scripts/lib/exec.ts";
import { repositoryOf } from "../../scripts/lib/forge/address.ts";
import { withRendering } from "../../scripts/lib/render/checkout.ts";
import { withState } from "../../scripts/lib/render/states.ts";
import { environmentOrder } from "../../scripts/lib/tree/environment.ts";
import { allOverlays } from "../../scripts/lib/tree/overlays.ts";
import { readSettings } from "../../scripts/lib/tree/settings.ts";
import {
  applicationOf,
  applications,
  env,
  home,
  hub,
  kubectl,
  npm,
  push,
  revert,
  root,
  startOutput,
  until,
  untilHealthy,
  untilOutOfSync,
  untilRuns,
  work,
} from "./support.ts";

const settings = await readSettings(root);
const overlays = await allOverlays(root);
const environments = await environmentOrder(root);
const Made = z.object({
  items: z.array(
    z.object({
      metadata: z.object({
        name: z.string(),
        labels: z.record(z.string(), z.string()).default({}),
        finalizers: z.array(z.string()).default([]),
      }),
      spec: z.object({ project: z.string(), destination: z.object({ namespace: z.string() }) }),
    }),
  ),
});
const TAG = "f1e2d3c4b5a697887766554433221100ffeeddcc";
const USER_SERVICE = join(work, "overlays/dev/user-service/kustomization.yaml");

async function bump(tag: string): Promise<string> {
  const text = await readFile(USER_SERVICE, "utf8");
  await writeFile(USER_SERVICE, text.replace(/newTag: .*/, `newTag: "${tag}"`));
  return push(`user-service: ${tag}`);
}

describe("npm start", () => {
  it("ends with every app of dev and staging Synced and Healthy, and prod waiting", async () => {
    const all = await applications();
    const states = (name: string) =>
      new Set(all.filter((app) => app.env === name).map((app) => `${app.sync} ${app.health}`));
    expect(states("dev")).toEqual(new Set(["Synced Healthy"]));
    expect(states("staging")).toEqual(new Set(["Synced Healthy"]));
    expect(states("prod")).toEqual(new Set(["OutOfSync Missing"]));
  });

  it("prints a table of every app in every environment, and what to try next", async () => {
    const apps = (await readdir(join(root, "apps"))).map((file) => file.replace(".yaml", ""));
    for (const app of apps)
      expect(startOutput).toMatch(new RegExp(`^${app} .*Synced Healthy.* OutOfSync`, "m"));
    expect(startOutput).toContain("npm run sync prod");
  });

  it("makes the Applications that a check foresees, each with its project, namespace and finalizer", async () => {
    const { repoURL } = await readSettings(work);
    const { applications: foreseen, problems } = await withRendering(work, async (options, names) =>
      withState(work, names, async (state) => applicationsOf(state, repoURL, options)),
    );
    expect(problems).toEqual([]);
    const { items } = Made.parse(JSON.parse(await hub("get", "applications", "--output", "json")));
    // The add-ons are not installed here.
    const made = items
      .filter(({ metadata: { labels } }) => labels["app"] !== undefined)
      .map(({ metadata: { name, finalizers }, spec: { project, destination } }) => ({
        name,
        project,
        namespace: destination.namespace,
        takesObjects: finalizers.length > 0,
      }));
    expect(foreseen).toEqual(expect.arrayContaining(made.map((one) => expect.objectContaining(one))));
    const ofApps = foreseen.filter(({ by = "" }) => environments.includes(by));
    expect(made).toHaveLength(ofApps.length);
  });

  it("writes nothing outside the checkout", async () => {
    // npm's own cache and logs are npm's.
    expect((await readdir(home)).filter((name) => name !== ".npm")).toEqual([]);
  });
});

describe("npm run status -- --json", () => {
  it("lists what Git, the forge and Argo CD know of each app in each environment", async () => {
    const { stdout } = await npm("run", "status", "--", "--json");
    const rows: Record<string, unknown>[] = JSON.parse(stdout);
    expect(rows).toHaveLength(overlays.length);
    expect(rows.find((row) => row["app"] === "user-service" && row["env"] === "dev")).toMatchObject({
      cluster: "dev",
      release: expect.stringMatching(/^[0-9a-f]{7}$/),
      image: expect.stringMatching(/^ecommerce\/user-service:[0-9a-f]{40}/),
      sync: "Synced",
      health: "Healthy",
      revision: expect.stringMatching(/^[0-9a-f]{40}$/),
      running: [expect.stringContaining(`${settings.registry}/ecommerce/user-service:`)],
      pullRequests: [],
    });
  });

  it("works in the work clone too", async () => {
    const { stdout } = await tryRun("npm", ["--silent", "run", "status", "--", "--json"], { cwd: work, env });
    expect(JSON.parse(stdout)).toHaveLength(overlays.length);
  });
});

describe("npm run sync", () => {
  it.each([
    [["nowhere"], 2, "sync: there is no environment nowhere; there are dev, staging, prod\n"],
    [["prod", "nothing"], 2, /^sync: there is no app nothing; there are apisix, /],
    [["prod", "--timeout", "soon"], 2, "sync: --timeout soon is not a number of seconds\n"],
  ])("refuses %j", async (args, code, message) => {
    const { exitCode, stderr } = await npm("run", "sync", "--", ...args);
    expect(exitCode).toBe(code);
    expect(stderr).toMatch(message);
  });

  it("brings prod to Healthy", async () => {
    const { exitCode, stderr } = await npm("run", "sync", "prod");
    expect(stderr).toBe("");
    expect(exitCode).toBe(0);
    const prod = (await applications()).filter((app) => app.env === "prod");
    expect(new Set(prod.map((app) => `${app.sync} ${app.health}`))).toEqual(new Set(["Synced Healthy"]));
  });
});

describe("a merge", () => {
  it("reaches dev by itself, and prod not", async () => {
    await bump(TAG);
    await untilRuns("dev-user-service", TAG);
    const prod = await applicationOf("prod-user-service");
    expect(prod?.images.join()).not.toContain(TAG);
  });

  it("gets its result as a commit status in the forge", async () => {
    const revision = await bump(TAG.replace("f", "0"));
    await untilHealthy("dev-user-service", revision);
    const { origin } = new URL(String(env["FORGE_URL"]));
    const { owner, name } = repositoryOf(settings.repoURL);
    const url = `${origin}/api/v1/repos/${owner}/${name}/commits/${revision}/statuses`;
    const status = await until("the commit has a status", async () => {
      const response = await fetch(url, { headers: { authorization: `token ${env["FORGE_TOKEN"]}` } });
      const statuses = z
        .array(z.object({ context: z.string(), status: z.string() }))
        .parse(await response.json());
      return statuses.find(
        ({ context, status: state }) => context === "argocd/dev/user-service" && state === "success",
      );
    });
    expect(status.context).toBe("argocd/dev/user-service");
  });
});

describe("dev and staging heal; prod reports", () => {
  const FOREIGN = `registry.example.com/somebody/else:${"f".repeat(40)}`;
  const imageOf = async (context: string) => {
    const path = "jsonpath={.spec.template.spec.containers[0].image}";
    return kubectl(context, "-n", "microservices", "get", "deployment", "user-service", "-o", path);
  };
  const change = async (context: string, image = FOREIGN) =>
    kubectl(context, "-n", "microservices", "set", "image", "deployment/user-service", `app=${image}`);

  it.each(["dev", "staging", "prod"])(
    "what a policy forbids is refused in %s, whoever applies it",
    async (context) => {
      await expect(change(context, "registry.example.com/somebody/else:latest")).rejects.toThrow(
        /'ecommerce-images' denied request: container app has the image \S+:latest; tag images/,
      );
    },
  );

  it.each(["dev", "staging"])("a change of an object in %s is undone", async (context) => {
    const before = await imageOf(context);
    await change(context);
    await until("the image is back", async () => ((await imageOf(context)) === before ? true : undefined));
  });

  it.each(["dev", "staging"])("a deletion in %s is undone", async (context) => {
    await kubectl(context, "-n", "microservices", "delete", "service", "product-service");
    await until("the Service is back", async () => {
      const found = await kubectl(context, "-n", "microservices", "get", "service", "-o", "name");
      return found.includes("service/product-service") ? true : undefined;
    });
  });

  it("a deletion in prod stays, and is reported", async () => {
    await kubectl("prod", "-n", "microservices", "delete", "service", "product-service");
    await untilOutOfSync("prod-product-service");
    const left = await kubectl("prod", "-n", "microservices", "get", "service", "-o", "name");
    expect(left).not.toContain("product-service");
    expect((await npm("run", "sync", "prod", "product-service")).exitCode).toBe(0);
  });

  it("a change in prod stays, and is reported", async () => {
    const before = await imageOf("prod");
    await change("prod");
    await untilOutOfSync("prod-user-service");
    expect(await imageOf("prod")).toBe(FOREIGN);
    expect((await npm("run", "sync", "prod", "user-service")).exitCode).toBe(0);
    expect(await imageOf("prod")).toBe(before);
  });
});

describe("a field that Kubernetes does not know", () => {
  it("is refused, and what runs stays as it is", async () => {
    await appendFile(join(work, "base/storage/fast-ssd.yaml"), "allowVolumeExpansions: true\n");
    await push("A slip of the finger");
    await until("dev-storage is refused", async () => {
      const app = await applicationOf("dev-storage");
      return /allowVolumeExpansions: field not declared in schema/.test(app?.message ?? "") ? app : undefined;
    });
    expect(await kubectl("dev", "get", "storageclass", "fast-ssd", "-o", "name")).toContain("fast-ssd");

    await untilHealthy("dev-storage", await revert());
  });
});

// This one and the next wait for clocks of Argo CD and Kubernetes, and so do it together.
describe.concurrent("a change of prod's configuration", () => {
  it("is Synced by the sync of a person, who takes the ConfigMap of before away with it", async () => {
    const maps = async () => {
      const label = "app.kubernetes.io/name=user-service";
      return (await kubectl("prod", "-n", "microservices", "get", "configmaps", "-l", label, "-o", "name"))
        .trim()
        .split("\n");
    };
    const before = await maps();
    const file = join(work, "overlays/prod/user-service/kustomization.yaml");
    const text = await readFile(file, "utf8");
    await writeFile(file, text.replace("LOG_LEVEL=info", "LOG_LEVEL=debug"));
    const commit = await push("user-service says more in prod");
    await untilOutOfSync("prod-user-service", commit);

    const synced = await npm("run", "sync", "prod", "user-service");
    expect(synced.stderr).toBe("");
    expect(synced.exitCode).toBe(0);
    const after = await maps();
    expect(after).toHaveLength(before.length);
    expect(after).not.toEqual(before);

    await untilOutOfSync("prod-user-service", await revert());
    expect((await npm("run", "sync", "prod", "user-service")).exitCode).toBe(0);
    expect(await maps()).toEqual(before);
  });
});

describe.concurrent("autoscaling", () => {
  const Autoscaler = z.object({
    spec: z.object({ minReplicas: z.number(), maxReplicas: z.number() }),
    status: z.object({
      currentReplicas: z.number(),
      currentMetrics: z.array(
        z
          .object({
            resource: z.object({ current: z.object({ averageUtilization: z.number() }) }).optional(),
          })
          .nullable(),
      ),
    }),
  });
  const autoscaler = async () =>
    Autoscaler.parse(
      JSON.parse(await kubectl("dev", "-n", "microservices", "get", "hpa", "user-service", "-o", "json")),
    );

  it("a pod that is busy gets company, up to what its environment allows", async () => {
    const { spec } = await autoscaler();
    expect(spec.maxReplicas).toBeGreaterThan(spec.minReplicas);
    const busy = ["annotate", "--overwrite", "pod", "-l", "app.kubernetes.io/name=user-service"];
    await until(
      "user-service runs at its maximum",
      async () => {
        await kubectl("dev", "-n", "microservices", ...busy, "kwok.x-k8s.io/usage-cpu=400m");
        const { status } = await autoscaler();
        return status.currentReplicas === spec.maxReplicas ? true : undefined;
      },
      180,
    );
    const { status } = await autoscaler();
    const used = status.currentMetrics.flatMap(
      (metric) => metric?.resource?.current.averageUtilization ?? [],
    );
    expect(Math.max(...used)).toBeGreaterThan(70);
  });
});

describe("the quota", () => {
  it("counts what runs, and has room for it", async () => {
    const Quota = z.object({
      status: z.object({ hard: z.record(z.string(), z.string()), used: z.record(z.string(), z.string()) }),
    });
    const [quota] = z
      .object({ items: z.array(Quota) })
      .parse(
        JSON.parse(await kubectl("dev", "-n", "microservices", "get", "resourcequota", "-o", "json")),
      ).items;
    expect(Number(quota?.status.used["pods"])).toBeGreaterThanOrEqual(5);
    expect(Number(quota?.status.used["pods"])).toBeLessThan(Number(quota?.status.hard["pods"]));
  });
});
