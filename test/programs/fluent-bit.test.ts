/** Fluent Bit of the tree, where PATH has it: its own configuration, from the kubelet's files to Elasticsearch's bulk API. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:https";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import getPort from "get-port";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { podTemplates } from "../../scripts/lib/manifests/manifest.ts";
import { ensurePki } from "../../scripts/lib/sandbox/pki.ts";
import { waitFor } from "../../scripts/lib/wait.ts";
import { enter, type Pod } from "../support/container.ts";
import { fluentBitPrograms } from "../support/store-programs.ts";
import { renderOverlay } from "../tree/support.ts";

const programs = await fluentBitPrograms();
const directory = await mkdtemp("/tmp/fluent-bit-");
const logs = join(directory, "logs/containers");
const FILE = join(logs, `order-service-5d4f8-abcde_microservices_app-${"0".repeat(64)}.log`);
const ports = {
  http: await getPort({ host: "127.0.0.1" }),
  elasticsearch: await getPort({ host: "127.0.0.1" }),
  kubernetes: await getPort({ host: "127.0.0.1" }),
};
const { server } = await ensurePki(join(directory, "pki"), {});
const { manifests } = await renderOverlay("dev", "fluent-bit");
const [template] = podTemplates(manifests);
const [main] = template?.spec.containers ?? [];
if (template === undefined || main === undefined) throw new Error("the tree has no Fluent Bit");

const pod: Pod = {
  spec: template.spec,
  namespace: "logging",
  manifests,
  secrets: { elasticsearch: { username: "fluent-bit", password: "Letters4nd5Digits" } },
  volumes: { logs: join(directory, "logs"), state: join(directory, "state") },
  directory,
  // Addresses of this machine. The tag has the path of the file, which is another one here.
  edit: (configuration) =>
    configuration
      .replace("http_listen: 0.0.0.0", "http_listen: 127.0.0.1")
      .replace("http_port: 2020", `http_port: ${ports.http}`)
      .replace("host: elasticsearch-es-http.monitoring.svc.cluster.local", "host: 127.0.0.1")
      .replace("port: 9200", `port: ${ports.elasticsearch}`)
      .replace(
        "kube_tag_prefix: kube.var.log.containers.",
        `kube_tag_prefix: kube${logs.replaceAll("/", ".")}.\n      kube_url: http://127.0.0.1:${ports.kubernetes}\n      kube_token_file: ${join(directory, "token")}`,
      ),
};
const container = await enter(pod, main, { programs: programs ?? "", override: { NODE_NAME: "node-1" } });

/** What Elasticsearch has stored, by the line's id. */
const stored = new Map<string, { index: string; source: Record<string, unknown> }>();
const Action = z.object({ create: z.object({ _index: z.string(), _id: z.string() }) });
const Source = z.record(z.string(), z.unknown());

/** Elasticsearch's bulk API as Fluent Bit sees it: an id that is stored already is a conflict. */
const elasticsearch = createServer({ cert: server.certificate, key: server.key }, (request, response) => {
  void text(request).then((body) => {
    const isKnown = request.headers.authorization === `Basic ${btoa("fluent-bit:Letters4nd5Digits")}`;
    if (request.url !== "/_bulk" || !isKnown) return response.writeHead(401).end();
    const rows = body.trimEnd().split("\n");
    const items = rows.flatMap((row, n) => {
      if (n % 2 === 1) return [];
      const { _index: index, _id: id } = Action.parse(JSON.parse(row)).create;
      const status = stored.has(id) ? 409 : 201;
      if (status === 201) stored.set(id, { index, source: Source.parse(JSON.parse(rows[n + 1] ?? "")) });
      return [{ create: { _index: index, _id: id, status } }];
    });
    const errors = items.some(({ create }) => create.status === 409);
    return response
      .writeHead(200, { "content-type": "application/json" })
      .end(JSON.stringify({ errors, items }));
  });
});

/** A pod as the Kubernetes API describes it. */
const kubernetes = createHttpServer((request, response) => {
  const [, namespace, name] = /^\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/]+)$/.exec(request.url ?? "") ?? [];
  const metadata = { namespace, name, uid: "1", labels: { "app.kubernetes.io/name": "order-service" } };
  response.writeHead(name === undefined ? 404 : 200, { "content-type": "application/json" });
  response.end(JSON.stringify({ kind: "Pod", apiVersion: "v1", metadata, spec: {} }));
});

let running: ReturnType<typeof spawn> | undefined;

