import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { credentialFor, describePlan, type Plan, parseCluster } from "../../../scripts/lib/argocd/hub.ts";
import { tryRun } from "../../../scripts/lib/exec.ts";
import { programLine } from "../../../scripts/lib/repository.ts";
import { SETTINGS_FILE, withSettings } from "../../../scripts/lib/tree/settings.ts";

const ENVIRONMENTS = ["dev", "staging", "prod"];

describe("a cluster to be registered", () => {
  it.each([
    ["prod=admin@eu-1", { name: "prod", environment: "prod", context: "admin@eu-1" }],
    ["prod-eu=arn:aws:eks:eu=1", { name: "prod-eu", environment: "prod", context: "arn:aws:eks:eu=1" }],
    ["dev-2=kind", { name: "dev-2", environment: "dev", context: "kind" }],
  ])("is named by %s", (argument, request) => {
    expect(parseCluster(argument, ENVIRONMENTS)).toEqual(request);
  });

  it.each(["prod", "prod=", "=context", "Prod=context", "prod eu=context"])(
    "is not named by %s",
    (argument) => {
      expect(() => parseCluster(argument, ENVIRONMENTS)).toThrow("is not <name>=<kubeconfig context>");
    },
  );

  it.each(["production=context", "eu-prod=context", "test=context"])(
    "is of an environment, unlike %s",
    (argument) => {
      expect(() => parseCluster(argument, ENVIRONMENTS)).toThrow("is of no environment");
    },
  );
});

describe("the credential", () => {
  const https = "https://git.acme.dev/shop/gitops.git";
  const ssh = "git@git.acme.dev:shop/gitops.git";
  const env = { FORGE_TOKEN: "t", FORGE_SSH_KEY: "key" };

  it.each([
    ["a token, with any name", https, env, { username: "git", password: "t" }],
    [
      "a token, with the name it belongs to",
      https,
      { ...env, FORGE_USER: "bot" },
      { username: "bot", password: "t" },
    ],
    ["a key over SSH, which ends with a line", ssh, env, { sshPrivateKey: "key\n" }],
    ["none without a token", https, { FORGE_SSH_KEY: "key" }, undefined],
    ["none with an empty one", https, { FORGE_TOKEN: "" }, undefined],
    ["none without a key", ssh, { FORGE_TOKEN: "t" }, undefined],
  ])("is %s", (_, url, variables, credential) => {
    expect(credentialFor(url, variables)).toEqual(credential);
  });
});

describe("the plan", () => {
  const cluster = { name: "prod-eu", environment: "prod", context: "eu", server: "https://eu:6443" };
  const plan: Plan = {
    context: "hub",
    server: "https://hub:6443",
    argocd: { version: "v3.6.1", installed: undefined },
    repository: { url: "https://git.acme.dev/shop/gitops.git", branch: "main", credential: true },
    clusters: [{ ...cluster, registered: undefined }],
    directories: ["argocd/root", "overlays/dev"],
  };

  it("says all that happens, and where", () => {
    expect(describePlan(plan)).toEqual([
      "On hub (https://hub:6443):",
      "  install Argo CD v3.6.1 (new)",
      "  let it read https://git.acme.dev/shop/gitops.git, branch main, with your credential",
      "  register the cluster prod-eu for prod: https://eu:6443 (new)",
      "    in eu: an account with all rights, kube-system/argocd-manager",
      "  apply argocd/root, overlays/dev",
    ]);
  });

  it.each([
    ["https://eu:6443", "it is there"],
    ["https://old:6443", "now https://old:6443"],
  ])("says what is there already: a cluster at %s", (registered, note) => {
    const lines = describePlan({ ...plan, clusters: [{ ...cluster, registered }] });
    expect(lines).toContain(`  register the cluster prod-eu for prod: https://eu:6443 (${note})`);
  });

  it("says which version is there now", () => {
    const lines = describePlan({ ...plan, argocd: { version: "v3.6.1", installed: "v3.5.0" } });
    expect(lines).toContain("  install Argo CD v3.6.1 (now v3.5.0)");
  });
});

describe("npm run bootstrap", () => {
  const root = fileURLToPath(new URL("../../..", import.meta.url));
  let copy: string;

  beforeAll(async () => {
    copy = await mkdtemp(join(tmpdir(), "bootstrap-"));
    for (const name of ["argocd", "overlays", "scripts", "package.json"]) {
      await cp(join(root, name), join(copy, name), { recursive: true });
    }
    await symlink(join(root, "node_modules"), join(copy, "node_modules"));
    // As published; a fork has its own.
    const settings = join(copy, SETTINGS_FILE);
    const example = {
      repoURL: "https://github.com/example/shop.git",
      registry: "registry.example.com",
      domain: "example.com",
    };
    await writeFile(settings, withSettings(await readFile(settings, "utf8"), example));
  });
  afterAll(async () => rm(copy, { recursive: true }));

  async function bootstrap(...args: string[]) {
    const env = { PATH: process.env["PATH"], HOME: copy, KUBECONFIG: "/nonexistent" };
    return tryRun(...programLine(copy, "bootstrap", args), { cwd: copy, env });
  }

  it("refuses as long as the settings are examples", async () => {
    expect(await bootstrap("--yes")).toEqual({
      exitCode: 3,
      stdout: "",
      stderr: `bootstrap: ${SETTINGS_FILE} still has example values: repoURL, registry, domain; put your own there, and push\n`,
    });
  });

  it.each([
    ["an unknown flag", ["--force"], 2, /^bootstrap: unknown option '--force'/],
    ["no token", ["--yes"], 3, /^bootstrap: FORGE_TOKEN is not set; export it, or say --public/],
    [
      "a cluster of no environment",
      ["--cluster", "eu=x"],
      2,
      /^bootstrap: the cluster eu is of no environment; its name/,
    ],
  ])("refuses %s in one line", async (_, args, exitCode, message) => {
    const file = join(copy, SETTINGS_FILE);
    const own = { repoURL: "https://git.acme.dev/a/b.git", registry: "ghcr.io/acme", domain: "acme.dev" };
    await writeFile(file, withSettings(await readFile(file, "utf8"), own));
    const result = await bootstrap(...args);
    expect(result.stderr).toMatch(message);
    expect(result).toMatchObject({ exitCode, stdout: "" });
  });
});
