/** An exception from a rule, as an object declares it: the annotation `exception.ecommerce/<rule>`. docs/policies.md. */
import type { Manifest } from "../manifests/manifest.ts";

const PREFIX = "exception.ecommerce/";
/** As base/policies/objects/exceptions.yaml has it. */
const VALUE = /^until (\d{4}-\d{2}-\d{2}): (.{30,})$/s;

export interface Exception {
  rule: string;
  /** The last day, such as 2027-11-30; undefined when the value is not `until <date>: <reason>`. */
  until: string | undefined;
}

/** The exceptions that an object declares. */
export function exceptionsOf({ metadata }: Manifest): Exception[] {
  return Object.entries(metadata.annotations ?? {}).flatMap(([name, value]) =>
    name.startsWith(PREFIX) ? [{ rule: name.slice(PREFIX.length), until: VALUE.exec(value)?.[1] }] : [],
  );
}
