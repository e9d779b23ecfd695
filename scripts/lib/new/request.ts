/** What a person asks of `npm run new`, and whether the tree can have it. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { readDocument } from "../document.ts";
import { RefusedError, UsageError } from "../errors.ts";
import { exists } from "../file.ts";
import { credentialsOf } from "../secrets/credential.ts";
import { type App, readCatalogue } from "../tree/catalogue.ts";
import { readEnvironments } from "../tree/environment.ts";

export const KINDS = ["service", "worker", "cron-job"] as const;
export type Kind = (typeof KINDS)[number];

/** A Secret of the new app: its keys, and whether a person brings their values. */
export interface NewSecret {
  name: string;
  keys: readonly string[];
  isSupplied: boolean;
}

export interface NewRequest {
  app: string;
  kind: Kind;
  namespace: string;
  /** Of services only. */
  port: number | undefined;
  /** Path at the gateway; undefined: nobody reaches it from outside. */
  route: string | undefined;
  /** Of cron jobs only. */
  schedule: string | undefined;
  stores: readonly string[];
  callers: readonly string[];
  owners: readonly string[];
  /** Whether `owners` may have a team that owns nothing yet. */
  isNewTeam: boolean;
  /** `owner/name`; undefined: beside those of the other services. */
  source: string | undefined;
  /** The first image; undefined: a made-up one, for the sandbox. */
  sha: string | undefined;
  secrets: readonly NewSecret[];
}

/** A store that services can use. */
export type Store = Extract<App, { kind: "store" }> & { client: object };

/** A request that the tree can have, with what it refers to. */
export interface CheckedRequest extends NewRequest {
  /** The first environment: the only one that a new app begins in. */
  environment: string;
  stored: readonly Store[];
  calling: readonly App[];
  image: string;
  source: string;
  catalogue: readonly App[];
}

/** A label of DNS, and the name of an object of Kubernetes. */
const LABEL = /^[a-z]([a-z0-9-]*[a-z0-9])?$/;
/** So long is the longest value of a label. */
const LONGEST = 63;
/** What the catalogue takes, which leaves room for the hashes of pods and ConfigMaps. */
const LONGEST_APP = 40;
/** Ports that something else of the pod, or of the cluster, has. */
const RESERVED = new Map([
  [4317, "traces"],
  [10250, "the kubelet"],
  [15000, "a mesh"],
]);

const Project = z.object({
  spec: z.object({ destinations: z.array(z.object({ namespace: z.string() })) }),
});

/**
 * Holds a request against the tree.
 * @throws UsageError for what is not well-formed or not there; RefusedError for what is taken
 */
export async function checkRequest(root: string, request: NewRequest): Promise<CheckedRequest> {
  if (/\p{Cc}/u.test(Object.values(request).flat().map(String).join("")))
    throw new UsageError("an argument has more than one line", "give each as one line");
  const catalogue = await readCatalogue(root);
  const environments = (await readEnvironments(root)).map(({ name }) => name);
  checkName(request.app, environments);
  await refuseTaken(root, catalogue, request.app, environments);
  await checkNamespace(root, request.namespace);
  checkShape(request);
  const services = catalogue.flatMap((app) => (app.kind === "service" ? [app] : []));
  const [image, source] = prefixes(services);
  checkOwners(catalogue, request);
  const stored = unique("--stores", request.stores).map((name) => findStore(catalogue, name));
  const calling = unique("--callers", request.callers).map((name) => findCaller(services, name));
  for (const caller of calling) await mustHaveFlows(root, caller);
  checkSecrets(catalogue, request, stored);
  if (request.source !== undefined && !/^[\w.-]+\/[\w.-]+$/.test(request.source))
    throw new UsageError(`--source ${request.source} is no repository`, "name it as owner/name");
  if (request.sha !== undefined && !/^[0-9a-f]{40}$/.test(request.sha))
    throw new UsageError(`--sha ${request.sha} is no commit`, "give all its 40 digits");
  return {
    ...request,
    environment: environments[0] ?? "",
    stored,
    calling,
    image: `${image}/${request.app}`,
    source: request.source ?? `${source}/${request.app}`,
    catalogue,
  };
}

