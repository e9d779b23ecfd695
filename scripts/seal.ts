/** `npm run seal <env> <app> [KEY…]`: new values for a Secret, in its sealed files. docs/secrets.md. */
import { command, main, onInterrupt } from "./lib/cli/command.ts";
import { table } from "./lib/cli/table.ts";
import { codeOf, lineOf, RefusedError, UsageError } from "./lib/errors.ts";
import { refuseHidden } from "./lib/git/checkout.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { type Credential, type SecretValues, suppliedKeys } from "./lib/secrets/credential.ts";
import { isExample, parseEnvironments } from "./lib/secrets/keys/readers.ts";
import { initCommand } from "./lib/secrets/keys/recipients.ts";
import { withLock } from "./lib/secrets/lock.ts";
import { chooseEditor, editSealed } from "./lib/secrets/seal/edit.ts";
import { planEdit } from "./lib/secrets/seal/edit-plan.ts";
import { removeTexts } from "./lib/secrets/seal/memory.ts";
import {
  findCredential,
  keysToSet,
  planRotation,
  planSeal,
  refuseSupplied,
  SECRET_LIMIT,
  type SealPlan,
  type SealRequest,
  sealPlanned,
  unlisted,
} from "./lib/secrets/seal/plan.ts";
import {
  askTwice,
  hasStrayNewline,
  openValue,
  readBytes,
  waitForEnter,
  withHiddenInput,
} from "./lib/secrets/seal/prompt.ts";
import { writeSealed } from "./lib/secrets/seal/seal.ts";
import { connectSops, type Sops } from "./lib/secrets/sops.ts";
import { toolPath } from "./lib/tools/path.ts";
import { readEnvironments } from "./lib/tree/environment.ts";

interface Options {
  secret?: string;
  generate?: true;
  fromFile?: ReadonlyMap<string, string>;
  empty: readonly string[];
  edit?: true;
  rotate?: true;
  dryRun?: true;
  root: string;
}

const program = command("seal", "Put new values into a Secret's sealed files.")
  .usage("[options] <env> <app> [KEY…]")
  .argument("<env>", "the environment; with commas, as in staging,prod: what you give is the same in each")
  .argument("<app>", "the app, as in apps/<app>.yaml; with --rotate also: all")
  .argument(
    "[KEY...]",
    "the Secret's keys that change (default: all). To keep the others takes a private key",
  )
  .option("--secret <name>", "which of the app's Secrets, where it has several")
  .option("--generate", "make the values, as the catalogue says")
  .option("--from-file <key=file>", "a value from a file; may be repeated", keyAndFile)
  .option(
    "--empty <key>",
    "a value that is empty; may be repeated",
    (key: string, before: readonly string[]) => [...before, key],
    [],
  )
  .option("--edit", "open the Secret in your EDITOR, in memory; takes a private key")
  .option("--rotate", "keep the values, renew the data keys; takes a private key")
  .option("--dry-run", "print what would be written; ask for nothing")
  .option("--root <directory>", "the repository", repositoryRoot())
  .addHelpText(
    "after",
    `
Values are lines that are typed without echo, or the bytes of standard input (one KEY), as they are: printf %s makes no newline, echo does.
All copies of a credential in the environment get the same values, whichever app is named.
Private keys are where sops looks for them: SOPS_AGE_KEY_FILE, or ~/.config/sops/age/keys.txt.

With npm, options come after --:
  npm run seal -- prod payment-service --secret payment-gateway
  pass show gateway | head -c -1 | npm run seal -- prod payment-service --secret payment-gateway api-key
  npm run seal -- prod apisix --secret gateway-tls --from-file tls.crt=shop.crt --from-file tls.key=shop.key
  npm run seal -- --generate staging,prod redis
  npm run seal -- --rotate prod all`,
  )
  .action(async (environments: string, app: string, names: string[], options: Options) => {
    refuseTogether(names, options);
    await refuseHidden(options.root);
    for (const directory of await removeTexts())
      note(`removed ${directory}, with the text of an --edit that was killed`);
    return withLock(options.root, async () => seal(environments, app, names, options));
  });
