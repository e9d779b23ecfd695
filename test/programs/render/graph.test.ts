import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  type Arbitrary,
  array,
  assert,
  asyncProperty,
  boolean,
  constantFrom,
  nat,
  record,
  subarray,
  tuple,
  uniqueArray,
} from "fast-check";
import { expect, it } from "vitest";
import { readGraph } from "../../../scripts/lib/render/graph.ts";
import { type Render, withRenderer } from "../../../scripts/lib/render/renderer.ts";
import { resolveTools } from "../../../scripts/lib/tools/resolve.ts";
import { temporary } from "../../support/tree.ts";

/** Trees and edits; each is rendered by the real kustomize on both sides. A change of the graph is worth 1000. */
const CASES = Number(process.env["GRAPH_CASES"] ?? 300);

type Files = Record<string, string>;

const LINK = "-> ";
const NAMES = ["a", "b", "c"] as const;
const KUSTOMIZATION = ["kustomization.yaml", "kustomization.yml", "Kustomization"] as const;

const pod = (name: string, label: string) =>
  `apiVersion: v1\nkind: Pod\nmetadata:\n  name: ${name}\n  labels:\n    is: ${label}\n`;
/** Of one directory, so that a base's is another one. */
const ownName = (at: string) => `pod-${at.replaceAll("/", "-")}`;
const replacement = (at: string, label: string) =>
  `source:\n  kind: Pod\n  name: ${ownName(at)}\n  fieldPath: metadata.name\ntargets:\n  - select:\n      kind: Pod\n    fieldPaths: ["metadata.annotations.${label}"]\n    options:\n      create: true\n`;
const patch = (label: string) => `- op: add\n  path: /metadata/labels/${label}\n  value: x\n`;
const plugin = (file: string) =>
  `apiVersion: builtin\nkind: PatchTransformer\nmetadata:\n  name: plugin\npath: ${file}\ntarget:\n  kind: Pod\n`;

/** What a kustomization may have beside its pods, and the files of it. */
const FIELDS: Record<string, (directory: string, label: string) => [text: string, files: Files]> = {
  patches: (at, label) => [
    "patches:\n  - path: patch.yaml\n    target: {kind: Pod}\n",
    { [`${at}/patch.yaml`]: patch(label) },
  ],
  patchesJson6902: (at, label) => [
    "patchesJson6902:\n  - path: old.yaml\n    target: {version: v1, kind: Pod, name: NAME}\n".replace(
      "NAME",
      ownName(at),
    ),
    { [`${at}/old.yaml`]: patch(label) },
  ],
  patchesStrategicMerge: (at, label) => [
    "patchesStrategicMerge: [merge.yaml]\n",
    { [`${at}/merge.yaml`]: pod(ownName(at), label) },
  ],
  replacements: (at, label) => [
    "replacements:\n  - path: replace.yaml\n",
    { [`${at}/replace.yaml`]: replacement(at, label) },
  ],
  configMapGenerator: (at, label) => [
    `configMapGenerator:\n  - name: map-${ownName(at)}\n    files: [key=map.txt]\n    envs: [map.env]\n`,
    { [`${at}/map.txt`]: label, [`${at}/map.env`]: `A=${label}\n` },
  ],
  secretGenerator: (at, label) => [
    `secretGenerator:\n  - name: secret-${ownName(at)}\n    env: secret.env\n`,
    { [`${at}/secret.env`]: `A=${label}\n` },
  ],
  configurations: (at, label) => [
    `commonAnnotations: {is: ${label}}\nconfigurations: [names.yaml]\n`,
    { [`${at}/names.yaml`]: `namePrefix:\n  - path: metadata/name\n    kind: ${label}\n` },
  ],
  crds: (at) => ["crds: [crd.json]\n", { [`${at}/crd.json`]: "{}\n" }],
  transformers: (at, label) => [
    "transformers: [plugin.yaml]\n",
    { [`${at}/plugin.yaml`]: plugin("deep.yaml"), [`${at}/deep.yaml`]: patch(label) },
  ],
  generators: (at, label) => [
    "generators: [generator.yaml]\n",
    {
      [`${at}/generator.yaml`]: `apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata:\n  name: made-${ownName(at)}\nfiles: [made.txt]\n`,
      [`${at}/made.txt`]: label,
    },
  ],
  transformersElsewhere: (at, label) => [
    "transformers: [../../plugins]\n",
    {
      "plugins/kustomization.yaml": "resources: [plugin.yaml]\n",
      "plugins/plugin.yaml": plugin("beside.yaml"),
      [`${at}/beside.yaml`]: patch(label),
    },
  ],
  components: (_, label) => [
    "components: [../../part/p]\n",
    {
      "part/p/kustomization.yaml":
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches:\n  - path: part.yaml\n    target: {kind: Pod}\n",
      "part/p/part.yaml": patch(label),
    },
  ],
  inline: () => [
    "patches:\n  - patch: |-\n      - op: add\n        path: /metadata/labels/i\n        value: x\n    target: {kind: Pod}\n",
    {},
  ],
};

const label = constantFrom("red", "green", "blue");

