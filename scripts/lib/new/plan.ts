/** What `npm run new` writes: every file with its text, besides what is sealed. Nothing here writes. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { isMap, isScalar, stringify } from "yaml";
import { z } from "zod";
import { readDocument } from "../document.ts";
import { RefusedError } from "../errors.ts";
import { exists, readIfThere } from "../file.ts";
import { repositoryOf } from "../forge/address.ts";
import { makeSource } from "../sandbox/sources.ts";
import { withTemporaryDirectory } from "../temporary.ts";
import type { App } from "../tree/catalogue.ts";
import { readSettings } from "../tree/settings.ts";
import { type Flow, policyOf, withEgress, withIngress } from "./policies.ts";
import { type CheckedRequest, copyName, flowFile } from "./request.ts";
import { edited, fill, insert, listAt } from "./template.ts";

/** A file to write. */
export interface Write {
  /** Relative to the repository's root. */
  path: string;
  text: string;
  isNew: boolean;
  /** What it says, or what comes into it; for people. */
  what: string;
}

const GATEWAY = { app: "apisix", namespace: "gateway" };
const PROMETHEUS = { app: "prometheus", namespace: "monitoring" };

/**
 * Plans a new app.
 * @param now the date of its made-up commit, where it has no image yet
 * @throws RefusedError when a file that is new is there already, or one that changes has not its shape
 */
export async function planNew(root: string, request: CheckedRequest, now: Date): Promise<Write[]> {
  const files = new Files(root);
  const { app, kind, namespace, environment, image } = request;
  const { tag, history } = await firstImage(request, now);
  const values = {
    APP: app,
    NAMESPACE: namespace,
    IMAGE: image,
    TAG: tag,
    PORT: String(request.port),
    SCHEDULE: request.schedule ?? "",
    ROUTE: request.route ?? "",
  };
  const template = async (name: string) => fill(root, name, values);
  const base = `base/${app}`;
  const secrets = secretsOf(request);
  const isDeployment = kind !== "cron-job";

  await files.add(`apps/${app}.yaml`, catalogueEntry(request, secrets), "the catalogue's entry");
  await files.add(
    `${base}/kustomization.yaml`,
    withComponents(await template(`${kind}/kustomization.yaml`), request),
    "what it is",
  );
  const workload = isDeployment ? "deployment" : "cron-job";
  await files.add(
    `${base}/${workload}.yaml`,
    withVariables(await template(`${kind}/${workload}.yaml`), request),
    isDeployment ? "two pods" : `runs at "${request.schedule}", UTC`,
  );
  if (kind === "service")
    await files.add(`${base}/service.yaml`, await template("service/service.yaml"), `port ${request.port}`);
  await files.add(
    `${base}/service-account.yaml`,
    await template("any/service-account.yaml"),
    "without a token",
  );
  if (isDeployment)
    await files.add(`${base}/pdb.yaml`, await template("any/pdb.yaml"), "drains take one pod at a time");
  if (isDeployment && secrets.length > 0)
    await files.add(
      `${base}/checksums/kustomization.yaml`,
      checksums(secrets.map(({ name }) => name)),
      "a new value rolls the pods",
    );
  await files.add(
    `overlays/${environment}/${app}/kustomization.yaml`,
    await withSecrets(
      root,
      await template("any/overlay.yaml"),
      request,
      secrets.map(({ name }) => name),
    ),
    `image ${tag.slice(0, 7)}, ${isDeployment ? "one pod, " : ""}LOG_LEVEL=debug`,
  );
  await planFlows(files, request);
  if (kind === "service") await planMonitor(files, request, await template("service/monitor.yaml"));
  if (request.route !== undefined) await planRoute(files, request, template);
  if (!isDeployment) await admitCronJobs(files);
  await planOwners(root, files, request);
  if (history !== undefined)
    await files.add(`sandbox/sources/${app}.yaml`, history, "a made-up commit, for the sandbox");
  return files.writes;
}

