import { cp, mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { glob } from "tinyglobby";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import { exceptionsOf } from "../../scripts/lib/admission/exception.ts";
import { idOf, type Manifest, parseManifests, workloads } from "../../scripts/lib/manifests/manifest.ts";
import {
  missingReferences,
  neededReferences,
  offeredReferences,
} from "../../scripts/lib/manifests/references.ts";
import { clearValues } from "../../scripts/lib/plaintext/manifest.ts";
import { parseRelease } from "../../scripts/lib/release/release.ts";
import {
  type Credential,
  credentialsOf,
  placesIn,
  sealedFiles,
  sealedPath,
  suppliedKeys,
} from "../../scripts/lib/secrets/credential.ts";
import { readRules } from "../../scripts/lib/secrets/keys/recipients.ts";
import { isEncrypted, keysOf, parseSealed } from "../../scripts/lib/secrets/sealed.ts";
import { build } from "../../scripts/lib/tree/kustomize.ts";
import { kustomize, manifestsOf, ROOT, renderTree } from "./support.ts";

const tree = await renderTree();
const environments = tree.environments.map(({ name }) => name);
const credentials = credentialsOf(tree.catalogue);

async function sealed(path: string) {
  return parseSealed(await readFile(join(ROOT, path), "utf8"), path);
}

/** Names of the Secrets that manifests need, each once. */
function neededSecrets(manifests: readonly Manifest[]): string[] {
  const secrets = neededReferences(manifests).filter(({ kind }) => kind === "Secret");
  return [...new Set(secrets.map(({ name }) => name))].sort();
}

/** Every Secret that the catalogue has for an environment. */
async function described(environment: string) {
  const places = credentials.map(async (credential) =>
    (await placesIn(ROOT, environment, credential)).map((place) => ({
      ...place,
      credential,
      path: sealedPath(environment, place),
    })),
  );
  return (await Promise.all(places)).flat();
}

describe("the sealed files", () => {
  it("are the Secrets of the catalogue, in every environment that has the app, and no others", async () => {
    const paths = (await Promise.all(environments.map(described))).flat().map(({ path }) => path);
    expect(await sealedFiles(ROOT)).toEqual(paths.sort());
  });

  it.each(environments)("of %s say what the catalogue says", async (environment) => {
    for (const { path, app, name, namespace, credential } of await described(environment)) {
      const file = await sealed(path);
      expect(file).toMatchObject({ app, name, namespace, type: credential.type });
      expect(keysOf(file).sort()).toEqual([...credential.keys.keys()].sort());
      const supplied = [...suppliedKeys(credential).keys()];
      expect(file.placeholders.filter((key) => !supplied.includes(key))).toEqual([]);
    }
  });

  it.each(environments)("of %s are encrypted for the recipients of its rule", async (environment) => {
    const rule = (await readRules(ROOT)).find((candidate) => candidate.environment === environment);
    for (const { path } of await described(environment)) {
      const { sops, data, stringData } = await sealed(path);
      expect(sops?.recipients).toEqual(rule?.recipients.map(({ key }) => key));
      expect([...data.values(), ...stringData.values()].filter((value) => !isEncrypted(value))).toEqual([]);
    }
  });

  it("share no cluster's key between environments; people may read several", async () => {
    const recipients = (await readRules(ROOT)).flatMap((rule) => rule.recipients);
    const keys = recipients.filter(({ name }) => /^(cluster|example)-/.test(name)).map(({ key }) => key);
    expect(keys).not.toEqual([]);
    expect(new Set(keys).size).toBe(keys.length);
  });
});

describe.each(environments)("%s", (environment) => {
  const manifests = manifestsOf(tree, environment);

  it("seals every Secret and key that anything refers to, and renders all that it seals", async () => {
    expect(missingReferences(neededReferences(manifests), offeredReferences(manifests))).toEqual([]);
    const offered = offeredReferences(manifests).filter(({ kind }) => kind === "Secret");
    const paths = offered.map(({ namespace, name }) => `${namespace}/${name}`);
    const wanted = (await described(environment)).map(({ namespace, name }) => `${namespace}/${name}`);
    expect(paths.sort()).toEqual(wanted.sort());
  });

  it("applies Secrets before what uses them", () => {
    const waves = manifests.map(({ kind, metadata: { annotations = {} } }) => ({
      isSecret: kind === "SopsSecret",
      wave: Number(annotations["argocd.argoproj.io/sync-wave"] ?? 0),
    }));
    expect(new Set(waves.filter(({ isSecret }) => isSecret).map(({ wave }) => wave))).toEqual(new Set([-1]));
    expect(waves.filter(({ isSecret, wave }) => !isSecret && wave < 0)).toEqual([]);
  });

  it("gives nobody a right to SopsSecrets, and one to Secrets only to read, where the role says why", () => {
    const Role = z.object({
      rules: z.array(z.object({ resources: z.array(z.string()).default([]), verbs: z.array(z.string()) })),
    });
    const roles = manifests.filter(({ kind }) => kind === "Role" || kind === "ClusterRole");
    const wrong = roles.filter((role) => {
      const { rules } = Role.parse(role);
      const isExplained = exceptionsOf(role).some(
        ({ rule, until }) => rule === "secrets" && until !== undefined,
      );
      return rules.some(
        ({ resources, verbs }) =>
          [...resources, ...verbs].some((name) => /sopssecrets|\*/.test(name)) ||
          (resources.includes("secrets") &&
            !(isExplained && verbs.every((verb) => ["get", "list", "watch"].includes(verb)))),
      );
    });
    expect(wrong.map(idOf)).toEqual([]);
  });
});

const pods = tree.overlays.flatMap(({ env, app, directory, manifests }) =>
  workloads(manifests).map((workload) => ({ env, app, directory, id: idOf(workload), workload })),
);
const readers = pods.filter(({ workload }) => neededSecrets([workload]).length > 0);

it.each(readers)("$env $id notes the MAC of every Secret it uses", async ({ env, app, workload }) => {
  const macs = await Promise.all(
    neededSecrets([workload]).map(async (name) => {
      const { sops } = await sealed(sealedPath(env, { app, name }));
      return [`checksum/${name}`, sops?.mac] as const;
    }),
  );
  expect(workload.spec.template.metadata).toHaveProperty("annotations", Object.fromEntries(macs));
});

describe("a credential that changes", () => {
  let copy = "";
  beforeAll(async () => {
    copy = await realpath(await mkdtemp(join(tmpdir(), "tree-")));
    for (const part of ["base", "overlays", "argocd/settings", ".sops.yaml"])
      await cp(join(ROOT, part), join(copy, part), { recursive: true });
  });
  afterAll(() => rm(copy, { recursive: true, force: true }));

  /** The workloads that would get new pods, compared with the tree as it is. */
  async function rolled(environment: string): Promise<string[]> {
    const program = await kustomize();
    const own = pods.filter(({ env }) => env === environment);
    const isOther = own.map(async ({ directory, id, workload }) => {
      const manifests = parseManifests(await build(program, join(copy, directory)));
      const now = workloads(manifests).find((candidate) => idOf(candidate) === id);
      return !isDeepStrictEqual(now?.spec.template, workload.spec.template);
    });
    const others = await Promise.all(isOther);
    return own.flatMap(({ id }, index) => (others[index] ? [id] : [])).sort();
  }

  /** Gives the files of a credential another MAC, as every new value does. */
  async function renew(credential: Credential, environment: string): Promise<() => Promise<void>> {
    const places = await placesIn(copy, environment, credential);
    const paths = places.map((place) => sealedPath(environment, place));
    for (const path of paths) {
      const text = await readFile(join(copy, path), "utf8");
      const other = text.replace(/^( {2}mac: ENC\[AES256_GCM,data:).{4}/m, "$1AAAA");
      expect(other).not.toBe(text);
      await writeFile(join(copy, path), other);
    }
    return async () => {
      for (const path of paths) await cp(join(ROOT, path), join(copy, path));
    };
  }

  it.each(
    environments.flatMap((environment) => credentials.map((credential) => ({ environment, credential }))),
  )("$credential.id in $environment rolls the pods that use it, and no others", async (change) => {
    const { environment, credential } = change;
    const names = credential.places.map(({ namespace, name }) => `${namespace}/${name}`);
    const users = pods.filter(
      ({ env, workload }) =>
        env === environment &&
        neededSecrets([workload]).some((name) => names.includes(`${workload.metadata.namespace}/${name}`)),
    );
    const restore = await renew(credential, environment);
    expect(await rolled(environment)).toEqual(users.map(({ id }) => id).sort());
    await restore();
    expect(await rolled(environment)).toEqual([]);
  });
});

describe("in clear", () => {
  it("there is no value of a Secret in any file or rendering", async () => {
    const files = await glob("{apps,argocd,base,overlays}/**/*.{yaml,yml,json}", { cwd: ROOT, dot: true });
    expect(files.length).toBeGreaterThan(100);
    const found = files.map(async (file) => {
      const documents = parseAllDocuments(await readFile(join(ROOT, file), "utf8"));
      return documents.flatMap((document) => clearValues(document.toJS())).map(({ what }) => [file, what]);
    });
    expect((await Promise.all(found)).flat()).toEqual([]);
    expect(tree.overlays.flatMap(({ manifests }) => manifests.flatMap((one) => clearValues(one)))).toEqual(
      [],
    );
  });
});

it("no release holds a Secret, sealed or not, or anything of one", async () => {
  const files = await glob("overlays/*/*/release.yaml", { cwd: ROOT });
  expect(files.length).toBeGreaterThan(0);
  for (const file of files) {
    const { body } = parseRelease(await readFile(join(ROOT, file), "utf8"), file);
    const kinds = parseManifests(body).map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === "Secret" || kind === "SopsSecret")).toEqual([]);
    expect(body).not.toMatch(/ENC\[|checksum\//);
  }
});
