import { join } from "node:path";
import { expect, it } from "vitest";
import { resolveTool } from "../../scripts/lib/tools/resolve.ts";
import { build } from "../../scripts/lib/tree/kustomize.ts";
import { temporary, write } from "../support/tree.ts";

it.each([
  [
    "overlay/kustomization.yaml",
    "resources:\n  - release.yaml\n",
    /^there is no release\.yaml, and \S+overlay is built/,
  ],
  [
    "base/kustomization.yaml",
    "resources:\n  - pod.yaml\n",
    /^there is no \.\.\/base\/pod\.yaml, and \S+overlay is/,
  ],
  [
    "overlay/kustomization.yaml",
    "patches:\n  - path: more.yaml\n",
    /^kustomize build \S+overlay failed: .*more\.yaml/,
  ],
  ["overlay/kustomization.yaml", "resources: [\n", /^kustomize build \S+overlay failed: /],
])("a rendering that fails for %s: %j is told in one line", async (path, text, line) => {
  const root = await temporary();
  const files = { "overlay/kustomization.yaml": "resources:\n  - ../base\n", [path]: text };
  await write(root, { "base/kustomization.yaml": "resources: []\n", ...files });
  const { path: kustomize } = await resolveTool("kustomize");
  await expect(build(kustomize, join(root, "overlay"))).rejects.toThrow(
    expect.objectContaining({ exitCode: 5, message: expect.stringMatching(line) }),
  );
});
