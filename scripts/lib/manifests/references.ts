/**
 * Which Secrets and ConfigMaps rendered manifests need, and which they bring. A reference that is `optional` needs nothing.
 */
import { z } from "zod";
import { RefusedError } from "../errors.ts";
import { idOf, type Manifest } from "./manifest.ts";

export type SourceKind = "Secret" | "ConfigMap";

export interface Reference {
  namespace: string | undefined;
  kind: SourceKind;
  name: string;
  /** Undefined: the whole object. */
  key: string | undefined;
  /** The objects that need it, as `idOf` names them. */
  neededBy: string[];
}

/** A Secret or ConfigMap that is there. */
export interface Offer {
  namespace: string | undefined;
  kind: SourceKind;
  name: string;
  keys: string[];
}

const optional = z.boolean().nullish();
const KeyReference = z.object({ name: z.string(), key: z.string(), optional });
const NamedReference = z.object({ name: z.string(), optional });
const items = z.array(z.object({ key: z.string() })).nullish();
const SecretVolume = z.object({ secretName: z.string(), items, optional });
const Projected = z.object({ name: z.string(), items, optional });
const Named = z.object({ name: z.string() });

/** Only the fields that can refer to a Secret or a ConfigMap. */
const Container = z.object({
  env: z
    .array(
      z.object({
        valueFrom: z
          .object({ secretKeyRef: KeyReference.nullish(), configMapKeyRef: KeyReference.nullish() })
          .nullish(),
      }),
    )
    .nullish(),
  envFrom: z
    .array(z.object({ secretRef: NamedReference.nullish(), configMapRef: NamedReference.nullish() }))
    .nullish(),
  volumeMounts: z.array(z.object({ name: z.string(), subPath: z.string().nullish() })).nullish(),
});
const Volume = z
  .object({
    name: z.string(),
    secret: SecretVolume.nullish(),
    configMap: Projected.nullish(),
    projected: z
      .object({
        sources: z.array(z.object({ secret: Projected.nullish(), configMap: Projected.nullish() })).nullish(),
      })
      .nullish(),
    csi: z.object({ nodePublishSecretRef: Named.nullish() }).nullish(),
    azureFile: z.object({ secretName: z.string() }).nullish(),
  })
  // rbd, cephfs, iscsi, flexVolume, scaleIO and storageos all have a secretRef.
  .catchall(z.unknown());
const Pod = z.object({
  containers: z.array(Container).nullish(),
  initContainers: z.array(Container).nullish(),
  volumes: z.array(Volume).nullish(),
  imagePullSecrets: z.array(Named).nullish(),
});
const Workload = z.object({ spec: z.object({ template: z.object({ spec: Pod }) }) });
const CronJob = z.object({ spec: z.object({ jobTemplate: Workload }) });
const Ingress = z.object({
  spec: z.object({ tls: z.array(z.object({ secretName: z.string().nullish() })).nullish() }),
});
const ServiceAccount = z.object({
  imagePullSecrets: z.array(Named).nullish(),
  secrets: z.array(Named).nullish(),
});
/** Of apisix.apache.org: the gateway's admin key, what tokens are verified with, and values that a plugin's configuration gets. */
const GatewayProxy = z.object({
  spec: z.object({
    provider: z.object({
      controlPlane: z.object({
        auth: z.object({
          adminKey: z.object({ valueFrom: z.object({ secretKeyRef: KeyReference }).nullish() }),
        }),
      }),
    }),
  }),
});
const ApisixConsumer = z.object({
  spec: z.object({ authParameter: z.record(z.string(), z.object({ secretRef: Named.nullish() }).nullish()) }),
});
const ApisixPluginConfig = z.object({
  spec: z.object({ plugins: z.array(z.object({ secretRef: z.string().nullish() })) }),
});

type Need = Pick<Reference, "kind" | "name" | "key">;

/**
 * What manifests need of Secrets and ConfigMaps.
 * @returns one entry for each key or whole object, in the order of their first use
 * @throws RefusedError naming object and field for a reference that Kubernetes would not take, such as one without a name
 */