/** A directory with a kustomization, built from its pods and other directories. */
function kustomized(at: string, from: readonly string[]): Arbitrary<Files> {
  return record({
    name: constantFrom(...KUSTOMIZATION),
    fields: uniqueArray(constantFrom(...Object.keys(FIELDS)), { maxLength: 4 }),
    bases: subarray([...from]),
    isLinked: boolean(),
    is: label,
  }).map(({ name, fields, bases, isLinked, is }) => {
    // Two fields of one name would be one too many: components and transformers have a variant.
    const own = fields.filter(
      (field) => field !== "transformersElsewhere" || !fields.includes("transformers"),
    );
    const texts = own.filter((field) => field !== "inline" || !own.includes("patches"));
    const parts = texts.map((field): [string, Files] => FIELDS[field]?.(at, is) ?? ["", {}]);
    const fieldTexts = parts.map(([text]) => text);
    const resources = ["pod.yaml", ...bases.map((base) => `../../${base}`)];
    // A file outside of the directory is refused, also behind a link.
    const real = `${at}/real/pod.yaml`;
    const file = isLinked ? `${LINK}real/pod.yaml` : pod(ownName(at), is);
    return {
      [real]: pod(ownName(at), is),
      "links/a": `${LINK}../base/a`,
      [`${at}/${name}`]: `namePrefix: ${at.replaceAll("/", "-")}-\nresources: [${resources.join(", ")}]\n${fieldTexts.join("")}`,
      [`${at}/pod.yaml`]: file,
      ...merged(parts.map(([, files]) => files)),
    };
  });
}

const tree: Arbitrary<Files> = tuple(
  kustomized("base/a", []),
  kustomized("base/b", ["base/a"]),
  ...NAMES.map((name) => kustomized(`over/${name}`, ["base/b", "links/a"])),
).map(merged);

function merged(parts: readonly Files[]): Files {
  return Object.fromEntries(parts.flatMap((files) => Object.entries(files)));
}

interface Edit {
  kind: "delete" | "change" | "rename" | "add";
  index: number;
  is: string;
}
const edits: Arbitrary<Edit[]> = array(
  record({
    kind: constantFrom("delete" as const, "change" as const, "rename" as const, "add" as const),
    index: nat(),
    is: label,
  }),
  { minLength: 1, maxLength: 2 },
);

/** Names that a kustomization looks for, or may. */
const ADDED = [
  "kustomization.yaml",
  "kustomization.yml",
  "Kustomization",
  "pod.yaml",
  "patch.yaml",
  "deep.yaml",
];

function edited(files: Files, changes: readonly Edit[]): Files {
  let result = files;
  for (const { kind, index, is } of changes) {
    const paths = Object.keys(result).toSorted();
    const path = paths[index % paths.length] ?? "";
    const { [path]: content = "", ...rest } = result;
    const isKustomization = KUSTOMIZATION.some((name) => path.endsWith(`/${name}`));
    if (kind === "delete") result = rest;
    else if (kind === "rename") result = { ...rest, [`${path}.old`]: content };
    else if (kind === "add")
      result = {
        [`${dirname(path)}/${ADDED[index % ADDED.length]}`]: pod(ownName(dirname(path)), is),
        ...result,
      };
    else if (isKustomization) result = { ...rest, [path]: `${content}nameSuffix: -${is}\n` };
    else
      result = {
        ...rest,
        [path]: content.startsWith(LINK)
          ? pod(ownName(dirname(path)), is)
          : content.replaceAll(/\b(red|green|blue)\b/g, is),
      };
  }
  return result;
}

type Like = NonNullable<Parameters<typeof readGraph>[2]>;

async function graphOf(files: Files, like?: Like): Promise<Like> {
  const entries = Object.entries(files).map(([path, text]) => {
    const isLink = text.startsWith(LINK);
    return [
      path,
      { mode: isLink ? "120000" : "100644", blob: isLink ? text.slice(LINK.length) : text },
    ] as const;
  });
  const all = new Map(entries);
  const texts = async (blobs: readonly string[]) => new Map(blobs.map((blob) => [blob, blob]));
  return { files: all, graph: await readGraph({ files: all, texts }, new Map(), like) };
}

async function rendered(
  root: string,
  files: Files,
  overlays: readonly string[],
  render: Render,
): Promise<string[]> {
  await rm(root, { recursive: true, force: true });
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(root, dirname(path)), { recursive: true });
    if (text.startsWith(LINK)) await symlink(text.slice(LINK.length), join(root, path));
    else await writeFile(join(root, path), text);
  }
  return Promise.all(
    // How kustomize tells a failure is no rendering: it names one of several causes.
    overlays.map(async (overlay) =>
      render(join(root, overlay)).then(
        ({ yaml }) => yaml,
        () => "fails",
      ),
    ),
  );
}

it("every overlay whose rendering differs after an edit is affected by it", async () => {
  const root = join(await temporary(), "tree");
  const [kustomize, program] = await resolveTools(["kustomize", "kustomize-render"]);
  const programs = { kustomize: kustomize?.path ?? "", render: program?.path ?? "" };
  let different = 0;
  let same = 0;
  await withRenderer(programs, async (render) =>
    assert(
      asyncProperty(tree, edits, async (before, changes) => {
        const after = edited(before, changes);
        const paths = new Set([...Object.keys(before), ...Object.keys(after)]);
        const changed = [...paths].filter((path) => before[path] !== after[path]);
        // As `withStates` reads both sides.
        const first = await graphOf(before);
        const graphs = [first.graph, (await graphOf(after, first)).graph];
        const overlays = [...new Set(graphs.flatMap((graph) => graph.overlays))];
        const affected = new Set(graphs.flatMap((graph) => graph.affectedBy(changed)));
        const [old, now] = [
          await rendered(root, before, overlays, render),
          await rendered(root, after, overlays, render),
        ];
        const differing = overlays.filter((_, index) => old[index] !== now[index]);
        different += differing.length;
        same += overlays.length - differing.length;
        expect(differing.filter((overlay) => !affected.has(overlay))).toEqual([]);
      }),
      { numRuns: CASES },
    ),
  );
  // Neither is rare, so that the test can fail.
  expect(different).toBeGreaterThan(CASES / 4);
  expect(same).toBeGreaterThan(CASES / 4);
});
