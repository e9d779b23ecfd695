/** A small repository with sealed Secrets, and the keys that open them. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../../../scripts/lib/exec.ts";
import { repositoryRoot } from "../../../scripts/lib/repository.ts";
import { createIdentity, formatIdentity, type Identity } from "../../../scripts/lib/secrets/keys/age.ts";
import { formatRules } from "../../../scripts/lib/secrets/keys/recipients.ts";
import { writeSealed } from "../../../scripts/lib/secrets/seal/seal.ts";
import { sealEnvironment } from "../../../scripts/lib/secrets/seal/seal-environment.ts";
import { connectSops, type Sops } from "../../../scripts/lib/secrets/sops.ts";
import { cacheDir } from "../../../scripts/lib/tools/cache.ts";
import { resolveTool } from "../../../scripts/lib/tools/resolve.ts";
import { smallTree, write } from "../../support/tree.ts";

const SECRETS = `secrets:
  - name: database
    keys:
      username: { fixed: shop }
      password: { generate: 32 }
  - name: api
    keys:
      token: { supply: the provider's console }
`;
const COPY = "secrets:\n  - name: disk-database\n    sameAs: web/database\n";

export const ENVIRONMENTS = ["dev", "test", "live"] as const;
/** Of dev: the Secret that is changed, another one of the same app, and a copy of the first. */
export const DATABASE = "overlays/dev/web/database.sops.yaml";
export const API = "overlays/dev/web/api.sops.yaml";
export const COPIED = "overlays/dev/disk/disk-database.sops.yaml";

export interface SealedRepository {
  root: string;
  /** Each has the keys of one recipient only; a stranger's is nobody's. */
  sops: { cluster: Sops; ada: Sops; stranger: Sops };
  /** An environment in which a program finds ada's key. */
  env: NodeJS.ProcessEnv;
  /** Public keys. */
  recipients: { cluster: string; ada: string; stranger: string };
  remove: () => Promise<void>;
}

/** Files of the small tree, whose service and store have Secrets. */
function treeWithSecrets(): Record<string, string> {
  const tree = smallTree();
  const add = (path: string, text: string) => (tree[path] = `${tree[path] ?? ""}${text}`);
  add("apps/web.yaml", SECRETS);
  add("apps/disk.yaml", COPY);
  for (const env of ENVIRONMENTS) {
    const list = (app: string, ...names: string[]) => {
      const path = `overlays/${env}/${app}/kustomization.yaml`;
      const lines = names.map((name) => `  - ${name}.sops.yaml\n`).join("");
      tree[path] = (tree[path] ?? "").replace("resources:\n", `resources:\n${lines}`);
    };
    list("web", "database", "api");
    list("disk", "disk-database");
  }
  return tree;
}

/** Makes it; two people's keys open every environment. Who calls this removes it. */
export async function sealedRepository(): Promise<SealedRepository> {
  const directory = await mkdtemp(join(tmpdir(), "audit-"));
  const root = join(directory, "repository");
  const [{ path: program }, { path: ageKeygen }] = await Promise.all([
    resolveTool("sops"),
    resolveTool("age-keygen"),
  ]);
  const [cluster, ada, stranger] = [
    await createIdentity(ageKeygen),
    await createIdentity(ageKeygen),
    await createIdentity(ageKeygen),
  ];
  const envOf = async (name: string, key: Identity) => {
    const file = join(directory, name);
    await writeFile(file, formatIdentity(key), { mode: 0o600 });
    // Without the keys of the person who runs the tests, but with the tools.
    const TOOLS_CACHE = cacheDir(process.env, repositoryRoot());
    return { ...process.env, HOME: directory, TOOLS_CACHE, SOPS_AGE_KEY_FILE: file };
  };
  const withKey = async (name: string, key: Identity) => connectSops(program, root, await envOf(name, key));
  const recipients = [
    { name: "cluster", key: cluster.recipient },
    { name: "ada", key: ada.recipient },
  ];
  const rules = ENVIRONMENTS.map((environment) => ({ environment, recipients }));
  await write(root, { ...treeWithSecrets(), ".sops.yaml": formatRules("", rules) });
  await run("git", ["init", "--quiet", "--initial-branch=main"], { cwd: root });
  const sops = await withKey("ada", ada);
  for (const environment of ENVIRONMENTS) {
    await writeSealed(root, await sealEnvironment(root, sops, environment, "example.com"));
  }
  return {
    root,
    sops: {
      cluster: await withKey("cluster", cluster),
      ada: sops,
      stranger: await withKey("stranger", stranger),
    },
    env: await envOf("ada", ada),
    recipients: { cluster: cluster.recipient, ada: ada.recipient, stranger: stranger.recipient },
    remove: async () => rm(directory, { recursive: true, force: true }),
  };
}

/** Reads a file of a repository. */
export async function read(root: string, path: string): Promise<string> {
  return readFile(join(root, path), "utf8");
}