export function neededReferences(manifests: readonly Manifest[]): Reference[] {
  const found = new Map<string, Reference>();
  for (const manifest of manifests) {
    const { namespace } = manifest.metadata;
    const id = idOf(manifest);
    for (const need of needsOf(manifest)) {
      const place = JSON.stringify([namespace ?? null, need.kind, need.name, need.key ?? null]);
      const known = found.get(place);
      if (known === undefined) found.set(place, { namespace, ...need, neededBy: [id] });
      else if (!known.neededBy.includes(id)) known.neededBy.push(id);
    }
  }
  return [...found.values()];
}

function needsOf(manifest: Manifest): Need[] {
  switch (manifest.kind) {
    case "Pod":
      return podNeeds(read(z.object({ spec: Pod }), manifest).spec);
    case "Deployment":
    case "StatefulSet":
    case "DaemonSet":
    case "ReplicaSet":
    case "ReplicationController":
    case "Job":
      return podNeeds(read(Workload, manifest).spec.template.spec);
    case "CronJob":
      return podNeeds(read(CronJob, manifest).spec.jobTemplate.spec.template.spec);
    case "Ingress":
      return (read(Ingress, manifest).spec.tls ?? []).flatMap(({ secretName }) =>
        whole("Secret", secretName),
      );
    case "ServiceAccount": {
      const { imagePullSecrets, secrets } = read(ServiceAccount, manifest);
      const named = [...(imagePullSecrets ?? []), ...(secrets ?? [])];
      return named.flatMap(({ name }) => whole("Secret", name));
    }
    case "GatewayProxy": {
      const { adminKey } = read(GatewayProxy, manifest).spec.provider.controlPlane.auth;
      return keyNeed("Secret", adminKey.valueFrom?.secretKeyRef);
    }
    case "ApisixConsumer":
      return Object.values(read(ApisixConsumer, manifest).spec.authParameter).flatMap((method) =>
        whole("Secret", method?.secretRef?.name),
      );
    case "ApisixPluginConfig":
      return read(ApisixPluginConfig, manifest).spec.plugins.flatMap(({ secretRef }) =>
        whole("Secret", secretRef),
      );
    default:
      return [];
  }
}

/** What a schema knows of a manifest. */
function read<T>(schema: z.ZodType<T>, manifest: Manifest): T {
  const parsed = schema.safeParse(manifest);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new RefusedError(`${idOf(manifest)}: ${issue?.path.map(String).join(".")}: ${issue?.message}`);
}

function podNeeds(pod: z.infer<typeof Pod>): Need[] {
  const containers = [...(pod.initContainers ?? []), ...(pod.containers ?? [])];
  const mounts = containers.flatMap(({ volumeMounts }) => volumeMounts ?? []);
  return [
    ...containers.flatMap(containerNeeds),
    ...(pod.volumes ?? []).flatMap((volume) => {
      const paths = mounts.flatMap(({ name, subPath }) => (name === volume.name && subPath ? [subPath] : []));
      return volumeNeeds(volume, paths);
    }),
    ...(pod.imagePullSecrets ?? []).flatMap(({ name }) => whole("Secret", name)),
  ];
}

function containerNeeds({ env, envFrom }: z.infer<typeof Container>): Need[] {
  const single = (env ?? []).flatMap(({ valueFrom }) => [
    ...keyNeed("Secret", valueFrom?.secretKeyRef),
    ...keyNeed("ConfigMap", valueFrom?.configMapKeyRef),
  ]);
  const all = (envFrom ?? []).flatMap(({ secretRef, configMapRef }) => [
    ...(secretRef?.optional === true ? [] : whole("Secret", secretRef?.name)),
    ...(configMapRef?.optional === true ? [] : whole("ConfigMap", configMapRef?.name)),
  ]);
  return [...single, ...all];
}

