/** The private key of a cluster: the Secret that sops-secrets-operator reads (argocd/addons/sops-secrets-operator.yaml). */
import { z } from "zod";
import { ExternalError, RefusedError } from "../../errors.ts";
import type { Target } from "../../kubectl.ts";
import { kubectl } from "../../kubectl.ts";
import { formatIdentity, type Identity, withIdentity } from "./age.ts";

const NAMESPACE = "sops-secrets-operator";
const NAME = "sops-age-key-file";
const KEY = "key";
const AS_MANAGER = "--field-manager=keys";

/** What is in a cluster. Its `text` holds private keys. */
export interface ClusterKeys {
  resourceVersion: string;
  text: string;
}

const SecretObject = z.object({
  metadata: z.object({ resourceVersion: z.string() }),
  data: z.record(z.string(), z.string()).default({}),
});

/**
 * The keys that a cluster has.
 * @returns undefined when there are none
 * @throws ExternalError when the cluster does not answer
 */
export async function readClusterKeys(target: Target): Promise<ClusterKeys | undefined> {
  const args = ["get", "secret", NAME, "--namespace", NAMESPACE, "--ignore-not-found", "--output", "json"];
  const out = await kubectl(target, args);
  if (out === "") return undefined;
  const parsed = SecretObject.safeParse(JSON.parse(out));
  if (!parsed.success)
    throw new ExternalError(`${target.context}: the Secret ${NAMESPACE}/${NAME} cannot be read`);
  const { metadata, data } = parsed.data;
  return { ...metadata, text: Buffer.from(data[KEY] ?? "", "base64").toString() };
}

/** Refuses to put a key over another one: what is sealed for that could never be opened again. */
export function refuseOther(target: Target, there: ClusterKeys | undefined): void {
  if (there === undefined) return;
  throw new RefusedError(
    `${target.context} has a key already: the Secret ${NAMESPACE}/${NAME}`,
    "add --replace for a new one; the old one stays beside it, so that what is sealed for it still opens",
  );
}

/**
 * Puts a new key into a cluster, beside those that are there. It goes through kubectl's standard input.
 * @param there what `readClusterKeys` has found; when somebody was faster, nothing is changed
 * @throws ExternalError when the cluster refuses
 */
export async function placeClusterKey(
  target: Target,
  identity: Identity,
  there: ClusterKeys | undefined,
): Promise<void> {
  const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } };
  await kubectl(target, ["apply", "--server-side", AS_MANAGER, "--filename", "-"], JSON.stringify(namespace));
  if (there !== undefined) {
    const { text, resourceVersion } = there;
    return write(target, "replace", withIdentity(text, identity), { resourceVersion });
  }
  // Not applied: of two people who do this at the same time one has to fail.
  await write(target, "create", formatIdentity(identity), {});
}

async function write(
  target: Target,
  verb: "create" | "replace",
  text: string,
  version: { resourceVersion?: string },
): Promise<void> {
  const metadata = { name: NAME, namespace: NAMESPACE, ...version };
  const data = { [KEY]: Buffer.from(text).toString("base64") };
  const secret = { apiVersion: "v1", kind: "Secret", metadata, data };
  await kubectl(target, [verb, AS_MANAGER, "--filename", "-"], JSON.stringify(secret));
}
