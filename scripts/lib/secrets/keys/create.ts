/** A new key for an environment's cluster. */
import { RefusedError, UsageError } from "../../errors.ts";
import { applyChange, environmentNames, type Here, type KeysChange, planChange } from "./change.ts";
import { createKey, type KeyPlace, type NewKey } from "./new-key.ts";
import { clusterName, parseEnvironments, type SeenValue, seenValues, withRecipient } from "./readers.ts";
import { type Recipient, type Rule, readRules } from "./recipients.ts";
import { readSealedFiles } from "./reseal.ts";

export interface CreateRequest {
  environment: string;
  /** The kubeconfig context of the cluster that gets the key. */
  toCluster: string | undefined;
  /** The file that gets it instead. */
  toFile: string | undefined;
  /** Whether the file may be of another environment than the first. */
  trustThisMachine: boolean;
  /** The recipient's name; the usual one of the environment's cluster by default. */
  name: string | undefined;
  /** Whether it takes the place of the key that the name has. */
  replace: boolean;
  /** Whether the files are sealed another time. */
  later: boolean;
}

export interface CreatePlan {
  environment: string;
  later: boolean;
  recipient: Recipient;
  /** In memory only, until the plan is applied. */
  made: NewKey;
  change: KeysChange;
  /** The values that the key knows which it takes the place of; undefined when there was none. */
  seen: readonly SeenValue[] | undefined;
}

/**
 * Makes a key, and plans what is sealed for it.
 * @throws UsageError for an environment or a name that is none, or without one place; RefusedError when the place must not
 *   have it, the name has one already, or no private key here opens a file; ExternalError when a cluster does not answer
 */
export async function planCreate(here: Here, request: CreateRequest): Promise<CreatePlan> {
  const { environment, replace, later } = request;
  const known = await environmentNames(here.root);
  if (!known.includes(environment)) parseEnvironments(environment, known);
  const place = await placeOf(here, request, environment === known[0]);
  const before = await readRules(here.root);
  const name = request.name ?? clusterName(environment);
  if (!replace) refuseSecond(before, environment, name);
  const made = await createKey(await here.tool("age-keygen"), name, place);
  const after = withRecipient(before, [environment], made.recipient, { replace: true });
  const environments = [environment];
  const files = await readSealedFiles(here.root, environments);
  const change = await planChange(here, { before, after, environments, files, later });
  const seen = hasKey(before, environment, name) ? await seenValues(here.root, environment) : undefined;
  return { environment, later, recipient: made.recipient, made, change, seen };
}

/** Puts the key where it belongs, and then writes what is sealed for it: what is sealed for a key that is nowhere is lost. */
export async function applyCreate(here: Here, { made, change }: CreatePlan): Promise<void> {
  await made.place();
  await applyChange(here, change);
}

async function placeOf(
  { tool }: Here,
  { environment, toCluster, toFile, trustThisMachine, replace }: CreateRequest,
  isFirst: boolean,
): Promise<KeyPlace> {
  if ((toCluster === undefined) === (toFile === undefined))
    throw new UsageError(
      "where is the private key to go?",
      `say either --to-cluster <context> or --to-file <path>: npm run keys create ${environment} -- --to-cluster <context>`,
    );
  if (toCluster !== undefined)
    return { cluster: { kubectl: await tool("kubectl"), context: toCluster }, replace };
  if (!isFirst && !trustThisMachine)
    throw new RefusedError(
      `a private key of ${environment} does not belong in a file on a developer's machine`,
      "use --to-cluster; or, on a machine that is kept for this and offline, add --trust-this-machine",
    );
  return { file: toFile ?? "" };
}

function hasKey(rules: readonly Rule[], environment: string, name: string): boolean {
  const rule = rules.find((one) => one.environment === environment);
  return rule?.recipients.some((recipient) => recipient.name === name) === true;
}

function refuseSecond(rules: readonly Rule[], environment: string, name: string): void {
  if (!hasKey(rules, environment, name)) return;
  throw new RefusedError(
    `${environment} has the key of ${name} already`,
    "add --replace for a new one instead of it, or --as <name> for another cluster",
  );
}
