import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { run } from "../../scripts/lib/exec.ts";
import { resolveTool } from "../../scripts/lib/tools/resolve.ts";
import { build } from "../../scripts/lib/tree/kustomize.ts";
import { smallRepository, temporary, write } from "../support/tree.ts";

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

it("a repository that git would fetch is not rendered", async () => {
  const elsewhere = `file://${await smallRepository()}//base/disk?ref=main`;
  const root = await temporary();
  await write(root, { "kustomization.yaml": `resources:\n  - ${elsewhere}\n` });
  const { path: kustomize } = await resolveTool("kustomize");
  await expect(build(kustomize, root)).rejects.toThrow(/ is built from what is not in this repository/);
  // It is there, and kustomize by itself finds it.
  expect(await run(kustomize, ["build", root])).toContain("name: disk");
});

it("a file that HTTP would fetch is not: kustomize is sent to a proxy that nobody is", async () => {
  const program = join(await temporary(), "program");
  await writeFile(program, '#!/usr/bin/env sh\necho "$HTTP_PROXY $HTTPS_PROXY ($NO_PROXY)"\n');
  await chmod(program, 0o755);
  const nowhere = "http://127.0.0.1:9";
  expect(await build(program, ".")).toBe(`${nowhere} ${nowhere} ()\n`);
});
