/** The SopsSecrets that a cluster has: its operator opens these, whatever Git has by now. */
import { z } from "zod";
import { ExternalError } from "../errors.ts";
import type { Target } from "../kubectl.ts";
import { kubectl } from "../kubectl.ts";

const KIND = "sopssecrets.isindir.github.com";

const List = z.object({
  items: z.array(
    z.object({
      metadata: z.object({ name: z.string(), namespace: z.string() }),
      sops: z.object({ age: z.array(z.object({ recipient: z.string() })).default([]) }).optional(),
    }),
  ),
});

/**
 * The SopsSecrets of all namespaces, as `<namespace>/<name>`, and the public keys of those who can read them.
 * @returns none when the cluster does not know the kind yet
 * @throws ExternalError when it does not answer
 */
export async function readClusterSealed(target: Target): Promise<{ path: string; recipients: string[] }[]> {
  const kind = await kubectl(target, ["get", "crd", KIND, "--ignore-not-found", "--output", "name"]);
  if (kind.trim() === "") return [];
  const list = await kubectl(target, ["get", KIND, "--all-namespaces", "--output", "json"]);
  const parsed = List.safeParse(JSON.parse(list));
  if (!parsed.success) throw new ExternalError(`${target.context}: its SopsSecrets cannot be read`);
  return parsed.data.items.map(({ metadata: { namespace, name }, sops }) => ({
    path: `${namespace}/${name}`,
    recipients: (sops?.age ?? []).map(({ recipient }) => recipient),
  }));
}
