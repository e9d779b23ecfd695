/** Somebody can no longer read environments. */

import { environmentNames, type Here, type KeysChange, planChange } from "./change.ts";
import { parseEnvironments, type SeenValue, seenValues, withoutRecipient } from "./readers.ts";
import { readRules } from "./recipients.ts";
import { readSealedFiles } from "./reseal.ts";

export interface RemoveRequest {
  /** As in `dev,staging`. */
  environments: string;
  name: string;
}

export interface RemovePlan {
  name: string;
  environments: readonly string[];
  change: KeysChange;
  /** The values that the reader knows. */
  seen: readonly SeenValue[];
}

/**
 * Plans a reader less.
 * @throws UsageError for an environment that is none; RefusedError when the reader is none or the last one, or no private key
 *   here opens a file
 */
export async function planRemove(here: Here, { name, ...request }: RemoveRequest): Promise<RemovePlan> {
  const { root } = here;
  const environments = parseEnvironments(request.environments, await environmentNames(root));
  const before = await readRules(root);
  const after = withoutRecipient(before, environments, name);
  const files = await readSealedFiles(root, environments);
  const seen = (await Promise.all(environments.map(async (one) => seenValues(root, one)))).flat();
  const change = await planChange(here, { before, after, environments, files, later: false });
  return { name, environments, change, seen };
}