/** Collects what is written; a file that several changes are about is there once. */
class Files {
  readonly writes: Write[] = [];
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  async add(path: string, text: string, what: string): Promise<void> {
    if (await exists(join(this.#root, path)))
      throw new RefusedError(`${path} is there already`, "take another name for the app, or remove it");
    this.writes.push({ path, text, isNew: true, what });
  }

  async change(path: string, what: string, change: (text: string) => string): Promise<void> {
    const earlier = this.writes.find((write) => write.path === path);
    const text = earlier?.text ?? (await readIfThere(join(this.#root, path)));
    if (text === undefined) throw new RefusedError(`there is no ${path}`, "restore it from Git");
    const after = change(text);
    if (earlier !== undefined) earlier.text = after;
    else if (after !== text) this.writes.push({ path, text: after, isNew: false, what });
  }
}

/** The image that the overlay begins with, and the made-up commits that it is of. */
async function firstImage(
  { app, sha }: CheckedRequest,
  now: Date,
): Promise<{ tag: string; history: string | undefined }> {
  if (sha !== undefined) return { tag: sha, history: undefined };
  const commits = [{ date: now.toISOString().replace(/\.\d+Z$/, "Z"), subject: `Begin ${app}` }];
  const tag = await withTemporaryDirectory("new-source-", async (directory) =>
    makeSource(join(directory, "source.git"), commits, process.env),
  );
  const about = `# Made-up commits of ${app}'s own repository, the newest last: its SHA is the image that the first overlay starts with.`;
  return { tag, history: `${about}\n${stringify(commits)}` };
}

type AppSecret = App["secrets"][number];

function secretsOf({ app, stored, secrets, owners }: CheckedRequest): AppSecret[] {
  const copies = stored.flatMap((store) =>
    store.client === undefined
      ? []
      : [{ name: copyName(app, store.client.component), sameAs: `${store.app}/${store.client.secret}` }],
  );
  const own = secrets.map(({ name, keys, isSupplied }) => {
    const key = isSupplied ? { supply: `the team ${owners[0]}` } : { generate: 32 };
    return { name, type: "Opaque", keys: Object.fromEntries(keys.map((one) => [one, key])) };
  });
  return [...copies, ...own];
}

function catalogueEntry(request: CheckedRequest, secrets: readonly AppSecret[]): string {
  const { app, namespace, image, source, owners } = request;
  const { from, to } = flowsOf(request);
  const ends = (flows: readonly Flow[]) =>
    Object.fromEntries(flows.map(({ end, port }) => [`${end.namespace}/${end.app}`, port]));
  return stringify(
    {
      app,
      namespace,
      kind: "service",
      image,
      source,
      owners,
      ...(from.length + to.length === 0
        ? {}
        : {
            flows: {
              ...(from.length === 0 ? {} : { from: ends(from) }),
              ...(to.length === 0 ? {} : { to: ends(to) }),
            },
          }),
      ...(secrets.length === 0
        ? {}
        : { secrets: secrets.map((one) => ("keys" in one ? { name: one.name, keys: one.keys } : one)) }),
    },
    { aliasDuplicateObjects: false },
  );
}

function flowsOf({ port = 0, route, calling, stored }: CheckedRequest): { from: Flow[]; to: Flow[] } {
  return {
    from: [
      ...(route === undefined ? [] : [{ end: GATEWAY, port }]),
      ...calling.map((end) => ({ end, port })),
      ...(port === 0 ? [] : [{ end: PROMETHEUS, port, comment: "Metrics." }]),
    ],
    to: stored.flatMap(({ app, namespace, client }) =>
      client === undefined ? [] : [{ end: { app, namespace }, port: client.port }],
    ),
  };
}

function withComponents(text: string, { stored }: CheckedRequest): string {
  return edited(text, (document) => {
    const components = listAt(document, "kustomization.yaml", ["components"]);
    for (const { client } of stored)
      if (client !== undefined) components.add(`../components/${client.component}`);
  });
}

/** One variable for each key of the app's own Secrets. */
function withVariables(text: string, { kind, secrets }: CheckedRequest): string {
  const variables = secrets.flatMap(({ name, keys }) =>
    keys.map((key) => ({
      name: `${name}_${key}`.toUpperCase().replace(/[^A-Z0-9]/g, "_"),
      valueFrom: { secretKeyRef: { name, key } },
    })),
  );
  if (variables.length === 0) return text;
  const pod =
    kind === "cron-job" ? ["spec", "jobTemplate", "spec", "template", "spec"] : ["spec", "template", "spec"];
  return edited(text, (document) => {
    const container: unknown = document.getIn([...pod, "containers", 0], true);
    if (!isMap(container)) throw new RefusedError("the template has no container", "restore it from Git");
    // Behind the maps, as in the other services.
    const maps = container.items.findIndex(({ key }) => isScalar(key) && key.value === "envFrom");
    container.items.splice(maps + 1, 0, document.createPair("env", variables));
  });
}

function checksums(names: readonly string[]): string {
  const replacements = names.map((name) => ({
    source: { kind: "SopsSecret", name, fieldPath: "sops.mac" },
    targets: [
      {
        select: { kind: "Deployment" },
        fieldPaths: [`spec.template.metadata.annotations.checksum/${name}`],
        options: { create: true },
      },
    ],
  }));
  const about = "# Used by the overlays, which have the sealed files: a Secret that changes rolls the pods.";
  const component = { apiVersion: "kustomize.config.k8s.io/v1alpha1", kind: "Component", replacements };
  return `${about}\n${stringify(component)}`;
}

const Config = z.object({ data: z.record(z.string(), z.string()) });
/** Connections of each pod in the first environment, which is a small one. */
const SMALL_POOL = 5;

async function withSecrets(
  root: string,
  text: string,
  { kind, stored }: CheckedRequest,
  names: readonly string[],
): Promise<string> {
  const pools: string[] = [];
  for (const { client } of stored) {
    const file = `base/components/${client?.component}/config.yaml`;
    const { data } = readDocument(await readFile(join(root, file), "utf8"), file, Config);
    pools.push(...Object.keys(data).filter((key) => key.endsWith("_POOL_SIZE")));
  }
  return edited(text, (document) => {
    const resources = listAt(document, "overlay.yaml", ["resources"]);
    for (const name of names) resources.add(`${name}.sops.yaml`);
    const literals = listAt(document, "overlay.yaml", ["configMapGenerator", 0, "literals"]);
    for (const pool of pools) literals.add(`${pool}=${SMALL_POOL}`);
    // A CronJob has a new pod each time.
    if (kind === "cron-job") document.delete("replicas");
    if (kind === "cron-job" || names.length === 0) document.delete("components");
  });
}

async function planFlows(files: Files, request: CheckedRequest): Promise<void> {
  const { app, namespace } = request;
  const self = { app, namespace };
  const { from, to } = flowsOf(request);
  if (from.length + to.length === 0) return;
  await files.add(flowFile(self), policyOf(self, { from, to }), "who comes in, and where it goes");
  const space = `base/foundation/namespaces/${namespace}/kustomization.yaml`;
  await files.change(space, `lists flows/${app}.yaml`, listed(space, `flows/${app}.yaml`, "flows/"));
  for (const { end, port } of from) {
    const file = flowFile(end);
    await files.change(file, `${end.app} may go to ${app}, port ${port}`, (text) =>
      withEgress(text, file, end, { end: self, port }),
    );
  }
  for (const { end, port } of to) {
    const file = flowFile(end);
    await files.change(file, `${app} may come in, port ${port}`, (text) =>
      withIngress(text, file, end, { end: self, port }),
    );
  }
}

function listed(file: string, entry: string, prefix: string): (text: string) => string {
  return (text) => edited(text, (document) => insert(listAt(document, file, ["resources"]), entry, prefix));
}

async function planMonitor(files: Files, { app }: CheckedRequest, text: string): Promise<void> {
  await files.add(
    `base/monitoring/service-monitors/${app}.yaml`,
    text,
    "Prometheus reads /metrics; alerts and dashboards follow",
  );
  const file = "base/monitoring/kustomization.yaml";
  await files.change(file, "lists it", listed(file, `service-monitors/${app}.yaml`, "service-monitors/"));
}

async function planRoute(
  files: Files,
  { app, route }: CheckedRequest,
  template: (name: string) => Promise<string>,
): Promise<void> {
  await files.add(
    `base/apisix/routes/${app}.yaml`,
    await template("route/ingress.yaml"),
    `${route} at the gateway`,
  );
  await files.add(
    `base/apisix/plugins/${app}.yaml`,
    await template("route/plugin.yaml"),
    "every request needs a token",
  );
  const file = "base/apisix/kustomization.yaml";
  await files.change(file, "lists both", (text) =>
    ["routes", "plugins"].reduce(
      (before, kind) => listed(file, `${kind}/${app}.yaml`, `${kind}/`)(before),
      text,
    ),
  );
}

/** The project of the services admits CronJobs from the first one on. */
async function admitCronJobs(files: Files): Promise<void> {
  const file = "argocd/environment/projects/service.yaml";
  await files.change(file, "services may bring CronJobs", (text) =>
    text.includes("kind: CronJob")
      ? text
      : edited(text, (document) => {
          const kinds = listAt(document, file, ["spec", "namespaceResourceWhitelist"]);
          for (const kind of ["CronJob", "Job"]) kinds.add(document.createNode({ group: "batch", kind }));
        }),
  );
}

/** A service's team may approve changes of its own directories. */
async function planOwners(root: string, files: Files, { app, owners }: CheckedRequest): Promise<void> {
  const { repoURL } = await readSettings(root);
  const file = ".github/CODEOWNERS";
  await files.change(file, `${owners.join(", ")} may approve what is theirs`, (text) => {
    const lines = text.split("\n");
    const everybody = /^\*\s+(\S.*)$/m.exec(text)?.[1] ?? "";
    const organisation = /^@([^/]+)\//.exec(everybody)?.[1] ?? repositoryOf(repoURL).owner;
    const teams = [everybody, ...owners.map((owner) => `@${organisation}/${owner}`)];
    const last = lines.findLastIndex((line) => line.startsWith("/overlays/*/"));
    const before = last >= 0 ? last : lines.findIndex((line) => line.startsWith("*"));
    const column = Math.max(29, `/overlays/*/${app}/ `.length);
    const own = [`/base/${app}/`, `/overlays/*/${app}/`].map(
      (path) => `${path.padEnd(column)}${[...new Set(teams)].join(" ")}`,
    );
    return lines.toSpliced(before + 1, 0, ...own).join("\n");
  });
}
