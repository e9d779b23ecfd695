import { mkdir, realpath } from "node:fs/promises";
import { join, relative } from "node:path";
import { expect, it } from "vitest";
import { stringify } from "yaml";
import {
  containersOf,
  type Manifest,
  parseManifests,
  podTemplates,
} from "../../scripts/lib/manifests/manifest.ts";
import { build } from "../../scripts/lib/tree/kustomize.ts";
import { temporary, write } from "../support/tree.ts";
import { kustomize, ROOT } from "./support.ts";

const OURS = "registry/shop/web:1";
const THEIRS = "docker.io/library/redis:7.4.11";
const pod = (...initContainers: { name: string; image: string }[]) => ({
  containers: [
    { name: "main", image: OURS },
    { name: "exporter", image: THEIRS },
  ],
  ...(initContainers.length === 0 ? {} : { initContainers }),
});
const INIT = [
  { name: "migrate", image: OURS },
  { name: "wait", image: THEIRS },
];
const template = { spec: { template: { spec: pod(...INIT) } } };

/** One of each kind that has pods, with and without init containers and images of ours. */
const OBJECTS = [
  ["apps/v1", "Deployment", template],
  ["apps/v1", "StatefulSet", { spec: { template: { spec: pod() } } }],
  ["apps/v1", "DaemonSet", template],
  ["apps/v1", "ReplicaSet", template],
  ["v1", "ReplicationController", template],
  ["batch/v1", "Job", { spec: { template: { spec: { containers: [{ name: "dump", image: THEIRS }] } } } }],
  ["batch/v1", "CronJob", { spec: { jobTemplate: template } }],
  ["v1", "Pod", { spec: pod(...INIT) }],
] as const;

/** What kustomize makes of the objects with some fields of a kustomization; `@/` in them is the root of this repository. */
async function render(fields: object): Promise<Manifest[]> {
  const directory = join(await realpath(await temporary()), "one");
  await mkdir(directory);
  const objects = OBJECTS.map(([apiVersion, kind, rest]) =>
    stringify(
      { apiVersion, kind, metadata: { name: kind.toLowerCase() }, ...rest },
      { aliasDuplicateObjects: false },
    ),
  );
  const kustomization = stringify(fields).replaceAll("@/", `${relative(directory, ROOT)}/`);
  await write(directory, { "objects.yaml": objects.join("---\n"), "kustomization.yaml": kustomization });
  return parseManifests(await build(await kustomize(), directory));
}

const names = (list: readonly { name: string }[] = []) => list.map(({ name }) => name);

it("`hardened` reaches every container and init container, in every kind that has pods", async () => {
  const pods = podTemplates(
    await render({ resources: ["objects.yaml"], components: ["@/base/components/hardened"] }),
  );
  expect(pods.map(({ owner }) => owner.kind).sort()).toEqual(OBJECTS.map(([, kind]) => kind).sort());
  for (const { owner, spec } of pods) {
    expect(spec, owner.kind).toMatchObject({
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      securityContext: { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } },
    });
    for (const { name, securityContext } of containersOf({ spec }))
      expect(securityContext, `${owner.kind} ${name}`).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
      });
  }
  const found = pods.map(({ owner, spec }) => [
    owner.kind,
    names(spec.initContainers),
    names(spec.containers),
  ]);
  expect(found).toContainEqual(["CronJob", ["migrate", "wait"], ["main", "exporter"]]);
  expect(found).toContainEqual(["StatefulSet", [], ["main", "exporter"]]);
  expect(found).toContainEqual(["Job", [], ["dump"]]);
});

it("the registry comes into every image of ours, and into no other, in every kind that has pods", async () => {
  const pods = podTemplates(
    await render({
      resources: ["objects.yaml", "@/argocd/settings"],
      transformers: ["@/base/transformers/settings"],
    }),
  );
  const images = pods.map(({ owner, spec }) => [
    owner.kind,
    containersOf({ spec }).map(({ image }) => image),
  ]);
  const REAL = OURS.replace("registry/", "registry.example.com/");
  const both = [REAL, THEIRS];
  expect(Object.fromEntries(images)).toEqual({
    Deployment: [...both, ...both],
    StatefulSet: both,
    DaemonSet: [...both, ...both],
    ReplicaSet: [...both, ...both],
    ReplicationController: [...both, ...both],
    Job: [THEIRS],
    CronJob: [...both, ...both],
    Pod: [...both, ...both],
  });
});
