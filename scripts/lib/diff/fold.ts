/** The same change of many objects, said once. */
import type { ObjectChange } from "../manifests/change.ts";

/** How many names stand in a line. */
const NAMED = 4;

/**
 * Folds changes that differ in nothing but the names of their objects.
 * @returns in the order in which each comes first; the id of a folded one tells how many there are, and some of their names
 */
export function foldChanges(changes: readonly ObjectChange[]): ObjectChange[] {
  const groups = new Map<string, ObjectChange[]>();
  for (const change of changes) {
    const key = JSON.stringify(withoutName(change));
    groups.set(key, [...(groups.get(key) ?? []), change]);
  }
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined || group.length === 1) return group;
    const names = group.map(({ id }) => id.slice(first.kind.length + 1));
    const more = names.length > NAMED ? `, and ${names.length - NAMED} more` : "";
    const id = `${first.kind} × ${names.length} (${names.slice(0, NAMED).join(", ")}${more})`;
    return { ...withoutName(first), id };
  });
}

/** Containers are often named after their workload. */
function withoutName(change: ObjectChange): ObjectChange {
  const name = change.id.split("/").at(-1)?.split(" ").at(-1) ?? "";
  const shorten = (text: string | undefined) => text?.replaceAll(name, "*");
  const fields = change.fields.map((field) => ({
    ...field,
    path: field.path.replaceAll(`[${name}]`, "[*]"),
    before: shorten(field.before),
    after: shorten(field.after),
  }));
  return { ...change, id: "", fields, rolls: change.rolls.map((user) => user.replaceAll(name, "*")) };
}
