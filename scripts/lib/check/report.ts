/** The parts of a check and their findings, as people and programs read them. */
import { counted } from "../cli/counted.ts";
import { table } from "../cli/table.ts";
import { type Finding, real } from "../finding.ts";

/** One part of a check. */
export interface Part {
  name: string;
  /** How much it has looked at, or why at nothing; undefined: the change concerns nothing of it. */
  looked: string | undefined;
  findings: readonly Finding[];
}

/** How `looked` begins where a part could not be looked at. */
export const NOT_ASKED = "NOTHING: ";

/** A line for each part that the change concerns. */
export function describeParts(parts: readonly Part[]): string {
  const rows = parts.flatMap(({ name, looked, findings }) =>
    looked === undefined ? [] : [[name, looked, looked.startsWith(NOT_ASKED) ? "-" : resultOf(findings)]],
  );
  return table(["CHECK", "LOOKED AT", "RESULT"], rows);
}

function resultOf(findings: readonly Finding[]): string {
  const wrong = real(findings).length;
  const notes = findings.length - wrong;
  const all = [
    ...(wrong > 0 ? [counted(wrong, "finding")] : []),
    ...(notes > 0 ? [counted(notes, "note")] : []),
  ];
  return all.length === 0 ? "ok" : all.join(", ");
}

/** Lines from which GitHub makes notes at the lines of a pull request. Source: docs.github.com, workflow commands. */
export function asAnnotations(parts: readonly Part[]): string {
  return parts
    .flatMap(({ name, findings }) =>
      findings.map(({ path, line, what, way, severity }) => {
        const command = severity === "note" ? "notice" : "error";
        const properties = { file: path, line: String(line), title: name };
        const list = Object.entries(properties).map(([key, value]) => `${key}=${escapeProperty(value)}`);
        return `::${command} ${list.join(",")}::${escapeData(`${what}; ${way}`)}\n`;
      }),
    )
    .join("");
}

function escapeData(text: string): string {
  return text.replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A");
}

function escapeProperty(text: string): string {
  return escapeData(text).replaceAll(":", "%3A").replaceAll(",", "%2C");
}

/** For programs that collect findings. Source: docs.oasis-open.org, SARIF 2.1.0. */
export function asSarif(parts: readonly Part[]): object {
  return {
    $schema: "https://json.schemastore.org/sarif-2.1.0.json",
    version: "2.1.0",
    runs: [
      {
        tool: {
          driver: { name: "npm run check", rules: parts.map(({ name }) => ({ id: idOf(name), name })) },
        },
        results: parts.flatMap(({ name, findings }) =>
          findings.map(({ path, line, what, way, severity }) => ({
            ruleId: idOf(name),
            level: severity === "note" ? "note" : "error",
            message: { text: `${what}; ${way}` },
            locations: [
              {
                physicalLocation: {
                  artifactLocation: { uri: encodeURI(path) },
                  region: { startLine: line },
                },
              },
            ],
          })),
        ),
      },
    ],
  };
}

function idOf(name: string): string {
  return name.toLowerCase().replaceAll(" ", "-");
}