await main(program);

async function seal(environments: string, app: string, names: string[], options: Options): Promise<void> {
  const { root, secret } = options;
  const known = (await readEnvironments(root)).map(({ name }) => name);
  const request = { environments: parseEnvironments(environments, known), app, secret };
  const path = await toolPath("sops");
  const sops = connectSops(path, root, process.env);
  if (options.rotate === true) return sealAgain(sops, request, options);
  if (options.edit === true) return sealEdited(sops, path, request, root);

  const credential = await findCredential(root, request);
  const files = options.fromFile ?? new Map<string, string>();
  const { empty } = options;
  const keys = keysToSet(credential, [...names, ...files.keys(), ...empty]);
  refuseEmpty(credential, empty, files);
  const asked = keys.filter((key) => !files.has(key) && !empty.includes(key));
  if (options.generate === true) refuseSupplied(credential, asked);
  const plan = await planSeal(root, sops, { credential, environments: request.environments, keys });
  if (options.dryRun === true) return report(root, plan, true);
  const given = new Map([
    ...empty.map((key) => [key, Buffer.alloc(0)] as const),
    ...(await fromFiles(files)),
    ...(options.generate === true ? [] : await ask(plan, asked)),
  ]);
  await writeSealed(root, await sealPlanned(root, sops, plan, given));
  await report(root, plan, false);
}

async function sealAgain(sops: Sops, request: SealRequest, { root, dryRun }: Options): Promise<void> {
  const changes = await planRotation(root, sops, request);
  if (dryRun !== true) await writeSealed(root, changes);
  const rows = changes.map(({ path }) => [path, "values as before"]);
  process.stdout.write(`${table(["FILE", "NEW DATA KEY"], rows)}\n${conclusion(dryRun)}\n`);
}

async function sealEdited(sops: Sops, sopsPath: string, request: SealRequest, root: string): Promise<void> {
  const { app, environments } = request;
  const [environment] = environments;
  if (environment === undefined || environments.length > 1)
    throw new UsageError("--edit opens one Secret", "name one environment");
  const credential = await findCredential(root, request);
  const { env } = process;
  const outcome = await planEdit(
    root,
    sops,
    { credential, environment, app },
    async (path, text, refusal) => {
      if (!process.stdin.isTTY)
        throw new RefusedError(
          "--edit needs a terminal",
          "give the values on standard input or by --from-file",
        );
      if (refusal !== undefined) {
        note(`${lineOf(refusal)}\nPress Enter to return to the editor, or Ctrl-C to give up.`);
        if (!(await waitForEnter(process.stdin))) return undefined;
      }
      const editor = chooseEditor(env);
      if (!editor.isQuiet && refusal === undefined)
        note(
          `whether ${editor.command} keeps copies of a text elsewhere is for you to know; vim, nvim and nano are kept from it`,
        );
      return editSealed(root, { program: sopsPath, path, text, editor, env, onInterrupt });
    },
  );
  if (outcome === undefined) {
    process.stdout.write("unchanged\n");
    return;
  }
  await writeSealed(root, await sealPlanned(root, sops, outcome.plan, outcome.given));
  await report(root, outcome.plan, false);
}

function keyAndFile(
  text: string,
  before: ReadonlyMap<string, string> = new Map(),
): ReadonlyMap<string, string> {
  const [, key, file] = /^([\w.-]+)=(.+)$/.exec(text) ?? [];
  if (key === undefined || file === undefined)
    throw new UsageError("--from-file needs a key and a file", "as in --from-file tls.key=server.key");
  return new Map([...before, [key, file]]);
}

