import { posix } from "node:path";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import type { Closure } from "../../../scripts/lib/render/graph.ts";
import { withState } from "../../../scripts/lib/render/states.ts";
import { readSettings } from "../../../scripts/lib/tree/settings.ts";
import { manifestsOf, ROOT, renderTree } from "../support.ts";
import { only, render } from "./support.ts";

const AUTOMATED = { prune: true, selfHeal: true, allowEmpty: false };
const FINALIZER = "resources-finalizer.argocd.argoproj.io";

const Project = z.object({
  destinations: z.array(z.object({ name: z.string(), namespace: z.string() })),
  clusterResourceWhitelist: z.array(
    z.object({ group: z.string(), kind: z.string(), name: z.string().optional() }),
  ),
  namespaceResourceWhitelist: z.array(z.object({ group: z.string(), kind: z.string() })),
});
const ApplicationSet = z.object({
  template: z.object({ metadata: z.object({ annotations: z.record(z.string(), z.string()) }) }),
});

const tree = await renderTree();
const settings = await readSettings(ROOT);
const rendered = new Map<string, Awaited<ReturnType<typeof render>>>();
for (const { name } of tree.environments) rendered.set(name, await render(`overlays/${name}`));
const closures = await withState(ROOT, new Map(), async ({ graph }) => {
  const overlays = [...rendered.keys()].flatMap((env) => [
    `overlays/${env}`,
    ...tree.catalogue.map(({ app }) => `overlays/${env}/${app}`),
  ]);
  return new Map(overlays.map((overlay) => [overlay, graph.closureOf(overlay)]));
});
const NO_CLOSURE: Closure = { files: new Set(), directories: new Set(), remote: [], problems: [] };
const names = [...rendered.keys()];
const of = (env: string, kind: string, name?: string) => only(rendered.get(env) ?? [], kind, name);
const kinds = [...new Set(tree.catalogue.map(({ kind }) => kind))].toSorted();

/** As Argo CD reads the names in a project: here a star is all that is used. */
function matchesGlob(name: string, pattern: string): boolean {
  const [start = "", end] = pattern.split("*");
  return end === undefined ? name === pattern : name.startsWith(start) && name.endsWith(end);
}

