/** `npm run keys`: who can read which environment's Secrets, and changes of that. docs/secrets.md. */
import { command, main } from "./lib/cli/command.ts";
import { UsageError } from "./lib/errors.ts";
import { refuseHidden } from "./lib/git/checkout.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { planAdd } from "./lib/secrets/keys/add.ts";
import { applyChange, type Here } from "./lib/secrets/keys/change.ts";
import { applyCreate, planCreate } from "./lib/secrets/keys/create.ts";
import { readReaders } from "./lib/secrets/keys/readers.ts";
import { readRules } from "./lib/secrets/keys/recipients.ts";
import { planRemove } from "./lib/secrets/keys/remove.ts";
import { describeAdd, describeCreate, describeReaders, describeRemove } from "./lib/secrets/keys/report.ts";
import { withLock } from "./lib/secrets/lock.ts";
import { toolPath } from "./lib/tools/path.ts";

interface Writing {
  dryRun?: true;
}
interface Adding extends Writing {
  later?: true;
}
interface Creating extends Adding {
  toCluster?: string;
  toFile?: string;
  trustThisMachine?: true;
  as?: string;
  replace?: true;
}

const program = command("keys", "Show who can read which environment's Secrets, or change it.")
  .usage("[options] [command]")
  .option("--json", "for machines")
  .option("--root <directory>", "the repository", repositoryRoot())
  .addHelpText(
    "after",
    `
Examples:
  npm run keys                                             who can read what
  npm run keys add dev,staging ada age1…                   ada can read dev and staging from now on
  npm run keys remove dev,staging ada                      and no longer; which values she knows
  npm run keys create prod -- --to-cluster admin@prod      a key for a cluster, which nobody else sees
  npm run keys create prod -- --to-cluster admin@prod --replace

Sealing files for other readers needs a private key that opens them: SOPS_AGE_KEY_FILE, or the file where sops looks by
itself. With npm, options come after --.`,
  )
  .hook("preSubcommand", (self) => {
    if (self.opts<{ json?: true }>().json === true)
      throw new UsageError("--json is for the table only", "leave it out");
  })
  .hook("preAction", async (self) => refuseHidden(self.opts<{ root: string }>().root))
  .action(async (options: { json?: true }) => show(options.json === true));
program
  .command("add")
  .description("Let somebody read environments, whose key was made elsewhere.")
  .argument("<environments>", "as in prod, or dev,staging")
  .argument("<name>", "whose key it is, as in ada, break-glass or cluster-prod")
  .argument("<recipient>", "the public key: age1…")
  .option(
    "--later",
    "write .sops.yaml only; the files are sealed when this runs again where a private key is",
  )
  .option("--dry-run", "print what would change, and stop")
  .action(inTurn(add));
program
  .command("remove")
  .description("Remove a reader, seal every file anew, and list the values that the reader knows.")
  .argument("<environments>", "as in prod, or dev,staging")
  .argument("<name>", "as `npm run keys` shows it")
  .option("--dry-run", "print what would change, and stop")
  .action(inTurn(remove));
program
  .command("create")
  .description("Make the key of an environment's cluster.")
  .argument("<environment>")
  .option("--to-cluster <context>", "into the cluster of this kubeconfig context; it is in no file")
  .option("--to-file <path>", "into a file, added to what it holds")
  .option(
    "--trust-this-machine",
    "write a private key of another environment than the first into a file here",
  )
  .option(
    "--as <name>",
    "of the recipient, where an environment has several clusters (cluster-<environment>)",
  )
  .option(
    "--replace",
    "instead of the key that is there, which stays beside the new one in the cluster or file",
  )
  .option("--later", "write .sops.yaml only; the files are sealed for it afterwards")
  .option("--dry-run", "print what would change, and stop")
  .action(inTurn(create));
await main(program);

/** A command that writes sealed files, and waits for its turn to. */
function inTurn<A extends unknown[]>(verb: (...args: A) => Promise<void>): typeof verb {
  return async (...args) => withLock(here().root, async () => verb(...args));
}

async function show(isJson: boolean): Promise<void> {
  const { root } = here();
  const rules = await readRules(root);
  const found = await readReaders(root, rules);
  say(isJson ? [JSON.stringify(found, undefined, 2)] : describeReaders(rules, found));
}

async function add(environments: string, name: string, key: string, options: Adding): Promise<void> {
  const plan = await planAdd(here(), { environments, name, key, later: options.later === true });
  const isDry = options.dryRun === true;
  if (plan.change !== undefined && !isDry) await applyChange(here(), plan.change);
  say(describeAdd(plan, isDry));
}

async function remove(environments: string, name: string, options: Writing): Promise<void> {
  const plan = await planRemove(here(), { environments, name });
  const isDry = options.dryRun === true;
  if (!isDry) await applyChange(here(), plan.change);
  say(describeRemove(plan, isDry));
}

async function create(environment: string, options: Creating): Promise<void> {
  const plan = await planCreate(here(), {
    environment,
    toCluster: options.toCluster,
    toFile: options.toFile,
    trustThisMachine: options.trustThisMachine === true,
    name: options.as,
    replace: options.replace === true,
    later: options.later === true,
  });
  const isDry = options.dryRun === true;
  if (!isDry) await applyCreate(here(), plan);
  say(describeCreate(plan, isDry));
}

function here(): Here {
  return { root: program.opts<{ root: string }>().root, env: process.env, tool: toolPath };
}

function say(lines: readonly string[]): void {
  process.stdout.write(`${lines.join("\n")}\n`);
}
