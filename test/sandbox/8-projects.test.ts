/** What the projects of an environment, and Argo CD's account in its cluster, refuse: asked of the real Argo CD. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { z } from "zod";
import { run, tryRun } from "../../scripts/lib/exec.ts";
import { freezeOf, SyncWindow } from "../../scripts/lib/promotion/freeze.ts";
import { readSettings } from "../../scripts/lib/tree/settings.ts";
import {
  applicationOf,
  applications,
  env,
  hub,
  kubectl,
  push,
  refresh,
  revert,
  until,
  untilHealthy,
  work,
} from "./support.ts";

const { repoURL } = await readSettings(work);

async function create(objects: readonly object[]): Promise<void> {
  const input = JSON.stringify({ apiVersion: "v1", kind: "List", items: objects });
  await run("kubectl", ["--context", "hub", "--namespace", "argocd", "create", "--filename", "-"], {
    env,
    input,
  });
}

describe("an overlay that brings what its kind of app may not", () => {
  const RBAC = "rbac.authorization.k8s.io/v1";
  const NETWORK = "networking.k8s.io/v1";
  interface Brought {
    apiVersion: string;
    kind: string;
    metadata: { name: string; namespace?: string; labels?: Record<string, string> };
  }
  const cluster = (apiVersion: string, kind: string, name: string, more = {}): Brought => ({
    apiVersion,
    kind,
    metadata: { name },
    ...more,
  });
  const within = (namespace: string, apiVersion: string, kind: string, more = {}): Brought => ({
    apiVersion,
    kind,
    metadata: { name: "brought", namespace },
    ...more,
  });
  const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "cluster-admin" };
  const rules = [{ apiGroups: ["*"], resources: ["*"], verbs: ["*"] }];
  const open = { spec: { podSelector: {}, ingress: [{}] } };
  const privileged = { "pod-security.kubernetes.io/enforce": "privileged" };

  /** By app: an object, and what of it is refused. */
  const REFUSED: Record<string, [Brought, RegExp][]> = {
    "user-service": [
      [
        {
          ...cluster("v1", "Namespace", "microservices"),
          metadata: { name: "microservices", labels: privileged },
        },
        /:Namespace is not permitted/,
      ],
      [cluster("v1", "Namespace", "brought"), /:Namespace is not permitted/],
      [cluster(RBAC, "ClusterRole", "brought", { rules }), /:ClusterRole is not permitted/],
      [cluster(RBAC, "ClusterRoleBinding", "brought", { roleRef }), /:ClusterRoleBinding is not permitted/],
      [within("microservices", RBAC, "Role", { rules }), /:Role is not permitted/],
      [within("microservices", RBAC, "RoleBinding", { roleRef }), /:RoleBinding is not permitted/],
      [within("microservices", NETWORK, "NetworkPolicy", open), /:NetworkPolicy is not permitted/],
      [within("microservices", "v1", "ResourceQuota"), /:ResourceQuota is not permitted/],
      [within("microservices", "v1", "LimitRange"), /:LimitRange is not permitted/],
      [within("microservices", "v1", "Secret"), /:Secret is not permitted/],
      [within("microservices", "apps/v1", "StatefulSet"), /:StatefulSet is not permitted/],
      [within("microservices", "apps/v1", "DaemonSet"), /:DaemonSet is not permitted/],
      [within("microservices", "batch/v1", "CronJob"), /:CronJob is not permitted/],
      [within("microservices", NETWORK, "Ingress"), /:Ingress is not permitted/],
      [within("data", "v1", "ConfigMap"), /namespace data is not permitted/],
      [within("kube-system", "v1", "ServiceAccount"), /namespace kube-system is not permitted/],
    ],
    postgresql: [
      [cluster("v1", "Namespace", "data"), /:Namespace is not permitted/],
      [within("data", NETWORK, "NetworkPolicy", open), /:NetworkPolicy is not permitted/],
      [within("data", "apps/v1", "Deployment"), /:Deployment is not permitted/],
      [within("microservices", "v1", "ConfigMap"), /namespace microservices is not permitted/],
    ],
    apisix: [
      [cluster("v1", "Namespace", "gateway"), /:Namespace is not permitted/],
      [within("gateway", RBAC, "RoleBinding", { roleRef }), /:RoleBinding is not permitted/],
      [within("gateway", NETWORK, "NetworkPolicy", open), /:NetworkPolicy is not permitted/],
      [within("microservices", "v1", "Service"), /namespace microservices is not permitted/],
    ],
    foundation: [
      [cluster("v1", "Namespace", "brought"), /:Namespace is not permitted/],
      [cluster(RBAC, "ClusterRole", "brought", { rules }), /:ClusterRole is not permitted/],
      [cluster(RBAC, "ClusterRoleBinding", "brought", { roleRef }), /:ClusterRoleBinding is not permitted/],
      [within("kube-system", RBAC, "RoleBinding", { roleRef }), /namespace kube-system is not permitted/],
      [within("microservices", "apps/v1", "Deployment"), /:Deployment is not permitted/],
    ],
  };

  /** Kinds that no project of the environment admits: Argo CD's account may not even look for one. */
  const UNKNOWN: Record<string, [Brought, RegExp]> = {
    "order-service": [
      within("microservices", "v1", "ReplicationController"),
      /cannot get resource "replicationcontrollers"/,
    ],
    redis: [
      cluster("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "brought"),
      /cannot get resource "mutatingwebhookconfigurations"/,
    ],
  };

  const Results = z.object({
    status: z.object({
      operationState: z.object({
        syncResult: z.object({
          revision: z.string(),
          resources: z.array(
            z.object({
              kind: z.string(),
              name: z.string(),
              namespace: z.string().default(""),
              message: z.string().default(""),
            }),
          ),
        }),
      }),
    }),
  });

  it("is refused, object by object, and nothing of it is applied", async () => {
    const brought = [
      ...Object.entries(REFUSED),
      ...Object.entries(UNKNOWN).map(([app, one]): [string, [Brought, RegExp][]] => [app, [one]]),
    ];
    for (const [app, objects] of brought) {
      const directory = join(work, "overlays/dev", app);
      const manifests = objects.map(([object]) => JSON.stringify(object));
      await writeFile(join(directory, "brought.yaml"), manifests.join("\n---\n"));
      const file = join(directory, "kustomization.yaml");
      const text = await readFile(file, "utf8");
      await writeFile(file, text.replace(/^resources:\n/m, "resources:\n  - brought.yaml\n"));
    }
    const commit = await push("What nobody may bring");
    for (const [app, objects] of Object.entries(REFUSED)) {
      const results = await until(`dev-${app} is refused`, async () => {
        const found = Results.safeParse(
          JSON.parse(await hub("get", "application", `dev-${app}`, "-o", "json")),
        );
        const result = found.data?.status.operationState.syncResult;
        return result?.revision === commit ? result.resources : undefined;
      });
      const said = objects.map(([{ kind, metadata }]) => {
        const { namespace } = metadata;
        const result = results.find(
          (one) =>
            one.kind === kind &&
            one.name === metadata.name &&
            // Of what belongs to no namespace Argo CD names the application's.
            (namespace ?? one.namespace) === one.namespace,
        );
        return result?.message ?? `nothing of ${kind} ${metadata.name}`;
      });
      expect(said, app).toEqual(objects.map(([, message]) => expect.stringMatching(message)));
    }
    for (const [app, [, message]] of Object.entries(UNKNOWN)) {
      await until(`dev-${app} is refused`, async () => {
        return message.test((await applicationOf(`dev-${app}`))?.comparisonError ?? "") || undefined;
      });
    }
    const kinds = "namespaces,clusterroles,clusterrolebindings,mutatingwebhookconfigurations";
    const inside =
      "roles,rolebindings,networkpolicies,resourcequotas,limitranges,deployments,daemonsets,cronjobs";
    const there = [
      await kubectl("dev", "get", kinds, "-o", "name"),
      await kubectl("dev", "get", inside, "--all-namespaces", "-o", "name"),
    ].join("");
    expect(there).not.toContain("brought");
    await revert();
    await Promise.all(brought.map(async ([app]) => untilHealthy(`dev-${app}`)));
  });
});

