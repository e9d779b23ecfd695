/**
 * The Applications that ApplicationSets make of a tree, worked out without a cluster: of each environment one cluster stands for all,
 * which has the environment's name and its label. test/sandbox/1-loop compares them with those that Argo CD makes.
 */
import { posix } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { fieldOf, idOf, type Manifest } from "../manifests/manifest.ts";
import { wildcard } from "../wildcard.ts";

/** The files of one state of the repository. */
export interface Files {
  /** The address of the repository: generators that read another one are not understood. */
  repoURL: string;
  paths: ReadonlySet<string>;
  /** The text of a file. */
  read: (path: string) => string | undefined;
}

export interface GeneratedApplication {
  name: string;
  /** Empty where it belongs to none. */
  environment: string;
  /** The ApplicationSet that makes it; undefined for one that stands in Git as it is. */
  by: string | undefined;
  /** Its path, or its chart: an application with another name and the same source is a renamed one. */
  source: string;
  namespace: string;
  project: string;
  /** Whether it goes when nothing makes it any more. */
  isRemoved: boolean;
  /** Whether its objects go with it. */
  takesObjects: boolean;
}

/** The Applications of some ApplicationSets, and the reasons why others are not understood. */
export interface Generated {
  applications: GeneratedApplication[];
  problems: string[];
}

/** The clusters are known by this label. */
const LABEL = "environment";
const FINALIZER = "resources-finalizer.argocd.argoproj.io";

const Selector = z.strictObject({
  matchLabels: z.record(z.string(), z.string()).default({}),
  matchExpressions: z
    .array(z.strictObject({ key: z.string(), operator: z.string(), values: z.array(z.string()).default([]) }))
    .default([]),
});
const Git = z.strictObject({
  repoURL: z.string(),
  revision: z.string(),
  requeueAfterSeconds: z.unknown().optional(),
  pathParamPrefix: z.string().optional(),
  directories: z.array(z.strictObject({ path: z.string(), exclude: z.boolean().default(false) })).optional(),
  files: z.array(z.strictObject({ path: z.string(), exclude: z.boolean().default(false) })).optional(),
});
interface Generator {
  clusters?: { selector?: z.infer<typeof Selector> | undefined } | undefined;
  git?: z.infer<typeof Git> | undefined;
  list?: { elements: Record<string, unknown>[] } | undefined;
  matrix?: { generators: Generator[] } | undefined;
}
/** The generators that this repository uses. Any other field may change the result, so it is refused. */
const Generator: z.ZodType<Generator> = z.lazy(() =>
  z.strictObject({
    clusters: z.strictObject({ selector: Selector.optional() }).optional(),
    git: Git.optional(),
    list: z.strictObject({ elements: z.array(z.record(z.string(), z.unknown())) }).optional(),
    matrix: z.strictObject({ generators: z.array(Generator) }).optional(),
  }),
);
const Application = z.object({
  metadata: z.object({
    name: z.string(),
    labels: z.record(z.string(), z.string()).default({}),
    finalizers: z.array(z.string()).default([]),
  }),
  spec: z.object({
    project: z.string(),
    source: z.object({ repoURL: z.string(), path: z.string().optional(), chart: z.string().optional() }),
    destination: z.object({ namespace: z.string() }),
  }),
});
const ApplicationSet = z.object({
  metadata: z.object({ name: z.string() }),
  spec: z.object({
    goTemplate: z.literal(true),
    generators: z.array(Generator),
    syncPolicy: z
      .object({
        applicationsSync: z.string().optional(),
        preserveResourcesOnDeletion: z.boolean().optional(),
      })
      .default({}),
    template: Application,
  }),
});

type Parameters = Record<string, unknown>;

/** A part of an ApplicationSet that is not understood here. */
class NotUnderstood extends Error {}

/**
 * Works out what a tree's ApplicationSets make.
 * @param manifests everything that Argo CD's own applications render
 * @param environments the names of the environments
 */
export function generateApplications(
  manifests: readonly Manifest[],
  files: Files,
  environments: readonly string[],
): Generated {
  const applications: GeneratedApplication[] = [];
  const problems: string[] = [];
  for (const manifest of manifests) {
    try {
      if (manifest.kind === "Application") applications.push(plain(manifest));
      if (manifest.kind === "ApplicationSet") applications.push(...madeBy(manifest, files, environments));
    } catch (error) {
      if (!(error instanceof NotUnderstood) && !(error instanceof z.ZodError)) throw error;
      const reason = error instanceof z.ZodError ? firstIssue(error) : error.message;
      problems.push(`${idOf(manifest)}: ${reason}`);
    }
  }
  return { applications, problems };
}

function firstIssue({ issues: [issue] }: z.ZodError): string {
  return issue === undefined ? "" : `${issue.path.join(".")}: ${issue.message}`;
}

function plain(manifest: Manifest): GeneratedApplication {
  const { metadata, spec } = Application.parse(manifest);
  return {
    name: metadata.name,
    environment: metadata.labels[LABEL] ?? "",
    by: undefined,
    source: sourceOf(spec),
    namespace: spec.destination.namespace,
    project: spec.project,
    isRemoved: true,
    takesObjects: metadata.finalizers.includes(FINALIZER),
  };
}