function refuseTogether(
  names: readonly string[],
  { generate, edit, rotate, dryRun, fromFile, empty }: Options,
): void {
  const alone = edit === true ? "--edit" : rotate === true ? "--rotate" : undefined;
  if (alone === undefined) return;
  if (names.length > 0 || fromFile !== undefined || empty.length > 0)
    throw new UsageError(`${alone} is about all keys of a Secret`, "name none");
  if (generate === true || (edit === true && rotate === true))
    throw new UsageError("--generate, --edit and --rotate exclude each other", "give only one of them");
  if (edit === true && dryRun === true)
    throw new UsageError(
      "--edit has no dry run",
      "leave the editor without a change: then nothing is written",
    );
}

function refuseEmpty(
  { id, keys }: Credential,
  empty: readonly string[],
  files: ReadonlyMap<string, string>,
): void {
  for (const name of empty) {
    if (files.has(name)) throw new UsageError(`${name} has two values`, "leave --empty or --from-file out");
    if ("generate" in (keys.get(name) ?? {}))
      throw new UsageError(`${name} of ${id} is generated, and cannot be empty`, "leave --empty out");
  }
}

async function fromFiles(files: ReadonlyMap<string, string>): Promise<SecretValues> {
  const values = new Map<string, Uint8Array>();
  for (const [key, file] of files) {
    const bytes = openValue(file).then(async (stream) =>
      readBytes(stream, `the file for ${key}`, SECRET_LIMIT),
    );
    const value = await bytes.catch((error: unknown) => {
      // Without the name of the file: somebody may have put the value there.
      if (codeOf(error) === undefined) throw error;
      throw new RefusedError(
        `the file for ${key} cannot be read: ${codeOf(error)}`,
        "name it as --from-file KEY=FILE",
      );
    });
    values.set(key, value);
  }
  return values;
}

async function ask({ credential }: SealPlan, asked: readonly string[]): Promise<SecretValues> {
  const [first] = asked;
  if (first === undefined) return new Map();
  if (!process.stdin.isTTY) {
    if (asked.length > 1)
      throw new UsageError(
        `standard input brings one value, and these are wanted: ${asked.join(", ")}`,
        "name one KEY, use --from-file, or run it on a terminal",
      );
    const value = await readBytes(process.stdin, "standard input", SECRET_LIMIT);
    if (hasStrayNewline(value))
      note(`the value of ${first} ends with a newline, which is sealed with it; printf %s makes none`);
    return new Map([[first, value]]);
  }
  return withHiddenInput(process.stdin, process.stderr, onInterrupt, async (line) => {
    const values = new Map<string, Uint8Array>();
    for (const name of asked) {
      const source = suppliedKeys(credential).get(name);
      const text = await askTwice(line, `${name} (${source ?? "empty: a new random one"})`);
      if (text !== "") values.set(name, Buffer.from(text));
      else if (source !== undefined)
        throw new RefusedError(
          `${name} is empty, so nothing was sealed`,
          `it comes from ${source}; where it is to be empty, say --empty ${name}`,
        );
    }
    return values;
  });
}

async function report(root: string, { keys, environments }: SealPlan, dryRun: boolean): Promise<void> {
  const files = environments.flatMap((environment) => environment.files);
  const rows = files.map(({ path, isNew }) => [path, isNew ? "new" : "changed", keys.join(", ")]);
  const lines = [table(["FILE", "", "NEW VALUES"], rows), ""];
  for (const { environment, rule } of environments) {
    lines.push(`${environment} is readable for ${rule.recipients.map(({ name }) => name).join(", ")}`);
    if (isExample(rule))
      lines.push(`  whose key was thrown away: make your own with \`${initCommand(environment)}\``);
  }
  for (const { kustomization, resource } of await unlisted(
    root,
    files.map(({ path }) => path),
  ))
    lines.push(`add to \`resources\` of ${kustomization}:`, `  - ${resource}`);
  process.stdout.write(`${lines.join("\n")}\n${conclusion(dryRun)}\n`);
}

function conclusion(dryRun: boolean | undefined): string {
  return dryRun === true ? "dry run: nothing was written" : "sealed: commit it and open a pull request";
}

function note(line: string): void {
  process.stderr.write(`${line}\n`);
}
