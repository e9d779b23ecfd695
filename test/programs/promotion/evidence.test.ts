/** What was reported on an environment that renders the same as now, by the real git and kustomize. */
import { beforeEach, describe, expect, it } from "vitest";
import type { CommitStatus } from "../../../scripts/lib/forge/forge.ts";
import { GitHistory } from "../../../scripts/lib/git/history.ts";
import { collectEvidence } from "../../../scripts/lib/promotion/evidence.ts";
import { applyPromotion, checkoutHistory, planPromotion } from "../../../scripts/lib/promotion/plan.ts";
import { statusSource } from "../../../scripts/lib/promotion/report-source.ts";
import { resolveTool } from "../../../scripts/lib/tools/resolve.ts";
import { readEnvironments } from "../../../scripts/lib/tree/environment.ts";
import { commit, git, REPORTER, SHA, smallTree, temporary, write } from "../../support/tree.ts";

const NEW = "89abcdef0123456789abcdef0123456789abcdef";
const kustomize = async () => (await resolveTool("kustomize")).path;

/** The base of web, with a time that both environments have their own of. */
const base = (seconds: number) => ({
  "base/web/pod.yaml": `${smallTree()["base/web/pod.yaml"]}  terminationGracePeriodSeconds: ${seconds}\n`,
});
const dev = (tag: string) => ({
  "overlays/dev/web/kustomization.yaml": `resources:\n  - ../../../base/web\npatches:\n  - path: grace.yaml\nimages:\n  - name: registry/shop/web\n    newTag: "${tag}"\n`,
});
const grace = (environment: string, seconds = 5) => ({
  [`overlays/${environment}/web/grace.yaml`]: `apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  terminationGracePeriodSeconds: ${seconds}\n`,
});
const TREE: Record<string, string> = {
  ...smallTree(),
  ...base(30),
  ...dev(SHA),
  ...grace("dev"),
  ...grace("test"),
  "overlays/test/web/kustomization.yaml": "resources:\n  - release.yaml\npatches:\n  - path: grace.yaml\n",
};
/** What changes nothing that is rendered. */
const COMMENT = {
  "base/components/labels/kustomization.yaml": `# why\n${TREE["base/components/labels/kustomization.yaml"]}`,
};

let root: string;
let reports: Map<string, CommitStatus[]>;

/** Commits files; what Argo CD reports on it, if anything. */
async function edit(files: Record<string, string>, ...states: CommitStatus["state"][]): Promise<void> {
  await write(root, files);
  const at = await commit(root);
  const status = { description: "", at: new Date(0), url: undefined, account: REPORTER };
  const contexts = ["argocd/dev/web", "argocd/test/web"];
  reports.set(
    at,
    states.flatMap((state) => contexts.map((context) => ({ ...status, context, state }))),
  );
}

/** The same after a promotion to test. */
async function carry(files: Record<string, string>, ...states: CommitStatus["state"][]): Promise<void> {
  await write(root, files);
  await commit(root);
  const history = await checkoutHistory(root);
  const plan = await planPromotion({ root, history, from: "dev", to: "test", apps: ["web"], kustomize });
  await applyPromotion(root, plan);
  await edit({ "docs/day.md": `${plan.steps[0]?.after.body}` }, ...states);
}

async function stateIn(name: "dev" | "test"): Promise<string> {
  const environments = await readEnvironments(root);
  const [environment, target] = environments.slice(environments.findIndex((found) => found.name === name));
  if (environment === undefined || target === undefined) throw new Error(name);
  const history = await checkoutHistory(root);
  const plan = await planPromotion({ root, history, from: name, to: target.name, apps: ["web"], kustomize });
  const source = statusSource(
    { statuses: async (at) => (reports.get(at) ?? []).toReversed() },
    { environment: name, environments: environments.map((found) => found.name), reporter: REPORTER },
  );
  const tip = (await git(root, "rev-parse", "HEAD")).trim();
  const options = {
    environment,
    base: tip,
    steps: plan.steps,
    kustomize: await kustomize(),
    now: new Date(),
  };
  const verdict = (await collectEvidence(new GitHistory(root), source, options)).verdicts.get("web");
  return verdict?.kind === "unproven" ? verdict.state : String(verdict?.kind);
}

beforeEach(async () => {
  root = await temporary();
  reports = new Map();
  await write(root, TREE);
  await git(root, "init", "--quiet", "--initial-branch=main");
  await commit(root);
});

type Edit = [Record<string, string>, ...CommitStatus["state"][]];

describe("evidence in the first environment", () => {
  it.each<[string, Edit[], string]>([
    ["counts from the change itself", [[dev(NEW), "success"]], "proven"],
    ["counts across an edit of the base that a patch hides", [[dev(NEW), "success"], [base(60)]], "proven"],
    [
      "counts across an edit of a component that changes nothing",
      [[dev(NEW), "success"], [COMMENT]],
      "proven",
    ],
    [
      "counts across a comment in the overlay",
      [[dev(NEW), "success"], [{ ...grace("dev"), "apps/web.yaml": `${TREE["apps/web.yaml"]}# why\n` }]],
      "proven",
    ],
    [
      "counts across many of them",
      [[dev(NEW), "success"], ...[1, 2, 3, 4, 5, 6, 7].map((more): Edit => [base(60 + more)])],
      "proven",
    ],
    [
      "counts across an edit that was taken back before anybody saw it",
      [[dev(NEW), "success"], [dev(SHA)], [dev(NEW)]],
      "proven",
    ],
    [
      "counts across one that could not be rendered",
      [[dev(NEW), "success"], [{ "overlays/dev/web/grace.yaml": "kind: [\n" }], [grace("dev")]],
      "proven",
    ],
    [
      "counts when it is on a commit after the change",
      [[dev(NEW)], [{ "docs/day.md": "one" }, "success"], [base(60)]],
      "proven",
    ],
    ["counts when it is a failure, too", [[dev(NEW), "success", "failure"], [base(60)]], "failed"],
    ["ends with what is not hidden", [[dev(NEW), "success"], [grace("dev", 6)]], "silent"],
    ["ends with another image", [[dev(NEW), "success"], [dev(SHA)]], "silent"],
    [
      "ends with what was reported in between",
      [[dev(NEW), "success"], [dev(SHA), "success"], [dev(NEW)]],
      "silent",
    ],
    [
      "ends where it cannot be rendered now",
      [[dev(NEW), "success"], [{ "overlays/dev/web/grace.yaml": "kind: [\n" }]],
      "silent",
    ],
    ["was never there", [[dev(NEW)], [base(60)]], "silent"],
  ])("%s", async (_, edits, state) => {
    for (const [files, ...states] of edits) await edit(files, ...states);
    expect(await stateIn("dev")).toBe(state);
  });
});

describe("evidence in an environment of releases", () => {
  it.each<[string, Edit[], string]>([
    ["counts from the release itself", [[dev(NEW), "success"]], "proven"],
    ["counts across a release that a patch makes the same", [[dev(NEW), "success"], [base(60)]], "proven"],
    ["counts across several", [[dev(NEW), "success"], [base(60)], [base(90)]], "proven"],
    ["ends with another image", [[dev(NEW), "success"], [dev(SHA)]], "silent"],
    [
      "ends with a release and a patch that is not the same",
      [[dev(NEW), "success"], [{ ...base(60), ...grace("test", 6) }]],
      "silent",
    ],
  ])("%s", async (_, edits, state) => {
    for (const [files, ...states] of edits) await carry(files, ...states);
    expect(await stateIn("test")).toBe(state);
  });
});
