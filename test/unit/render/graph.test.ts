import { describe, expect, it } from "vitest";
import { type Graph, readGraph, type Tree } from "../../../scripts/lib/render/graph.ts";

/** A tree of files; a text that begins with `-> ` is a link. */
function treeOf(files: Record<string, string>): Tree {
  const entries = Object.entries(files).map(([path, text]) => {
    const isLink = text.startsWith("-> ");
    return [path, { mode: isLink ? "120000" : "100644", blob: isLink ? text.slice(3) : text }] as const;
  });
  // The content stands in for its name.
  return { files: new Map(entries), texts: async (blobs) => new Map(blobs.map((blob) => [blob, blob])) };
}

async function graphOf(files: Record<string, string>): Promise<Graph> {
  return readGraph(treeOf(files));
}

const POD = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: one\n";
const WEB = "overlays/dev/web";
const OTHER = {
  "overlays/dev/other/kustomization.yaml": "resources: [pod.yaml]\n",
  "overlays/dev/other/pod.yaml": POD,
};

/** The overlays that a change of one path affects, where the overlay `web` has a kustomization. */
async function affected(
  kustomization: string,
  path: string,
  files: Record<string, string> = {},
): Promise<string[]> {
  const graph = await graphOf({ ...OTHER, [`${WEB}/kustomization.yaml`]: kustomization, ...files });
  return graph.affectedBy([path]);
}

