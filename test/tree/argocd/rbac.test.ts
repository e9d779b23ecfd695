import pLimit from "p-limit";
import { afterAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { argocdAdmin, only, type Resource, render } from "./support.ts";

const Project = z.object({
  // The project of the hub has none: administrators sync it.
  roles: z
    .array(
      z.object({ name: z.string(), groups: z.array(z.string()).default([]), policies: z.array(z.string()) }),
    )
    .default([]),
});

const admin = await argocdAdmin();
afterAll(async () => admin[Symbol.asyncDispose]());

const rbac = only(await render("argocd/config"), "ConfigMap", "argocd-rbac-cm").data ?? {};
const everything = (
  await Promise.all(["argocd/root", "overlays/dev", "overlays/staging", "overlays/prod"].map(render))
).flat();
const policy = await admin.file(
  "policy.csv",
  [rbac["policy.csv"], ...everything.flatMap(projectPolicy)].join("\n"),
);

/** A project's part of the policy, put together as Argo CD does: what its roles may, and which groups have them. */
function projectPolicy({ kind, metadata, spec }: Resource): string[] {
  if (kind !== "AppProject") return [];
  return Project.parse(spec).roles.flatMap(({ name, groups, policies }) => [
    ...policies,
    ...groups.map((group) => `g, ${group}, proj:${metadata.name}:${name}`),
  ]);
}

/** Two at once: each is a process of its own. */
const limit = pLimit(2);

async function may(who: string, action: string, resource: string, object: string): Promise<boolean> {
  const args = [
    who,
    action,
    resource,
    object,
    "--policy-file",
    policy,
    "--default-role",
    rbac["policy.default"] ?? "",
  ];
  const { stdout, stderr } = await limit(async () => admin.run("settings", "rbac", "can", ...args));
  if (!["Yes", "No"].includes(stdout.trim())) throw new Error(`argocd answers ${stdout}${stderr}`);
  return stdout.trim() === "Yes";
}

const ANYBODY = "somebody-signed-in";
const TEAM = "service-team";
const MANAGER = "release-manager";
const PLATFORM = "platform-team";
const RESTART = "action/apps/Deployment/restart";

describe("who may do what", () => {
  it("is a valid policy", async () => {
    const result = await admin.run("settings", "rbac", "validate", "--policy-file", policy);
    expect(result.stdout).toContain("Policy is valid.");
  });

  it.concurrent.each([
    // Everybody sees, nobody unknown acts.
    [ANYBODY, "get", "applications", "prod-service/prod-user-service", true],
    [ANYBODY, "get", "projects", "prod-service", true],
    [ANYBODY, "get", "applicationsets", "prod-{{.kind}}/prod", true],
    [ANYBODY, "get", "logs", "dev-service/dev-user-service", false],
    [ANYBODY, "get", "clusters", "https://prod.invalid", false],
    [ANYBODY, "get", "repositories", "https://git.invalid/a/b", false],
    [ANYBODY, "sync", "applications", "dev-service/dev-user-service", false],
    // Service teams deploy to dev and staging.
    [TEAM, "sync", "applications", "dev-service/dev-user-service", true],
    [TEAM, "sync", "applications", "staging-service/staging-user-service", true],
    [TEAM, RESTART, "applications", "staging-service/staging-user-service", true],
    [TEAM, "get", "logs", "prod-service/prod-user-service", true],
    [TEAM, "sync", "applications", "prod-service/prod-user-service", false],
    [TEAM, RESTART, "applications", "prod-service/prod-user-service", false],
    // Their services only: what everybody's depends on is not theirs.
    [TEAM, "sync", "applications", "dev-foundation/dev-foundation", false],
    [TEAM, "sync", "applications", "dev-platform/dev-apisix", false],
    [TEAM, "sync", "applications", "staging-store/staging-postgresql", false],
    [TEAM, "get", "logs", "staging-store/staging-postgresql", true],
    [TEAM, "sync", "applications", "platform/root-dev", false],
    [TEAM, "sync", "applications", "platform/root-prod", false],
    [TEAM, "sync", "applications", "addons/prod-metrics-server", false],
    // Release managers deploy to prod, on every cluster of it.
    [MANAGER, "sync", "applications", "dev-service/dev-user-service", true],
    [MANAGER, "sync", "applications", "prod-service/prod-user-service", true],
    [MANAGER, "sync", "applications", "prod-service/prod-eu-user-service", true],
    [MANAGER, "sync", "applications", "prod-foundation/prod-foundation", true],
    [MANAGER, "sync", "applications", "prod-store/prod-redis", true],
    [MANAGER, "sync", "applications", "platform/root-prod", true],
    [MANAGER, "sync", "applications", "addons/prod-metrics-server", true],
    [MANAGER, "get", "logs", "prod-service/prod-user-service", true],
    [MANAGER, "sync", "applications", "platform/root-staging", false],
    [MANAGER, "sync", "applications", "platform/root", false],
    // Administrators.
    [PLATFORM, "sync", "applications", "platform/root", true],
    [PLATFORM, "delete", "applications", "dev-service/dev-user-service", true],
    [PLATFORM, "override", "applications", "prod-service/prod-user-service", true],
  ])("%s may %s %s %s: %s", async (who, action, resource, object, allowed) => {
    expect(await may(who, action, resource, object)).toBe(allowed);
  });

  const changes = [
    "create",
    "update",
    "delete",
    "update/apps/Deployment/data/x",
    "delete//Pod/data/x",
    "override",
    "rollback",
  ];
  const applications = ["dev-service/dev-user-service", "prod-service/prod-user-service"];
  const everyChange = [ANYBODY, TEAM, MANAGER].flatMap((who) =>
    applications.flatMap((application) => changes.map((action) => [who, action, application] as const)),
  );
  it.concurrent.each(everyChange)(
    "%s may not %s %s: Git is the only way in",
    async (who, action, application) => {
      expect(await may(who, action, "applications", application)).toBe(false);
    },
  );

  it.concurrent.each([ANYBODY, TEAM, MANAGER])("%s may not open a shell", async (who) => {
    expect(await may(who, "create", "exec", "dev-service/dev-user-service")).toBe(false);
  });
});
