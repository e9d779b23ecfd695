/** Somebody can read environments, whose key was made elsewhere. */
import { verifyRecipient } from "./age.ts";
import { environmentNames, type Here, type KeysChange, planChange } from "./change.ts";
import { isFresh, parseEnvironments, withRecipient } from "./readers.ts";
import { type Recipient, type Rule, readRules } from "./recipients.ts";
import { readSealedFiles } from "./reseal.ts";

export interface AddRequest extends Recipient {
  /** As in `dev,staging`. */
  environments: string;
  /** Whether the files are sealed another time. */
  later: boolean;
}

export interface AddPlan {
  request: AddRequest;
  environments: readonly string[];
  /** Undefined when the reader can read all of it already. */
  change: KeysChange | undefined;
}

/**
 * Plans a reader more.
 * @throws UsageError for an environment, a name or a key that is none; RefusedError when it must not be added, or no private
 *   key here opens a file
 */
export async function planAdd(here: Here, request: AddRequest): Promise<AddPlan> {
  const { name, key, later } = request;
  const environments = parseEnvironments(request.environments, await environmentNames(here.root));
  await verifyRecipient(await here.tool("age"), key);
  const before = await readRules(here.root);
  const after = withRecipient(before, environments, { name, key });
  const all = await readSealedFiles(here.root, environments);
  const files = all.filter((file) => !isFresh(after, file));
  const isThere = files.length === 0 && isSame(before, after);
  const change = isThere ? undefined : await planChange(here, { before, after, environments, files, later });
  return { request, environments, change };
}

function isSame(before: readonly Rule[], after: readonly Rule[]): boolean {
  return JSON.stringify(before) === JSON.stringify(after);
}