function checkName(app: string, environments: readonly string[]): void {
  if (!LABEL.test(app))
    throw new UsageError(
      `${app === "" ? "the app" : app} is no name of an app`,
      "a name has lower-case letters, digits and dashes, begins with a letter, and ends with no dash",
    );
  if (app.length < 2 || app.length > LONGEST_APP)
    throw new UsageError(`${app} has ${app.length} characters`, `a name has 2 to ${LONGEST_APP}`);
  const longest = environments.map((name) => `${name}-${app}`).find((name) => name.length > LONGEST);
  if (longest !== undefined)
    throw new UsageError(
      `${longest}, its Application, has ${longest.length} characters`,
      `${LONGEST} are the most: take a shorter name`,
    );
}

async function refuseTaken(
  root: string,
  catalogue: readonly App[],
  app: string,
  environments: readonly string[],
): Promise<void> {
  if (catalogue.some((one) => one.app === app))
    throw new RefusedError(`there is an app ${app} already`, "take another name");
  if (catalogue.some(({ namespace }) => namespace === app))
    throw new RefusedError(`${app} is the name of a namespace`, "take another name");
  for (const path of [`base/${app}`, ...environments.map((name) => `overlays/${name}/${app}`)]) {
    if (await exists(join(root, path)))
      throw new RefusedError(`${path} is there, of no app`, "take another name, or remove it");
  }
}

async function checkNamespace(root: string, namespace: string): Promise<void> {
  const file = "argocd/environment/projects/service.yaml";
  const { spec } = readDocument(await readFile(join(root, file), "utf8"), file, Project);
  const allowed = [...new Set(spec.destinations.map((one) => one.namespace))];
  if (allowed.includes(namespace)) return;
  throw new UsageError(`services have no namespace ${namespace}`, `${file} has ${allowed.join(", ")}`);
}

function checkShape({ kind, port, route, schedule, callers, stores }: NewRequest): void {
  const refuse = (option: string, is: unknown, why: string) => {
    if (is === undefined || (Array.isArray(is) && is.length === 0)) return;
    throw new UsageError(`a ${kind} has no ${option}`, why);
  };
  if (kind === "service") {
    if (port === undefined) throw new UsageError("a service needs a port", "give it with --port");
    refuse("--schedule", schedule, "leave it out, or say --kind cron-job");
    checkPort(port);
  } else {
    refuse("--port", port, "leave it out, or say --kind service");
    refuse("--callers", callers, "nothing listens there: leave them out, or say --kind service");
    refuse("--route", route, "nothing listens there: leave it out, or say --kind service");
  }
  if (kind === "worker") refuse("--schedule", schedule, "leave it out, or say --kind cron-job");
  if (kind === "cron-job") {
    refuse("--stores", stores, "the components for stores are for Deployments: add its variables by hand");
    if (schedule === undefined)
      throw new UsageError("a cron-job needs a schedule", 'as in --schedule "30 1 * * *"');
    if (!/^([\d*/,-]+ ){4}[\d*/,-]+$/.test(schedule))
      throw new UsageError(
        `--schedule ${schedule} is no schedule of cron`,
        'it has five fields, as in "30 1 * * *"',
      );
  }
  if (route !== undefined && !/^\/api\/v1\/[a-z]+$/.test(route))
    throw new UsageError(`--route ${route} is no path of the gateway`, "as in /api/v1/orders");
}

function checkPort(port: number): void {
  if (!Number.isInteger(port) || port < 1 || port > 65535)
    throw new UsageError("--port is no port", "a port is a number from 1024 to 65535");
  if (port < 1024)
    throw new UsageError(`port ${port} is for root, and no pod here runs as root`, "take one from 1024 on");
  const reserved = RESERVED.get(port);
  if (reserved !== undefined) throw new UsageError(`port ${port} is that of ${reserved}`, "take another one");
}