/** Starts it as its container does, and waits for its own probes. */
async function start(): Promise<void> {
  const args = (main?.args ?? []).map(container.placed);
  running = spawn("fluent-bit", args, { env: container.env, stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  running.stderr?.setEncoding("utf8").on("data", (piece: string) => {
    log = `${log}${piece}`.slice(-5000);
  });
  for (const probe of [main?.startupProbe, main?.livenessProbe, main?.readinessProbe]) {
    const url = `http://127.0.0.1:${ports.http}${probe?.httpGet?.path ?? "/none"}`;
    const isReady = async () => ((await fetch(url).catch(() => undefined))?.ok === true ? true : undefined);
    await waitFor(`Fluent Bit answers ${url}`, isReady, { lastWord: () => log });
  }
}

async function end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
  if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
  running.kill(signal);
  await once(running, "exit");
}

/** Lines as containerd writes them; a long one comes in parts, of which only the last is F. */
const cri = (lines: readonly (readonly ["P" | "F", string])[]): string =>
  lines
    .map(([part, line]) => `${new Date().toISOString().replace("Z", "000000Z")} stdout ${part} ${line}\n`)
    .join("");
const numbered = (from: number, to: number): string =>
  cri(Array.from({ length: to - from }, (_, n) => ["F", JSON.stringify({ msg: "order", n: from + n })]));

const Metrics = z.object({ input: z.object({ "tail.0": z.object({ records: z.number() }) }) });

/** Waits until it has read so many lines since it was started. */
async function read(count: number): Promise<void> {
  await waitFor(`${count} lines are read`, async () => {
    const answer = await fetch(`http://127.0.0.1:${ports.http}/api/v1/metrics`);
    const metrics = await answer.text();
    // It counts every few seconds, and has nothing to say before the first time.
    if (metrics === "") return undefined;
    const { input } = Metrics.parse(JSON.parse(metrics));
    return input["tail.0"].records >= count ? true : undefined;
  });
}

/** Waits until so many lines are stored. */
async function arrived(count: number) {
  return waitFor(
    `${count} lines are stored`,
    async () => (stored.size >= count ? [...stored.values()] : undefined),
    // The longest pause between two attempts is a minute.
    { quietMs: 180_000, lastWord: () => `${stored.size} of them` },
  );
}

// Skipped tests run no hooks.
if (programs === undefined) await rm(directory, { recursive: true });

describe.skipIf(programs === undefined)(
  "Fluent Bit with the tree's configuration",
  { sequential: true },
  () => {
    beforeAll(async () => {
      await mkdir(logs, { recursive: true });
      await writeFile(join(directory, "token"), "token");
      kubernetes.listen(ports.kubernetes, "127.0.0.1");
      elasticsearch.listen(ports.elasticsearch, "127.0.0.1");
    });
    afterAll(async () => {
      await end("SIGKILL");
      kubernetes.close();
      elasticsearch.close();
      await rm(directory, { recursive: true, force: true });
    });

    it("puts a container's lines into the index of the day, with the names of its pod", async () => {
      await writeFile(
        FILE,
        cri([
          ["F", JSON.stringify({ level: "info", msg: "paid" })],
          ["P", "one line "],
          ["P", "in three "],
          ["F", "parts"],
        ]),
      );
      await start();
      const lines = await arrived(2);
      expect(lines.map(({ source }) => source)).toEqual([
        expect.objectContaining({ level: "info", msg: "paid" }),
        expect.objectContaining({ log: "one line in three parts" }),
      ]);
      for (const { index, source } of lines) {
        expect(index).toBe(`ecommerce-${String(source["@timestamp"]).slice(0, 10).replaceAll("-", ".")}`);
        expect(source).toMatchObject({
          node: "node-1",
          kubernetes: {
            namespace_name: "microservices",
            pod_name: "order-service-5d4f8-abcde",
            container_name: "app",
            labels: { "app_kubernetes_io/name": "order-service" },
          },
        });
      }
    });

    it("loses no line while Elasticsearch is away, also when it is killed, and stores none twice", async () => {
      elasticsearch.close();
      elasticsearch.closeAllConnections();
      await once(elasticsearch, "close");
      await appendFile(FILE, numbered(0, 2000));
      // Read before it is killed: from then on these lines are in the buffer only.
      await read(2002);
      await end("SIGKILL");
      await rename(FILE, `${FILE}.1`);
      await start();
      await writeFile(FILE, numbered(2000, 4000));
      await read(2000);
      elasticsearch.listen(ports.elasticsearch, "127.0.0.1");
      const lines = await arrived(4002);
      const numbers = lines.flatMap(({ source }) => (typeof source["n"] === "number" ? [source["n"]] : []));
      expect(numbers.toSorted((one, other) => one - other)).toEqual(
        Array.from({ length: 4000 }, (_, n) => n),
      );
    });
  },
);
