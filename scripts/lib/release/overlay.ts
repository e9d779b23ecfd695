/** Whether an overlay runs its release: what differs, and may not, would be seen by no promotion, gate, hold or rollback. */
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { RefusedError } from "../errors.ts";
import { readIfThere } from "../file.ts";
import { type Finding, findingAt } from "../finding.ts";
import { compareManifests, type ObjectChange } from "../manifests/change.ts";
import {
  type ConfigMap,
  idOf,
  inNamespace,
  type Manifest,
  parseManifests,
  stemOf,
  typeOf,
  withNames,
} from "../manifests/manifest.ts";
import type { Rendering } from "../manifests/rendering.ts";
import type { App } from "../tree/catalogue.ts";
import { OVERLAY_FIELDS, type OverlayFields, readOverlayFields, withAllowed } from "./overlay-fields.ts";
import { parseRelease } from "./release.ts";

/**
 * Compares what each overlay renders with its release, object by object and field by field. Of the first environment, which has
 * no releases, it asks only that no object is there twice.
 * @param options.registry as the settings name it
 * @param options.first the environment that builds the live base
 */
export async function overlayFindings(
  root: string,
  renderings: readonly Rendering[],
  { registry, first, apps }: { registry: string; first: string; apps: readonly App[] },
): Promise<Finding[]> {
  const list = await readOverlayFields(root);
  const found = renderings.map(async ({ overlay, manifests }) => {
    const [, environment, name] = overlay.split("/");
    const app = apps.find((candidate) => candidate.app === name);
    if (app === undefined) return [];
    const rendered = manifests.map((manifest) => inNamespace(manifest, app.namespace));
    const twice = duplicates(rendered).map((id) =>
      findingAt(overlay, `has ${id} twice, and Argo CD would apply one of the two`, "leave one of them out"),
    );
    const path = `${overlay}/release.yaml`;
    const body = await bodyAt(root, path);
    if (body === "damaged" || (body === undefined && environment === first)) return twice;
    if (body === undefined) return [unreleased(overlay)];
    const release = parseManifests(body.text).map((manifest) => inNamespace(manifest, app.namespace));
    const changes = unallowed(list, { registry, app }, release, rendered);
    return [...twice, ...changes.map((change) => findingOf(overlay, change))];
  });
  return (await Promise.all(found)).flat();
}

function duplicates(manifests: readonly Manifest[]): string[] {
  const ids = manifests.map(idOf);
  return [...new Set(ids.filter((id, index) => ids.indexOf(id) !== index))];
}

function unallowed(
  list: OverlayFields,
  { registry, app }: { registry: string; app: App },
  release: readonly Manifest[],
  rendered: readonly Manifest[],
): ObjectChange[] {
  const released = new Map(release.map((manifest) => [idOf(manifest), manifest]));
  const own = rendered.filter(
    (manifest) => !released.has(idOf(manifest)) && mayAdd(list, app, release, manifest),
  );
  // A generated map has a hash in its name, also where the release refers to it.
  const names = new Map(
    own.flatMap(({ kind, metadata: { name } }) =>
      kind === "ConfigMap" ? [[name, stemOf(name) ?? name]] : [],
    ),
  );
  const rest = rendered
    .filter((manifest) => !own.includes(manifest))
    .map((manifest) => withNames(manifest, names));
  const now = new Map(rest.map((manifest) => [idOf(manifest), manifest]));
  const wanted = release.map((manifest) => {
    const other = now.get(idOf(manifest));
    return other === undefined ? manifest : withAllowed(list, registry, manifest, other);
  });
  return compareManifests(wanted, rest);
}

function mayAdd(list: OverlayFields, app: App, release: readonly Manifest[], manifest: Manifest): boolean {
  const { name, namespace } = manifest.metadata;
  const named = (pattern: string) => pattern.replaceAll("<app>", app.app);
  return list.objects.some(({ kind, as, overrides }) => {
    if (kind !== typeOf(manifest) || namespace !== app.namespace) return false;
    if (as !== undefined && (stemOf(name) ?? name) !== named(as)) return false;
    if (overrides === undefined) return true;
    const source = release.find(
      ({ kind: other, metadata }) =>
        other === manifest.kind && (stemOf(metadata.name) ?? metadata.name) === named(overrides),
    );
    const known = new Set(Object.keys(dataOf(source)));
    return (
      isDeepStrictEqual(withoutData(manifest), withoutData(source)) &&
      Object.keys(dataOf(manifest)).every((key) => known.has(key))
    );
  });
}

/** What is the same in a map and in the one whose keys it may have. */
function withoutData(manifest: Manifest | undefined): object {
  return { ...manifest, metadata: { ...manifest?.metadata, name: "" }, data: {} };
}

function dataOf(manifest: Manifest | undefined): Record<string, string> {
  const { data = {} }: Partial<ConfigMap> = manifest ?? {};
  return data;
}

function findingOf(overlay: string, { change, id, fields: [first, ...others] }: ObjectChange): Finding {
  const way = `leave it to a promotion, or have ${OVERLAY_FIELDS} allow it`;
  if (first === undefined) {
    const what = {
      added: `adds ${id}`,
      removed: `leaves out ${id}`,
      changed: `changes ${id}`,
      renamed: `renames ${id}`,
    }[change];
    return findingAt(overlay, `${what}, and its release does not`, way);
  }
  const more = others.length === 0 ? "" : ` (and ${others.length} more)`;
  const [before, after] = [first.before, first.after].map((value) => value ?? "nothing");
  return findingAt(overlay, `${id} has ${first.path}: ${after}, and its release ${before}${more}`, way);
}

function unreleased(overlay: string): Finding {
  const way = "restore its release.yaml, or promote one; or remove the directory";
  return findingAt(overlay, "has no release.yaml, and would deploy something else", way);
}

/** What a release applies; undefined where there is none. That one is damaged its own check says. */
async function bodyAt(root: string, path: string): Promise<{ text: string } | "damaged" | undefined> {
  try {
    const text = await readIfThere(join(root, path));
    return text === undefined ? undefined : { text: parseRelease(text, path).body };
  } catch (error) {
    if (error instanceof RefusedError) return "damaged";
    throw error;
  }
}
