/** `npm run bump <app> <sha>`: another image of one app in dev, by pull request. docs/bump.md. */

import { pushBump } from "./lib/bump/direct.ts";
import { type BumpPlan, parseImage, planBump, type Registry } from "./lib/bump/plan.ts";
import { proposeBump, withdrawBump } from "./lib/bump/pull-request.ts";
import { imageDigest } from "./lib/bump/registry.ts";
import { command, main, onInterrupt } from "./lib/cli/command.ts";
import { RefusedError } from "./lib/errors.ts";
import { connectRepository } from "./lib/forge/connection.ts";
import type { Need } from "./lib/forge/preflight.ts";
import { withForge } from "./lib/forge/session.ts";
import { authorOf } from "./lib/git/checkout.ts";
import { describeProposal, type ProposalOutcome } from "./lib/pull-request/propose.ts";
import { describeWithdrawal } from "./lib/pull-request/withdraw.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { toolPath } from "./lib/tools/path.ts";
import { SETTINGS_FILE } from "./lib/tree/settings.ts";

interface Options {
  digest?: string;
  direct?: true;
  dryRun?: true;
  /** What commander makes of --no-verify. */
  verify: boolean;
  root: string;
}

const program = command("bump", "Put another image of one app into dev.")
  .usage("[options] <app> <sha>")
  .argument("<app>", "the app, as in apps/<app>.yaml")
  .argument("<sha>", "commit of the app's repository, the tag of its image: 40 digits")
  .option("--digest <digest>", "what the registry must have for it: sha256:…")
  .option("--no-verify", "do not ask the registry for the image")
  .option("--direct", "push to the deployed branch, without a pull request")
  .option("--dry-run", "print what would change, and stop")
  .option("--root <directory>", "the repository", repositoryRoot())
  .addHelpText(
    "after",
    "\nThe token comes from the environment: FORGE_TOKEN or GITHUB_TOKEN. With npm, options come after --: npm run bump -- --dry-run <app> <sha>",
  )
  .action(bump);
await main(program);

async function bump(app: string, sha: string, options: Options): Promise<void> {
  const askedAt = new Date();
  const image = parseImage(sha, options.digest);
  const { root, direct = false } = options;
  const connection = await connectRepository(root, process.env);
  const { branch } = connection;
  const { web } = connection.address;
  const registry = connectRegistry(connection.registry, options.verify);
  const needs: Need[] = options.dryRun ? [] : direct ? ["commits"] : ["commits", "pull requests"];
  const kustomize = async () => toolPath("kustomize");
  const session = { env: process.env, onInterrupt, needs };
  await withForge(connection, session, async (remote, forge) => {
    const plan = await planBump(remote, { app, image, askedAt, direct, web, registry, kustomize });
    process.stdout.write(describe(plan, branch, direct));
    if (options.dryRun === true) return;
    if (plan.edit.changes.length === 0) {
      const closed = await withdrawBump(remote, forge, plan, new Date());
      process.stdout.write(describeWithdrawal(closed));
      return;
    }
    const by = { author: await authorOf(root, process.env), now: () => new Date() };
    const line = direct
      ? describePushed(await pushBump(remote, plan, by), branch)
      : describeProposed(await proposeBump(remote, forge, plan, by), plan);
    process.stdout.write(`${line}\n`);
  });
}

function connectRegistry(host: string | undefined, verify: boolean): Registry {
  if (!verify) return { unverified: "as --no-verify asks" };
  if (host === undefined) return { unverified: "the sandbox has no registry" };
  if (/\bexample\b/.test(host)) {
    throw new RefusedError(
      `${SETTINGS_FILE} still has an example as its registry`,
      "put your own there, or leave the registry out of it with --no-verify",
    );
  }
  return {
    async digestOf(image) {
      const path = await toolPath("crane");
      // The forge's tokens are none of the registry's business, nor of a credential helper's.
      const { FORGE_TOKEN: _, GITHUB_TOKEN: __, SOURCES_TOKEN: ___, ...env } = process.env;
      return imageDigest(path, `${host}/${image}`, env);
    },
  };
}

function describe(
  { record, path, edit, unverified, branch: head }: BumpPlan,
  branch: string,
  direct: boolean,
): string {
  const { app, environment, image } = record;
  if (edit.changes.length === 0)
    return `unchanged: ${environment} on ${branch} has ${image.tag} of ${app} already\n`;
  const lines = edit.changes.flatMap(({ line, before, after }) => [
    `${path}:${line}`,
    `-${before}`,
    `+${after}`,
  ]);
  const looked = unverified === undefined ? [] : [`image in the registry: not verified, ${unverified}`];
  return [
    ...lines,
    ...looked,
    direct ? `a commit on ${branch}` : `a pull request from ${head} to ${branch}`,
    "",
  ].join("\n");
}

const THERE = "unchanged: somebody else has just done it";

function describePushed(commit: string | undefined, branch: string): string {
  return commit === undefined ? THERE : `pushed: ${commit.slice(0, 7)} is on ${branch}`;
}

function describeProposed(outcome: ProposalOutcome | undefined, { record }: BumpPlan): string {
  if (outcome === undefined) return THERE;
  return `${describeProposal(outcome).join("\n")} (${record.app} ${record.image.tag.slice(0, 7)})`;
}
