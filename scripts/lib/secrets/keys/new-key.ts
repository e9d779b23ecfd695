/** Keys that this repository makes: in memory, and from there into one file or one cluster. */
import type { Target } from "../../kubectl.ts";
import { appendIdentity, createIdentity, type Identity, verifyKeyFile } from "./age.ts";
import { type ClusterKeys, placeClusterKey, readClusterKeys, refuseOther } from "./cluster-key.ts";
import type { Recipient } from "./recipients.ts";

/** Where a new private key is to go. */
export type KeyPlace = { file: string } | { cluster: Target; replace: boolean };

/** A private key that is in memory only, until it is placed. */
export interface NewKey {
  recipient: Recipient;
  /** Puts the private key where it belongs. */
  place(): Promise<void>;
}

/**
 * Makes a key for a place, after a look whether it can go there.
 * @param ageKeygen path of the age-keygen program
 * @param name of its recipient
 * @throws RefusedError when the place must not have it; ExternalError when a cluster does not answer
 */
export async function createKey(ageKeygen: string, name: string, place: KeyPlace): Promise<NewKey> {
  const put = await prepare(place);
  const identity = await createIdentity(ageKeygen);
  return { recipient: { name, key: identity.recipient }, place: async () => put(identity) };
}

/** Looks whether a new key can go to a place. */
export async function prepare(place: KeyPlace): Promise<(identity: Identity) => Promise<void>> {
  if ("file" in place) {
    const file = await verifyKeyFile(place.file);
    return async (identity) => appendIdentity(file, identity);
  }
  const there: ClusterKeys | undefined = await readClusterKeys(place.cluster);
  if (!place.replace) refuseOther(place.cluster, there);
  return async (identity) => placeClusterKey(place.cluster, identity, there);
}
