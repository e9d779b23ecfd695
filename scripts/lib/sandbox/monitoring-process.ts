/**
 * `monitoring-process.ts <work>`: what Prometheus and Alertmanager have around them in a cluster, for one environment: the network of
 * pods, the reloader of their configuration, and a receiver that logs. The work is JSON.
 */
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gunzipSync } from "node:zlib";
import { z } from "zod";
import { messageOf } from "../errors.ts";
import { readIfThere, replaceFile } from "../file.ts";
import { connectKubernetes, watchForever } from "./kubernetes-client.ts";
import { Pod, PodNetwork, Steered, USED_CPU } from "./pod-network.ts";
import { alertmanagerConfig, type Place, prometheusConfig, rulesFile } from "./prometheus-config.ts";

const Work = z.strictObject({
  kubeconfig: z.string(),
  namespace: z.string(),
  /** The names that prometheus-operator gives to what it generates. */
  prometheus: z.string(),
  alertmanager: z.string(),
  /** Where the files go; Prometheus and Alertmanager read them there. */
  directory: z.string(),
  /** The port of this process, and those of the real ones, by the name in their pods' label. */
  port: z.number(),
  processes: z.record(z.string(), z.number()),
  jobs: z.array(z.looseObject({})),
  pace: z.number(),
});
export type MonitoringWork = z.infer<typeof Work>;

const Configuration = z.object({
  metadata: z.object({ name: z.string(), labels: z.record(z.string(), z.string()).default({}) }),
  data: z.record(z.string(), z.string()).default({}),
});
const Notification = z.object({
  alerts: z.array(z.object({ status: z.string(), labels: z.record(z.string(), z.string()) })),
});

const TICK_MS = 1000;
/** Changes come in groups: a new PrometheusRule is a new ConfigMap and a new configuration. */
const GATHER_MS = 200;
/** A pod's usage is written again when it differs by more than this share. */
const USAGE_STEP = 0.1;

const [text] = process.argv.slice(2);
if (text === undefined) throw new Error("the work is missing");
const work = Work.parse(JSON.parse(text));
const api = await connectKubernetes(work.kubeconfig, "sandbox-monitoring");
const network = new PodNetwork(work.processes, logNotification);
const configurations = new Map<string, z.infer<typeof Configuration>>();
let changed = false;

await Promise.race([
  mirror("/api/v1/pods", network.pods, Pod),
  mirror("/api/v1/services", network.services, Steered),
  mirror("/api/v1/persistentvolumeclaims", network.claims, Steered),
  watchConfigurations("secrets"),
  watchConfigurations("configmaps"),
  tickForever(),
  reloadForever(),
]);

/** Keeps a map by uid of what there is. */
async function mirror<T extends { metadata: { uid: string } }>(
  path: string,
  objects: Map<string, T>,
  schema: z.ZodType<T>,
): Promise<never> {
  return watchForever(async () => {
    objects.clear();
    for await (const { type, object } of api.watch(path, new AbortController().signal)) {
      const found = schema.parse(object);
      if (type === "DELETED") objects.delete(found.metadata.uid);
      else objects.set(found.metadata.uid, found);
    }
    return "the watch has ended";
  }, log(path));
}

async function watchConfigurations(plural: string): Promise<never> {
  const path = `/api/v1/namespaces/${work.namespace}/${plural}`;
  return watchForever(async () => {
    for await (const { type, object } of api.watch(path, new AbortController().signal)) {
      const found = Configuration.parse(object);
      if (type === "DELETED") configurations.delete(`${plural}/${found.metadata.name}`);
      else configurations.set(`${plural}/${found.metadata.name}`, found);
      changed = true;
    }
    return "the watch has ended";
  }, log(path));
}

async function tickForever(): Promise<never> {
  const used = new Map<string, number>();
  for (let last = performance.now(); ; await sleep(TICK_MS)) {
    const now = performance.now();
    network.tick((now - last) / 1000);
    last = now;
    for (const { pod, millicores } of network.usage()) {
      const { uid, namespace, name } = pod.metadata;
      const before = used.get(uid) ?? 0;
      if (Math.abs(millicores - before) <= USAGE_STEP * before) continue;
      used.set(uid, millicores);
      const annotations = { [USED_CPU]: `${millicores}m` };
      await api
        .call("PATCH", `/api/v1/namespaces/${namespace}/pods/${name}`, { metadata: { annotations } })
        .catch(() => used.delete(uid));
    }
  }
}

