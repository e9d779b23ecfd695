/** Whether a branch takes signed commits only, as far as the token may know. */
import { z } from "zod";
import { type ForgeCalls, isRefusal } from "./call.ts";

const Rule = z.object({ type: z.string() });
const Setting = z.object({ enabled: z.boolean() });
const Protection = z.object({ require_signed_commits: z.boolean().default(false) });

/** What asks a forge; GitHub has two kinds of protection. Only administrators are told of a branch's own. */
const ASKED: Record<"github" | "gitea", ((calls: ForgeCalls, branch: string) => Promise<boolean>)[]> = {
  github: [
    async ({ list }, branch) => {
      const rules = await list("GET /repos/{owner}/{repo}/rules/branches/{branch}", { branch }, Rule);
      return rules.some(({ type }) => type === "required_signatures");
    },
    async ({ call }, branch) => {
      const route = "GET /repos/{owner}/{repo}/branches/{branch}/protection/required_signatures";
      return (await call(route, { branch }, Setting)).enabled;
    },
  ],
  gitea: [
    async ({ call }, branch) => {
      const route = "GET /repos/{owner}/{repo}/branch_protections/{branch}";
      return (await call(route, { branch }, Protection)).require_signed_commits;
    },
  ],
};

/** @returns false as well where the token may not know: then the forge says so when somebody merges */
export async function requiresSignatures(calls: ForgeCalls, branch: string): Promise<boolean> {
  for (const ask of ASKED[calls.dialect.product]) {
    const isRequired = await ask(calls, branch).catch((error: unknown) => {
      if (isRefusal(error)) return false;
      throw error;
    });
    if (isRequired) return true;
  }
  return false;
}
