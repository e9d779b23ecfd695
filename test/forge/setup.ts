/** One real Gitea for all tests of the forge. */
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
  return stop;
}