describe("an overlay depends on", () => {
  const plugin = (kind: string, rest: string) =>
    `apiVersion: builtin\nkind: ${kind}\nmetadata:\n  name: plugin\n${rest}`;
  it.each<[field: string, kustomization: string, path: string, files?: Record<string, string>]>([
    ["its own kustomization.yaml", "resources: []\n", "kustomization.yaml"],
    ["a kustomization.yml that may appear beside it", "resources: []\n", "kustomization.yml"],
    ["a Kustomization that may appear beside it", "resources: []\n", "Kustomization"],
    ["resources, a file", "resources: [pod.yaml]\n", "pod.yaml"],
    [
      "resources, a file that is not there",
      "resources:\n  - ../../../base/web/pod.yaml\n",
      "../../../base/web/pod.yaml",
    ],
    [
      "resources, a directory",
      "resources: [../../../base/web]\n",
      "../../../base/web/pod.yaml",
      { "base/web/kustomization.yaml": "resources: [pod.yaml]\n" },
    ],
    [
      "resources, a directory with a kustomization.yml",
      "resources: [../../../base/web]\n",
      "../../../base/web/pod.yaml",
      { "base/web/kustomization.yml": "resources: [pod.yaml]\n" },
    ],
    [
      "resources, a directory with a Kustomization",
      "resources: [../../../base/web]\n",
      "../../../base/web/pod.yaml",
      { "base/web/Kustomization": "resources: [pod.yaml]\n" },
    ],
    [
      "resources, a directory that is not there yet",
      "resources: [../../../base/web/]\n",
      "../../../base/web/kustomization.yaml",
    ],
    [
      "resources, a file that becomes a directory",
      "resources: [pod.yaml]\n",
      "pod.yaml/kustomization.yaml",
      { [`${WEB}/pod.yaml`]: POD },
    ],
    ["bases", "bases: [../../../base/web]\n", "../../../base/web/kustomization.yaml"],
    [
      "components",
      "components: [../../../base/part]\n",
      "../../../base/part/patch.yaml",
      { "base/part/kustomization.yaml": "kind: Component\npatches:\n  - path: patch.yaml\n" },
    ],
    ["crds", "crds: [schema.json]\n", "schema.json"],
    ["configurations", "configurations: [names.yaml]\n", "names.yaml"],
    ["openapi", "openapi:\n  path: schema.json\n", "schema.json"],
    ["patches", "patches:\n  - path: patch.yaml\n", "patch.yaml"],
    [
      "patchesJson6902",
      "patchesJson6902:\n  - path: patch.json\n    target: {kind: Pod, name: one, version: v1}\n",
      "patch.json",
    ],
    ["patchesStrategicMerge", "patchesStrategicMerge: [patch.yaml]\n", "patch.yaml"],
    ["replacements, which name a file nowhere else", "replacements:\n  - path: host.yaml\n", "host.yaml"],
    ["configMapGenerator, files", "configMapGenerator:\n  - name: a\n    files: [a.txt]\n", "a.txt"],
    [
      "configMapGenerator, files with a key",
      "configMapGenerator:\n  - name: a\n    files: [key=a.txt]\n",
      "a.txt",
    ],
    ["configMapGenerator, envs", "configMapGenerator:\n  - name: a\n    envs: [a.env]\n", "a.env"],
    ["configMapGenerator, env", "configMapGenerator:\n  - name: a\n    env: a.env\n", "a.env"],
    ["secretGenerator, files", "secretGenerator:\n  - name: a\n    files: [a.txt]\n", "a.txt"],
    ["secretGenerator, envs", "secretGenerator:\n  - name: a\n    envs: [a.env]\n", "a.env"],
    ["helmCharts, values", "helmCharts:\n  - name: web\n    valuesFile: values.yaml\n", "values.yaml"],
    [
      "helmCharts, more values",
      "helmCharts:\n  - name: web\n    additionalValuesFiles: [more.yaml]\n",
      "more.yaml",
    ],
    [
      "helmCharts, the whole chart",
      "helmCharts:\n  - name: web\n",
      "charts/web/templates/deep/pod.yaml",
      { [`${WEB}/charts/web/Chart.yaml`]: "name: web\n" },
    ],
    [
      "a chart that a generator's configuration means",
      "generators: [plugin.yaml]\n",
      "charts/web/values.yaml",
      {
        [`${WEB}/charts/web/Chart.yaml`]: "name: web\n",
        [`${WEB}/plugin.yaml`]: plugin("HelmChartInflationGenerator", "name: web\n"),
      },
    ],
    [
      "a chart's home that a generator's configuration names",
      "generators: [plugin.yaml]\n",
      "../homes/web/values.yaml",
      {
        "overlays/dev/homes/web/Chart.yaml": "name: web\n",
        [`${WEB}/plugin.yaml`]: plugin("HelmChartInflationGenerator", "name: web\nchartHome: ../homes\n"),
      },
    ],
    [
      "a file that a patch of a configuration names",
      "transformers: [../../../base/plugins]\n",
      "patched.yaml",
      {
        "base/plugins/kustomization.yaml":
          "resources: [plugin.yaml]\npatches:\n  - patch: |-\n      - op: replace\n        path: /path\n        value: patched.yaml\n    target: {kind: PatchTransformer}\n",
        "base/plugins/plugin.yaml": plugin("PatchTransformer", "path: patch.yaml\n"),
      },
    ],
    [
      "helmGlobals, the home of charts",
      "helmGlobals:\n  chartHome: ../charts\nhelmCharts:\n  - name: web\n",
      "../charts/web/values.yaml",
      { "overlays/dev/charts/web/Chart.yaml": "name: web\n" },
    ],
    [
      "helmChartInflationGenerator, values",
      "helmChartInflationGenerator:\n  - chartName: web\n    values: values.yaml\n",
      "values.yaml",
    ],
    [
      "helmChartInflationGenerator, the chart",
      "helmChartInflationGenerator:\n  - chartName: web\n    chartHome: ../charts\n",
      "../charts/web/values.yaml",
      { "overlays/dev/charts/web/Chart.yaml": "name: web\n" },
    ],
    ["generators", "generators: [plugin.yaml]\n", "plugin.yaml"],
    ["transformers", "transformers: [plugin.yaml]\n", "plugin.yaml"],
    ["validators", "validators: [plugin.yaml]\n", "plugin.yaml"],
    [
      "a file that a generator's configuration names",
      "generators: [plugin.yaml]\n",
      "a.txt",
      { [`${WEB}/plugin.yaml`]: plugin("ConfigMapGenerator", "files: [key=a.txt]\n") },
    ],
    [
      "a file that a transformer's configuration names",
      "transformers: [plugin.yaml]\n",
      "patch.yaml",
      { [`${WEB}/plugin.yaml`]: plugin("PatchTransformer", "path: patch.yaml\n") },
    ],
    [
      "a file that an inline configuration names",
      `transformers:\n  - |-\n${plugin("PatchTransformer", "path: patch.yaml\n").replaceAll(/^/gm, "    ")}\n`,
      "patch.yaml",
    ],
    [
      "a file that a configuration in another directory names, beside the kustomization that lists it",
      "transformers: [../../../base/plugins]\n",
      "patch.yaml",
      {
        "base/plugins/kustomization.yaml": "resources: [plugin.yaml]\n",
        "base/plugins/plugin.yaml": plugin("PatchTransformer", "path: patch.yaml\n"),
      },
    ],
    ["a field in capitals", "RESOURCES: [pod.yaml]\n", "pod.yaml"],
    [
      "a file behind a link",
      "resources: [pod.yaml]\n",
      "../../../base/pod.yaml",
      { [`${WEB}/pod.yaml`]: "-> ../../../base/pod.yaml" },
    ],
    [
      "a link",
      "resources: [pod.yaml]\n",
      "pod.yaml",
      { [`${WEB}/pod.yaml`]: "-> ../../../base/pod.yaml", "base/pod.yaml": POD },
    ],
    [
      "a directory behind a link",
      "resources: [../../../base/web]\n",
      "../../../base/real/pod.yaml",
      { "base/web": "-> real", "base/real/kustomization.yaml": "resources: [pod.yaml]\n" },
    ],
    [
      "what stands behind a byte order mark, with carriage returns",
      "\uFEFFresources:\r\n  - pod.yaml\r\n",
      "pod.yaml",
    ],
  ])("%s", async (_, kustomization, path, files) => {
    const full = new URL(`file:///${WEB}/${path}`).pathname.slice(1);
    expect(await affected(kustomization, full, files)).toEqual([WEB]);
    expect(await affected(kustomization, `${WEB}/unrelated.yaml`, files)).toEqual([]);
  });

  it("a kustomization.yaml that is a link", async () => {
    const files = {
      [`${WEB}/kustomization.yaml`]: "-> ../../shared.yaml",
      "overlays/shared.yaml": "resources: [pod.yaml]\n",
    };
    const graph = await graphOf({ ...OTHER, ...files });
    for (const path of ["overlays/shared.yaml", `${WEB}/pod.yaml`, `${WEB}/kustomization.yaml`])
      expect(graph.affectedBy([path])).toEqual([WEB]);
  });
});