/** What comes before the name in the images and in the repositories of the services. */
function prefixes(services: readonly { image: string; source: string }[]): [string, string] {
  const [first] = services;
  if (first === undefined) return ["ecommerce", "ecommerce"];
  return [first.image.replace(/\/[^/]+$/, ""), first.source.replace(/\/[^/]+$/, "")];
}

function checkOwners(catalogue: readonly App[], { owners, isNewTeam }: NewRequest): void {
  if (owners.length === 0) throw new UsageError("the app has no owner", "name a team with --owners");
  const known = new Set(catalogue.flatMap((app) => app.owners));
  for (const owner of unique("--owners", owners)) {
    if (!LABEL.test(owner))
      throw new UsageError(`--owners ${owner} is no name of a team`, "leave @ and the organisation out");
    if (known.has(owner) || isNewTeam) continue;
    throw new UsageError(
      `the team ${owner} owns nothing here`,
      `there are ${[...known].sort().join(", ")}; if your forge has it, add --new-team`,
    );
  }
}

function unique(option: string, names: readonly string[]): readonly string[] {
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice === undefined) return names;
  throw new UsageError(`${option} has ${twice} twice`, "name it once");
}

/** Whether services can use an app as their store. */
export function isStore(app: App): app is Store {
  return app.kind === "store" && app.client !== undefined;
}

function findStore(catalogue: readonly App[], name: string): Store {
  const stores = catalogue.filter(isStore);
  const found = stores.find(({ app }) => app === name);
  if (found !== undefined) return found;
  throw new UsageError(
    `services use no store ${name}`,
    `there are ${stores.map(({ app }) => app).join(", ")}: those with \`client\` in apps/<store>.yaml`,
  );
}

function findCaller(services: readonly App[], name: string): App {
  const found = services.find(({ app }) => app === name);
  if (found !== undefined) return found;
  throw new UsageError(
    `there is no service ${name} that could call it`,
    `there are ${services.map(({ app }) => app).join(", ")}; for the gateway say --route`,
  );
}

/** The file with whom an app talks to. */
export function flowFile({ app, namespace }: Pick<App, "app" | "namespace">): string {
  return `base/foundation/namespaces/${namespace}/flows/${app}.yaml`;
}

async function mustHaveFlows(root: string, caller: App): Promise<void> {
  const file = flowFile(caller);
  if (await exists(join(root, file))) return;
  throw new RefusedError(`${caller.app} has no flows`, `add ${file} first`);
}

/** The new app's copy of a store's Secret, as the component calls it. */
export function copyName(app: string, component: string): string {
  return `${app}-${component.replace(/-client$/, "")}`;
}

function checkSecrets(
  catalogue: readonly App[],
  { app, namespace, secrets }: NewRequest,
  stored: readonly Store[],
): void {
  const taken = new Map(
    credentialsOf(catalogue)
      .flatMap(({ places }) => places)
      .filter((place) => place.namespace === namespace)
      .map((place) => [place.name, place.app]),
  );
  for (const { client } of stored) {
    if (client !== undefined) taken.set(copyName(app, client.component), app);
  }
  for (const { name, keys } of secrets) {
    if (!LABEL.test(name) || name.length > LONGEST - "checksum/".length)
      throw new UsageError(`${name} is no name of a Secret`, "as in --secret mailer=user,password");
    const owner = taken.get(name);
    if (owner !== undefined)
      throw new RefusedError(`the Secret ${namespace}/${name} is one of ${owner}`, `call it ${app}-${name}`);
    taken.set(name, app);
    const wrong = keys.find((key) => !/^[A-Za-z][\w.-]{0,252}$/.test(key));
    if (wrong !== undefined || keys.length === 0)
      throw new UsageError(
        `the Secret ${name} has no key that Kubernetes takes`,
        "as in --secret mailer=user,password",
      );
    unique(`--secret ${name}`, keys);
  }
}
