import { expect, it } from "vitest";
import { type BumpPlan, planBump } from "../../../scripts/lib/bump/plan.ts";
import { withRemote } from "../../../scripts/lib/git/remote.ts";
import { toolPath } from "../../../scripts/lib/tools/path.ts";
import { commit, SCALED, SHA, smallRepository, write } from "../../support/tree.ts";

const NEW = "89abcdef0123456789abcdef0123456789abcdef";
const FILE = "overlays/dev/web/kustomization.yaml";

/** What a bump of `web` would change in a repository that is its own forge. */
async function plan(files: Record<string, string>): Promise<BumpPlan> {
  const root = await smallRepository();
  await write(root, { "docs/any.md": "any\n", ...files });
  await commit(root);
  const url = `file://${root}`;
  const options = { root, url, token: "", branch: "main", env: process.env, onInterrupt: () => {} };
  return withRemote(options, async (remote) =>
    planBump(remote, {
      app: "web",
      image: { tag: NEW },
      askedAt: new Date(),
      direct: false,
      web: "https://forge.test",
      registry: { unverified: "a test" },
      kustomize: async () => toolPath("kustomize"),
    }),
  );
}

const kustomization = (...resources: string[]) =>
  `resources:\n${["../../../base/web", ...resources].map((path) => `  - ${path}\n`).join("")}images:\n  - name: registry/shop/web\n    newTag: "${SHA}"\n`;

it("plans one line", async () => {
  const { edit } = await plan({});
  expect(edit.changes.map(({ after }) => after)).toEqual([`    newTag: "${NEW}"`]);
});

it.each<[string, Record<string, string>, string]>([
  [
    "a name for the image",
    { [FILE]: `${kustomization()}    newName: elsewhere.test/web\n` },
    `${FILE}:4: images.0: Unrecognized key: "newName"`,
  ],
  [
    "replicas beside an autoscaler",
    {
      [FILE]: `${kustomization("scaled.yaml")}replicas:\n  - name: web\n    count: 2\n`,
      "overlays/dev/web/scaled.yaml": SCALED,
    },
    `${FILE}:1: apps/Deployment web states its replicas, which autoscaling/HorizontalPodAutoscaler web owns`,
  ],
])("refuses what a promotion would refuse later: %s", async (_, files, message) => {
  await expect(plan(files)).rejects.toThrow(message);
});