describe("any change counts for an overlay whose kustomization", () => {
  it.each([
    ["has an unknown field", "resources: []\nfiles: [a.txt]\n", "the field files is not known"],
    [
      "has an unknown field in a generator",
      "configMapGenerator:\n  - name: a\n    file: a.txt\n",
      "the field configmapgenerator.0.file is not known",
    ],
    [
      "has a merge key",
      "x: &x\n  resources: [pod.yaml]\n<<: *x\n",
      "it cannot be read as kustomize reads it",
    ],
    ["is no YAML", "resources: [\n", "it cannot be read as kustomize reads it"],
    ["has a field twice", "resources: []\nresources: [a.yaml]\n", "it cannot be read as kustomize reads it"],
    [
      "has a text where a list belongs",
      "resources: pod.yaml\n",
      "resources cannot be read as kustomize reads it",
    ],
    [
      "leads out of the repository",
      "resources: [../../../../elsewhere]\n",
      "resources leads out of the repository: ../../../../elsewhere",
    ],
    [
      "has an unknown field in a chart",
      "helmCharts:\n  - name: web\n    values: [a.yaml]\n",
      "the field helmcharts.0.values is not known",
    ],
    [
      "names a chart with links",
      "helmCharts:\n  - name: web\n",
      "helmGlobals names overlays/dev/web/charts, which has links",
    ],
    [
      "names a link that leads out of the repository",
      "resources: [out.yaml]\n",
      "resources leads out of the repository: out.yaml",
    ],
    [
      "has a plugin whose configuration is no YAML",
      "transformers: [plugin.yaml]\n",
      "transformers has a configuration that is no YAML: plugin.yaml",
    ],
  ])("%s", async (_, kustomization, problem) => {
    const files = {
      ...OTHER,
      [`${WEB}/kustomization.yaml`]: kustomization,
      [`${WEB}/plugin.yaml`]: "a: [\n",
      [`${WEB}/out.yaml`]: "-> /etc/passwd",
      [`${WEB}/charts/web/Chart.yaml`]: "-> ../Chart.yaml",
    };
    const graph = await graphOf(files);
    expect(graph.affectedBy(["docs/anything.md"])).toEqual([WEB]);
    expect(graph.closureOf(WEB).problems).toEqual([{ kustomization: `${WEB}/kustomization.yaml`, problem }]);
  });
});

