/** The sealed files of a new app: its own Secrets, and its copies of what stores have. */
import { cp, mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Credential, credentialsOf, placeholderValues, suppliedKeys } from "../secrets/credential.ts";
import { keysToSet, planSeal, sealPlanned } from "../secrets/seal/plan.ts";
import { type SealedChange, sealCredential } from "../secrets/seal/seal.ts";
import { connectSops, NoKeyError, type Sops } from "../secrets/sops.ts";
import { withTemporaryDirectory } from "../temporary.ts";
import { readCatalogue } from "../tree/catalogue.ts";
import { readSettings } from "../tree/settings.ts";
import type { Write } from "./plan.ts";
import type { CheckedRequest } from "./request.ts";

/** What sealing reads of a tree. */
const NEEDED = ["apps", ".sops.yaml", "argocd/settings"];

/**
 * Seals what the catalogue has for a new app, in a copy of the tree that has the app already.
 * A store's credential keeps its value where a private key is here, and only the new copy is written. Nobody else can know it: then
 * all copies get a new one.
 * @param sopsPath where sops is
 * @returns further files to write
 */
export async function sealNew(
  root: string,
  sopsPath: string,
  { app, environment }: CheckedRequest,
  writes: readonly Write[],
): Promise<Write[]> {
  return withTemporaryDirectory("new-seal-", async (copy) => {
    for (const path of [...NEEDED, `overlays/${environment}`])
      await cp(join(root, path), join(copy, path), { recursive: true });
    for (const { path, text } of writes) {
      await mkdir(dirname(join(copy, path)), { recursive: true });
      await writeFile(join(copy, path), text);
    }
    const sops = connectSops(sopsPath, copy, process.env);
    const { domain } = await readSettings(copy);
    const mine = credentialsOf(await readCatalogue(copy)).filter(({ places }) =>
      places.some((place) => place.app === app),
    );
    const sealed: Write[] = [];
    for (const credential of mine) {
      const isOwn = credential.places[0]?.app === app;
      const changes = isOwn
        ? await sealOwn(copy, sops, credential, environment, domain)
        : await sealCopies(copy, sops, credential, environment, `overlays/${environment}/${app}/`);
      const supplied = [...suppliedKeys(credential).keys()];
      for (const { path, text } of changes) {
        const isNew = path.startsWith(`overlays/${environment}/${app}/`);
        const what = !isNew
          ? "sealed: a new value, its pods roll"
          : supplied.length > 0
            ? `sealed: ${supplied.join(", ")} stands in for what a person brings`
            : "sealed";
        sealed.push({ path, text, isNew, what });
      }
    }
    return sealed;
  });
}

async function sealOwn(
  root: string,
  sops: Sops,
  credential: Credential,
  environment: string,
  domain: string,
): Promise<SealedChange[]> {
  const values = await placeholderValues(credential, `api.${environment}.${domain}`);
  const placeholders = [...suppliedKeys(credential).keys()];
  return sealCredential(root, sops, { credential, environment, values, placeholders });
}

async function sealCopies(
  root: string,
  sops: Sops,
  credential: Credential,
  environment: string,
  own: string,
): Promise<SealedChange[]> {
  const environments = [environment];
  try {
    const plan = await planSeal(root, sops, { credential, environments, keys: [] });
    const changes = await sealPlanned(root, sops, plan, new Map());
    return changes.filter(({ path }) => path.startsWith(own));
  } catch (error) {
    if (!(error instanceof NoKeyError)) throw error;
    const plan = await planSeal(root, sops, { credential, environments, keys: keysToSet(credential, []) });
    return sealPlanned(root, sops, plan, new Map());
  }
}
