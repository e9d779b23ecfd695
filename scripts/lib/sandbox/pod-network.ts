/**
 * Stands in for the network of pods, as far as Prometheus uses it: an HTTP proxy that answers for simulated pods at their addresses
 * and ports. What is a real process beside the cluster gets the request passed on.
 */
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import { z } from "zod";
import { thousandths } from "../manifests/quota.ts";
import {
  advance,
  certificateMetrics,
  cpuShare,
  type Exported,
  exporterMetrics,
  exposition,
  loadOf,
  numberOf,
  STEERING,
  type Steering,
  serviceMetrics,
  volumeMetrics,
} from "./pod-metrics.ts";

const Metadata = z.object({
  uid: z.string(),
  name: z.string(),
  namespace: z.string(),
  labels: z.record(z.string(), z.string()).default({}),
  annotations: z.record(z.string(), z.string()).default({}),
  deletionTimestamp: z.string().optional(),
});
export const Pod = z.object({
  metadata: Metadata,
  spec: z.object({
    containers: z.array(
      z.object({
        ports: z.array(z.object({ containerPort: z.number() })).default([]),
        resources: z
          .object({ requests: z.record(z.string(), z.string()).default({}) })
          .default({ requests: {} }),
      }),
    ),
  }),
  status: z.object({
    podIP: z.string().optional(),
    conditions: z.array(z.object({ type: z.string(), status: z.string() })).default([]),
  }),
});
/** A Service, or a claim of a volume: both are steered by their annotations. */
export const Steered = z.object({ metadata: Metadata });

type Pod = z.infer<typeof Pod>;
type Steered = z.infer<typeof Steered>;

const NAME = "app.kubernetes.io/name";
const SERVICES = "microservices";
/** What kwok's simulated kubelet reports as used (sandbox/kwok/usage.yaml). */
export const USED_CPU = "kwok.x-k8s.io/usage-cpu";

/** The pods, Services and claims of one cluster. */
export class PodNetwork {
  readonly pods = new Map<string, Pod>();
  readonly services = new Map<string, Steered>();
  readonly claims = new Map<string, Steered>();
  readonly #counters = new Map<string, Map<string, number>>();
  readonly #processes: Readonly<Record<string, number>>;
  readonly #receive: (body: string) => void;

  /**
   * @param processes ports on loopback of what runs for real, by the name in the pod's label
   * @param receive gets what Alertmanager sends
   */
  constructor(processes: Readonly<Record<string, number>>, receive: (body: string) => void) {
    this.#processes = processes;
    this.#receive = receive;
  }

