/** Where private keys are kept: the Secret of a cluster, or a file. */

import { readIfThere, replaceFile } from "../file.ts";
import type { Target } from "../kubectl.ts";
import { verifyKeyFile } from "./age.ts";
import { readClusterKeys, replaceClusterKeys } from "./cluster-key.ts";

export interface KeyStore {
  /** The context, or the path of the file. */
  name: string;
  /** Holds private keys; empty when there are none. */
  text: string;
  /** Puts other keys in the place of all that are there. */
  replace: (text: string) => Promise<void>;
}

/**
 * The keys that a cluster has.
 * @throws ExternalError when it does not answer
 */
export async function openCluster(target: Target): Promise<KeyStore> {
  const there = await readClusterKeys(target);
  return {
    name: target.context,
    text: there?.text ?? "",
    replace: async (text) => {
      if (there !== undefined) await replaceClusterKeys(target, there, text);
    },
  };
}

/**
 * The keys that a file has.
 * @throws RefusedError when it is in a Git work tree, or holds something else
 */
export async function openKeyFile(path: string): Promise<KeyStore> {
  const file = await verifyKeyFile(path);
  return {
    name: file,
    text: (await readIfThere(file)) ?? "",
    // In one step: of a file that is half written the keys that stay would be lost, too.
    replace: async (text) => replaceFile(file, text),
  };
}