function madeBy(manifest: Manifest, files: Files, environments: readonly string[]): GeneratedApplication[] {
  const { metadata, spec } = ApplicationSet.parse(manifest);
  const { template, syncPolicy, generators } = spec;
  const clusters = environments.map((name) => ({ name, metadata: { labels: { [LABEL]: name } } }));
  const isRemoved = ["sync", "create-delete"].includes(syncPolicy.applicationsSync ?? "sync");
  const { finalizers } = template.metadata;
  // Argo CD adds the finalizer where there is none. Source: argo-cd, applicationset/utils/utils.go, RenderTemplateParams.
  const hasFinalizer =
    finalizers.includes(FINALIZER) ||
    (finalizers.length === 0 && syncPolicy.preserveResourcesOnDeletion !== true);
  const all = generators.flatMap((generator) => parametersOf(generator, { files, clusters }, {}));
  return all.map((parameters) => {
    const { destination, project } = template.spec;
    const text = (value: string) => filled(value, parameters);
    return {
      name: text(template.metadata.name),
      environment: text(template.metadata.labels[LABEL] ?? ""),
      by: metadata.name,
      source: text(sourceOf(template.spec)),
      namespace: text(destination.namespace),
      project: text(project),
      isRemoved,
      takesObjects: isRemoved && hasFinalizer,
    };
  });
}

function sourceOf({ source }: z.infer<typeof Application>["spec"]): string {
  return source.path ?? `${source.repoURL} ${source.chart ?? ""}`;
}

interface World {
  files: Files;
  clusters: readonly Cluster[];
}

/** As the generator of clusters tells one. */
interface Cluster extends Parameters {
  name: string;
  metadata: { labels: Record<string, string> };
}

function parametersOf(generator: Generator, world: World, outer: Parameters): Parameters[] {
  const { clusters, git, list, matrix } = generator;
  if (clusters !== undefined) return world.clusters.filter((one) => isSelected(one, clusters.selector));
  if (git !== undefined && git.repoURL !== world.files.repoURL)
    throw new NotUnderstood(`it reads ${git.repoURL}`);
  if (git?.directories !== undefined) return directories(git.directories, world.files, outer);
  if (git?.files !== undefined) return contents(git, world.files, outer);
  if (list !== undefined) return list.elements;
  if (matrix === undefined) throw new NotUnderstood("a generator of another kind");
  return matrix.generators.reduce<Parameters[]>(
    (found, inner) =>
      found.flatMap((one) =>
        parametersOf(inner, world, { ...outer, ...one }).map((more) => ({ ...one, ...more })),
      ),
    [{}],
  );
}

function isSelected(
  { metadata: { labels } }: Cluster,
  selector: z.infer<typeof Selector> | undefined,
): boolean {
  if (selector === undefined) return true;
  const { matchLabels, matchExpressions } = selector;
  const other = [...Object.keys(matchLabels), ...matchExpressions.map(({ key }) => key)].find(
    (key) => key !== LABEL,
  );
  if (other !== undefined) throw new NotUnderstood(`clusters are selected by the label ${other}`);
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, operator, values }) => {
      const value = labels[key];
      if (operator === "Exists") return value !== undefined;
      if (operator === "DoesNotExist") return value === undefined;
      const isIn = value !== undefined && values.includes(value);
      return operator === "NotIn" ? !isIn : isIn;
    })
  );
}

/** Source: argo-cd, applicationset/generators/git.go, filterApps. */
function directories(wanted: readonly Wanted[], { paths }: Files, outer: Parameters): Parameters[] {
  const all = new Set([...paths].flatMap(directoriesAbove));
  return [...all]
    .filter(wantedBy(wanted, outer))
    .toSorted()
    .map((path) => ({ path: pathParameters(path) }));
}

function contents(
  { files = [], pathParamPrefix }: z.infer<typeof Git>,
  { paths, read }: Files,
  outer: Parameters,
): Parameters[] {
  const [one, ...others] = files.map(({ path }) => filled(path, outer));
  // A single file is asked for a thousand times.
  const isSingle = one !== undefined && others.length === 0 && !/[*?[{]/.test(one);
  const found = isSingle
    ? [one].filter((path) => paths.has(path))
    : [...paths].filter(wantedBy(files, outer));
  return found.map((path) => {
    const content = z.record(z.string(), z.unknown()).parse(parse(read(path) ?? "") ?? {});
    const place = { path: { ...pathParameters(posix.dirname(path)), filename: posix.basename(path) } };
    return { ...content, ...(pathParamPrefix === undefined ? place : { [pathParamPrefix]: place }) };
  });
}

interface Wanted {
  path: string;
  exclude: boolean;
}

function wantedBy(wanted: readonly Wanted[], outer: Parameters): (path: string) => boolean {
  const tests = wanted.map(({ path, exclude }) => ({
    exclude,
    test: wildcard(filled(path, outer), "[^/]*"),
  }));
  const [taken, left] = [tests.filter(({ exclude }) => !exclude), tests.filter(({ exclude }) => exclude)];
  return (path) => taken.some(({ test }) => test.test(path)) && !left.some(({ test }) => test.test(path));
}

function directoriesAbove(path: string): string[] {
  const found: string[] = [];
  for (let at = posix.dirname(path); at !== "."; at = posix.dirname(at)) found.push(at);
  return found;
}

function pathParameters(path: string): object {
  return { path, basename: posix.basename(path), segments: path.split("/") };
}

/** A template with its parameters in place. Only names are understood, such as `{{.path.basename}}`. */
function filled(template: string, parameters: Parameters): string {
  return template.replaceAll(/\{\{(.*?)\}\}/g, (_, inner: string) => {
    const keys = /^\s*((?:\.[A-Za-z_]\w*)+)\s*$/.exec(inner)?.[1]?.slice(1).split(".");
    if (keys === undefined) throw new NotUnderstood(`its template has {{${inner}}}`);
    const value = keys.reduce<unknown>(fieldOf, parameters);
    if (typeof value === "string" || typeof value === "number") return String(value);
    throw new NotUnderstood(`{{${inner}}} has no value`);
  });
}