describe.each(names)("%s", (env) => {
  const set = of(env, "ApplicationSet");
  const root = of(env, "Application");

  it("renders its ApplicationSet, an AppProject for each kind of app, and its root, in Argo CD's namespace, and nothing else", () => {
    const all = rendered.get(env)?.map(({ kind, metadata }) => [kind, metadata.name, metadata.namespace]);
    expect(all?.toSorted()).toEqual([
      ...kinds.map((kind) => ["AppProject", `${env}-${kind}`, "argocd"]),
      ["Application", `root-${env}`, "argocd"],
      ["ApplicationSet", env, "argocd"],
    ]);
  });

  it("finds its own directories, their facts and its own clusters", () => {
    const git = { repoURL: settings.repoURL, revision: settings.revision, requeueAfterSeconds: 30 };
    const files = [{ path: "apps/{{.path.basename}}.yaml" }];
    const both = [
      { git: { ...git, directories: [{ path: `overlays/${env}/*` }] } },
      { git: { ...git, pathParamPrefix: "catalogue", files } },
    ];
    const clusters = { selector: { matchLabels: { environment: env } } };
    expect(set.spec).toMatchObject({
      goTemplate: true,
      goTemplateOptions: ["missingkey=error"],
      generators: [{ matrix: { generators: [{ matrix: { generators: both } }, { clusters }] } }],
    });
  });

  it("makes Applications of the project that their kind has, from its own branch, to the cluster and namespace that were found", () => {
    expect(set.spec).toHaveProperty("template.metadata.name", "{{.name}}-{{.path.basename}}");
    expect(set.spec).toHaveProperty("template.metadata.labels", {
      environment: env,
      app: "{{.path.basename}}",
      cluster: "{{.name}}",
    });
    expect(set.spec).toMatchObject({
      template: {
        spec: {
          project: `${env}-{{.kind}}`,
          source: { repoURL: settings.repoURL, targetRevision: settings.revision, path: "{{.path.path}}" },
          destination: { name: "{{.name}}", namespace: "{{.namespace}}" },
          syncPolicy: {
            syncOptions: [
              "PrunePropagationPolicy=foreground",
              "PruneLast=true",
              "ServerSideApply=true",
              "Validate=false",
              "ApplyOutOfSyncOnly=true",
            ],
            retry: { limit: 10, backoff: { duration: "5s", factor: 2, maxDuration: "3m" } },
          },
        },
      },
    });
  });

  it("leaves a person's word that something may be pruned on the Application", () => {
    expect(set.spec).toHaveProperty("preservedFields.annotations", ["argocd.argoproj.io/deletion-approved"]);
  });

  it("has a root that brings this directory with the project of the roots", () => {
    expect(root.spec).toMatchObject({
      project: "platform",
      source: { repoURL: settings.repoURL, targetRevision: settings.revision, path: `overlays/${env}` },
      destination: { name: "in-cluster", namespace: "argocd" },
    });
  });

  it("syncs the root as it syncs the others", () => {
    const Synced = z.object({
      syncPolicy: z.object({ syncOptions: z.array(z.string()), retry: z.unknown() }),
    });
    const { syncOptions, retry } = Synced.parse(root.spec).syncPolicy;
    expect(set.spec).toMatchObject({ template: { spec: { syncPolicy: { syncOptions, retry } } } });
  });

  it.each(kinds)(
    "has a project for %s that admits this repository and this environment's clusters only",
    (kind) => {
      const { spec } = of(env, "AppProject", `${env}-${kind}`);
      expect(spec).toMatchObject({ sourceRepos: [settings.repoURL], orphanedResources: { warn: true } });
      // A cluster of the environment has its name, or one that starts with it and a dash.
      expect([...new Set(Project.parse(spec).destinations.map(({ name }) => name))]).toEqual([
        env,
        `${env}-*`,
      ]);
    },
  );

  it("admits no cluster of another environment", () => {
    for (const other of names.filter((name) => name !== env)) expect(other.startsWith(`${env}-`)).toBe(false);
  });

  it.each(kinds)("has a project for %s that admits what its apps bring", (kind) => {
    const project = Project.parse(of(env, "AppProject", `${env}-${kind}`).spec);
    const apps = tree.catalogue.filter((app) => app.kind === kind);
    const admitted = (group: string, name: string, namespace: string | undefined, type: string) =>
      namespace === undefined
        ? project.clusterResourceWhitelist.some(
            (rule) => rule.group === group && rule.kind === type && matchesGlob(name, rule.name ?? "*"),
          )
        : project.namespaceResourceWhitelist.some((rule) => rule.group === group && rule.kind === type) &&
          project.destinations.some((destination) => destination.namespace === namespace);
    const refused = apps
      .flatMap(({ app }) => tree.overlays.find((one) => one.env === env && one.app === app)?.manifests ?? [])
      .filter(({ apiVersion, kind: type, metadata: { name, namespace } }) => {
        const group = apiVersion.includes("/") ? (apiVersion.split("/")[0] ?? "") : "";
        return !admitted(group, name, namespace, type);
      });
    expect(refused.map(({ kind: type, metadata }) => `${type} ${metadata.name}`)).toEqual([]);
    const namespaces = project.destinations.map(({ namespace }) => namespace);
    expect(apps.filter(({ namespace }) => !namespaces.includes(namespace))).toEqual([]);
  });

  it("lets the foundation alone say which namespaces there are, and who may do and reach what", () => {
    const DECIDE =
      /^(LimitRange|Namespace|NetworkPolicy|ResourceQuota|(Cluster)?Role(Binding)?|ValidatingAdmission.*)$|\*/;
    const deciding = kinds.flatMap((kind) => {
      const project = Project.parse(of(env, "AppProject", `${env}-${kind}`).spec);
      const all = [...project.clusterResourceWhitelist, ...project.namespaceResourceWhitelist];
      return all.filter((rule) => DECIDE.test(rule.kind)).map((rule) => [kind, rule.kind, "name" in rule]);
    });
    expect(new Set(deciding.map(([kind]) => kind))).toEqual(new Set(["foundation"]));
    const named = ["Namespace", "ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy"];
    for (const kind of [...named, "ValidatingAdmissionPolicyBinding"])
      expect(deciding).not.toContainEqual(["foundation", kind, false]);
  });

  it("asks a person before Argo CD prunes or deletes what holds data", () => {
    const holders = manifestsOf(tree, env).filter(({ kind }) =>
      ["Namespace", "PersistentVolumeClaim", "StatefulSet"].includes(kind),
    );
    const unasked = holders.filter(
      ({ metadata }) =>
        metadata.annotations?.["argocd.argoproj.io/sync-options"] !== "Prune=confirm,Delete=confirm",
    );
    expect(holders).not.toEqual([]);
    expect(unasked.map(({ kind, metadata }) => `${kind} ${metadata.name}`)).toEqual([]);
  });

  it.each([
    ["an application", () => tree.catalogue.map(({ app }) => app)],
    ["its root", () => [""]],
  ])("renders %s anew when any file changes that it is built from", async (what, apps) => {
    const { annotations } =
      what === "its root" ? root.metadata : ApplicationSet.parse(set.spec).template.metadata;
    const paths = annotations?.["argocd.argoproj.io/manifest-generate-paths"]?.split(";") ?? [];
    const unseen = apps().flatMap((app) => {
      const overlay = posix.join(`overlays/${env}`, app);
      const seen = paths.map((path) =>
        path === "." ? overlay : path.replace(/^\//, "").replace("{{.path.basename}}", app),
      );
      const { files, directories, problems } = closures.get(overlay) ?? NO_CLOSURE;
      expect([files.size > 0, problems]).toEqual([true, []]);
      return [...files, ...directories].filter(
        (file) => !seen.some((path) => `${file}/`.startsWith(`${path}/`)),
      );
    });
    expect(unseen).toEqual([]);
  });

  it("compares its root anew with each commit whose result it reports", () => {
    const paths = root.metadata.annotations?.["argocd.argoproj.io/manifest-generate-paths"]?.split(";");
    expect(paths).toEqual(expect.arrayContaining(["/apps", "/base"]));
  });
});

describe("Argo CD's account in a cluster", () => {
  const MANAGE = ["get", "list", "watch", "create", "update", "patch", "delete"];
  const READ = ["get", "list", "watch"];
  /** Made by others: Argo CD shows them. */
  const SHOWN = ["/pods", "apps/replicasets", "batch/jobs"];
  const Rule = z.object({
    apiGroups: z.array(z.string()),
    resources: z.array(z.string()),
    verbs: z.array(z.string()),
    resourceNames: z.array(z.string()).default([""]),
  });
  const Role = z.object({ rules: z.array(Rule) });
  /** Each right by itself, such as `apps/deployments get`. */
  const rightsOf = (role: unknown) =>
    Role.parse(role).rules.flatMap(({ apiGroups, resources, verbs, resourceNames }) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) =>
          verbs.flatMap((verb) => resourceNames.map((name) => `${group}/${resource} ${verb} ${name}`.trim())),
        ),
      ),
    );
  const rights = (resources: readonly string[], verbs: readonly string[]) =>
    resources.flatMap((resource) => verbs.map((verb) => `${resource} ${verb}`));

  it("may do what the projects admit, show it, and hold what the foundation's roles grant; no more", async () => {
    const role = only(await render("argocd/cluster"), "ClusterRole", "argocd-environment");
    const admitted = names.flatMap((env) =>
      kinds.flatMap((kind) => {
        const project = Project.parse(of(env, "AppProject", `${env}-${kind}`).spec);
        return [...project.clusterResourceWhitelist, ...project.namespaceResourceWhitelist];
      }),
    );
    const plural = (kind: string) => `${kind}${kind.endsWith("s") ? "es" : "s"}`.replace(/ys$/, "ies");
    const resources = admitted.map(({ group, kind }) => `${group}/${plural(kind.toLowerCase())}`);
    const granted = names
      .flatMap((env) => manifestsOf(tree, env))
      .filter(({ kind }) => ["ClusterRole", "Role"].includes(kind))
      .flatMap(rightsOf);
    const wanted = [
      ...rights(
        resources.filter((resource) => !SHOWN.includes(resource)),
        MANAGE,
      ),
      ...rights([...SHOWN, "/events", "/pods/log", "apiextensions.k8s.io/customresourcedefinitions"], READ),
      ...granted,
    ];
    expect(granted).not.toEqual([]);
    expect([...new Set(rightsOf(role))].toSorted()).toEqual([...new Set(wanted)].toSorted());
  });
});

