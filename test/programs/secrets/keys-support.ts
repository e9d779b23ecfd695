/** A small repository with sealed Secrets and real keys of age. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { type RunResult, tryRun } from "../../../scripts/lib/exec.ts";
import { createIdentity, formatIdentity, type Identity } from "../../../scripts/lib/secrets/keys/age.ts";
import { formatRules, type Rule } from "../../../scripts/lib/secrets/keys/recipients.ts";
import { writeSealed } from "../../../scripts/lib/secrets/seal/seal.ts";
import { sealEnvironment } from "../../../scripts/lib/secrets/seal/seal-environment.ts";
import { valuesOf } from "../../../scripts/lib/secrets/sealed.ts";
import { connectSops } from "../../../scripts/lib/secrets/sops.ts";
import { resolveTools } from "../../../scripts/lib/tools/resolve.ts";
import { bundledLine } from "../../support/commands.ts";
import { commit, git, smallTree, temporary, write } from "../../support/tree.ts";

const CATALOGUE = {
  "apps/web.yaml": `app: web
namespace: shop
kind: service
image: shop/web
source: shop/web
owners: [web]
secrets:
  - name: web-database
    sameAs: disk/database
  - name: payment
    keys:
      api-key: { supply: "the provider's console" }
      salt: { generate: 16 }
`,
  "apps/disk.yaml": `app: disk
namespace: shop
kind: store
owners: [data]
secrets:
  - name: database
    keys:
      username: { fixed: shop }
      password: { generate: 32 }
  - name: disk-tls
    keys:
      tls.crt: { supply: "the authority" }
      tls.key: { supply: "the authority" }
`,
  "argocd/settings/settings.yaml": `apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  repoURL: https://git.acme.dev/shop/gitops.git
  revision: main
  forgeAPI: https://git.acme.dev/api/v1
  registry: registry.acme.dev
  domain: shop.acme.dev
`,
};
/** For each environment. */
export const FILES = 4;
export const COMMENT = "# Ask ada before you change this.";

export async function programs(): Promise<{ sops: string; ageKeygen: string; age: string }> {
  const [sops, ageKeygen, age] = await resolveTools(["sops", "age-keygen", "age"]);
  return { sops: sops?.path ?? "", ageKeygen: ageKeygen?.path ?? "", age: age?.path ?? "" };
}

export interface Fixture {
  root: string;
  /** By the name of the recipient. */
  keys: Map<string, Identity>;
  /** An environment in which sops finds these keys and no others. */
  envWith(...names: string[]): Promise<NodeJS.ProcessEnv>;
  /** The values of every sealed file of an environment that one key opens, as text; throws when it does not. */
  openWith(name: string, environment: string): Promise<Map<string, string>>;
  command(script: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<RunResult>;
}

interface Sealed {
  files: Record<string, string>;
  keys: ReadonlyMap<string, Identity>;
}

/** By their readers: sealing takes seconds, so repositories that have the same ones begin alike. */
const made = new Map<string, Promise<Sealed>>();

async function seal(readers: Record<string, string[]>): Promise<Sealed> {
  const root = await temporary();
  const { sops, ageKeygen } = await programs();
  await write(root, { ...smallTree(), ...CATALOGUE });
  const keys = new Map<string, Identity>();
  for (const name of new Set([...Object.values(readers).flat(), "newcomer"]))
    keys.set(name, await createIdentity(ageKeygen));
  const rules: Rule[] = Object.entries(readers).map(([environment, names]) => ({
    environment,
    recipients: names.map((name) => ({ name, key: keys.get(name)?.recipient ?? "" })),
  }));
  await write(root, { ".sops.yaml": formatRules(`${COMMENT}\n\nkeys:\n`, rules) });
  for (const { environment } of rules) {
    const program = connectSops(sops, root, process.env);
    await writeSealed(root, await sealEnvironment(root, program, environment, "shop.acme.dev"));
  }
  return { files: Object.fromEntries(await filesOf(root)), keys };
}

/** @param readers names of the recipients by environment */
export async function sealedRepository(readers: Record<string, string[]>): Promise<Fixture> {
  const id = JSON.stringify(readers);
  const sealed = made.get(id) ?? seal(readers);
  made.set(id, sealed);
  const { files, keys: known } = await sealed;
  const keys = new Map(known);
  const root = await temporary();
  await write(root, files);
  await git(root, "init", "--quiet", "--initial-branch=main");
  await commit(root);
  const { sops } = await programs();
  const home = await temporary();
  const { SOPS_AGE_KEY: _key, SOPS_AGE_KEY_FILE: _file, XDG_CONFIG_HOME: _config, ...clean } = process.env;
  const envWith = async (...names: string[]) => {
    const file = `${names.join("+")}.txt`;
    const identities = names.flatMap((name) => keys.get(name) ?? []).map(formatIdentity);
    await write(home, { [file]: identities.join("") });
    return { ...clean, XDG_CONFIG_HOME: join(home, "nobody"), SOPS_AGE_KEY_FILE: join(home, file) };
  };
  return {
    root,
    keys,
    envWith,
    async openWith(name, environment) {
      const open = connectSops(sops, root, await envWith(name));
      const found = new Map<string, string>();
      for (const [path, text] of await filesOf(root)) {
        if (!path.startsWith(`overlays/${environment}/`) || !path.endsWith(".sops.yaml")) continue;
        const values = valuesOf(await open.open(path, text));
        for (const [key, value] of values)
          found.set(`${path.split("/").at(-1)} ${key}`, Buffer.from(value).toString());
      }
      return found;
    },
    async command(script, args, env) {
      return tryRun(...bundledLine(script, ["--root", root, ...args]), { env });
    },
  };
}

/** Every file of a tree by its path, without Git's own. */
export async function filesOf(root: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name).slice(root.length + 1);
    if (entry.isFile() && !path.startsWith(".git/"))
      found.set(path, await readFile(join(root, path), "utf8"));
  }
  return new Map([...found].toSorted(([a], [b]) => a.localeCompare(b)));
}
