import { describe, expect, it } from "vitest";
import { run } from "../../../scripts/lib/exec.ts";
import { repositoryRoot } from "../../../scripts/lib/repository.ts";
import { jobsFor } from "../../../scripts/lib/tree/jobs.ts";

const RELEASE = ["check", "tree", "policies"];
const DELIVERY = ["check", "tree", "policies", "argocd"];
const CODE = ["check", "tree", "policies", "argocd", "code", "systems"];

describe("the jobs that a change asks for", () => {
  it.each<[string, string[], string[]]>([
    ["a release", ["overlays/prod/web/release.yaml"], RELEASE],
    ["a rollback", ["overlays/prod/web/release.yaml", "overlays/prod/web/hold.yaml"], RELEASE],
    ["a bump", ["overlays/dev/web/kustomization.yaml"], RELEASE],
    ["a sealed Secret", ["overlays/prod/web/web.sops.yaml"], RELEASE],
    ["a base", ["base/web/deployment.yaml", "base/components/labels/kustomization.yaml"], RELEASE],
    ["an app", ["apps/web.yaml", "overlays/dev/web/kustomization.yaml"], RELEASE],
    ["an environment", ["overlays/prod/environment.yaml"], DELIVERY],
    ["Argo CD's configuration", ["argocd/config/argocd-cm.yaml", "base/web/deployment.yaml"], DELIVERY],
    ["a command", ["scripts/promote.ts"], CODE],
    ["a release with a command", ["overlays/prod/web/release.yaml", "scripts/promote.ts"], CODE],
    ["a page", ["docs/rollback.md"], CODE],
    ["a workflow", [".github/workflows/checks.yaml"], CODE],
    ["a name that only begins alike", ["overlays.ts"], CODE],
    ["a directory that nobody knows", ["payload/overlays/prod/web/release.yaml"], CODE],
    ["nothing", [], RELEASE],
  ])("%s", (_, paths, jobs) => {
    expect(jobsFor(paths)).toEqual(jobs);
  });

  it("are all of them for a path of this repository outside of what the clusters get", async () => {
    const tracked = (await run("git", ["ls-files", "-z"], { cwd: repositoryRoot() }))
      .split("\0")
      .slice(0, -1);
    const others = tracked.filter((path) => !/^(apps|argocd|base|overlays)\//.test(path));
    expect(others.filter((path) => jobsFor([path]).join() !== CODE.join())).toEqual([]);
  });
});
