/** One real Gitea for all tests of the forge. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { ask, startForge } from "../support/gitea.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** Where the forge is. */
    forge: string;
    /** Of an administrator. */
    token: string;
    /** Directory of the forge's bare repositories. */
    repositories: string;
    /** Directory of checkouts that tests copy. */
    templates: string;
  }
}

/** The organisation that has the tests' repositories. */
export const OWNER = "shop";

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { url, token, repositories, stop } = await startForge();
  await ask({ url, token }, "/orgs", "POST", { username: OWNER, visibility: "private" });
  project.provide("forge", url);
  project.provide("token", token);
  project.provide("repositories", repositories);
  const templates = await mkdtemp(join(tmpdir(), "templates-"));
  project.provide("templates", templates);
  return async () => {
    await stop();
    await rm(templates, { recursive: true });
  };
}
