import { rename, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { describeFinding } from "../../../scripts/lib/finding.ts";
import { shapeFindings } from "../../../scripts/lib/tree/shape.ts";
import { smallTree, temporary, write } from "../../support/tree.ts";

let root: string;
beforeEach(async () => {
  root = await temporary();
  await write(root, smallTree());
});

async function found(): Promise<string[]> {
  return (await shapeFindings(root)).map(describeFinding);
}

it("nothing is found in a whole tree", async () => {
  expect(await found()).toEqual([]);
});

it("nothing is found when an app has not reached the later environments yet", async () => {
  await rm(join(root, "overlays/live/web"), { recursive: true });
  expect(await found()).toEqual([]);
});

describe("what only the catalogue or only the directories have is found:", () => {
  const undeployed = (directory: string) =>
    `${directory}/kustomization.yaml:1: nothing deploys it: there is no apps/web.yaml; add apps/web.yaml, or remove the directory`;
  const absent = (file: string) => `apps/web.yaml:1: there is no ${file}; add it, or remove this file`;
  it.each([
    [
      "directories without a catalogue file",
      "apps/web.yaml",
      ["base/web", "overlays/dev/web", "overlays/live/web", "overlays/test/web"].map(undeployed),
    ],
    [
      "a catalogue file without a directory in dev",
      "overlays/dev/web",
      [absent("overlays/dev/web/kustomization.yaml")],
    ],
    ["a catalogue file without a base", "base/web", [absent("base/web/kustomization.yaml")]],
  ])("%s", async (_, removed, lines) => {
    await rm(join(root, removed), { recursive: true });
    expect(await found()).toEqual(lines);
  });
});

describe("what Argo CD would deploy and no command would look at is found:", () => {
  const POD = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n";
  it.each<[string, string, string]>([
    ["plain manifests", "overlays/live/other/pod.yaml", POD],
    ["a chart", "overlays/live/other/Chart.yaml", "name: other\nversion: 1.0.0\n"],
    ["a file that begins with a dot", "overlays/live/other/.pod.yaml", POD],
    ["manifests deep down", "overlays/live/other/deep/down/pod.yaml", POD],
  ])("%s", async (_, file, text) => {
    await write(root, { [file]: text });
    expect(await found()).toEqual([
      `${file}:1: Argo CD would deploy it, and no command looks at it; have a overlays/live/other/kustomization.yaml name it`,
    ]);
  });

  it.each([".argocd-source.yaml", ".argocd-source-live-web.yaml"])("parameters in %s", async (name) => {
    await write(root, {
      [`overlays/live/web/${name}`]: "kustomize:\n  images:\n    - registry/shop/web:evil\n",
    });
    expect(await found()).toEqual([
      `overlays/live/web/${name}:1: Argo CD would change with it what is deployed; remove it`,
    ]);
  });
});

describe("what leads past the checks is found:", () => {
  it.each([
    "base/web/more/kustomization.yml",
    "base/components/x/Kustomization",
    "overlays/live/web/Kustomization",
  ])("%s", async (file) => {
    await write(root, { [file]: "resources: []\n" });
    expect(await found()).toEqual([
      `${file}:1: no command reads a kustomization of this name; rename it to kustomization.yaml`,
    ]);
  });

  it.each(["argocd", "base", "overlays"])("a link in place of %s", async (top) => {
    await rename(join(root, top), join(root, "elsewhere"));
    await symlink("elsewhere", join(root, top));
    expect(await found()).toContain(
      `${top}:1: a symbolic link leads past the checks; put what it leads to here`,
    );
  });

  it.each(["overlays/live/web/Chart.yaml", "overlays/live/web/zChart.yaml", "overlays/live/Chart.yaml"])(
    "%s",
    async (file) => {
      await write(root, { [file]: "name: x\n", "overlays/live/kustomization.yaml": "resources: []\n" });
      expect(await found()).toEqual([
        `${file}:1: Argo CD would take its directory for a Helm chart; rename or remove it`,
      ]);
    },
  );

  it.each(["base/web/link", "overlays/live/web/pod.yaml", "overlays/live/link.yaml"])(
    "a link at %s",
    async (path) => {
      await symlink("elsewhere", join(root, path));
      expect(await found()).toEqual([
        `${path}:1: a symbolic link leads past the checks; put what it leads to here`,
      ]);
    },
  );

  it.each([
    ["broken YAML", "resources: [\n"],
    ["a second document", "resources: []\n---\nresources: []\n"],
    ["a field twice", "resources: []\nresources: []\n"],
    ["a field twice, once in capitals", "resources: []\nResources: []\n"],
    ["a merge in a list", "configMapGenerator:\n  - name: x\n    <<: {files: [../../../docs/x]}\n"],
    ["a merge, which wins over what stands before it", "resources: []\n<<: {resources: [x]}\n"],
    ["a list of something else", "resources: {a: b}\n"],
  ])("%s", async (_, text) => {
    await write(root, { "base/web/kustomization.yaml": text });
    expect(await found()).toEqual([
      "base/web/kustomization.yaml:1: kustomize might read it otherwise than the checks; have one document, each field once, and no merge key (<<)",
    ]);
  });
});

describe("what is built from elsewhere is found, with its line:", () => {
  const FILE = "overlays/dev/web/kustomization.yaml";
  const WAY =
    "have it in base/web, base/components, base/transformers, argocd/settings, or in the overlay itself";
  const built = (from: string, line: number, file = FILE) =>
    `${file}:${line}: overlays/dev/web is built from ${from}; ${WAY}`;

  it.each([
    "https://github.com/shop/other//base?ref=main",
    "github.com/shop/other/base",
    "GitHub.com:shop/other.git",
    "git@forge.test:shop/other.git",
    "someone@forge.test:shop/other.git",
    "ssh://git@forge.test/shop/other.git",
    "git::https://forge.test/shop/other.git",
    "file:///srv/other.git",
    "https://forge.test/raw/pod.yaml",
  ])("%s", async (entry) => {
    await write(root, { [FILE]: `resources:\n  - ../../../base/web\n  - ${entry}\n` });
    expect(await found()).toEqual([built(entry, 3)]);
  });

  it("a remote one, though a directory has its name", async () => {
    await write(root, {
      [FILE]: "resources:\n  - github.com/shop/other\n",
      "overlays/dev/web/github.com/shop/other/kustomization.yaml": "resources: []\n",
    });
    expect(await found()).toEqual([built("github.com/shop/other", 2)]);
  });

  const URL = "https://forge.test/x";
  it.each([
    ["resources", `resources:\n  - ${URL}\n`],
    ["a field beside an empty one", `components:\nresources:\n  - ${URL}\n`],
    ["a field with another letter that Go takes for an s", `reſources:\n  - ${URL}\n`],
    ["a field in capitals", `Resources:\n  - ${URL}\n`],
    ["bases", `bases:\n  - ${URL}\n`],
    ["components", `components:\n  - ${URL}\n`],
    ["crds", `crds:\n  - ${URL}\n`],
    ["configurations", `configurations:\n  - ${URL}\n`],
    ["generators", `generators:\n  - ${URL}\n`],
    ["transformers", `transformers:\n  - ${URL}\n`],
    ["validators", `validators:\n  - ${URL}\n`],
    ["patchesStrategicMerge", `patchesStrategicMerge:\n  - ${URL}\n`],
    ["patches", `patches:\n  - path: ${URL}\n`],
    ["patchesJson6902", `patchesJson6902:\n  - path: ${URL}\n`],
    ["replacements", `replacements:\n  - path: ${URL}\n`],
    ["openapi", `openapi:\n  path: ${URL}\n`],
    ["the files of a ConfigMap", `configMapGenerator:\n  - name: x\n    files: [${URL}]\n`],
    ["a file with a key", `configMapGenerator:\n  - name: x\n    files: ["key=${URL}"]\n`],
    ["the envs of a Secret", `secretGenerator:\n  - name: x\n    envs: [${URL}]\n`],
    ["the env of a ConfigMap", `configMapGenerator:\n  - name: x\n    env: ${URL}\n`],
  ])("in %s", async (_, text) => {
    await write(root, { [FILE]: text });
    expect(await found()).toEqual([expect.stringContaining(`overlays/dev/web is built from ${URL}; `)]);
  });

  it.each([
    ["another app's base", "../../../base/disk", "base/disk"],
    ["another environment", "../../live/web", "overlays/live/web"],
    ["what nobody looks at", "../../../docs/example", "docs/example"],
  ])("%s", async (_, entry, path) => {
    await write(root, {
      [FILE]: `components: []\nresources:\n  - ${entry}\n`,
      "docs/example/kustomization.yaml": "",
    });
    expect(await found()).toEqual([built(path, 3)]);
  });

  it.each([
    ["that looks like a map", "../../../docs/x: y", "docs/x: y"],
    ["that looks like a map with a kind", "../../../docs/{kind: x}", "docs/{kind: x}"],
  ])("a path %s", async (_, entry, path) => {
    await write(root, { [FILE]: `components: []\nresources:\n  - ${JSON.stringify(entry)}\n` });
    expect(await found()).toEqual([built(path, 3)]);
  });

  it("by way of a directory whose name looks like a number", async () => {
    await write(root, {
      [FILE]: 'resources:\n  - "1"\n',
      "overlays/dev/web/1/kustomization.yaml": `resources:\n  - ${URL}\n`,
    });
    expect(await found()).toEqual([built(URL, 2, "overlays/dev/web/1/kustomization.yaml")]);
  });

  it("by way of its base", async () => {
    await write(root, { "base/web/kustomization.yaml": "resources:\n  - ../disk\n" });
    expect(await found()).toEqual([built("base/disk", 2, "base/web/kustomization.yaml")]);
  });

  it("by an environment's own objects", async () => {
    await write(root, { "overlays/live/kustomization.yaml": "resources:\n  - ../../argocd/config\n" });
    expect(await found()).toEqual([
      "overlays/live/kustomization.yaml:2: overlays/live is built from argocd/config; have it in argocd/automated, argocd/environment, argocd/settings, or in the overlay itself",
    ]);
  });

  it.each([
    [
      "an address in a ConfigMap",
      "configMapGenerator:\n  - name: x\n    literals:\n      - URL=https://shop.test/\n",
    ],
    ["one in an annotation", "commonAnnotations:\n  runbook: https://shop.test/\n"],
    [
      "a patch that stands there itself",
      "patches:\n  - patch: |-\n      kind: Pod\n      metadata: {name: web}\n",
    ],
    [
      "a transformer that stands there itself",
      "transformers:\n  - |-\n    apiVersion: builtin\n    kind: LabelTransformer\n    metadata: {name: x}\n    url: https://x.test/\n",
    ],
    ["where labels go", "labels:\n  - fields:\n      - path: spec/https://x\n"],
    ["a file with its key", "configMapGenerator:\n  - name: x\n    files: [a.txt=pod.yaml]\n"],
  ])("but not %s", async (_, text) => {
    await write(root, { [FILE]: `resources:\n  - ../../../base/web\n${text}` });
    expect(await found()).toEqual([]);
  });
});