describe("an Application", () => {
  const CLUSTERS = ["prod-eu", "production", "prod2", "preprod", "my-prod", "Prod-eu"];
  const clusterSecret = (name: string, index: number, labels = {}) => ({
    apiVersion: "v1",
    kind: "Secret",
    metadata: {
      name: `cluster-${name.toLowerCase()}-${index}`,
      labels: { "argocd.argoproj.io/secret-type": "cluster", test: "projects", ...labels },
    },
    // Nobody listens there.
    stringData: { name, server: `https://127.0.0.1:1/${index}`, config: "{}" },
  });
  const REPOSITORY = /application repo .* is not permitted in project/;
  const DESTINATION = /do not match any of the allowed destinations in project/;
  const NOWHERE = /there are no clusters with this name/;
  const there = { repoURL, name: "dev", namespace: "microservices" };
  type Place = Partial<Record<"repoURL" | "name" | "server" | "namespace", string | undefined>>;

  /** Project, what of the Application is not as it should be, and what Argo CD says to it; undefined when it may. */
  const CASES: [string, Place, RegExp | undefined][] = [
    ["dev-service", {}, undefined],
    ["dev-service", { repoURL: repoURL.replace("ecommerce-gitops", "user-service") }, REPOSITORY],
    ["dev-service", { repoURL: repoURL.replace(/\.git$/, "-2.git") }, REPOSITORY],
    ["dev-service", { repoURL: `https://git.example.com/${new URL(repoURL).pathname}` }, REPOSITORY],
    ["dev-platform", { repoURL: "https://charts.example.com", namespace: "gateway" }, REPOSITORY],
    ["dev-service", { namespace: "data" }, DESTINATION],
    ["dev-service", { namespace: "kube-system" }, DESTINATION],
    ["dev-service", { namespace: "microservices-2" }, DESTINATION],
    ["dev-store", { namespace: "microservices" }, DESTINATION],
    ["dev-platform", { namespace: "microservices" }, DESTINATION],
    ["dev-foundation", { namespace: "kube-system" }, DESTINATION],
    ["dev-foundation", { namespace: "default" }, DESTINATION],
    ["dev-service", { name: "staging" }, DESTINATION],
    ["dev-service", { name: "prod" }, DESTINATION],
    ["dev-foundation", { name: "prod", namespace: "data" }, DESTINATION],
    ["staging-service", { name: "dev" }, DESTINATION],
    ["prod-service", { name: "staging" }, DESTINATION],
    ["dev-service", { name: "in-cluster" }, DESTINATION],
    ["dev-service", { name: undefined, server: "https://kubernetes.default.svc" }, DESTINATION],
    ["dev-service", { name: undefined, server: "prod's" }, DESTINATION],
    ["dev-service", { name: "dev-2" }, NOWHERE],
    ["prod-service", { name: "prod" }, undefined],
    ["prod-service", { name: "prod-eu" }, undefined],
    ...["production", "prod2", "preprod", "my-prod", "Prod-eu"].map((name): [string, Place, RegExp] => [
      "prod-service",
      { name },
      DESTINATION,
    ]),
  ];

  const List = z.object({
    items: z.array(
      z.object({
        metadata: z.object({ name: z.string() }),
        status: z
          .object({
            sync: z.object({ status: z.string() }).optional(),
            conditions: z.array(z.object({ type: z.string(), message: z.string() })).default([]),
          })
          .optional(),
      }),
    ),
  });

  it("gets this repository, its namespaces and its environment's clusters, and nothing else", async () => {
    const remove = async (kind: string) => hub("delete", kind, "--selector", "test=projects");
    onTestFinished(async () => {
      await remove("applications");
      await remove("secrets");
    });
    await create(CLUSTERS.map((name, index) => clusterSecret(name, index)));
    const server = await hub("get", "secret", "cluster-prod", "-o", "jsonpath={.data.server}");
    const prods = Buffer.from(server, "base64").toString();
    const application = ([project, place]: (typeof CASES)[number], index: number) => {
      const { repoURL: source, ...destination } = { ...there, ...place };
      if (destination.server === "prod's") destination.server = prods;
      return {
        apiVersion: "argoproj.io/v1alpha1",
        kind: "Application",
        metadata: { name: `case-${index}`, labels: { test: "projects" } },
        spec: {
          project,
          source: { repoURL: source, targetRevision: "main", path: "overlays/dev/user-service" },
          destination,
        },
      };
    };
    await create(CASES.map(application));
    const conditions = await until("Argo CD has looked at all", async () => {
      const { items } = List.parse(
        JSON.parse(await hub("get", "applications", "--selector", "test=projects", "-o", "json")),
      );
      if (items.some(({ status }) => status?.sync === undefined)) return undefined;
      return new Map(items.map(({ metadata, status }) => [metadata.name, status?.conditions ?? []]));
    });
    const said = CASES.map(([project, place], index) => {
      const faults = conditions.get(`case-${index}`)?.filter(({ type }) => type === "InvalidSpecError") ?? [];
      return [project, place, faults.map(({ message }) => message).join()];
    });
    expect(said).toEqual(
      CASES.map(([project, place, message]) => [project, place, expect.stringMatching(message ?? /^$/)]),
    );
  });

  /** Of the applications with a label: what is wrong with each. */
  const faultsOf = async (label: string) => {
    const { items } = List.parse(
      JSON.parse(await hub("get", "applications", "--selector", label, "-o", "json")),
    );
    return items.map(
      ({ status }) => status?.conditions.find(({ type }) => type === "InvalidSpecError")?.message,
    );
  };

  it("of a cluster that only has the label, and not the name, of its environment deploys nothing", async () => {
    const names = ["development", "prod-us"];
    await create(names.map((name, index) => clusterSecret(name, index, { environment: "dev" })));
    const label = `cluster in (${names.join()})`;
    onTestFinished(async () => {
      await hub("delete", "secrets", "--selector", "test=projects");
      await until("they are gone", async () => (await faultsOf(label)).length === 0 || undefined);
    });
    const dev = (await applications()).filter(({ cluster }) => cluster === "dev");
    await until("all of them are refused", async () => {
      const faults = await faultsOf(label);
      const refused = faults.filter((fault) => DESTINATION.test(fault ?? ""));
      return (faults.length === names.length * dev.length && refused.length === faults.length) || undefined;
    });
  });

  it("that the catalogue moves to a namespace of others stays as it was", async () => {
    const path = "jsonpath={.metadata.uid}";
    const deployed = async () =>
      kubectl("dev", "-n", "microservices", "get", "deployment", "payment-service", "-o", path);
    const before = await deployed();
    const file = join(work, "apps/payment-service.yaml");
    const text = await readFile(file, "utf8");
    await writeFile(file, text.replace("namespace: microservices", "namespace: kube-system"));
    await push("payment-service moves");
    await refresh("dev");
    await until("dev-payment-service is refused", async () => {
      const [fault] = await faultsOf("app=payment-service,cluster=dev");
      return /namespace 'kube-system' do not match any/.test(fault ?? "") || undefined;
    });
    expect(await deployed()).toBe(before);
    await revert();
    await refresh("dev");
    await until("dev-payment-service is moved back", async () => {
      const namespace = await hub(
        "get",
        "application",
        "dev-payment-service",
        "-o",
        "jsonpath={.spec.destination.namespace}",
      );
      return namespace === "microservices" || undefined;
    });
    // Argo CD looks at it again within three minutes, or when asked.
    await hub("annotate", "application", "dev-payment-service", "argocd.argoproj.io/refresh=normal");
    await untilHealthy("dev-payment-service");
    expect(await deployed()).toBe(before);
  });
});

