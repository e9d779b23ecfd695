import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { tryRun } from "../../../scripts/lib/exec.ts";
import { programLine, repositoryRoot } from "../../../scripts/lib/repository.ts";
import { SETTINGS_FILE, withSettings } from "../../../scripts/lib/tree/settings.ts";

/** As published. */
const EXAMPLE = {
  repoURL: "https://github.com/example/shop.git",
  reporter: "example-argocd",
  registry: "registry.example.com",
  domain: "example.com",
};
const OWN = {
  repoURL: "https://git.acme.dev/a/b.git",
  reporter: "argocd",
  registry: "ghcr.io/acme",
  domain: "acme.dev",
};

let copy: string;

beforeAll(async () => {
  copy = await mkdtemp(join(tmpdir(), "bootstrap-"));
  for (const name of ["argocd", "overlays", "scripts", "package.json"]) {
    await cp(join(repositoryRoot(), name), join(copy, name), { recursive: true });
  }
  await symlink(join(repositoryRoot(), "node_modules"), join(copy, "node_modules"));
});
afterAll(async () => rm(copy, { recursive: true }));

async function bootstrap(settings: typeof OWN, ...args: string[]) {
  const file = join(copy, SETTINGS_FILE);
  await writeFile(file, withSettings(await readFile(file, "utf8"), settings));
  const env = { PATH: process.env["PATH"], HOME: copy, KUBECONFIG: "/nonexistent" };
  return tryRun(...programLine(copy, "bootstrap", args), { cwd: copy, env });
}

it("refuses as long as the settings are examples", async () => {
  expect(await bootstrap(EXAMPLE, "--yes")).toEqual({
    exitCode: 3,
    stdout: "",
    stderr: `bootstrap: ${SETTINGS_FILE} still has example values: repoURL, reporter, registry, domain; put your own there, and push\n`,
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
  const result = await bootstrap(OWN, ...args);
  expect(result.stderr).toMatch(message);
  expect(result).toMatchObject({ exitCode, stdout: "" });
});
