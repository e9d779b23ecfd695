/** `npm run new <app>`: a new service, worker or cron job, in all the places that it has. docs/new-service.md. */
import { command, main } from "./lib/cli/command.ts";
import { table } from "./lib/cli/table.ts";
import { UsageError } from "./lib/errors.ts";
import { refuseHidden } from "./lib/git/checkout.ts";
import { askMissing } from "./lib/new/ask.ts";
import { planNew, type Write } from "./lib/new/plan.ts";
import {
  type CheckedRequest,
  checkRequest,
  KINDS,
  type Kind,
  type NewRequest,
  type NewSecret,
} from "./lib/new/request.ts";
import { sealNew } from "./lib/new/seal.ts";
import { finishWrites, writeAll } from "./lib/new/writes.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { withLock } from "./lib/secrets/lock.ts";
import { toolPath } from "./lib/tools/path.ts";

interface Options {
  kind?: string;
  namespace: string;
  port?: number;
  route?: string;
  schedule?: string;
  stores?: readonly string[];
  callers?: readonly string[];
  owners?: readonly string[];
  newTeam?: true;
  source?: string;
  sha?: string;
  secret: readonly NewSecret[];
  supply: readonly NewSecret[];
  dryRun?: true;
  root: string;
}

const secrets = (isSupplied: boolean) => (text: string, before: readonly NewSecret[]) => {
  const [name = "", keys] = text.split("=");
  if (keys === undefined) throw new UsageError(`${name} has no keys`, "as in --secret mailer=user,password");
  return [...before, { name, keys: names(keys), isSupplied }];
};

const program = command("new", "Add a service, a worker or a cron job to the tree.")
  .usage("[options] <app>")
  .argument("<app>", "its name")
  .option("--kind <kind>", `${KINDS.join(", ")} (default: service)`)
  .option("--namespace <name>", "where it runs", "microservices")
  .option("--port <number>", "where a service listens", Number)
  .option("--route <path>", "where the gateway offers it, as in /api/v1/orders")
  .option("--schedule <cron>", 'when a cron job runs, in UTC, as in "30 1 * * *"')
  .option("--stores <names>", "the stores that it uses, with commas", names)
  .option("--callers <names>", "the services that call it, with commas", names)
  .option("--owners <teams>", "who owns it, with commas", names)
  .option("--new-team", "an owner may own nothing yet")
  .option("--source <owner/name>", "its own repository (default: beside those of the others)")
  .option("--sha <commit>", "its first image (default: a made-up one, for the sandbox)")
  .option("--secret <name=key,key>", "a Secret whose values are made; may be repeated", secrets(false), [])
  .option(
    "--supply <name=key,key>",
    "a Secret whose values a person brings; may be repeated",
    secrets(true),
    [],
  )
  .option("--dry-run", "print what would be written, and stop")
  .option("--root <directory>", "the repository", repositoryRoot())
  .addHelpText(
    "after",
    `
On a terminal it asks for what is missing. It writes the first environment only; the others get their releases by promotion.

With npm, options come after --:
  npm run new -- shipping-service --port 8085 --stores postgresql,redis --callers order-service --owners checkout
  npm run new -- mailer --kind worker --owners identity --supply smtp=user,password
  npm run new -- cleanup --kind cron-job --schedule "30 1 * * *" --owners platform`,
  )
  .action(async (app: string, options: Options) => {
    await refuseHidden(options.root);
    const request = await requestOf(app, options);
    await withLock(options.root, async () => add(request, options));
  });
await main(program);

function names(text: string): string[] {
  return text.split(",").filter((name) => name !== "");
}

async function requestOf(app: string, options: Options): Promise<NewRequest> {
  const given = {
    app,
    kind: kindOf(options.kind),
    namespace: options.namespace,
    port: options.port,
    route: options.route,
    schedule: options.schedule,
    stores: options.stores,
    callers: options.callers,
    owners: options.owners,
    isNewTeam: options.newTeam === true,
    source: options.source,
    sha: options.sha,
    secrets: [...options.secret, ...options.supply],
  };
  const asked = process.stdin.isTTY ? await askMissing(options.root, given) : {};
  const none: readonly string[] = [];
  return {
    ...given,
    stores: given.stores ?? none,
    callers: given.callers ?? none,
    owners: given.owners ?? none,
    ...asked,
  };
}

function kindOf(text = "service"): Kind {
  const found = KINDS.find((kind) => kind === text);
  if (found !== undefined) return found;
  throw new UsageError(`--kind ${text} is no kind`, `there are ${KINDS.join(", ")}`);
}

async function add(request: NewRequest, { root, dryRun }: Options): Promise<void> {
  if (dryRun !== true) {
    const earlier = await finishWrites(root);
    if (earlier !== undefined) {
      process.stdout.write(
        `${earlier}, which an earlier run has begun, is written now; nothing else was done\n`,
      );
      return;
    }
  }
  const checked = await checkRequest(root, request);
  const writes = await planNew(root, checked, new Date());
  const sealed = await sealNew(root, await toolPath("sops"), checked, writes);
  const all = [...writes, ...sealed];
  process.stdout.write(
    `${table(
      ["FILE", "", "SAYS"],
      all.map(({ path, isNew, what }) => [path, isNew ? "new" : "changed", what]),
    )}\n\n`,
  );
  if (dryRun === true) {
    process.stdout.write("dry run: nothing was written\n");
    return;
  }
  await writeAll(root, checked.app, all);
  process.stdout.write(`${nextSteps(checked, sealed)}\n`);
}

function nextSteps(
  { app, environment, port, namespace, calling, source, sha }: CheckedRequest,
  sealed: readonly Write[],
): string {
  const supplied = sealed.filter(({ what }) => what.includes("stands in"));
  const address = `http://${app}.${namespace}.svc.cluster.local:${port}`;
  const steps = [
    ...supplied.map(
      ({ path }) =>
        `npm run seal -- ${environment} ${app} --secret ${secretOf(path)}    the values that a person brings`,
    ),
    ...calling.map((caller) => `base/${caller.app}: tell it the address, ${address}`),
    ...(sha === undefined
      ? [`npm run bump ${app} <sha>    once ${source} has an image; the one of now is made up`]
      : []),
    "npm run check    then commit, and open a pull request",
  ];
  return ["written. Next:", ...steps.map((step) => `  ${step}`)].join("\n");
}

function secretOf(path: string): string {
  return path.replace(/^.*\//, "").replace(/\.sops\.yaml$/, "");
}
