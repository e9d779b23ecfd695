/** The files and directories that a kustomization names. Source of all fields: kustomize 5.8, api/types. */
import { parse, parseAllDocuments } from "yaml";
import { z } from "zod";

export interface NamedFile {
  /** The field that names it, as kustomize writes it. */
  field: string;
  /** As it stands there: relative to the kustomization's directory, or an address. */
  path: string;
  /**
   * `any`: a file, or a directory with a kustomization. `plugin`: the same, and what it holds may name files, too, relative to this
   * kustomization. `tree`: a directory with all that is in it. `guess`: a text in a plugin's configuration, which may be a path.
   */
  as: "file" | "any" | "plugin" | "tree" | "guess";
}

export interface NamedFiles {
  kind: string;
  files: NamedFile[];
  /** Why there may be others: what is not understood. */
  problems: string[];
}

const Text = z.string();
const Paths = z.array(z.string()).default([]);
const Anything = z.unknown().optional();

/** Every field is here: one that is not could name a file. The names are in small letters, as `fold` has them. */
const Patch = z.strictObject({ path: Text.optional(), patch: Anything, target: Anything, options: Anything });
const Replacement = z.strictObject({
  path: Text.optional(),
  source: Anything,
  targets: Anything,
  sourcevalue: Anything,
});
const Generator = z.strictObject({
  namespace: Anything,
  name: Anything,
  behavior: Anything,
  options: Anything,
  type: Anything,
  literals: Anything,
  files: Paths,
  envs: Paths,
  env: Text.optional(),
});
const Chart = z.strictObject({
  name: Anything,
  version: Anything,
  repo: Anything,
  releasename: Anything,
  namespace: Anything,
  confighome: Anything,
  charthome: Text.optional(),
  valuesfile: Text.optional(),
  additionalvaluesfiles: Paths,
  valuesinline: Anything,
  valuesmerge: Anything,
  includecrds: Anything,
  skiphooks: Anything,
  apiversions: Anything,
  kubeversion: Anything,
  nametemplate: Anything,
  skiptests: Anything,
  debug: Anything,
  devel: Anything,
});
const OldChart = z.strictObject({
  chartname: Anything,
  chartversion: Anything,
  chartrepourl: Anything,
  charthome: Text.optional(),
  chartreponame: Anything,
  helmbin: Anything,
  helmhome: Anything,
  values: Text.optional(),
  valueslocal: Anything,
  valuesmerge: Anything,
  releasename: Anything,
  releasenamespace: Anything,
  extraargs: Anything,
});
const Kustomization = z.strictObject({
  apiversion: Anything,
  kind: Text.default("Kustomization"),
  metadata: Anything,
  nameprefix: Anything,
  namesuffix: Anything,
  namespace: Anything,
  commonlabels: Anything,
  labels: Anything,
  commonannotations: Anything,
  images: Anything,
  imagetags: Anything,
  replicas: Anything,
  vars: Anything,
  sortoptions: Anything,
  generatoroptions: Anything,
  buildmetadata: Anything,
  resources: Paths,
  bases: Paths,
  components: Paths,
  crds: Paths,
  configurations: Paths,
  generators: Paths,
  transformers: Paths,
  validators: Paths,
  patchesstrategicmerge: Paths,
  patches: z.array(Patch).default([]),
  patchesjson6902: z.array(Patch).default([]),
  replacements: z.array(Replacement).default([]),
  configmapgenerator: z.array(Generator).default([]),
  secretgenerator: z.array(Generator).default([]),
  helmglobals: z.strictObject({ charthome: Text.optional(), confighome: Anything }).default({}),
  helmcharts: z.array(Chart).default([]),
  helmchartinflationgenerator: z.array(OldChart).default([]),
  openapi: z.strictObject({ path: Text.optional(), version: Anything }).default({}),
});

/**
 * Reads what a kustomization names.
 * @param text the kustomization.yaml
 */
export function namedFiles(text: string): NamedFiles {
  const node = fold(parsed(text)) ?? {};
  const result = Kustomization.safeParse(node);
  if (!result.success) return { kind: "", files: [], problems: [problemOf(result.error)] };
  const { data } = result;
  const files: NamedFile[] = [
    ...list("resources", data.resources, "any"),
    ...list("bases", data.bases, "any"),
    ...list("components", data.components, "any"),
    ...list("crds", data.crds),
    ...list("configurations", data.configurations),
    ...list("patchesStrategicMerge", data.patchesstrategicmerge.filter(isPath)),
    ...list(
      "patches",
      data.patches.flatMap(({ path }) => path ?? []),
    ),
    ...list(
      "patchesJson6902",
      data.patchesjson6902.flatMap(({ path }) => path ?? []),
    ),
    ...list(
      "replacements",
      data.replacements.flatMap(({ path }) => path ?? []),
    ),
    ...list("openapi", data.openapi.path === undefined ? [] : [data.openapi.path]),
    ...(["configMapGenerator", "secretGenerator"] as const).flatMap((field) =>
      list(
        field,
        data[field === "configMapGenerator" ? "configmapgenerator" : "secretgenerator"].flatMap(sourcesOf),
      ),
    ),
    ...chartFiles(data),
  ];
  const problems: string[] = [];
  for (const field of ["generators", "transformers", "validators"] as const) {
    for (const entry of data[field]) {
      if (isPath(entry)) files.push({ field, path: entry, as: "plugin" });
      else {
        const named = filesOfPlugins(entry);
        if (named === undefined) problems.push(`${field} has a configuration that is no YAML`);
        files.push(...list(field, named ?? [], "guess"));
      }
    }
  }
  return { kind: data.kind, files, problems };
}

