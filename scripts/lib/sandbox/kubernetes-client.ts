/** A cluster's API server, for a program that asks it all the time, or sends it Secrets: no other program sees them. */
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { Agent, request } from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { ExternalError, messageOf } from "../errors.ts";

/** As `writeKubeconfig` writes it. */
const Kubeconfig = z.object({
  clusters: z.tuple([
    z.object({ cluster: z.object({ server: z.string(), "certificate-authority-data": z.base64() }) }),
  ]),
  users: z.tuple([
    z.object({ user: z.object({ "client-certificate-data": z.base64(), "client-key-data": z.base64() }) }),
  ]),
});
const WatchEvent = z.object({ type: z.string(), object: z.unknown() });

export type WatchEvent = z.infer<typeof WatchEvent>;

export interface Answer {
  status: number;
  body: unknown;
}

export interface KubernetesClient {
  /**
   * Asks once; a status such as 404 or 409 is an answer. A PATCH merges.
   * @param as the user who is said to ask
   */
  call(
    method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE",
    path: string,
    body?: object,
    as?: string,
  ): Promise<Answer>;
  /** Server-side apply, with conflicts decided for this one. */
  apply(path: string, object: object): Promise<Answer>;
  /**
   * Everything that there is as ADDED, then what changes; ends when the server ends it.
   * @param accept the form of the objects; whole ones by default
   */
  watch(path: string, signal: AbortSignal, accept?: string): AsyncGenerator<WatchEvent>;
}

/** How long until a watch that has ended begins anew, such as when the API server was started again. */
const PAUSE_MS = 1000;

/**
 * Watches again and again, and never returns.
 * @param untilItEnds watches until the server ends it, and returns the reason
 * @param log gets each new reason once: until there is a CustomResourceDefinition, it is the same every second
 */
export async function watchForever(
  untilItEnds: () => Promise<string>,
  log: (line: string) => void,
): Promise<never> {
  for (let last = ""; ; await sleep(PAUSE_MS)) {
    const reason = await untilItEnds().catch(messageOf);
    if (reason !== last) log(`begins anew: ${reason}`);
    last = reason;
  }
}

/** What a text of JSON says; undefined when it is none. `JSON.parse` would quote it, and with it a value. */
export function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * @param kubeconfig path of one with a single context
 * @param manager who `managedFields` names for what is written
 */
export async function connectKubernetes(kubeconfig: string, manager: string): Promise<KubernetesClient> {
  const { clusters, users } = Kubeconfig.parse(JSON.parse(await readFile(kubeconfig, "utf8")));
  const bytes = (base64: string) => Buffer.from(base64, "base64");
  const agent = new Agent({
    keepAlive: true,
    ca: bytes(clusters[0].cluster["certificate-authority-data"]),
    cert: bytes(users[0].user["client-certificate-data"]),
    key: bytes(users[0].user["client-key-data"]),
  });
  const send = async (
    method: string,
    path: string,
    options: {
      body?: object | undefined;
      accept?: string;
      type?: string;
      as?: string | undefined;
      signal?: AbortSignal;
    },
  ) => {
    const url = new URL(path, clusters[0].cluster.server);
    if (method !== "GET") url.searchParams.set("fieldManager", manager);
    const usual = method === "PATCH" ? "application/merge-patch+json" : "application/json";
    const sent = request(url, {
      method,
      agent,
      headers: {
        accept: options.accept ?? "application/json",
        "content-type": options.type ?? usual,
        ...(options.as === undefined ? {} : { "impersonate-user": options.as }),
      },
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    sent.end(options.body === undefined ? undefined : JSON.stringify(options.body));
    const [response]: IncomingMessage[] = await once(sent, "response");
    if (response === undefined) throw new Error("a response is never empty");
    return response.setEncoding("utf8");
  };
  const answerOf = async (response: IncomingMessage): Promise<Answer> => {
    const text = (await response.toArray()).join("");
    return { status: response.statusCode ?? 0, body: readJson(text) };
  };
  return {
    call: async (method, path, body, as) => answerOf(await send(method, path, { body, as })),
    apply: async (path, object) => {
      const forced = `${path}${path.includes("?") ? "&" : "?"}force=true`;
      return answerOf(await send("PATCH", forced, { body: object, type: "application/apply-patch+yaml" }));
    },
    async *watch(path, signal, accept = "application/json") {
      const response = await send("GET", `${path}?watch=true`, { accept, signal });
      if (response.statusCode !== 200) {
        response.destroy();
        throw new ExternalError(`${path} cannot be watched: status ${response.statusCode}`);
      }
      let rest = "";
      for await (const chunk of response) {
        const lines = `${rest}${chunk}`.split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) {
          const event = WatchEvent.parse(readJson(line));
          if (event.type === "ERROR") throw new ExternalError(`the watch of ${path} has ended`);
          yield event;
        }
      }
    },
  };
}
