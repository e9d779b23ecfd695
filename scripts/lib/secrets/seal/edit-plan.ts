/** What an edited Secret means for its sealed files. What cannot be sealed goes back into the editor. */
import { RefusedError } from "../../errors.ts";
import { type Credential, placesIn, type SecretValues } from "../credential.ts";
import { type SealedFile, valuesOf } from "../sealed.ts";
import type { Sops } from "../sops.ts";
import { keysToSet, planSeal, refuseLarge, type SealPlan } from "./plan.ts";
import { hasKeysOf, readSealed } from "./seal.ts";

/**
 * Has a person edit a sealed file, again until it can be sealed.
 * @param path of the sealed file
 * @param text its content, or what was refused: sealed, too
 * @param refusal what is wrong with the text
 * @returns the new content, sealed; undefined when it is to stay as it is
 */
export type Edit = (path: string, text: string, refusal?: RefusedError) => Promise<string | undefined>;

/**
 * Plans what an edited file means for all copies of its credential in the environment.
 * @param options.app whose copy is edited
 * @returns undefined when no value has changed
 * @throws RefusedError when there is nothing to edit, or what was edited last is no new values; NoKeyError without a private key
 */
export async function planEdit(
  root: string,
  sops: Sops,
  options: { credential: Credential; environment: string; app: string },
  edit: Edit,
): Promise<{ plan: SealPlan; given: SecretValues } | undefined> {
  const { credential, environment, app } = options;
  const place = (await placesIn(root, environment, credential)).find((candidate) => candidate.app === app);
  const sealed = place && (await readSealed(root, environment, place));
  if (sealed === undefined)
    throw new RefusedError(
      `${app} has no sealed ${credential.id} in ${environment} yet`,
      "seal it first, without --edit",
    );
  const { path, text } = sealed;
  const plan = await planSeal(root, sops, {
    credential,
    environments: [environment],
    keys: keysToSet(credential, []),
  });
  const before = await sops.open(path, text);
  const given = await editUntilValid(edit, path, text, async (edited) =>
    readEdited(sops, path, edited, credential, before),
  );
  if (given === undefined) return undefined;
  const old = valuesOf(before);
  const changed = [...given].filter(
    ([key, value]) => Buffer.compare(value, old.get(key) ?? Buffer.alloc(0)) !== 0,
  );
  const keys = changed.map(([key]) => key);
  if (keys.length === 0) return undefined;
  const placeholders = before.placeholders.filter((key) => !keys.includes(key));
  const environments = plan.environments.map((one) => ({ ...one, placeholders }));
  return { plan: { credential, keys, environments }, given };
}

async function editUntilValid<T>(
  edit: Edit,
  path: string,
  text: string,
  read: (edited: string) => Promise<T>,
): Promise<T | undefined> {
  let last = text;
  let refusal: RefusedError | undefined;
  for (;;) {
    const edited = await edit(path, last, refusal);
    if (edited === undefined && refusal !== undefined) throw refusal;
    if (edited === undefined) return undefined;
    try {
      return await read(edited);
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      [last, refusal] = [edited, error];
    }
  }
}

async function readEdited(
  sops: Sops,
  path: string,
  edited: string,
  credential: Credential,
  before: SealedFile,
): Promise<SecretValues> {
  const after = await sops.open(path, edited).catch((error: unknown) => {
    if (!(error instanceof RefusedError)) throw error;
    throw new RefusedError(error.message, "every value is a text, in quotes; nothing was changed");
  });
  refuseOther(path, credential, before, after);
  const values = valuesOf(after);
  refuseLarge(credential, values);
  return values;
}

function refuseOther(path: string, credential: Credential, before: SealedFile, after: SealedFile): void {
  const nothing = "nothing was changed";
  if (!hasKeysOf(after, credential))
    throw new RefusedError(
      `${path} would have other keys than ${[...credential.keys.keys()].join(", ")}`,
      `${nothing}; the catalogue says which there are: apps/${credential.id.split("/")[0]}.yaml`,
    );
  const same = (["name", "namespace", "type"] as const).every((field) => before[field] === after[field]);
  if (!same)
    throw new RefusedError(
      `${path} would be another Secret`,
      `${nothing}; name, namespace and type come from the catalogue, only values are edited`,
    );
  const values = valuesOf(after);
  for (const [key, how] of credential.keys) {
    if ("fixed" in how && Buffer.from(values.get(key) ?? "").toString() !== how.fixed)
      throw new RefusedError(
        `${key} of ${path} has a fixed value`,
        `${nothing}; change it in apps/${credential.id.split("/")[0]}.yaml`,
      );
  }
  for (const [key, value] of after.data) {
    const compact = value.replaceAll(/\s/g, "");
    if (Buffer.from(compact, "base64").toString("base64") !== compact)
      throw new RefusedError(
        `${key} of ${path} stands under \`data\` and is not base64`,
        `${nothing}; text goes under \`stringData\``,
      );
  }
}
