/** What kustomize reads to render a directory: the files of its kustomization, and of all others that it is built from. */
import { join } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { readIfThere } from "../file.ts";
import { takenDirectories } from "./taken.ts";

export interface Input {
  /** The file that names it, relative to the root, and the line. */
  kustomization: string;
  line: number;
  /** Relative to the root; as it stands there, when kustomize would fetch it from elsewhere; undefined: nobody can tell. */
  path: string | undefined;
}

/**
 * The directories that an overlay may be built from, relative to the root: Argo CD renders it anew when they change.
 * @param overlay of an app, or of an environment itself
 */
export function inputDirectories(overlay: string): string[] {
  const [, , app] = overlay.split("/");
  return app === undefined
    ? [overlay, "argocd/automated", "argocd/environment", "argocd/settings"]
    : [overlay, `base/${app}`, "base/components", "base/transformers", "argocd/settings"];
}

/**
 * The directories that an overlay is allowed to be built from, relative to the root. Behind the first environment the rest of
 * `base` comes with a release.
 * @param overlay of an app, or of an environment itself
 * @param first the name of the first environment
 */
export function allowedInputs(overlay: string, first: string | undefined): string[] {
  const [, environment, app] = overlay.split("/");
  if (app === undefined || environment === first) return inputDirectories(overlay);
  return [overlay, ...takenDirectories(app), "argocd/settings"];
}

const Paths = z.array(z.string()).default([]);
const Patches = z.array(z.looseObject({ path: z.string().optional() })).default([]);
const Generators = z
  .array(z.looseObject({ files: Paths, envs: Paths, env: z.string().optional() }))
  .default([]);
/** Every field of a Kustomization that names files or directories, in small letters. Source: kustomize, api/types/kustomization.go. */
const Kustomization = z.object({
  resources: Paths,
  bases: Paths,
  components: Paths,
  crds: Paths,
  configurations: Paths,
  generators: Paths,
  transformers: Paths,
  validators: Paths,
  patchesstrategicmerge: Paths,
  patches: Patches,
  patchesjson6902: Patches,
  replacements: Patches,
  configmapgenerator: Generators,
  secretgenerator: Generators,
  openapi: z.looseObject({ path: z.string().optional() }).default({}),
});

/** What kustomize fetches, even when there is something of that name. Source: kustomize, api/internal/git/repospec.go. */
const REMOTE = /^(git::)?([a-z]+:\/\/|[a-z][a-z0-9-]*@|github\.com[/:])/i;

/**
 * Reads what an overlay is built from, and may not be.
 * @param root the repository's root directory
 * @param overlay directory with a kustomization.yaml, relative to the root
 * @param own the directories that it may be built from
 */
export async function foreignInputs(root: string, overlay: string, own: readonly string[]): Promise<Input[]> {
  const isOwn = (path: string) => own.some((directory) => `${path}/`.startsWith(`${directory}/`));
  return walk(root, overlay, isOwn, new Set());
}

async function walk(
  root: string,
  directory: string,
  isOwn: (path: string) => boolean,
  seen: Set<string>,
): Promise<Input[]> {
  if (seen.has(directory)) return [];
  seen.add(directory);
  const kustomization = join(directory, "kustomization.yaml");
  const text = await readIfThere(join(root, kustomization));
  if (text === undefined) return [];
  const entries = entriesOf(text);
  if (entries === undefined) return [{ kustomization, line: 1, path: undefined }];
  const lines = text.split("\n");
  const foreign = entries.map(async (entry): Promise<Input[]> => {
    const isRemote = REMOTE.test(entry);
    const path = isRemote ? entry : join(directory, entry);
    if (!isRemote && isOwn(path)) return walk(root, path, isOwn, seen);
    const index = lines.findIndex((line) => line.includes(entry));
    return [{ kustomization, line: Math.max(index, 0) + 1, path }];
  });
  return (await Promise.all(foreign)).flat();
}

/** @returns every entry that names something; undefined where kustomize might find others */
function entriesOf(text: string): string[] | undefined {
  const { success, data } = Kustomization.safeParse(fold(parsed(text)) ?? {});
  if (!success) return undefined;
  const { patches, patchesjson6902, replacements, configmapgenerator, secretgenerator, openapi, ...lists } =
    data;
  const withPath = [...patches, ...patchesjson6902, ...replacements, openapi];
  const sources = [...configmapgenerator, ...secretgenerator].flatMap(({ files, envs, env }) => [
    // `key=path`, or the path, whose name is the key then.
    ...files.map((file) => file.replace(/^[^=/]*=/, "")),
    ...envs,
    ...(env === undefined ? [] : [env]),
  ]);
  const named = [...Object.values(lists).flat(), ...withPath.flatMap(({ path }) => path ?? []), ...sources];
  // Some fields may have a manifest itself in place of a file's name. A manifest has a colon.
  return named.filter((entry) => !entry.includes(":") || !Inline.safeParse(parsed(entry)).success);
}

/** kustomize takes an entry that is less than this for a path. */
const Inline = z.object({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.object({ name: z.string() }),
});

const UNREADABLE = Symbol("unreadable");

function parsed(text: string): unknown {
  try {
    return parse(text);
  } catch {
    return UNREADABLE;
  }
}

/** kustomize takes a field in capitals, too, and one without a value as one that is not there. */
function fold(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(fold);
  if (typeof node !== "object" || node === null) return node;
  // Nobody merges as kustomize does: there what is merged wins over what stands before it.
  if ("<<" in node) return UNREADABLE;
  const folded: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(node)) {
    // kustomize folds as Go does: U+017F is an s, too.
    const field = key.normalize("NFKC").toLowerCase();
    if (value !== null) folded[field] = Object.hasOwn(folded, field) ? UNREADABLE : fold(value);
  }
  return folded;
}
