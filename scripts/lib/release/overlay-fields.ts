/** In what an overlay may differ from its release: argocd/settings/overlay-fields.yaml, and a release with just that taken over. */
import { join } from "node:path";
import { z } from "zod";
import { readDocument } from "../document.ts";
import { readIfThere } from "../file.ts";
import { type Manifest, typeOf } from "../manifests/manifest.ts";
import { wildcard } from "../wildcard.ts";

const Fields = z.strictObject({
  kinds: z.array(z.string()).min(1),
  paths: z.array(z.string().regex(/^[^\s.]+(\.[^\s.]+)*$/, "not a path, such as spec.replicas")).min(1),
  reason: z.string().min(1),
});
const Named = Fields.extend({ name: z.string() });
const Objects = z.strictObject({
  name: z.string(),
  kind: z.string(),
  reason: z.string().min(1),
  /** Both names have the app's in place of `<app>`. */
  as: z.string().optional(),
  /** The map of the release whose keys it may have; any without. */
  overrides: z.string().optional(),
});
const List = z.strictObject({
  fields: z.array(Named),
  registry: Fields.optional(),
  objects: z.array(Objects),
});

export type OverlayFields = z.infer<typeof List>;

export const OVERLAY_FIELDS = "argocd/settings/overlay-fields.yaml";

/**
 * Reads the list of a tree; where there is none, nothing may differ.
 * @throws RefusedError when it is not valid
 */
export async function readOverlayFields(root: string): Promise<OverlayFields> {
  const text = await readIfThere(join(root, OVERLAY_FIELDS));
  return text === undefined ? { fields: [], objects: [] } : readDocument(text, OVERLAY_FIELDS, List);
}

/**
 * A release's object with what its rendering may have otherwise; all other fields stay.
 * @param registry what `registry/` stands for in images
 */
export function withAllowed(
  list: OverlayFields,
  registry: string,
  release: Manifest,
  rendered: Manifest,
): Manifest {
  const wanted = structuredClone(release);
  const take = (entries: readonly z.infer<typeof Fields>[], merge: Merge) => {
    for (const { kinds, paths } of entries) {
      if (!kinds.includes(typeOf(release))) continue;
      for (const path of paths) takeOver(wanted, rendered, path.split("."), merge);
    }
  };
  take(list.fields, (_, now) => now);
  const registries = list.registry === undefined ? [] : [list.registry];
  take(registries, (old, now) => (now === withRegistry(old, registry) ? now : old));
  return wanted;
}

/** In place of a registry: what the images of the catalogue's own services start with, and a whole text in CEL. */
const OURS = /^registry(?=\/)|(?<=^')registry(?='$)/;

function withRegistry(text: unknown, registry: string): unknown {
  return typeof text === "string" ? text.replace(OURS, registry) : text;
}

type Merge = (old: unknown, now: unknown) => unknown;

/** Follows a path in both sides at once, and takes the scalars at its end over. A list of another length is another list. */
function takeOver(wanted: unknown, rendered: unknown, [step = "", ...rest]: string[], merge: Merge): void {
  if (!isNode(wanted) || !isNode(rendered) || Array.isArray(wanted) !== Array.isArray(rendered)) return;
  if (Array.isArray(wanted) && Array.isArray(rendered) && wanted.length !== rendered.length) return;
  for (const key of Object.keys(rendered)) {
    // A star is never a slash: what a key's prefix says belongs to it.
    if (!wildcard(step, "[^/]*").test(key)) continue;
    const now = rendered[key];
    if (rest.length === 0) {
      if (!isNode(now)) wanted[key] = merge(wanted[key], now);
      continue;
    }
    // A map that only the overlay has is taken over as far as the path goes.
    const isNew = !Object.hasOwn(wanted, key) && isNode(now) && !Array.isArray(now);
    const inner = isNew ? {} : wanted[key];
    takeOver(inner, now, rest, merge);
    if (isNew && isNode(inner) && Object.keys(inner).length > 0) wanted[key] = inner;
  }
}

function isNode(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
