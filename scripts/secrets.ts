/** `npm run secrets`: whether every Secret is sealed as it should be, and none is in clear. docs/secrets.md. */
import { command, main } from "./lib/cli/command.ts";
import { UsageError } from "./lib/errors.ts";
import { type Finding, findingsError } from "./lib/finding.ts";
import { refuseHidden } from "./lib/git/checkout.ts";
import { plaintextInTree, plaintextStaged } from "./lib/plaintext/scan.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { auditSecrets, MAX_AGE_DAYS } from "./lib/secrets/audit/audit.ts";
import { type Opened, openSecrets } from "./lib/secrets/audit/open.ts";
import { describeAudit, describeOpened, findingLines } from "./lib/secrets/audit/report.ts";
import { connectSops } from "./lib/secrets/sops.ts";
import { toolPath } from "./lib/tools/path.ts";

interface Options {
  open?: true;
  staged?: true;
  json?: true;
  maxAge: string;
  root: string;
}

const program = command("secrets", "Check that every Secret is sealed as it should be, and none is in clear.")
  .option("--open", "look into the files as well, with the private keys that sops finds here")
  .option("--staged", "look only for Secrets in clear in what the next commit brings")
  .option("--max-age <days>", "note values that were made longer ago", String(MAX_AGE_DAYS))
  .option("--json", "an object with a list of the Secrets, and one of the findings")
  .option("--root <directory>", "the repository", repositoryRoot())
  .addHelpText(
    "after",
    "\nIt needs no key; --open does: SOPS_AGE_KEY_FILE, or your own file. With npm, options come after --: npm run secrets -- --open",
  )
  .action(secrets);
await main(program);

async function secrets(options: Options): Promise<void> {
  const { root, json, open, staged, maxAge } = options;
  if (staged) {
    if (open) throw new UsageError("--staged opens nothing", "leave --open out");
    const findings = await plaintextStaged(root);
    return conclude(findings, json ? inJson({ findings }) : findingLines(findings));
  }
  if (!/^[1-9]\d{0,4}$/.test(maxAge))
    throw new UsageError(`--max-age ${maxAge} is not a number of days from 1 to 99999`);
  await refuseHidden(root);
  const audited = await auditSecrets(root, { now: new Date(), maxAgeDays: Number(maxAge) });
  const inTree = await plaintextInTree(root, new Set(audited.looks.map(({ path }) => path)));
  const opened = open
    ? await openSecrets(audited, connectSops(await toolPath("sops"), root, process.env))
    : undefined;
  const audit = {
    secrets: audited.secrets,
    findings: [...audited.findings, ...inTree, ...(opened?.findings ?? [])],
  };
  if (json) return conclude(audit.findings, inJson({ ...audit, ...(opened && { opened: seen(opened) }) }));
  const text = [describeAudit(audit), ...(opened === undefined ? [] : [describeOpened(opened)])];
  return conclude(audit.findings, text.join("\n\n"));
}

function conclude(findings: readonly Finding[], text: string): void {
  if (text !== "") process.stdout.write(`${text}\n`);
  const error = findingsError(findings);
  if (error !== undefined) throw error;
}

function inJson(data: unknown): string {
  return JSON.stringify(data, null, 2);
}

function seen({ opened, closed }: Opened): { files: string[]; closed: Record<string, string[]> } {
  return { files: opened, closed: Object.fromEntries(closed) };
}
