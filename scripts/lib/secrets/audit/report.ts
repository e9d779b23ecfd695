/** The audit for people: a table of the Secrets, and a line for each finding. */
import { table } from "../../cli/table.ts";
import { describeFinding, type Finding, real } from "../../finding.ts";
import type { Audit, AuditedSecret } from "./audit.ts";
import type { Opened } from "./open.ts";

/** A line a Secret; below it the findings, then the notes. */
export function describeAudit({ secrets, findings }: Audit): string {
  const grid = table(
    ["ENVIRONMENT", "APP", "SECRET", "KEYS", "RECIPIENTS", "SEALED", "STATE"],
    secrets.map((secret) => [
      secret.environment,
      secret.app,
      secret.name,
      secret.keys.join(" "),
      secret.recipients.join(" "),
      secret.sealed === null ? "-" : `${secret.sealed.slice(0, 10)}, ${secret.ageDays} d`,
      stateOf(secret, findings),
    ]),
  );
  const below = findingLines(findings);
  return [secrets.length === 0 ? "there is no Secret" : grid, ...(below === "" ? [] : [below])].join("\n\n");
}

/** The findings, then the notes; each a line. */
export function findingLines(findings: readonly Finding[]): string {
  const [wrong, notes] = [real(findings), findings.filter(({ severity }) => severity === "note")];
  return [...wrong, ...notes].map(describeFinding).join("\n");
}

/** What a look into the files has seen of them. */
export function describeOpened({ opened, closed }: Opened): string {
  const files = (count: number) => (count === 1 ? "1 file" : `${count} files`);
  return [
    `opened: ${files(opened.length)}`,
    ...[...closed].map(([who, paths]) => `not opened: ${files(paths.length)}, no key here of ${who}`),
  ].join("\n");
}

function stateOf({ path, placeholders }: AuditedSecret, findings: readonly Finding[]): string {
  const count = real(findings).filter((finding) => finding.path === path).length;
  if (count > 0) return count === 1 ? "1 finding" : `${count} findings`;
  return placeholders.length === 0 ? "ok" : `placeholder: ${placeholders.join(" ")}`;
}
