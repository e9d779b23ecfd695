/** One request of a forge's API: the way there, how long it may take, and where it may be sent on to. The importer of undici. */
import { createSecureContext } from "node:tls";
import type { Dispatcher, RequestInit, Response, Socks5ProxyAgent } from "undici";
import { RefusedError } from "../errors.ts";
import type { Tls, Way } from "../git/network.ts";

/** What octokit sends requests with. */
export type Send = (url: string, init: RequestInit) => Promise<Response>;

/**
 * How long each of a host's addresses is tried before the next one, IPv6 or IPv4. Node's 250 ms are less than a connection
 * around the world or over a mobile network takes, and the address that is given up is not tried again.
 */
const ADDRESS_TIMEOUT_MS = 2500;
const CONNECT_TIMEOUT_MS = 10_000;
/** A renamed repository's address may have been moved more than once. */
const MOST_REDIRECTS = 3;

/**
 * Makes what sends requests. An answer is there as a whole when it is returned.
 * @param way undefined: nothing is in between, and nobody is to be trusted but whom Node trusts
 * @param timeoutMs how long a request may take, from the connection to the last byte of the answer
 */
export function sender(way: Way | undefined, timeoutMs: number): Send {
  let dispatcher: Dispatcher | undefined;
  return async (url, init) => {
    // Loaded only when there is a request to send: it takes longer than all else that a command loads.
    const undici = await import("undici");
    dispatcher ??= dispatcherOf(undici, way ?? {});
    const signal = AbortSignal.timeout(timeoutMs);
    let target = new URL(url);
    for (let redirects = 0; ; redirects += 1) {
      const response = await undici.fetch(target, { ...init, dispatcher, signal, redirect: "manual" });
      // A connection that breaks off later would look like a forge that answers nonsense.
      await response.clone().arrayBuffer();
      const location =
        response.status >= 300 && response.status < 400 ? response.headers.get("location") : null;
      if (location === null) return response;
      target = nextTarget(target, location, init.method ?? "GET", redirects);
    }
  };
}

/** Reading calls follow within the forge, as to a repository's new name. With a body, a redirect may turn a call into another. */
function nextTarget(from: URL, location: string, method: string, redirects: number): URL {
  const to = new URL(location, from);
  if (to.origin === from.origin && method === "GET" && redirects < MOST_REDIRECTS) return to;
  const there = to.origin === from.origin ? to.pathname : `${to.origin}${to.pathname}`;
  throw new RefusedError(
    `${from.host} sends ${method} ${from.pathname} on to ${there}`,
    "put the address that the forge has now into repoURL and forgeAPI of the settings",
  );
}

function dispatcherOf(
  undici: typeof import("undici"),
  { proxy, tls, proxyTls }: Partial<Pick<Way, "proxy" | "tls" | "proxyTls">>,
): Dispatcher {
  const connect = connectorOf(tls);
  if (proxy === undefined) return new undici.Agent({ connect });
  // In Git's socks5h the proxy looks names up; here it always does.
  if (/^socks5h?:/.test(proxy)) {
    // Its types leave requestTls out.
    const options: Socks5ProxyAgent.Options & { requestTls: object } = { requestTls: connect };
    return new undici.Socks5ProxyAgent(proxy.replace(/^socks5h:/, "socks5:"), options);
  }
  return new undici.ProxyAgent({
    uri: proxy,
    // As curl, and so git: only what is encrypted needs a tunnel.
    proxyTunnel: false,
    proxyTls: connectorOf(proxyTls),
    requestTls: connect,
  });
}

function connectorOf(tls: Tls | undefined) {
  return {
    ...(tls && { secureContext: createSecureContext({ ...tls, ca: [...tls.ca] }) }),
    timeout: CONNECT_TIMEOUT_MS,
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: ADDRESS_TIMEOUT_MS,
  };
}