describe.each(["dev", "staging"])("%s follows Git by itself", (env) => {
  const set = of(env, "ApplicationSet");

  it("syncs, prunes and heals, its root too", () => {
    expect(set.spec).toHaveProperty("template.spec.syncPolicy.automated", AUTOMATED);
    expect(of(env, "Application").spec).toHaveProperty("syncPolicy.automated", AUTOMATED);
  });

  it("removes an application with what it deployed when its directory leaves Git", () => {
    expect(set.spec).toHaveProperty("syncPolicy", {
      applicationsSync: "sync",
      preserveResourcesOnDeletion: false,
    });
    expect(set.spec).toHaveProperty("template.metadata.finalizers", [FINALIZER]);
  });

  it("lets a person pause one application, and nothing else of it", () => {
    expect(set.spec).toHaveProperty("ignoreApplicationDifferences", [
      { jsonPointers: ["/spec/syncPolicy/automated/enabled"] },
    ]);
  });
});

describe("prod waits", () => {
  const set = of("prod", "ApplicationSet");

  it("syncs nothing by itself, its root included", () => {
    expect(set.spec).not.toHaveProperty("template.spec.syncPolicy.automated");
    expect(set.spec).not.toHaveProperty("templatePatch");
    expect(of("prod", "Application").spec).not.toHaveProperty("syncPolicy.automated");
  });

  it("retries what was approved, not what came later", () => {
    expect(set.spec).not.toHaveProperty("template.spec.syncPolicy.retry.refresh");
    expect(of("prod", "Application").spec).not.toHaveProperty("syncPolicy.retry.refresh");
  });

  it("deletes nothing because a generator changed", () => {
    expect(set.spec).toHaveProperty("syncPolicy", {
      applicationsSync: "create-update",
      preserveResourcesOnDeletion: true,
    });
    expect(set.spec).not.toHaveProperty("template.metadata.finalizers");
    expect(of("prod", "Application").metadata.finalizers).toBeUndefined();
  });

  it("keeps its applications when the ApplicationSet itself is deleted, and asks before that", () => {
    expect(set.metadata.finalizers).toEqual([FINALIZER]);
    expect(set.metadata.annotations).toMatchObject({
      "argocd.argoproj.io/sync-options": "Prune=confirm,Delete=confirm",
    });
  });
});
