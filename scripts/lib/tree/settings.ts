/** The repository's settings: `argocd/settings/settings.yaml`, the only place of its URL, registry and domain. */
import { join } from "node:path";
import { isScalar, parseDocument, Scalar, stringify } from "yaml";
import { z } from "zod";
import { readDocument } from "../document.ts";
import { UsageError } from "../errors.ts";
import { readIfThere } from "../file.ts";

/** Relative to the repository's root. */
export const SETTINGS_FILE = "argocd/settings/settings.yaml";

const address = z
  .string()
  .regex(/^https?:\/\/[^\s/]+(\/\S*)?[^\s/]$/, "not a URL without a slash at its end");
/** A DNS name. */
const host = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/;

const SettingsFile = z.object({
  kind: z.literal("ConfigMap"),
  data: z.strictObject({
    /** As Argo CD clones it. */
    repoURL: z.union(
      [address, z.string().regex(/^(ssh:\/\/|[\w.-]+@)\S+$/)],
      "not the URL of a Git repository",
    ),
    /** The branch that is deployed. */
    revision: z.string().regex(/^[\w./-]+$/, "not the name of a branch"),
    /** Base URL of the forge's REST API. */
    forgeAPI: address,
    /** The account on the forge whose token Argo CD reports with: no other's commit statuses count. */
    reporter: z
      .string()
      .regex(/^[\w.-]+(\[bot\])?$/, "not the name of an account")
      .refine(
        (name) => name.toLowerCase() !== "github-actions[bot]",
        "every workflow reports as this account",
      )
      .optional(),
    /** What comes before `/ecommerce/<service>` in an image's name. */
    registry: z
      .string()
      .regex(/^[a-z0-9.-]+(:\d+)?(\/[a-z0-9._/-]*[a-z0-9])?$/, "not the address of a registry"),
    domain: z.string().regex(host, "not a DNS name"),
  }),
});

export type Settings = z.infer<typeof SettingsFile>["data"];

/**
 * Reads the settings.
 * @param root the repository's root directory
 * @throws RefusedError with file, line and field when one is missing, unknown or not valid; UsageError when there are none
 */
export async function readSettings(root: string): Promise<Settings> {
  const text = await readIfThere(join(root, SETTINGS_FILE));
  if (text !== undefined) return parseSettings(text);
  throw new UsageError(`${root} has no ${SETTINGS_FILE}`, "is it a checkout of this repository?");
}

/** The settings in the text of a file. @throws RefusedError as above */
export function parseSettings(text: string, file = SETTINGS_FILE): Settings {
  return readDocument(text, file, SettingsFile).data;
}

/** The names of the settings that still are as this repository was published, such as `domain: example.com`. */
export function exampleSettings(settings: Settings): string[] {
  return Object.entries(settings)
    .filter(([, value]) => /\bexample\b/.test(value ?? ""))
    .map(([name]) => name);
}

/**
 * Replaces values in the text of a settings file, or of any ConfigMap, and not one byte beside them.
 * @param text the file's content
 * @param values new values by their key under `data`
 * @param file its name, for messages
 * @returns the new content
 * @throws UsageError when the text has no such key, or a value has more than one line
 */
export function withSettings(
  text: string,
  values: Readonly<Record<string, string>>,
  file = SETTINGS_FILE,
): string {
  const document = parseDocument(text);
  const edits = Object.entries(values).map(([key, value]) => {
    const node: unknown = document.getIn(["data", key], true);
    if (!isScalar(node) || !node.range) throw new UsageError(`${file} has no data.${key}`);
    if (/[\r\n]/.test(value))
      throw new UsageError(`the value for data.${key} of ${file} has more than one line`);
    return {
      from: node.range[0],
      to: node.range[1],
      text: node.value === value ? undefined : written(value, node),
    };
  });
  let result = text;
  for (const edit of edits.toSorted((a, b) => b.from - a.from)) {
    if (edit.text !== undefined) result = result.slice(0, edit.from) + edit.text + result.slice(edit.to);
  }
  return result;
}

/** The value in the quotes that were there, or in none if it needs none. */
function written(value: string, node: Scalar): string {
  if (node.type === Scalar.QUOTE_DOUBLE) return JSON.stringify(value);
  if (node.type === Scalar.QUOTE_SINGLE) return `'${value.replaceAll("'", "''")}'`;
  return stringify(value, { lineWidth: 0 }).trimEnd();
}
