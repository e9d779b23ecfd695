/** Nobody but the platform's team agrees to a change of what runs with a token, or of what decides for everybody. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { run } from "../../scripts/lib/exec.ts";
import { repositoryRoot } from "../../scripts/lib/repository.ts";
import { readCatalogue } from "../../scripts/lib/tree/catalogue.ts";
import { readSettings } from "../../scripts/lib/tree/settings.ts";
import { ownersOf } from "../support/codeowners.ts";

const ROOT = repositoryRoot();
const codeowners = await readFile(join(ROOT, ".github/CODEOWNERS"), "utf8");
const [organisation = ""] = new URL((await readSettings(ROOT)).repoURL).pathname.split("/").filter(Boolean);
const platform = `@${organisation}/platform`;
const services = (await readCatalogue(ROOT)).filter(({ kind }) => kind === "service");
const tracked = (await run("git", ["ls-files", "-z"], { cwd: ROOT }))
  .split("\0")
  .filter((path) => path !== "");

/** The service whose team may change a path: only in its base, without what is built from main, and in its overlays. */
function serviceOf(path: string) {
  const [, app, rest] = /^(?:base|overlays\/[^/]+)\/([^/]+)\/(.*)$/.exec(path) ?? [];
  return rest?.startsWith("checksums/") ? undefined : services.find((service) => service.app === app);
}

describe("every path", () => {
  it("outside a service's own directories is the platform's alone", () => {
    const others = tracked.filter((path) => serviceOf(path) === undefined);
    expect(others.length).toBeGreaterThan(0);
    expect(others.filter((path) => ownersOf(codeowners, path).join() !== platform)).toEqual([]);
  });

  it("in a service's own directories is the platform's and its team's", () => {
    const own = tracked.filter((path) => serviceOf(path) !== undefined);
    const wrong = own.filter((path) => {
      const teams = serviceOf(path)?.owners.map((team) => `@${organisation}/${team}`) ?? [];
      return (
        ownersOf(codeowners, path).toSorted().join() !== [...new Set([platform, ...teams])].toSorted().join()
      );
    });
    expect(own.length).toBeGreaterThan(0);
    expect(wrong).toEqual([]);
  });
});

it("every line is about something that is there", () => {
  const lines = codeowners.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  expect(lines.filter((line) => !tracked.some((path) => ownersOf(line, path).length > 0))).toEqual([]);
});

it.each([
  ["a program of npm", "package.json"],
  ["npm's own settings", ".npmrc"],
  ["a package that is tracked", "node_modules/esbuild/lib/main.js"],
  ["a package nearer than the installed one", "scripts/node_modules/yaml/index.js"],
  ["a bundle of an earlier version", ".cache/commands/promote.json"],
  ["Vitest's configuration", "vitest.config.ts"],
  ["what Git does with files", ".gitattributes"],
  ["a command", "scripts/promote.ts"],
  ["a test", "test/unit/new.test.ts"],
  ["a workflow", ".github/workflows/new.yaml"],
  ["this list", ".github/CODEOWNERS"],
  ["a tool's version", "tools/kustomize/go.sum"],
  ["what CI runs", ".ci/run"],
  ["what a page tells people to run", "docs/rollback.md"],
  ["what every app is built from", "base/components/hardened/pod.yaml"],
  ["the registry", "argocd/settings/settings.yaml"],
  ["the kind of an app", "apps/user-service.yaml"],
  ["an environment", "overlays/prod/environment.yaml"],
  ["what prod builds from main", "base/user-service/checksums/kustomization.yaml"],
  ["the flows between all apps", "base/foundation/namespaces/data/flows/new.yaml"],
  ["the quota in prod", "overlays/prod/foundation/quota.yaml"],
  ["an app that nobody has named yet", "overlays/prod/new-service/kustomization.yaml"],
  ["a directory that nobody knows", "payload/index.js"],
])("%s is the platform's alone: %s", (_, path) => {
  expect(ownersOf(codeowners, path)).toEqual([platform]);
});

describe("the owners of a path, as GitHub has them", () => {
  // The example of GitHub's page.
  const EXAMPLE = `
*       @global-owner1 @global-owner2
*.js    @js-owner #This is an inline comment.
*.go docs@example.com
*.txt @octo-org/octocats
/build/logs/ @doctocat
docs/* docs@example.com
apps/ @octocat
/docs/ @doctocat
/scripts/ @doctocat @octocat
**/logs @octocat-logs
/apps/ @octocat-apps
/apps/github
`;
  it.each([
    ["README", ["@global-owner1", "@global-owner2"]],
    ["any/where/README", ["@global-owner1", "@global-owner2"]],
    ["any/where/x.js", ["@js-owner"]],
    ["x.jsx", ["@global-owner1", "@global-owner2"]],
    ["build/logs/x", ["@octocat-logs"]],
    ["deeply/nested/logs/x", ["@octocat-logs"]],
    ["my/docs/x", ["@global-owner1", "@global-owner2"]],
    ["docs/x/y.go", ["@doctocat"]],
    ["my/apps/x/y", ["@octocat"]],
    ["apps/x", ["@octocat-apps"]],
    ["apps/github/x", []],
    ["apps/githubs", ["@octocat-apps"]],
  ])("%s", (path, owners) => {
    expect(ownersOf(EXAMPLE, path)).toEqual(owners);
  });

  it.each([
    ["docs/*", "docs/x", true],
    ["docs/*", "docs/x/y", false],
    ["/docs/**", "docs/x/y", true],
    ["/*/x/", "a/x/y", true],
    ["/*/x/", "a/b/x/y", false],
    ["a/**/b", "a/b", true],
    ["a/**/b", "a/x/y/b/c", true],
    ["/x.y", "xzy", false],
    ["/x?", "xy", true],
    ["X", "x", false],
  ])("%s fits %s: %s", (pattern, path, fits) => {
    expect(ownersOf(`${pattern} @o`, path)).toEqual(fits ? ["@o"] : []);
  });
});