/** @param subPaths where containers mount a part of the volume; a part that is not there becomes an empty directory */
function volumeNeeds(volume: z.infer<typeof Volume>, subPaths: readonly string[]): Need[] {
  const { name: _name, secret, configMap, projected, csi, azureFile, ...others } = volume;
  return [
    ...mounted("Secret", secret && { ...secret, name: secret.secretName }, subPaths),
    ...mounted("ConfigMap", configMap, subPaths),
    ...(projected?.sources ?? []).flatMap((source) => [
      ...mounted("Secret", source.secret),
      ...mounted("ConfigMap", source.configMap),
    ]),
    ...whole("Secret", csi?.nodePublishSecretRef?.name),
    ...whole("Secret", azureFile?.secretName),
    ...Object.values(others).flatMap((source) => {
      const parsed = z.object({ secretRef: Named }).safeParse(source);
      return parsed.success ? whole("Secret", parsed.data.secretRef.name) : [];
    }),
  ];
}

function keyNeed(kind: SourceKind, reference: z.infer<typeof KeyReference> | null | undefined): Need[] {
  if (!reference || reference.optional === true) return [];
  return [{ kind, name: reference.name, key: reference.key }];
}

function whole(kind: SourceKind, name: string | null | undefined): Need[] {
  return name ? [{ kind, name, key: undefined }] : [];
}

function mounted(
  kind: SourceKind,
  source: z.infer<typeof Projected> | null | undefined,
  subPaths: readonly string[] = [],
): Need[] {
  if (!source || source.optional === true) return [];
  const { name, items: chosen } = source;
  if (chosen?.length) return chosen.map(({ key }) => ({ kind, name, key }));
  const keys = subPaths.map((path) => path.split("/")[0]);
  return [...whole(kind, name), ...keys.map((key) => ({ kind, name, key }))];
}

const values = z.record(z.string(), z.unknown()).nullish();
const Data = z.object({ data: values, binaryData: values, stringData: values });
const SopsSecret = z.object({
  spec: z.object({
    // An encrypted file keeps the names of its keys in clear.
    secretTemplates: z.array(z.object({ name: z.string(), data: values, stringData: values })),
  }),
});

/**
 * The ConfigMaps and Secrets that manifests bring, also the Secrets that the operator makes of a SopsSecret.
 * @throws RefusedError for a SopsSecret without its list of Secrets
 */
export function offeredReferences(manifests: readonly Manifest[]): Offer[] {
  return manifests.flatMap((manifest): Offer[] => {
    const { kind, metadata } = manifest;
    const { namespace, name } = metadata;
    if (kind === "ConfigMap" || kind === "Secret") {
      const { data, binaryData, stringData } = read(Data, manifest);
      return [{ namespace, kind, name, keys: keysOf(data, binaryData, stringData) }];
    }
    if (kind !== "SopsSecret") return [];
    return read(SopsSecret, manifest).spec.secretTemplates.map((template) => ({
      namespace,
      kind: "Secret",
      name: template.name,
      keys: keysOf(template.data, template.stringData),
    }));
  });
}

function keysOf(...maps: z.infer<typeof values>[]): string[] {
  return [...new Set(maps.flatMap((map) => Object.keys(map ?? {})))];
}

/**
 * What is needed already, as an offer: what an environment runs with today is there, whoever put it there.
 * Of an object that is only needed as a whole no key is known.
 */
export function asOffers(references: readonly Reference[]): Offer[] {
  return references.map(({ namespace, kind, name, key }) => ({
    namespace,
    kind,
    name,
    keys: key === undefined ? [] : [key],
  }));
}

/** In every namespace, made by the API server. */
const EVERYWHERE = "kube-root-ca.crt";

/**
 * Which of the needed keys and objects nobody offers.
 * @param offered may name an object more than once; its keys add up
 */
export function missingReferences(needed: readonly Reference[], offered: readonly Offer[]): Reference[] {
  const place = ({ namespace, kind, name }: Offer | Reference): string =>
    JSON.stringify([namespace ?? null, kind, name]);
  const keys = new Map<string, Set<string>>();
  for (const offer of offered) {
    const known = keys.get(place(offer)) ?? new Set();
    keys.set(place(offer), new Set([...known, ...offer.keys]));
  }
  return needed.filter((reference) => {
    if (reference.kind === "ConfigMap" && reference.name === EVERYWHERE) return false;
    const there = keys.get(place(reference));
    return there === undefined || (reference.key !== undefined && !there.has(reference.key));
  });
}
