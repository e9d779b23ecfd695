/** The throw-away keys of the sandbox's environments, and Secrets with new values that are sealed for them. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readIfThere } from "../file.ts";
import { appendIdentity, createIdentity } from "../secrets/keys/age.ts";
import { formatRules, RULES_FILE, type Rule } from "../secrets/keys/recipients.ts";
import { writeSealed } from "../secrets/seal/seal.ts";
import { sealEnvironment } from "../secrets/seal/seal-environment.ts";
import { connectSops } from "../secrets/sops.ts";
import { readSettings } from "../tree/settings.ts";
import type { Layout } from "./layout.ts";

/** The private key of an environment: no other one's cluster, and no command but dev's, has it. */
export function keyFile(layout: Layout, environment: string): string {
  return join(layout.data, "keys", `${environment}.agekey`);
}

/**
 * Makes the keys that are missing.
 * @param ageKeygen path of the age-keygen program
 * @returns rules that let each environment's cluster read its own Secrets, and nobody else
 */
export async function ensureKeys(
  layout: Layout,
  ageKeygen: string,
  environments: readonly string[],
): Promise<Rule[]> {
  return Promise.all(
    environments.map(async (environment) => {
      const file = keyFile(layout, environment);
      let key = /^# public key: (\S+)$/m.exec((await readIfThere(file)) ?? "")?.[1];
      if (key === undefined) {
        const identity = await createIdentity(ageKeygen);
        await appendIdentity(file, identity);
        key = identity.recipient;
      }
      return { environment, recipients: [{ name: `cluster-${environment}`, key }] };
    }),
  );
}

/**
 * Writes the rules, and every sealed file of the catalogue anew.
 * @param root the tree to write to
 * @param sops path of the sops program
 * @param env its environment
 */
export async function sealAnew(
  root: string,
  sops: string,
  env: NodeJS.ProcessEnv,
  rules: readonly Rule[],
): Promise<void> {
  const file = join(root, RULES_FILE);
  await writeFile(file, formatRules((await readIfThere(file)) ?? "", rules));
  const { domain } = await readSettings(root);
  const program = connectSops(sops, root, env);
  for (const { environment } of rules) {
    await writeSealed(root, await sealEnvironment(root, program, environment, domain, true));
  }
}
