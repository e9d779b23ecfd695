import { mkdir } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { connectRepository } from "../../../scripts/lib/forge/connection.ts";
import { layoutOf } from "../../../scripts/lib/sandbox/layout.ts";
import { writeVariables } from "../../../scripts/lib/sandbox/variables.ts";
import { SETTINGS_FILE } from "../../../scripts/lib/tree/settings.ts";
import { settings, temporary, write } from "../../support/tree.ts";

const LOCAL = "http://127.0.0.1:23000";

/** A checkout with settings of its own, and a sandbox if wanted. */
async function checkout(options: { sandbox: boolean; repoURL?: string }): Promise<string> {
  const root = await temporary();
  const own = settings(
    options.repoURL ?? "https://github.com/shop/gitops.git",
    "https://api.github.com",
    "trunk",
  );
  await write(root, { [SETTINGS_FILE]: own });
  if (options.sandbox) {
    const layout = layoutOf(root);
    await mkdir(layout.work, { recursive: true });
    await writeVariables(layout, { FORGE_URL: LOCAL, FORGE_TOKEN: "local" });
    await write(layout.work, {
      [SETTINGS_FILE]: settings(`${LOCAL}/shop/gitops.git`, `${LOCAL}/api/v1`, "trunk"),
    });
  }
  return root;
}

const GITHUB = "https://api.github.com";
const GITEA = `${LOCAL}/api/v1`;

describe("the repository that is written to, and the token for it", () => {
  it.each<[string, boolean, Record<string, string>, string, string]>([
    [
      "FORGE_TOKEN is for the settings' forge",
      false,
      { FORGE_TOKEN: "mine", GITHUB_TOKEN: "other" },
      GITHUB,
      "mine",
    ],
    ["GITHUB_TOKEN, too", false, { GITHUB_TOKEN: "mine" }, GITHUB, "mine"],
    ["a sandbox has its own", true, {}, GITEA, "local"],
    ["a GITHUB_TOKEN never reaches the sandbox", true, { GITHUB_TOKEN: "mine" }, GITEA, "local"],
    ["FORGE_TOKEN wins over a sandbox", true, { FORGE_TOKEN: "mine" }, GITHUB, "mine"],
    [
      "the sandbox's token never reaches GitHub",
      true,
      { FORGE_TOKEN: "local", GITHUB_TOKEN: "x" },
      GITEA,
      "local",
    ],
  ])("%s", async (_, sandbox, env, api, token) => {
    const connection = await connectRepository(await checkout({ sandbox }), env);
    expect(connection).toMatchObject({
      address: { api, owner: "shop", name: "gitops" },
      token,
      branch: "trunk",
    });
  });

  it("have another token for the services' repositories, which never reaches a sandbox", async () => {
    const env = { FORGE_TOKEN: "mine", SOURCES_TOKEN: "theirs" };
    const ours = await connectRepository(await checkout({ sandbox: true }), env);
    expect(ours).toMatchObject({ address: { api: GITHUB }, token: "mine", sourcesToken: "theirs" });
    const local = await connectRepository(await checkout({ sandbox: true }), { SOURCES_TOKEN: "theirs" });
    expect(local).toMatchObject({ address: { api: GITEA }, token: "local" });
    expect(JSON.stringify(local)).not.toContain("theirs");
  });

  it("are the sandbox's in its work clone", async () => {
    const work = layoutOf(await checkout({ sandbox: true })).work;
    expect(await connectRepository(work, {})).toMatchObject({ address: { api: GITEA }, token: "local" });
  });

  it("are the sandbox's in a clone of its forge anywhere, in a shell that has read its variables", async () => {
    const SANDBOX_ROOT = await checkout({ sandbox: true });
    const clone = await checkout({ sandbox: false, repoURL: `${LOCAL}/example/gitops.git` });
    const connection = await connectRepository(clone, { SANDBOX_ROOT, FORGE_TOKEN: "local" });
    // No registry: a sandbox has none.
    expect(connection).toMatchObject({ address: { owner: "example" }, token: "local", registry: undefined });
  });

  it.each([[{}], [{ FORGE_TOKEN: "", GITHUB_TOKEN: "" }]])("are refused without one: %j", async (env) => {
    await expect(connectRepository(await checkout({ sandbox: false }), env)).rejects.toThrow(
      expect.objectContaining({ exitCode: 3, message: "there is no token for the forge" }),
    );
  });

  it("are refused as long as the settings are the example's", async () => {
    const root = await checkout({ sandbox: false, repoURL: "https://github.com/example/gitops.git" });
    await expect(connectRepository(root, { FORGE_TOKEN: "x" })).rejects.toThrow(
      `${SETTINGS_FILE} still has an example as its repoURL`,
    );
  });
});
