/** Sealed Secrets from Git to the pods, and what the stand-in for sops-secrets-operator does when something is wrong. */
import { X509Certificate } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, inject, it, onTestFinished } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { run } from "../../scripts/lib/exec.ts";
import { connectRepository } from "../../scripts/lib/forge/connection.ts";
import { connectForge } from "../../scripts/lib/forge/forge.ts";
import { sealedPath } from "../../scripts/lib/secrets/credential.ts";
import { createIdentity } from "../../scripts/lib/secrets/keys/age.ts";
import { formatRules, RULES_FILE, readRules } from "../../scripts/lib/secrets/keys/recipients.ts";
import { UPDATE_ERROR } from "../../scripts/lib/secrets/secret-type.ts";
import { connectSops, type Sops } from "../../scripts/lib/secrets/sops.ts";
import { readSettings } from "../../scripts/lib/tree/settings.ts";
import {
  applications,
  ENVIRONMENTS,
  ensureProd,
  env,
  kubectl,
  npmInWork,
  push,
  root,
  until,
  untilHealthy,
  work,
} from "./support.ts";

const Metadata = z.object({
  name: z.string(),
  namespace: z.string(),
  uid: z.string(),
  labels: z.record(z.string(), z.string()).default({}),
  ownerReferences: z.array(z.record(z.string(), z.unknown())).default([]),
});
const List = z.object({
  items: z.array(
    z.object({
      metadata: Metadata,
      type: z.string().optional(),
      data: z.record(z.string(), z.string()).optional(),
    }),
  ),
});
async function listed(
  context: string,
  kind: string,
  ...args: string[]
): Promise<z.infer<typeof List>["items"]> {
  return List.parse(JSON.parse(await kubectl(context, "get", kind, "-o", "json", ...args))).items;
}

const Spec = z.looseObject({ spec: z.looseObject({}) });

const sops = connectSops("sops", work, env);
const DATA = ["-n", "data"];
const ACCOUNT_TOKEN = "kubernetes.io/service-account-token";

