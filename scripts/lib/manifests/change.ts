/** What differs between two renderings of one overlay, object by object and field by field. */
import { isDeepStrictEqual } from "node:util";
import { idOf, type Manifest, parseManifests, stemOf, typeOf, withNames } from "./manifest.ts";
import { RISKS, type Risk, riskOfField, riskOfObject } from "./risk.ts";

export interface FieldChange {
  /** Such as `spec.template.spec.containers[app].image`; a list's element is named by what tells it from the others. */
  path: string;
  risk: Risk;
  /** In short, on one line; undefined: it is not there. */
  before: string | undefined;
  after: string | undefined;
}

export interface ObjectChange {
  /** A renamed object differs in nothing but its name: the cluster deletes one and makes another. */
  change: "added" | "removed" | "changed" | "renamed";
  /** `group/Kind`, or `Kind` of the core group. */
  kind: string;
  /** As `idOf` names it; without the hash of its content where the two sides differ in that. A renamed one has both names. */
  id: string;
  /** The riskiest first. */
  risks: Risk[];
  /** What differs; none for an object that is added or removed. */
  fields: FieldChange[];
  /** Workloads whose pods are replaced because this configuration has a new name. */
  rolls: string[];
}

/**
 * Compares two renderings of one overlay. A ConfigMap or Secret whose name ends in the hash of its content is the same object
 * with another content, and that workloads name the new one is not a change of its own.
 * @param before YAML documents; an empty text where there was nothing
 * @returns the riskiest first, then in the order of the rendering
 * @throws ExternalError for a document that is not a Kubernetes object
 */
export function compareRenderings(before: string, after: string): ObjectChange[] {
  return compareManifests(parseManifests(before), parseManifests(after));
}

/** The same for renderings that have been read; they stay as they are. */
export function compareManifests(old: readonly Manifest[], now: readonly Manifest[]): ObjectChange[] {
  const folds = foldsOf(old, now);
  const left = new Map(old.map((manifest) => [idOf(manifest), folded(manifest, folds)]));
  const right = new Map(now.map((manifest) => [idOf(manifest), folded(manifest, folds)]));
  const partner = new Map(folds.map((fold) => [fold.after, fold]));

  const changes: ObjectChange[] = [];
  const seen = new Set<string>();
  for (const [id, manifest] of right) {
    const fold = partner.get(id);
    const other = fold?.before ?? id;
    const previous = left.get(other);
    seen.add(other);
    if (previous === undefined) changes.push(entry("added", manifest));
    else if (fold !== undefined) changes.push(replaced(previous, manifest, fold, now));
    else if (!isDeepStrictEqual(previous, manifest)) changes.push(changed(previous, manifest));
  }
  for (const [id, manifest] of left) if (!seen.has(id)) changes.push(entry("removed", manifest));
  return withRenames(changes, left, right).sort((one, other) => rank(one) - rank(other));
}

/** Says an object that goes, and one that comes and is otherwise equal, as one. Where there are several such, nobody can tell. */
function withRenames(
  changes: readonly ObjectChange[],
  left: ReadonlyMap<string, Manifest>,
  right: ReadonlyMap<string, Manifest>,
): ObjectChange[] {
  const nameless = (manifest: Manifest | undefined) =>
    manifest && JSON.stringify(withNames(manifest, new Map([[manifest.metadata.name, ""]])));
  const of = (kind: ObjectChange["change"], objects: ReadonlyMap<string, Manifest>) =>
    changes
      .filter(({ change }) => change === kind)
      .map((change) => [change, nameless(objects.get(change.id))] as const);
  const [gone, come] = [of("removed", left), of("added", right)];
  const pairs = gone.flatMap(([removed, text]) => {
    const [added, ...others] = come.filter(([, other]) => other === text).map(([change]) => change);
    const isAlone = gone.filter(([, other]) => other === text).length === 1;
    return added === undefined || others.length > 0 || !isAlone ? [] : [{ removed, added }];
  });
  const paired = new Set(pairs.flatMap(({ removed, added }) => [removed, added]));
  return [
    ...changes.filter((change) => !paired.has(change)),
    ...pairs.map(({ removed, added }): ObjectChange => {
      const name = right.get(added.id)?.metadata.name ?? "";
      return { ...removed, change: "renamed", id: `${removed.id} → ${name}` };
    }),
  ];
}

/** The risks of some changes, each once, the riskiest first. */
export function risksOf(changes: readonly ObjectChange[]): Risk[] {
  return RISKS.filter((risk) => changes.some(({ risks }) => risks.includes(risk)));
}

function rank({ risks }: ObjectChange): number {
  return RISKS.indexOf(risks[0] ?? "other");
}