describe("Argo CD's account in a cluster", () => {
  it.each([
    [
      "a role with rights that it does not hold",
      "create",
      "clusterrole",
      "brought",
      "--verb=*",
      "--resource=*",
    ],
    ["a role that reads more", "create", "clusterrole", "brought", "--verb=get", "--resource=nodes"],
    [
      "all rights to itself",
      "create",
      "clusterrolebinding",
      "brought",
      "--clusterrole=cluster-admin",
      "--user=argocd",
    ],
    [
      "the rights of a namespace's administrator",
      "--namespace=microservices",
      "create",
      "rolebinding",
      "brought",
      "--clusterrole=admin",
      "--user=argocd",
    ],
  ])("cannot make %s", async (_, ...args) => {
    const asArgocd = ["--context", "dev", "--as", "argocd", ...args];
    const { exitCode, stderr } = await tryRun("kubectl", asArgocd, { env });
    expect(stderr).toMatch(/attempting to grant RBAC permissions not currently held/);
    expect(exitCode).toBe(1);
  });
});

describe("Argo CD and the freeze gate", () => {
  const ALWAYS = { schedule: "* * * * *", duration: "1h", applications: ["*"] };
  const NEVER = { schedule: "0 0 29 2 *", duration: "1m", applications: ["*"] };
  const target = { app: "user-service", namespace: "microservices", environment: "prod", syncsItself: false };
  let minutes = 1;
  it.each<[string, Record<string, unknown>[], boolean]>([
    ["a deny window", [{ kind: "deny", ...ALWAYS }], false],
    ["a deny window at another time", [{ kind: "deny", ...NEVER }], true],
    ["a deny window that lets persons sync", [{ kind: "deny", ...ALWAYS, manualSync: true }], true],
    ["an allow window", [{ kind: "allow", ...ALWAYS }], true],
    ["an allow window at another time", [{ kind: "allow", ...NEVER }], false],
    [
      "an allow window at another time that lets persons sync",
      [{ kind: "allow", ...NEVER, manualSync: true }],
      true,
    ],
    [
      "two allow windows, one of them open",
      [
        { kind: "allow", ...NEVER },
        { kind: "allow", ...ALWAYS },
      ],
      true,
    ],
    [
      "a deny window within an allow window",
      [
        { kind: "allow", ...ALWAYS },
        { kind: "deny", ...ALWAYS },
      ],
      false,
    ],
    [
      "two deny windows, one for persons too",
      [
        { kind: "deny", ...ALWAYS, manualSync: true },
        { kind: "deny", ...ALWAYS },
      ],
      false,
    ],
    ["a deny window for ?", [{ kind: "deny", ...ALWAYS, applications: ["prod-user-servic?"] }], false],
    ["a deny window for another app", [{ kind: "deny", ...ALWAYS, applications: ["prod-user"] }], true],
    [
      "a deny window for its cluster",
      [{ kind: "deny", ...ALWAYS, applications: [], clusters: ["pro*"] }],
      false,
    ],
    [
      "a deny window for its cluster and another namespace",
      [{ kind: "deny", ...ALWAYS, clusters: ["prod"], namespaces: ["data"], andOperator: true }],
      true,
    ],
  ])("agree about %s", async (_, given, maySync) => {
    // One more window, which does nothing: it tells that Argo CD has the list.
    minutes += 1;
    const mark = { ...NEVER, duration: `${minutes}m` };
    const windows = [...given, { kind: "deny", ...mark }];
    const patch = JSON.stringify({ spec: { syncWindows: windows } });
    const project = ["-n", "argocd", "patch", "appproject", "prod-service", "--type=merge", "-p"];
    await kubectl("hub", ...project, patch);
    onTestFinished(async () => void (await kubectl("hub", ...project, '{"spec":{"syncWindows":null}}')));
    const Answer = z.object({ canSync: z.boolean().default(false), assignedWindows: z.unknown() });
    const { canSync } = await until("Argo CD has the windows", async () => {
      const url = `http://${env["ARGOCD_SERVER"]}/api/v1/applications/prod-user-service/syncwindows`;
      const response = await fetch(url, { headers: { authorization: `Bearer ${env["ARGOCD_AUTH_TOKEN"]}` } });
      const answer = Answer.parse(await response.json());
      return JSON.stringify(answer.assignedWindows ?? []).includes(`"${mark.duration}"`) ? answer : undefined;
    });
    expect(canSync).toBe(maySync);
    const freeze = freezeOf(
      windows.map((one) => SyncWindow.parse(one)),
      target,
      new Date(),
    );
    expect(freeze === undefined).toBe(canSync);
  });
});
