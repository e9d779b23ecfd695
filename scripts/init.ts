/** `npm run init`: a fork's own keys in place of the example's, and new values for all credentials. docs/secrets.md. */
import { join } from "node:path";
import { command, main } from "./lib/cli/command.ts";
import { UsageError } from "./lib/errors.ts";
import { readIfThere } from "./lib/file.ts";
import { refuseHidden } from "./lib/git/checkout.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { userKeyFile, verifyRecipient } from "./lib/secrets/keys/age.ts";
import {
  checkPlaces,
  hasOwnKeys,
  type InitRequest,
  makeEnvironments,
  parseRecipient,
  placeholdersOf,
  planInit,
  writeEnvironment,
} from "./lib/secrets/keys/init.ts";
import { clusterName, isCluster, parseEnvironments, sealCommand } from "./lib/secrets/keys/readers.ts";
import { parseRules, RULES_FILE, type Rule } from "./lib/secrets/keys/recipients.ts";
import { refuseUncommitted } from "./lib/secrets/keys/reseal.ts";
import { withLock } from "./lib/secrets/lock.ts";
import { toolPath } from "./lib/tools/path.ts";
import { readEnvironments } from "./lib/tree/environment.ts";
import { readSettings } from "./lib/tree/settings.ts";

interface Options {
  recipient: string[];
  toCluster: string[];
  devKeyFile?: string;
  only: string[];
  replace?: true;
  dryRun?: true;
  root: string;
}

const collect = (value: string, earlier: string[]) => [...earlier, value];
const program = command(
  "init",
  "Replace the example's keys by your own, and seal new values for all Secrets.",
)
  .option("--recipient <env=age1…>", "the environment's cluster, whose key was made elsewhere", collect, [])
  .option("--to-cluster <env=context>", "make a key in the cluster of this kubeconfig context", collect, [])
  .option("--dev-key-file <path>", "where your key of the first environment goes (where sops looks for it)")
  .option("--only <env>", "this environment; the others stay the example's", collect, [])
  .option("--replace", "also into a cluster that has a key, beside it")
  .option("--dry-run", "print what would be done, and stop")
  .option("--root <directory>", "the repository", repositoryRoot())
  .addHelpText(
    "after",
    `
Examples:
  npm run init -- --only dev
      dev now: its key goes to your own keys, the other environments wait
  npm run init -- --to-cluster staging=admin@staging --to-cluster prod=admin@prod --recipient prod/break-glass=age1…
      all: the keys of staging and prod are made in memory and go into their clusters; break-glass can read prod, too
  npm run init -- --recipient staging=age1… --recipient prod=age1…
      all: the keys of staging and prod were made elsewhere

--recipient <env>/<name>=age1… names another reader than the cluster. Options may be repeated, and come after --.`,
  )
  .action(async (options: Options) => withLock(options.root, async () => init(options)));
await main(program);

async function init(options: Options): Promise<void> {
  const { root } = options;
  await refuseHidden(root);
  const environments = (await readEnvironments(root)).map(({ name }) => name);
  const text = (await readIfThere(join(root, RULES_FILE))) ?? "";
  const rules = text.trim() === "" ? [] : parseRules(text);
  const only = options.only.flatMap((name) => parseEnvironments(name, environments));
  const plan = planInit(rules, await requestsOf(options, environments, only, rules), only);
  await refuseUncommitted(
    root,
    plan.map(({ environment }) => environment),
  );
  for (const { key } of plan.flatMap(({ given }) => given)) await verifyRecipient(await toolPath("age"), key);
  if (options.dryRun === true) {
    await checkPlaces(plan);
    for (const request of plan) say(describe(request));
    return;
  }
  const programs = {
    sops: { path: await toolPath("sops"), env: process.env },
    ageKeygen: await toolPath("age-keygen"),
  };
  const { domain } = await readSettings(root);
  const made = await makeEnvironments(root, programs, { text, rules }, plan, domain);
  for (const environment of made) {
    await writeEnvironment(root, environment);
    say(`${environment.environment}: ${environment.files.length} files, sealed with new values for`);
    for (const { name, key } of environment.readers) say(`  ${name} ${key}`);
  }
  const missing = await Promise.all(plan.map(async ({ environment }) => placeholdersOf(root, environment)));
  if (missing.flat().length > 0) say("\nRandom until you bring the real values:");
  for (const { supply, keys, ...where } of missing.flat())
    say(`  ${sealCommand(where, keys)}    # ${supply}`);
  for (const { environment } of plan.filter(({ made: keys, given }) => !hasCluster(keys, given)))
    say(
      `\n${environment}'s cluster cannot read them yet: npm run keys create ${environment} -- --to-cluster <context>`,
    );
  say(`\nCommit ${RULES_FILE} and overlays, and open a pull request.`);
}

/** What is asked for, by environment. */
async function requestsOf(
  options: Options,
  environments: readonly string[],
  only: readonly string[],
  rules: readonly Rule[],
): Promise<InitRequest[]> {
  const given = options.recipient.map(parseRecipient);
  const clusters = options.toCluster.map((argument) => {
    const [, environment, context] = /^([^=]+)=(.+)$/.exec(argument) ?? [];
    if (environment !== undefined && context !== undefined) return { environment, context };
    throw new UsageError(
      `--to-cluster ${argument} is not <environment>=<kubeconfig context>`,
      "as in prod=my-context",
    );
  });
  for (const { environment } of [...given, ...clusters]) parseEnvironments(environment, environments);
  const kubectl = clusters.length === 0 ? "" : await toolPath("kubectl");
  return environments.map((environment, index) => {
    const recipients = given.filter((one) => one.environment === environment);
    const here = clusters.filter((one) => one.environment === environment);
    const isOpen = !hasOwnKeys(rules, environment) && (only.length === 0 || only.includes(environment));
    const wantsFile = options.devKeyFile !== undefined || (isOpen && recipients.length + here.length === 0);
    const file = options.devKeyFile ?? userKeyFile(process.env);
    return {
      environment,
      given: recipients.map(({ name, key }) => ({ name, key })),
      made: [
        ...here.map(({ context }) => ({
          name: clusterName(environment),
          place: { cluster: { kubectl, context }, replace: options.replace === true },
        })),
        ...(index === 0 && wantsFile ? [{ name: `team-${environment}`, place: { file } }] : []),
      ],
    };
  });
}

function hasCluster(made: InitRequest["made"], given: InitRequest["given"]): boolean {
  return [...made, ...given].some(isCluster);
}

function describe({ environment, given, made }: InitRequest): string {
  const readers = [
    ...made.map(({ name, place }) =>
      "file" in place
        ? `${name}, a new key in ${place.file}`
        : `${name}, a new key in ${place.cluster.context}`,
    ),
    ...given.map(({ name, key }) => `${name} ${key}`),
  ];
  return `not done: ${environment} would be sealed with new values for ${readers.join("; ")}`;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