/**
 * The files and directories that the configurations of plugins may name: every short text in them counts, because nobody here knows
 * which field means what to a plugin; and where Helm's generator looks by itself.
 * @param text YAML documents
 * @returns undefined when they cannot be read
 */
export function filesOfPlugins(text: string): string[] | undefined {
  const documents = parseAllDocuments(text, { logLevel: "silent" });
  if (documents.some(({ errors }) => errors.length > 0)) return undefined;
  const found = new Set<string>();
  for (const document of documents) collect(document.toJS(), found);
  if (found.has("HelmChartInflationGenerator")) found.add(CHART_HOME);
  return [...found].map(withoutKey);
}

function collect(node: unknown, found: Set<string>): void {
  if (typeof node === "string") {
    // A patch of such a configuration stands in a text of its own.
    if (node.includes("\n")) collect(parsed(node), found);
    else if (node !== "" && !node.includes("\0")) found.add(node);
  } else if (typeof node === "object" && node !== null)
    for (const child of Object.values(node)) collect(child, found);
}

function list(field: string, paths: readonly string[], as: NamedFile["as"] = "file"): NamedFile[] {
  return paths.map((path) => ({ field, path, as }));
}

function sourcesOf({ files, envs, env }: z.infer<typeof Generator>): string[] {
  return [...files.map(withoutKey), ...envs, ...(env === undefined ? [] : [env])];
}

/** `key=path`, or the path, whose name is the key then. */
function withoutKey(entry: string): string {
  return entry.replace(/^[^=/]*=/, "");
}

/** Where charts are when nothing else is said. Source: kustomize, api/types, HelmDefaultHome. */
const CHART_HOME = "charts";

/** Which chart home counts for which chart depends on many fields: everything in all of them counts. */
function chartFiles({
  helmcharts,
  helmchartinflationgenerator: old,
  helmglobals: { charthome },
}: z.infer<typeof Kustomization>): NamedFile[] {
  if (helmcharts.length + old.length === 0) return [];
  const homes = [CHART_HOME, charthome, ...[...helmcharts, ...old].map((chart) => chart.charthome)];
  return [
    ...list(
      "helmGlobals",
      homes.flatMap((home) => home ?? []),
      "tree",
    ),
    ...list(
      "helmCharts",
      helmcharts.flatMap(({ valuesfile, additionalvaluesfiles }) => [
        ...(valuesfile === undefined ? [] : [valuesfile]),
        ...additionalvaluesfiles,
      ]),
    ),
    ...list(
      "helmChartInflationGenerator",
      old.flatMap(({ values }) => values ?? []),
    ),
  ];
}

/** kustomize takes an entry that is less than this for a path. A manifest has a colon. */
const Inline = z.object({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.object({ name: z.string() }),
});

function isPath(entry: string): boolean {
  return !entry.includes(":") || !Inline.safeParse(parsed(entry)).success;
}

function problemOf({ issues }: z.ZodError): string {
  const [issue] = issues;
  if (issue?.code === "unrecognized_keys")
    return `the field ${[...issue.path, issue.keys[0]].join(".")} is not known`;
  const field = issue?.path.join(".") ?? "";
  return field === ""
    ? "it cannot be read as kustomize reads it"
    : `${field} cannot be read as kustomize reads it`;
}

const UNREADABLE = Symbol("unreadable");

function parsed(text: string): unknown {
  try {
    return parse(text);
  } catch {
    return UNREADABLE;
  }
}

/** kustomize takes a field in capitals, too, and one without a value as one that is not there. */
function fold(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(fold);
  if (typeof node !== "object" || node === null) return node;
  // Nobody merges as kustomize does: there what is merged wins over what stands before it.
  if ("<<" in node) return UNREADABLE;
  const folded: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(node)) {
    // kustomize folds as Go does: U+017F is an s, too.
    const field = key.normalize("NFKC").toLowerCase();
    if (value !== null) folded[field] = Object.hasOwn(folded, field) ? UNREADABLE : fold(value);
  }
  return folded;
}