  /** Lets time pass for every counter. A new pod begins at zero, and one that is gone is forgotten. */
  tick(seconds: number): void {
    for (const uid of this.#counters.keys()) if (!this.pods.has(uid)) this.#counters.delete(uid);
    for (const [uid, pod] of this.pods) {
      const counters = this.#counters.get(uid) ?? new Map<string, number>();
      this.#counters.set(uid, counters);
      // A pod that is not ready gets no requests; its counters are there all the same.
      advance(counters, this.#exported(pod), isReady(pod) ? seconds : 0);
    }
  }

  /** The cpu, in millicores, that the pods of services use by their load. */
  usage(): { pod: Pod; millicores: number }[] {
    return [...this.pods.values()]
      .filter((pod) => pod.metadata.namespace === SERVICES && isReady(pod))
      .map((pod) => {
        const requested = pod.spec.containers.map(({ resources }) =>
          thousandths(resources.requests["cpu"] ?? 0),
        );
        const sum = requested.reduce((total, each) => total + each, 0);
        const load = loadOf(this.#steering(pod), this.#readyBeside(pod));
        return { pod, millicores: Math.round(sum * cpuShare(load)) };
      });
  }

  serve(): Server {
    return createServer((incoming, response) => {
      this.#answer(incoming, response).catch(() => {
        if (!response.headersSent) response.writeHead(502);
        response.end();
      });
    });
  }

  async #answer(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    // Through a proxy the whole address is asked for.
    if (!URL.canParse(incoming.url ?? "")) return this.#answerOwn(incoming, response);
    const url = new URL(incoming.url ?? "");
    const pod = [...this.pods.values()].find(({ status }) => status.podIP === url.hostname);
    const port = Number(url.port);
    const declared = pod?.spec.containers.some(({ ports }) =>
      ports.some(({ containerPort }) => containerPort === port),
    );
    if (pod === undefined || declared !== true || !isReady(pod)) {
      response.writeHead(502).end(`no pod answers at ${url.host}\n`);
      return;
    }
    const local = this.#processes[pod.metadata.labels[NAME] ?? ""];
    if (local !== undefined) {
      passOn(incoming, response, local, url.pathname + url.search);
      return;
    }
    if (this.#steering(pod)["down"] === "true") {
      response.writeHead(503).end();
      return;
    }
    const { gauges } = this.#exported(pod);
    const counters = [...(this.#counters.get(pod.metadata.uid) ?? [])].map(
      ([series, value]) => [series, series.includes("_sum{") ? value : Math.floor(value)] as const,
    );
    metrics(response, exposition([...counters, ...Object.entries(gauges)]));
  }

  /** Requests to this process itself: those of Alertmanager, and those to kubelets and to exporters of add-ons. */
  async #answerOwn(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    if (incoming.method === "POST") {
      this.#receive((await incoming.setEncoding("utf8").toArray()).join(""));
      response.writeHead(200).end();
      return;
    }
    const volumes = [...this.claims.values()].map(({ metadata }) => {
      const used = numberOf(steeringOf(metadata.annotations), "used", 0.3);
      return volumeMetrics(metadata.namespace, metadata.name, used);
    });
    const certificate = certificateMetrics(this.#steeringOf("gateway", "apisix"), new Date());
    metrics(response, exposition(Object.entries(Object.assign(certificate, ...volumes))));
  }

  #exported(pod: Pod): Exported {
    const steering = this.#steering(pod);
    return pod.metadata.namespace === SERVICES
      ? serviceMetrics(steering, this.#readyBeside(pod))
      : exporterMetrics(pod.metadata.labels[NAME] ?? "", steering);
  }

  #steering({ metadata }: Pod): Steering {
    return this.#steeringOf(metadata.namespace, metadata.labels[NAME]);
  }

  /** The annotations of the Services of an app. */
  #steeringOf(namespace: string, app: string | undefined): Steering {
    const own = [...this.services.values()].filter(
      ({ metadata }) => metadata.namespace === namespace && metadata.labels[NAME] === app,
    );
    return steeringOf(Object.assign({}, ...own.map(({ metadata }) => metadata.annotations)));
  }

  #readyBeside({ metadata }: Pod): number {
    return [...this.pods.values()].filter((pod) => isBeside(pod.metadata, metadata) && isReady(pod)).length;
  }
}

function isBeside(one: Pod["metadata"], other: Pod["metadata"]): boolean {
  return one.namespace === other.namespace && one.labels[NAME] === other.labels[NAME];
}

function isReady({ metadata, status }: Pod): boolean {
  const ready = status.conditions.some(({ type, status: state }) => type === "Ready" && state === "True");
  return ready && metadata.deletionTimestamp === undefined;
}

function steeringOf(annotations: Readonly<Record<string, string>>): Steering {
  const own = Object.entries(annotations).filter(([name]) => name.startsWith(STEERING));
  return Object.fromEntries(own.map(([name, value]) => [name.slice(STEERING.length), value]));
}

function metrics(response: ServerResponse, text: string): void {
  response.writeHead(200, { "content-type": "text/plain; version=0.0.4" }).end(text);
}

function passOn(incoming: IncomingMessage, response: ServerResponse, port: number, path: string): void {
  const { method, headers } = incoming;
  const passed = request(
    { host: "127.0.0.1", port, path, ...(method === undefined ? {} : { method }), headers },
    (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    },
  );
  passed.on("error", () => {
    if (!response.headersSent) response.writeHead(502);
    response.end();
  });
  incoming.pipe(passed);
}
