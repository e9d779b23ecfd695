/** All credentials of one environment, sealed with new values: for a team's first day, and for every sandbox. */
import { readCatalogue } from "../../tree/catalogue.ts";
import { apiHost } from "../../tree/hosts.ts";
import { credentialsOf, placeholderValues, suppliedKeys } from "../credential.ts";
import type { Sops } from "../sops.ts";
import { type SealedChange, sealCredential } from "./seal.ts";

/**
 * Seals new values for every credential of the catalogue that the environment has; writes nothing, and needs no private key.
 * Keys that a person has to bring get random values, and their files say so.
 * @param root the repository's root directory
 * @param sops seals for the recipients that its own `.sops.yaml` has
 * @param domain the shop's, as in the settings; certificates are for the environment's API below it
 * @param isThrowAway whether nobody will bring the real values, as in a sandbox: then no file has a placeholder
 * @throws RefusedError when no rule of `.sops.yaml` is for the environment
 */
export async function sealEnvironment(
  root: string,
  sops: Sops,
  environment: string,
  domain: string,
  isThrowAway = false,
): Promise<SealedChange[]> {
  const changes: SealedChange[] = [];
  for (const credential of credentialsOf(await readCatalogue(root))) {
    const [gateway] = credential.places;
    const host = await apiHost(root, environment, gateway?.app ?? "", domain);
    const values = await placeholderValues(credential, host);
    const placeholders = isThrowAway ? [] : [...suppliedKeys(credential).keys()];
    changes.push(...(await sealCredential(root, sops, { credential, environment, values, placeholders })));
  }
  return changes;
}
