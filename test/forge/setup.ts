/** One real Gitea for all tests of the forge. */
import type { TestProject } from "vitest/node";
import { startForge } from "../../scripts/lib/bench/forge.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** Where the forge is. */
    forge: string;
    /** Of an administrator. */
    token: string;
  }
}

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { url, token, stop } = await startForge();
  project.provide("forge", url);
  project.provide("token", token);
  return stop;
}