it.each([
  "https://github.com/org/repo//deploy?ref=v1",
  "github.com/org/repo",
  "git@host:org/repo",
  "https://host/pod.yaml",
])("what would have to be fetched is told, and is no file: %s", async (entry) => {
  const graph = await graphOf({ [`${WEB}/kustomization.yaml`]: `resources:\n  - ${entry}\n` });
  const { remote, problems } = graph.closureOf(WEB);
  expect({ remote, problems }).toEqual({
    remote: [{ kustomization: `${WEB}/kustomization.yaml`, entry }],
    problems: [],
  });
});

it("overlays are what nothing else is built from, and no components", async () => {
  const graph = await graphOf({
    "argocd/kustomization.yaml": "resources: [application-set.yaml]\n",
    "base/web/kustomization.yaml": "resources: [pod.yaml]\n",
    "base/part/kustomization.yaml": "kind: Component\n",
    "overlays/dev/web/kustomization.yaml":
      "resources: [../../../base/web]\ncomponents: [../../../base/part]\n",
    "overlays/prod/web/kustomization.yaml": "resources: [../../dev/web]\n",
    "circle/one/kustomization.yaml": "resources: [../two]\n",
    "circle/two/kustomization.yaml": "resources: [../one]\n",
    "kustomization.yaml": "resources: [top.yaml]\n",
  });
  expect(graph.overlays).toEqual([".", "argocd", "circle/one", "circle/two", "overlays/prod/web"]);
  expect(graph.affectedBy(["base/web/pod.yaml"])).toEqual(["overlays/prod/web"]);
  // What builds an ApplicationSet changes with it.
  expect(graph.affectedBy(["argocd/application-set.yaml"])).toEqual(["argocd"]);
  expect(graph.affectedBy(["top.yaml"])).toEqual(["."]);
  expect(graph.affectedBy(["circle/one/kustomization.yaml"])).toEqual(["circle/one", "circle/two"]);
});

describe("the graph of another state", () => {
  const FILES = {
    ...OTHER,
    [`${WEB}/kustomization.yaml`]: "resources: [pod.yaml]\ntransformers: [plugin.yaml]\n",
    [`${WEB}/pod.yaml`]: POD,
    [`${WEB}/plugin.yaml`]: "kind: PatchTransformer\npath: patch.yaml\n",
    [`${WEB}/patch.yaml`]: "a: b\n",
  };
  it.each<[string, boolean, Record<string, string | undefined>]>([
    ["is taken where a file changes that names none", true, { [`${WEB}/pod.yaml`]: `${POD}# more\n` }],
    [
      "is taken where a kustomization names the same files",
      true,
      {
        [`${WEB}/kustomization.yaml`]: "resources: [pod.yaml]\ntransformers: [plugin.yaml]\nnamePrefix: a-\n",
      },
    ],
    [
      "is not taken where a kustomization names another file",
      false,
      { [`${WEB}/kustomization.yaml`]: "resources: [patch.yaml]\ntransformers: [plugin.yaml]\n" },
    ],
    ["is not taken where a plugin names another file", false, { [`${WEB}/plugin.yaml`]: "path: pod.yaml\n" }],
    ["is not taken where a file comes", false, { [`${WEB}/more.yaml`]: POD }],
    [
      "is not taken where a file takes the place of another",
      false,
      { [`${WEB}/patch.yaml`]: undefined, [`${WEB}/other.yaml`]: POD },
    ],
    ["is not taken where there is a link", false, { [`${WEB}/pod.yaml`]: "-> ../other/pod.yaml" }],
  ])("%s", async (_, isTaken, changes) => {
    const before = treeOf(FILES);
    const all: Record<string, string | undefined> = { ...FILES, ...changes };
    const after = treeOf(
      Object.fromEntries(
        Object.entries(all).flatMap(([path, text]) => (text === undefined ? [] : [[path, text]])),
      ),
    );
    const graph = await readGraph(before);
    const taken = await readGraph(after, new Map(), { files: before.files, graph });
    expect(taken === graph).toBe(isTaken);
    const fresh = await readGraph(after);
    for (const overlay of fresh.overlays) expect(taken.closureOf(overlay)).toEqual(fresh.closureOf(overlay));
  });
});
