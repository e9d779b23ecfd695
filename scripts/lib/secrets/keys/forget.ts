/** Old private keys leave the place where they stood beside the new one. */

import { RefusedError, UsageError } from "../../errors.ts";
import { wasEver } from "../../git/checkout.ts";
import type { Target } from "../../kubectl.ts";
import { openCluster, openKeyFile } from "../key-store.ts";
import { readKeyring, withoutKeys } from "../keyring.ts";
import { ownRules, parseEnvironments } from "../keys.ts";
import { nameOf, type Recipient, RULES_FILE, type Rule, readRules } from "../recipients.ts";
import { readSealedPlaces, type SealedPlace } from "../sealed-places.ts";
import { environmentNames, type Here } from "./change.ts";

export interface ForgetRequest {
  /** As in `prod`, or `dev,staging` for a place that has the keys of both. */
  environments: string;
  /** The kubeconfig context of the cluster that has the keys. */
  inCluster: string | undefined;
  /** The file that has them instead. */
  inFile: string | undefined;
}

export interface ForgetPlan {
  environments: readonly string[];
  /** The context, or the path of the file. */
  place: string;
  kept: readonly Recipient[];
  /** Whoever has no name in the rules has the public key for one. */
  gone: readonly Recipient[];
  /** Where every sealed file was looked at; nowhere when nothing goes. */
  looked: readonly string[];
  /** Writes what stays. The private keys are in nothing else of the plan. */
  apply: () => Promise<void>;
}

/**
 * Plans to keep only keys that `.sops.yaml` names for the environments; changes nothing.
 * @throws UsageError for an environment that is none, or without one place; RefusedError when nothing would be left, or what
 *   goes is still needed; ExternalError when a cluster does not answer
 */
export async function planForget(here: Here, request: ForgetRequest): Promise<ForgetPlan> {
  const { root, tool } = here;
  const environments = parseEnvironments(request.environments, await environmentNames(root));
  const { cluster, file } = await placeOf(here, request);
  const rules = await readRules(root);
  const readers = ownRules(rules, environments).flatMap(({ recipients }) => recipients);
  const store = await (cluster === undefined ? openKeyFile(file) : openCluster(cluster));
  const keyring = await readKeyring(await tool("age-keygen"), store.text, store.name);
  const everybody = [...readers, ...rules.flatMap(({ recipients }) => recipients)];
  const there = [...new Set(keyring.recipients)].map((key) => ({ key, name: nameOf(everybody, key) }));
  const isKept = ({ key }: Recipient) => readers.some((reader) => reader.key === key);
  const [kept, gone] = [there.filter(isKept), there.filter((one) => !isKept(one))];
  if (kept.length === 0)
    throw new RefusedError(
      `${store.name} has no key that ${RULES_FILE} names for ${environments.join(", ")}: nothing would be left`,
      "is it the right one? `npm run keys create` makes a key",
    );
  if (cluster === undefined) await refuseForeign(root, rules, store.name, gone);
  const places = gone.length === 0 ? [] : await readSealedPlaces(root, environments, cluster);
  for (const place of places) refuseNeeded(place, kept, gone);
  const left = withoutKeys(
    keyring,
    gone.map(({ key }) => key),
  );
  return {
    environments,
    place: store.name,
    kept,
    gone,
    looked: places.map(({ where }) => where),
    apply: async () => store.replace(left),
  };
}

async function placeOf(
  { tool }: Here,
  { environments, inCluster, inFile }: ForgetRequest,
): Promise<{ cluster: Target | undefined; file: string }> {
  if ((inCluster === undefined) === (inFile === undefined))
    throw new UsageError(
      "where are the private keys?",
      `say either --in-cluster <context> or --in-file <path>: npm run keys forget ${environments} -- --in-cluster <context>`,
    );
  if (inCluster === undefined) return { cluster: undefined, file: inFile ?? "" };
  return { cluster: { kubectl: await tool("kubectl"), context: inCluster }, file: "" };
}

/** A file may be somebody's own, with keys of other things. What a cluster needs, its SopsSecrets say. */
async function refuseForeign(
  root: string,
  rules: readonly Rule[],
  file: string,
  gone: readonly Recipient[],
): Promise<void> {
  for (const { name, key } of gone) {
    const other = rules.find(({ recipients }) => recipients.some((one) => one.key === key));
    if (other !== undefined)
      throw new RefusedError(
        `${file} has the key of ${name}, which reads ${other.environment}`,
        `name that environment, too, as in dev,${other.environment}`,
      );
    if (!(await wasEver(root, RULES_FILE, key)))
      throw new RefusedError(
        `${file} has a key that ${RULES_FILE} has never named: ${key}`,
        "it may open something else: move it into another file first",
      );
  }
}

function refuseNeeded(
  { where, files, way }: SealedPlace,
  kept: readonly Recipient[],
  gone: readonly Recipient[],
): void {
  const opens = (recipients: readonly string[], { key }: Recipient) => recipients.includes(key);
  for (const { path, recipients } of files) {
    if (kept.some((one) => opens(recipients, one))) continue;
    const needed = gone.find((one) => opens(recipients, one));
    if (needed === undefined) continue;
    throw new RefusedError(
      `${path} in ${where} is sealed for ${needed.name}, and for no key that stays`,
      way,
    );
  }
}