function entry(change: "added" | "removed", manifest: Manifest): ObjectChange {
  const kind = typeOf(manifest);
  const risk = riskOfObject(kind);
  const risks: Risk[] = change === "added" ? [risk] : ["deletion", ...(risk === "other" ? [] : [risk])];
  return { change, kind, id: idOf(manifest), risks, fields: [], rolls: [] };
}

/** The same object under two names. */
interface Fold {
  before: string;
  after: string;
  namespace: string | undefined;
  oldName: string;
  newName: string;
  stem: string;
}

function foldsOf(before: readonly Manifest[], after: readonly Manifest[]): Fold[] {
  const ids = (manifests: readonly Manifest[]) => new Set(manifests.map(idOf));
  const [old, now] = [ids(before), ids(after)];
  const gone = before.filter((manifest) => !now.has(idOf(manifest)));
  const come = after.filter((manifest) => !old.has(idOf(manifest)));
  return gone.flatMap((manifest) => {
    const place = placeOf(manifest);
    const partners = come.filter((other) => place !== undefined && placeOf(other) === place);
    const isAlone = gone.filter((other) => placeOf(other) === place).length === 1;
    const [partner] = partners;
    if (partner === undefined || partners.length > 1 || !isAlone) return [];
    const stem = stemOf(manifest.metadata.name) ?? "";
    const { namespace, name: oldName } = manifest.metadata;
    return [
      {
        before: idOf(manifest),
        after: idOf(partner),
        namespace,
        oldName,
        newName: partner.metadata.name,
        stem,
      },
    ];
  });
}

/** Kind, namespace and name without its hash; undefined for what has none. */
function placeOf(manifest: Manifest): string | undefined {
  const stem = stemOf(manifest.metadata.name);
  const hasHash = stem !== undefined && (manifest.kind === "ConfigMap" || manifest.kind === "Secret");
  return hasHash ? `${typeOf(manifest)} ${manifest.metadata.namespace ?? ""}/${stem}` : undefined;
}

/** A manifest with the names without hashes, wherever it says them. */
function folded(manifest: Manifest, folds: readonly Fold[]): Manifest {
  const here = folds.filter(({ namespace }) => namespace === manifest.metadata.namespace);
  if (here.length === 0) return manifest;
  const names = new Map(
    here.flatMap(({ oldName, newName, stem }) => [[oldName, stem] as const, [newName, stem] as const]),
  );
  return withNames(manifest, names);
}

/** A new object takes the place of another one; what is immutable in an object is no obstacle. */
function replaced(before: Manifest, after: Manifest, fold: Fold, now: readonly Manifest[]): ObjectChange {
  const rolls = now.filter((user) => uses(user, fold)).map(idOf);
  const mutable = { immutable: undefined };
  const change = { ...changed({ ...before, ...mutable }, { ...after, ...mutable }), rolls };
  if (change.fields.length > 0) return change;
  const { kind } = change;
  const risk = riskOfObject(kind);
  const field = { path: "metadata.name", risk, before: fold.oldName, after: fold.newName };
  return { ...change, risks: [risk], fields: [field] };
}

function uses(manifest: Manifest, { namespace, newName, after }: Fold): boolean {
  if (manifest.metadata.namespace !== namespace || idOf(manifest) === after) return false;
  return JSON.stringify(manifest).includes(JSON.stringify(newName));
}

function changed(before: Manifest, after: Manifest): ObjectChange {
  const kind = typeOf(after);
  const isHidden = kind === "Secret" || kind === "isindir.github.com/SopsSecret";
  const isFixed = "immutable" in before && before.immutable === true;
  const all = differences(before, after, "").map(({ path, values }): FieldChange => {
    const fixed = isFixed && /^(data|binaryData|stringData|immutable)\b/.test(path);
    const risk = fixed ? "immutable" : riskOfField(kind, path, values);
    const [old, now] = isHidden && !path.startsWith("metadata.") ? values.map(hide) : shortPair(values);
    return { path, risk, before: old, after: now };
  });
  // What SOPS notes about a file changes with each of its values.
  const content = all.filter(({ path }) => !path.startsWith("sops."));
  const fields = content.length > 0 ? content : all;
  const risks = RISKS.filter((risk) => fields.some((field) => field.risk === risk));
  return { change: "changed", kind, id: idOf(after), risks, fields, rolls: [] };
}

interface Difference {
  path: string;
  values: readonly [unknown, unknown];
}

/** The smallest parts that differ. Containers and elements of lists that tell themselves apart are compared one by one. */
function differences(before: unknown, after: unknown, path: string): Difference[] {
  if (isDeepStrictEqual(before, after)) return [];
  const isOneSided = before === undefined || after === undefined;
  const isContainer = isOneSided && /(^|\.)(initContainers|containers)\[[^\]]*\]$/.test(path);
  const left = before === undefined && (isContainer || isFilled(after)) ? emptyOf(after) : before;
  const right = after === undefined && (isContainer || isFilled(before)) ? emptyOf(before) : after;
  if (isMap(left) && isMap(right)) {
    // The name of a container that comes or goes is in the path.
    const keys = Object.keys({ ...left, ...right }).filter((key) => !isContainer || key !== "name");
    const parts = keys.flatMap((key) => differences(left[key], right[key], join(path, key)));
    return parts.length > 0 ? parts : [{ path, values: [before, after] }];
  }
  if (Array.isArray(left) && Array.isArray(right)) {
    const lists = inLists(left, right, path);
    if (lists !== undefined) return lists;
  }
  return [{ path, values: [before, after] }];
}

