/**
 * The policies, in a real API server: they let in all that the tree has, and nothing that breaks one of their rules.
 * KUBERNETES=next asks the newest version that the module registry has, in place of the oldest that is supported.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { withApiServer } from "../../scripts/lib/admission/api-server-process.ts";
import { DryRun, type Refusal } from "../../scripts/lib/admission/dry-run.ts";
import { exceptionsOf } from "../../scripts/lib/admission/exception.ts";
import { idOf, inNamespace, type Manifest, podTemplates } from "../../scripts/lib/manifests/manifest.ts";
import { operatorDefinitions, readDefinitions } from "../../scripts/lib/sandbox/definitions.ts";
import type { KubernetesClient } from "../../scripts/lib/sandbox/kubernetes-client.ts";
import { NEXT_TOOLS } from "../../scripts/lib/tools/catalogue.ts";
import { resolveTool } from "../../scripts/lib/tools/resolve.ts";
import { ROOT, renderTree } from "../tree/support.ts";
import { MUTATIONS, mutantsOf } from "./mutants.ts";

const tree = await renderTree();
const apps = new Map(tree.catalogue.map(({ app, namespace }) => [app, namespace]));

/** The objects of an environment, by app. */
function objectsOf(environment: string): Map<string, Manifest[]> {
  const own = tree.overlays.filter(({ env }) => env === environment);
  return new Map(
    own.map(({ app, manifests }) => [app, manifests.map((one) => inNamespace(one, apps.get(app) ?? ""))]),
  );
}

let api: KubernetesClient;
let dryRun: DryRun;
let stop: () => Promise<void>;
beforeAll(async () => {
  const isNext = process.env["KUBERNETES"] === "next";
  const [etcd, kubeApiserver] = await Promise.all([
    resolveTool("etcd"),
    resolveTool("kube-apiserver", isNext ? { table: NEXT_TOOLS } : {}),
  ]);
  await new Promise<void>((resolve, reject) => {
    const programs = { etcd: etcd.path, kubeApiserver: kubeApiserver.path };
    const ended = withApiServer(programs, async (started) => {
      api = await started;
      await new Promise<void>((end) => {
        stop = async () => {
          end();
          await ended;
        };
        resolve();
      });
    });
    ended.catch(reject);
  });
  const definitions = await readDefinitions(ROOT, undefined, await operatorDefinitions());
  dryRun = await DryRun.prepare(api, definitions);
});
afterAll(async () => stop());

describe.each(tree.environments)("the policies of $name", ({ name: environment }) => {
  const byApp = objectsOf(environment);
  const all = [...byApp.values()].flat();
  const lines = (refusals: readonly Refusal[]) =>
    refusals.map(({ manifest, message }) => `${idOf(manifest)}: ${message}`);
  let entered: Refusal[];
  beforeAll(async () => {
    entered = await dryRun.enter(all, []);
  });

  it("have a mutant each", () => {
    const policies = all.flatMap(({ kind, metadata: { name } }) =>
      kind === "ValidatingAdmissionPolicy" ? [name.replace(/^ecommerce-/, "")] : [],
    );
    expect(policies.toSorted()).toEqual(Object.keys(MUTATIONS).toSorted());
  });

  it("let in all that the environment has", async () => {
    expect(lines([...entered, ...(await dryRun.ask(all))])).toEqual([]);
  });

  it.each(Object.keys(MUTATIONS))("%s: refuse every mutant, and say what to do", async (policy) => {
    const mutants = mutantsOf(policy, all);
    const names = new Map(mutants.map(({ object, name }) => [object, name]));
    const refusals = await dryRun.ask(mutants.map(({ object }) => object));
    const right = refusals.filter(
      (one) => one.policy === `ecommerce-${policy}` && /^\S.*; \S/s.test(one.message),
    );
    const caught = new Set(right.map(({ manifest }) => manifest));
    const said = new Map(refusals.map(({ manifest, message }) => [manifest, message]));
    expect(
      mutants
        .filter(({ object }) => !caught.has(object))
        .map(({ object }) => `${idOf(object)}, ${names.get(object)}: ${said.get(object) ?? "let in"}`),
    ).toEqual([]);
    expect(mutants.length).toBeGreaterThan(0);
  });

  it("about pods, reach every app that has some, unless it declares an exception", () => {
    const about = [
      "images",
      "registries",
      "resources",
      "security-context",
      "writable-root",
      "service-account-token",
    ];
    const missing = [...byApp].flatMap(([app, objects]) => {
      // No policy looks at monitoring (base/policies/bindings); test/tree holds the pods there to the same rules.
      const pods = objects.filter(
        (object) => object.metadata.namespace !== "monitoring" && podTemplates([object]).length > 0,
      );
      return about
        .filter((policy) => mutantsOf(policy, pods).length === 0)
        .filter((policy) => !pods.every((one) => exceptionsOf(one).some(({ rule }) => rule === policy)))
        .map((policy) => `${app} has no mutant of ${policy}`);
    });
    expect(missing).toEqual([]);
  });
});

describe("beside this system", () => {
  const pod = (namespace: string) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "any", namespace },
    spec: { containers: [{ name: "any", image: "any:latest" }] },
  });
  const admitted = async (namespace: string, as?: string) => {
    const made = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "default", namespace } };
    await api.apply(`/api/v1/namespaces/${namespace}/serviceaccounts/default`, made);
    const { status } = await api.call(
      "POST",
      `/api/v1/namespaces/${namespace}/pods?dryRun=All`,
      pod(namespace),
      as,
    );
    return status;
  };

  it.each(["kube-system", "argocd"])("no policy looks at %s", async (namespace) => {
    const made = { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } };
    await api.apply(`/api/v1/namespaces/${namespace}`, made);
    expect(await admitted(namespace)).toBe(201);
  });

  it("in it, a pod that somebody makes by hand is looked at, too", async () => {
    expect(await admitted("logging")).toBe(422);
    expect(await admitted("logging", "system:serviceaccount:kube-system:replicaset-controller")).toBe(201);
  });
});