describe("from a clean start", () => {
  beforeAll(ensureProd);

  it.each(ENVIRONMENTS)("every Secret of %s is made from a SopsSecret", async (context) => {
    // Kubernetes itself fills the token of Argo CD's account in.
    const made = await listed(context, "secrets", "-A", "--field-selector", `type!=${ACCOUNT_TOKEN}`);
    const sealed = await listed(context, "sopssecrets", "-A");
    expect(sealed.length).toBeGreaterThan(10);
    const owners = new Map(
      sealed.map(({ metadata }) => [`${metadata.namespace}/${metadata.name}`, metadata]),
    );
    expect(made.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`).toSorted()).toEqual(
      [...owners.keys()].toSorted(),
    );
    for (const { metadata } of made) {
      const { name, uid } = owners.get(`${metadata.namespace}/${metadata.name}`) ?? {};
      const owner = { apiVersion: "isindir.github.com/v1alpha3", kind: "SopsSecret", name, uid };
      expect(metadata.ownerReferences).toEqual([{ ...owner, controller: true, blockOwnerDeletion: true }]);
    }
  });

  it.each(ENVIRONMENTS)(
    "%s has the vendor's own definition of SopsSecret, where that is at hand",
    async (context) => {
      const path = "jsonpath={.metadata.annotations.controller-gen\\.kubebuilder\\.io/version}";
      const definition = ["get", "crd", "sopssecrets.isindir.github.com", "-o", path];
      const generated = await kubectl(context, ...definition);
      expect(generated !== "").toBe(inject("crds").SANDBOX_CRDS !== undefined);
    },
  );

  it("has the type, the labels and the keys that the catalogue and the sealed file say", async () => {
    const [tls] = await listed(
      "dev",
      "secrets",
      "-n",
      "gateway",
      "--field-selector",
      "metadata.name=gateway-tls",
    );
    expect(tls?.type).toBe("Opaque");
    expect(tls?.metadata.labels["app.kubernetes.io/name"]).toBe("apisix");
    const certificate = new X509Certificate(Buffer.from(tls?.data?.["tls.crt"] ?? "", "base64"));
    expect(certificate.subjectAltName).toBe(`DNS:api.dev.${(await readSettings(root)).domain}`);
  });

  it("each environment's key opens its own files and no other's, and only dev's is at hand", async () => {
    expect(env["SOPS_AGE_KEY_FILE"]).toMatch(/\/dev\.agekey$/);
    const open = async (environment: string) => {
      const path = sealedPath(environment, { app: "postgresql", name: "database" });
      return sops.open(path, await readFile(join(work, path), "utf8"));
    };
    expect((await open("dev")).stringData.get("username")).toBe("ecommerce_app");
    await expect(open("staging")).rejects.toThrow("no private key here opens overlays/staging/");
    await expect(open("prod")).rejects.toThrow("no private key here opens overlays/prod/");
  });
});

describe("a new password for dev's database", () => {
  const USES = ["order-service", "payment-service", "postgresql", "product-service", "user-service"];
  const SECRETS = USES.map((app) =>
    app === "postgresql" ? "data/database" : `microservices/${app}-database`,
  );

  /** The pods' uids by app. */
  async function pods(): Promise<Map<string, string[]>> {
    const uids = new Map<string, string[]>();
    for (const { metadata } of await listed("dev", "pods", "-A")) {
      const app = metadata.labels["app.kubernetes.io/name"] ?? "";
      uids.set(app, [...(uids.get(app) ?? []), metadata.uid].toSorted());
    }
    return uids;
  }

  /** Waits until every application of dev is Synced and Healthy at a commit, also those that it does not change. */
  async function untilDevIsAt(revision: string): Promise<void> {
    const names = (await applications())
      .filter((application) => application.env === "dev")
      .map(({ name }) => name);
    expect(names.length).toBeGreaterThan(USES.length);
    for (const name of names) {
      await run("argocd", ["app", "get", name, "--refresh"], { env });
      await untilHealthy(name, revision);
    }
  }

  it("that comes by a pull request is in every copy, and rolls exactly the pods that use it", async () => {
    const before = await pods();
    const git = async (...args: string[]) => run("git", args, { cwd: work, env });
    await git("switch", "--quiet", "--create", "rotate-database");
    const password = 'rotated by a pull request: ünïcode & "quotes"';
    const sealed = await npmInWork(
      ["seal", "--", "dev", "postgresql", "--secret", "database", "password"],
      password,
    );
    expect(sealed).toMatchObject({ exitCode: 0, stderr: "" });
    await git("commit", "--quiet", "--all", "-m", "A new password for dev's database");
    await git("push", "--quiet", "origin", "rotate-database");
    const { address, token } = await connectRepository(root, {});
    const forge = connectForge(address, token);
    const way = { head: "rotate-database", base: "main" };
    const opened = await forge.createPullRequest(way, {
      title: "A new password",
      body: "For dev's database.",
    });
    await forge.mergePullRequest(Number(opened?.number), (await git("rev-parse", "HEAD")).trim());
    await git("switch", "--quiet", "main");
    await git("pull", "--quiet");

    const isNew = (now: Map<string, string[]>, app: string) =>
      now.get(app)?.every((uid) => !before.get(app)?.includes(uid)) ?? false;
    await until("every pod that uses it is a new one", async () => {
      const now = await pods();
      return USES.every((app) => isNew(now, app)) ? true : undefined;
    });
    // Only now nothing of the merge can roll any more.
    await untilDevIsAt((await git("rev-parse", "HEAD")).trim());
    const after = await pods();
    const apps = [...new Set([...before.keys(), ...after.keys()])].toSorted();
    expect(apps).toContain("redis");
    expect(apps.filter((app) => after.get(app)?.join() !== before.get(app)?.join())).toEqual(USES);
    expect(USES.filter((app) => !isNew(after, app))).toEqual([]);
    const secrets = await listed("dev", "secrets", "-A");
    const copies = secrets.filter(({ metadata }) =>
      SECRETS.includes(`${metadata.namespace}/${metadata.name}`),
    );
    expect(copies).toHaveLength(SECRETS.length);
    for (const { data } of copies)
      expect(Buffer.from(data?.["password"] ?? "", "base64").toString()).toBe(password);
  });

  it("leaves a work clone that the audit finds nothing in, also with values of prod that a person brings", async () => {
    // What a person would bring is made up for good in a sandbox: no placeholder is left.
    expect(await npmInWork(["secrets", "--", "--open"])).toMatchObject({ exitCode: 0, stderr: "" });

    onTestFinished(async () => void (await run("git", ["restore", "overlays"], { cwd: work, env })));
    const gateway = ["seal", "--", "prod", "payment-service", "--secret", "payment-gateway", "api-key"];
    expect(await npmInWork(gateway, "from the provider")).toMatchObject({ exitCode: 0 });
    const directory = await mkdtemp(join(tmpdir(), "tls-"));
    onTestFinished(async () => rm(directory, { recursive: true }));
    await writeFile(join(directory, "tls.crt"), "from the authority");
    const fromFile = ["--from-file", `tls.crt=${join(directory, "tls.crt")}`];
    const tls = ["seal", "--", "prod", "apisix", "--secret", "gateway-tls", ...fromFile, "tls.key"];
    expect(await npmInWork(tls, "from the authority, too")).toMatchObject({ exitCode: 0 });
    expect(await npmInWork(["secrets", "--", "--open"])).toMatchObject({ exitCode: 0, stderr: "" });
  });
});

describe("a Secret that belongs to a SopsSecret", () => {
  const uid = async () =>
    await kubectl("dev", ...DATA, "get", "secret", "redis", "-o", "jsonpath={.metadata.uid}");
  const data = async () => kubectl("dev", ...DATA, "get", "secret", "redis", "-o", "jsonpath={.data}");

  it("comes back when somebody deletes it", async () => {
    const before = { uid: await uid(), data: await data() };
    await kubectl("dev", ...DATA, "delete", "secret", "redis");
    await until("it is back", async () =>
      (await uid().catch(() => before.uid)) === before.uid ? undefined : true,
    );
    expect(await data()).toBe(before.data);
  });

  it("is as it was when somebody changes it", async () => {
    const before = await data();
    await kubectl(
      "dev",
      ...DATA,
      "patch",
      "secret",
      "redis",
      "-p",
      '{"stringData": {"password": "guessed", "more": "1"}}',
    );
    await until("it is as it was", async () => ((await data()) === before ? true : undefined));
  });
});

describe("a SopsSecret", () => {
  /** Of a Secret, sealed for dev or by others' rules. */
  async function sealed(name: string, by: Sops = sops, type = "Opaque"): Promise<string> {
    const path = sealedPath("dev", { app: "redis", name });
    const secret = {
      name,
      namespace: "data",
      app: "redis",
      type,
      placeholders: [],
      made: new Map(),
    };
    // The second is a key that basic-auth requires.
    const values = ["key", "password"].map((key) => [key, Buffer.from("value")] as const);
    return by.seal(path, secret, new Map(values));
  }
  const withSpec = (text: string, fields: object) => {
    const { spec, ...rest } = Spec.parse(parse(text));
    return JSON.stringify({ ...rest, spec: { ...spec, ...fields } });
  };
  const apply = async (text: string) => {
    const file = join(await mkdtemp(join(tmpdir(), "sealed-")), "one.yaml");
    onTestFinished(async () => rm(join(file, ".."), { recursive: true }));
    await writeFile(file, text);
    await kubectl("dev", "apply", "-f", file);
  };
  const status = async (name: string) =>
    kubectl("dev", ...DATA, "get", "sops", name, "-o", "jsonpath={.status.message}");
  const untilSays = async (name: string, message: string) =>
    until(`${name} says ${message}`, async () => ((await status(name)) === message ? true : undefined));
  const value = async (name: string) =>
    Buffer.from(
      await kubectl(
        "dev",
        ...DATA,
        "get",
        "secret",
        name,
        "--ignore-not-found",
        "-o",
        "jsonpath={.data.key}",
      ),
      "base64",
    ).toString();
  const clean = (name: string) => {
    onTestFinished(
      async () => void (await kubectl("dev", ...DATA, "delete", "sops,secret", name, "--ignore-not-found")),
    );
  };

  it("does not touch somebody else's Secret, until that says that it may", async () => {
    clean("taken");
    await kubectl("dev", ...DATA, "create", "secret", "generic", "taken", "--from-literal=key=mine");
    await apply(await sealed("taken"));
    await untilSays("taken", "Child secret is not owned by controller error");
    expect(await value("taken")).toBe("mine");
    await kubectl("dev", ...DATA, "annotate", "secret", "taken", "sopssecret/managed=true");
    await untilSays("taken", "Healthy");
    expect(await value("taken")).toBe("value");
  });

  it("takes somebody else's Secret when it says so itself", async () => {
    clean("forced");
    await kubectl("dev", ...DATA, "create", "secret", "generic", "forced", "--from-literal=key=mine");
    await apply(withSpec(await sealed("forced"), { enforceOwnership: true }));
    await untilSays("forced", "Healthy");
    expect(await value("forced")).toBe("value");
  });

  it("of a type with required keys makes its Secret, and says all the same that it did not", async () => {
    clean("typed");
    await apply(await sealed("typed", sops, "kubernetes.io/basic-auth"));
    await untilSays("typed", UPDATE_ERROR);
    expect(await value("typed")).toBe("value");
  });

  it("that is suspended does nothing", async () => {
    clean("waiting");
    await apply(withSpec(await sealed("waiting"), { suspend: true }));
    await untilSays("waiting", "Reconciliation is suspended");
    expect(await value("waiting")).toBe("");
  });

  it("removes the Secret that it no longer has, and takes the others along when it goes", async () => {
    clean("renamed");
    const text = await sealed("renamed");
    await apply(text);
    await until("there is the Secret", async () => ((await value("renamed")) === "value" ? true : undefined));
    await apply(text.replace("- name: renamed", "- name: other"));
    await until("there is the other Secret", async () =>
      (await value("other")) === "value" ? true : undefined,
    );
    await until("the first one is gone", async () => ((await value("renamed")) === "" ? true : undefined));
    await kubectl("dev", ...DATA, "delete", "sops", "renamed");
    await until("the other one is gone, too", async () => ((await value("other")) === "" ? true : undefined));
  });

  it("for a key that the cluster does not have says so, its application is Degraded, and its Secret goes with it", async () => {
    const foreign = await mkdtemp(join(tmpdir(), "foreign-"));
    onTestFinished(async () => rm(foreign, { recursive: true }));
    const { recipient } = await createIdentity(join(root, ".sandbox/bin/age-keygen"));
    const rules = [{ environment: "dev", recipients: [{ name: "somebody", key: recipient }] }];
    await writeFile(join(foreign, RULES_FILE), formatRules("", rules));
    expect((await readRules(work))[0]?.recipients.map(({ name }) => name)).toEqual(["cluster-dev"]);
    const file = join(work, "overlays/dev/redis/kustomization.yaml");
    const before = await readFile(file, "utf8");
    const path = join(work, sealedPath("dev", { app: "redis", name: "spare" }));

    await writeFile(
      file,
      before.replace("  - redis.sops.yaml\n", "  - redis.sops.yaml\n  - spare.sops.yaml\n"),
    );
    await writeFile(path, await sealed("spare"));
    await untilHealthy("dev-redis", await push("A spare Secret"));
    expect(await value("spare")).toBe("value");

    await writeFile(path, await sealed("spare", connectSops("sops", foreign, env)));
    await push("A spare Secret, for somebody else");
    await untilSays("spare", "Decryption error");
    const degraded = await until("dev-redis is Degraded", async () =>
      (await applications()).find(({ name, health }) => name === "dev-redis" && health === "Degraded"),
    );
    expect(degraded.name).toBe("dev-redis");
    // What runs goes on with what it has.
    expect(await value("spare")).toBe("value");

    await rm(path);
    await writeFile(file, before);
    const revision = await push("No spare Secret");
    await until("the Secret is gone", async () => ((await value("spare")) === "" ? true : undefined));
    await untilHealthy("dev-redis", revision);
  });
});