/** No list and an empty one are not the same: an empty `ingress` of a NetworkPolicy lets nobody in. */
function isFilled(value: unknown): boolean {
  return Array.isArray(value) && value.length > 0;
}

function emptyOf(value: unknown): unknown {
  return Array.isArray(value) ? [] : isMap(value) ? {} : undefined;
}

function join(path: string, key: string): string {
  // A bracket of its own must not look like one of the path.
  if (/[[\]]/.test(key)) return `${path}[${JSON.stringify(key)}]`;
  if (!/^[\w-]+$/.test(key)) return `${path}[${key}]`;
  return path === "" ? key : `${path}.${key}`;
}

function inLists(before: unknown[], after: unknown[], path: string): Difference[] | undefined {
  const [left, right] = [byName(before), byName(after)];
  if (left !== undefined && right !== undefined) {
    const names = [...new Set([...left.keys(), ...right.keys()])];
    const elements = names.flatMap((name) =>
      differences(left.get(name), right.get(name), `${path}[${name}]`),
    );
    const common = (one: ReadonlyMap<string, unknown>, other: ReadonlyMap<string, unknown>) =>
      [...one.keys()].filter((name) => other.has(name)).join(", ");
    const order = [common(left, right), common(right, left)] as const;
    // The order counts for variables that use others, and for init containers.
    return order[0] === order[1] ? elements : [...elements, { path: `${path}.order`, values: order }];
  }
  if (before.length !== after.length || ![...before, ...after].every(isMap)) return undefined;
  return before.flatMap((element, index) => differences(element, after[index], `${path}[${index}]`));
}

/** The elements of a list by what tells them apart; undefined where nothing does. */
function byName(list: readonly unknown[]): ReadonlyMap<string, unknown> | undefined {
  const named = new Map<string, unknown>();
  for (const element of list) {
    const name = isMap(element) ? nameIn(element) : undefined;
    if (name === undefined || named.has(name)) return undefined;
    named.set(name, element);
  }
  return named;
}

function nameIn(element: Record<string, unknown>): string | undefined {
  const { mountPath, name, metadata, configMapRef, secretRef, topologyKey, key, host } = element;
  for (const value of [mountPath, name, isMap(metadata) ? metadata["name"] : undefined])
    if (typeof value === "string") return value;
  if (isMap(configMapRef)) return `configMapRef ${String(configMapRef["name"])}`;
  if (isMap(secretRef)) return `secretRef ${String(secretRef["name"])}`;
  return [topologyKey, key, host].find((value) => typeof value === "string");
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const LONGEST = 80;

function hide(value: unknown): string | undefined {
  return value === undefined ? undefined : "(hidden)";
}

/** Two values in short, so that the difference is in what is shown. */
function shortPair([before, after]: readonly [unknown, unknown]): [string | undefined, string | undefined] {
  const [left, right] = [textOf(before), textOf(after)];
  if (left === undefined || right === undefined) return [cut(left, 0), cut(right, 0)];
  if (left.includes("\n") || right.includes("\n")) return firstLine(left.split("\n"), right.split("\n"));
  if (left.length <= LONGEST && right.length <= LONGEST) return [left, right];
  let same = 0;
  while (left[same] === right[same]) same += 1;
  const start = Math.max(0, same - LONGEST / 4);
  return [cut(left, start), cut(right, start)];
}

function textOf(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  // Commits and digests are told apart by their beginning.
  return text.replaceAll(/\b([0-9a-f]{12})(?:[0-9a-f]{28}|[0-9a-f]{52})\b/g, "$1");
}

function cut(text: string | undefined, start: number): string | undefined {
  if (text === undefined) return undefined;
  const line = text.replaceAll("\n", "⏎");
  const end = start + LONGEST;
  return `${start > 0 ? "…" : ""}${line.slice(start, end)}${line.length > end ? "…" : ""}`;
}

/** Of texts with lines, the first line that differs. */
function firstLine(
  left: readonly string[],
  right: readonly string[],
): [string | undefined, string | undefined] {
  let index = 0;
  while (left[index] === right[index]) index += 1;
  const show = (lines: readonly string[]): string => {
    const line = lines[index];
    return line === undefined ? `ends before line ${index + 1}` : `line ${index + 1}: ${cut(line, 0)}`;
  };
  return [show(left), show(right)];
}