/** Writes the files whenever the operator has generated something, and opens the port once they are whole. */
async function reloadForever(): Promise<never> {
  let isOpen = false;
  for (let last = ""; ; await sleep(GATHER_MS)) {
    if (!changed) continue;
    changed = false;
    const reason = await writeFiles().then(
      (isWhole) => (isWhole ? "" : "the operator has not generated everything yet"),
      messageOf,
    );
    if (reason !== last) log("configuration")(reason === "" ? "is written" : reason);
    last = reason;
    if (reason !== "") continue;
    if (!isOpen) network.serve().listen(work.port, "127.0.0.1");
    isOpen = true;
    await Promise.all([reload("prometheus"), reload("alertmanager")]);
  }
}

/** @returns whether everything is there */
async function writeFiles(): Promise<boolean> {
  const { directory, pace } = work;
  const generated = unzipped(`secrets/${work.prometheus}`, "prometheus.yaml.gz");
  const routes = unzipped(`secrets/${work.alertmanager}-generated`, "alertmanager.yaml.gz");
  const rules = [...configurations.values()].filter(({ metadata }) =>
    metadata.name.startsWith(`${work.prometheus}-rulefiles-`),
  );
  if (generated === undefined || routes === undefined || rules.length === 0) return false;
  const place: Place = {
    pod: `${work.prometheus}-0`,
    kubeconfig: work.kubeconfig,
    proxy: `http://127.0.0.1:${work.port}`,
    rules: join(directory, "rules"),
    jobs: work.jobs,
    pace,
  };
  const secrets = join(directory, "secrets");
  await Promise.all([mkdir(place.rules, { recursive: true }), mkdir(secrets, { recursive: true })]);
  await keep(join(directory, "prometheus.yaml"), prometheusConfig(generated, place));
  await keep(join(directory, "alertmanager.yaml"), alertmanagerConfig(routes, secrets, pace));
  const wanted = new Set<string>();
  for (const { metadata, data } of rules) {
    const below = join(place.rules, metadata.name);
    await mkdir(below, { recursive: true });
    for (const [name, content] of Object.entries(data)) {
      wanted.add(`${metadata.name}/${name}`);
      await keep(join(below, name), rulesFile(content, pace));
    }
  }
  for (const below of await readdir(place.rules)) {
    for (const name of await readdir(join(place.rules, below)))
      if (!wanted.has(`${below}/${name}`)) await rm(join(place.rules, below, name));
  }
  // The receiver's address is sealed; here everything goes to the log of this process.
  const receiver = join(secrets, "alertmanager-receiver");
  await mkdir(receiver, { recursive: true });
  await keep(join(receiver, "url"), `http://127.0.0.1:${work.port}/`);
  return true;
}

function unzipped(key: string, name: string): string | undefined {
  const data = configurations.get(key)?.data[name];
  return data === undefined ? undefined : gunzipSync(Buffer.from(data, "base64")).toString();
}

async function keep(file: string, content: string): Promise<void> {
  if ((await readIfThere(file)) !== content) await replaceFile(file, content);
}

/** One that is not there yet reads its file when it starts. */
async function reload(name: string): Promise<void> {
  const port = work.processes[name];
  const response = await fetch(`http://127.0.0.1:${port}/-/reload`, { method: "POST" }).catch(
    () => undefined,
  );
  if (response?.ok === false) log(name)(`does not take its configuration: ${(await response.text()).trim()}`);
}

function logNotification(body: string): void {
  for (const { status, labels } of Notification.parse(JSON.parse(body)).alerts)
    log("receiver")(`${status} ${JSON.stringify(labels)}`);
}

function log(subject: string): (line: string) => void {
  return (line) => process.stdout.write(`${subject}: ${line}\n`);
}
