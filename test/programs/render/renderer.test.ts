import { join } from "node:path";
import { glob } from "tinyglobby";
import { beforeAll, expect, it } from "vitest";
import { messageOf } from "../../../scripts/lib/errors.ts";
import { withRenderer } from "../../../scripts/lib/render/renderer.ts";
import { repositoryRoot } from "../../../scripts/lib/repository.ts";
import { resolveTools } from "../../../scripts/lib/tools/resolve.ts";
import { build } from "../../../scripts/lib/tree/kustomize.ts";
import { temporary, write } from "../../support/tree.ts";

let programs: { kustomize: string; render: string };
beforeAll(async () => {
  const [kustomize, render] = await resolveTools(["kustomize", "kustomize-render"]);
  programs = { kustomize: kustomize?.path ?? "", render: render?.path ?? "" };
});

/** Every kustomization of this repository, bases and components too: what cannot be built alone fails alike. */
async function ownDirectories(): Promise<string[]> {
  const root = repositoryRoot();
  const files = await glob("{argocd,base,overlays}/**/kustomization.yaml", { cwd: root });
  return files.toSorted().map((file) => join(root, file, ".."));
}

async function settled<T>(promises: readonly Promise<T>[]): Promise<(T | string)[]> {
  return Promise.all(promises.map(async (promise) => promise.catch(messageOf)));
}

it("kustomize-render writes the bytes of kustomize, and its errors, for every directory of this tree", async () => {
  const directories = await ownDirectories();
  // The order must not matter, although one process renders many: what one overlay sets is not there for the next.
  const shuffled = directories.toSorted((one, other) => other.length - one.length || (one < other ? -1 : 1));
  const rendered = await withRenderer(programs, async (render) =>
    settled(shuffled.map(async (directory) => (await render(directory)).yaml)),
  );
  const expected = await settled(shuffled.map(async (directory) => build(programs.kustomize, directory)));
  expect(rendered).toEqual(expected);
  expect(rendered.filter((text) => text.startsWith("apiVersion:")).length).toBeGreaterThan(40);
});

it("a schema that one overlay brings is not there for the next", async () => {
  const root = await temporary();
  const resource =
    "apiVersion: example.com/v1\nkind: Widget\nmetadata:\n  name: one\nspec:\n  parts:\n    - name: a\n      size: 1\n    - name: b\n";
  const patch =
    "patches:\n  - patch: |-\n      apiVersion: example.com/v1\n      kind: Widget\n      metadata:\n        name: one\n      spec:\n        parts:\n          - name: b\n            size: 2\n";
  const schema = {
    definitions: {
      Widget: {
        properties: {
          spec: {
            properties: {
              parts: {
                type: "array",
                items: { type: "object" },
                "x-kubernetes-patch-merge-key": "name",
                "x-kubernetes-patch-strategy": "merge",
              },
            },
          },
        },
        "x-kubernetes-group-version-kind": [{ group: "example.com", kind: "Widget", version: "v1" }],
      },
    },
  };
  await write(root, {
    "with/widget.yaml": resource,
    "with/schema.json": JSON.stringify(schema),
    "with/kustomization.yaml": `resources:\n  - widget.yaml\nopenapi:\n  path: schema.json\n${patch}`,
    "without/widget.yaml": resource,
    "without/kustomization.yaml": `resources:\n  - widget.yaml\n${patch}`,
  });
  const order = ["without", "with", "without"].map((name) => join(root, name));
  const rendered = await withRenderer(programs, async (render) => {
    const found: string[] = [];
    for (const directory of [...order, ...order]) found.push((await render(directory)).yaml);
    return found;
  });
  const [without, merged] = [
    await build(programs.kustomize, order[0] ?? ""),
    await build(programs.kustomize, order[1] ?? ""),
  ];
  expect(rendered).toEqual([without, merged, without, without, merged, without]);
  expect(without).not.toBe(merged);
});

it("tells every path that the rendering depends on, the absent ones too", async () => {
  const root = await temporary();
  await write(root, {
    "overlay/kustomization.yaml":
      "resources:\n  - ../base\nconfigMapGenerator:\n  - name: a\n    files: [a.txt]\n",
    "overlay/a.txt": "a",
    "base/kustomization.yml": "resources: [pod.yaml]\n",
    "base/pod.yaml": "apiVersion: v1\nkind: Pod\nmetadata:\n  name: one\n",
  });
  const { looked } = await withRenderer(programs, async (render) => render(join(root, "overlay")));
  const paths = [
    "overlay/kustomization.yaml",
    "overlay/a.txt",
    "base/kustomization.yaml",
    "base/kustomization.yml",
    "base/pod.yaml",
  ];
  expect(looked).toEqual(expect.arrayContaining(paths.map((path) => join(root, path))));
});

it("an overlay that needs more memory than there is takes down nothing else", async () => {
  const root = await temporary();
  const pods = Object.fromEntries(
    Array.from({ length: 12 }, (_, index) => [
      [`good-${index}/kustomization.yaml`, "resources: [pod.yaml]\n"],
      [`good-${index}/pod.yaml`, `apiVersion: v1\nkind: Pod\nmetadata:\n  name: pod-${index}\n`],
    ]).flat(),
  );
  // A thousand million elements when its aliases are followed.
  const laughs = Array.from(
    { length: 9 },
    (_, index) =>
      `a${index + 1}: &a${index + 1} [${Array.from({ length: 10 }, () => `*a${index}`).join(", ")}]`,
  );
  await write(root, {
    ...pods,
    "bad/kustomization.yaml": "resources: [bomb.yaml]\n",
    "bad/bomb.yaml": `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: bomb\na0: &a0 [x]\n${laughs.join("\n")}\n`,
  });
  const names = ["bad", ...Array.from({ length: 12 }, (_, index) => `good-${index}`)];
  const answers = await withRenderer(programs, async (render) =>
    settled(names.map(async (name) => (await render(join(root, name))).yaml)),
  );
  const [first, ...others] = answers;
  expect(first).toMatch(/bad cannot be rendered: kustomize ended without an answer \(.*memory/);
  expect(others).toEqual(
    Array.from({ length: 12 }, (_, index) => expect.stringContaining(`name: pod-${index}\n`)),
  );
});
