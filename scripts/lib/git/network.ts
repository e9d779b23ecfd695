/** The way to a forge: the proxy that leads there, and whom its certificate is to be signed by. Git and API calls go the same. */
import { readFile, writeFile } from "node:fs/promises";
import { BlockList, isIP } from "node:net";
import { join, resolve } from "node:path";
import { rootCertificates } from "node:tls";
import { RefusedError } from "../errors.ts";
import { tryRun } from "../exec.ts";
import { readIfThere } from "../file.ts";
import { ownEnvironment, type Setting } from "./variables.ts";

/** Whom to trust, and who asks. */
export interface Tls {
  readonly ca: readonly string[];
  readonly cert?: string;
  readonly key?: string;
}

export interface Way {
  /** A URL; undefined: there is none in between. */
  readonly proxy: string | undefined;
  /** For messages: `through the proxy of HTTPS_PROXY`, or why not through one that is set; undefined where none is. */
  readonly said: string | undefined;
  /** To the server; undefined over plain HTTP. */
  readonly tls: Tls | undefined;
  /** To the proxy; undefined where it speaks no TLS. */
  readonly proxyTls: Tls | undefined;
  /** What tells Git to go the same way. */
  readonly settings: readonly Setting[];
  readonly environment: NodeJS.ProcessEnv;
}

/** What systems keep their authorities in, which Git trusts and Node does not: Debian, Red Hat, SUSE, Alpine. */
const SYSTEM_AUTHORITIES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/ssl/cert.pem",
];
/** Git gives up after a minute without a byte: a forge that works on a push tells so every 5 s (receive.keepAlive). */
const SILENCE: readonly Setting[] = [
  ["http.lowSpeedLimit", "1"],
  ["http.lowSpeedTime", "60"],
];

/**
 * Finds the way as Git's configuration and the environment describe it.
 * @param url of Git, or of an API
 * @param kept the configuration, as far as it is about the way
 * @param options.root where a path in it begins
 * @param options.env of the caller
 * @param options.directory what Git has to read is written there
 * @throws RefusedError that names the setting which is wrong
 */
export async function findWay(
  url: string,
  kept: readonly Setting[],
  { root, env, directory }: { root: string; env: NodeJS.ProcessEnv; directory: string },
): Promise<Way> {
  const args = ["config", "--null", "--type=path", "--get-urlmatch", "http", url];
  const { stdout } = await tryRun("git", args, { cwd: directory, env: ownEnvironment(env, kept) });
  const entries = stdout.split("\0").map((entry) => /^http\.(\w+)\n(.*)$/s.exec(entry) ?? []);
  const git = new Map(entries.map(([, key = "", value]) => [key, value]));

  const { proxy, said } = proxyOf(url, git.get("proxy"), env);
  const isPatient = git.has("lowspeedlimit") || env["GIT_HTTP_LOW_SPEED_LIMIT"];
  if (proxy !== undefined) refuseProxyAuth(git, env);
  const tls = url.startsWith("https:") ? await readTls(root, git, env, "") : undefined;
  const proxyTls = proxy?.startsWith("https:") ? await readTls(root, git, env, "proxy_") : undefined;
  // Git does not know what is set for Node, and takes one file only, for the server and for the proxy.
  const environment: NodeJS.ProcessEnv = {};
  if (env["NODE_EXTRA_CA_CERTS"])
    for (const [variable, end] of [
      ["GIT_SSL_CAINFO", tls],
      ["GIT_PROXY_SSL_CAINFO", proxyTls],
    ] as const) {
      if (end === undefined) continue;
      environment[variable] = join(directory, `${variable.toLowerCase()}.pem`);
      await writeFile(environment[variable], end.ca.join("\n"));
    }
  return {
    proxy,
    said,
    tls,
    proxyTls,
    settings: [
      // Before http.proxy, http.<url>.proxy and the environment; an empty one is none.
      ["remote.origin.proxy", proxy ?? ""],
      ...(isPatient ? [] : SILENCE),
    ],
    environment,
  };
}

/**
 * Chooses the proxy for a URL as Git does: its own setting comes first, then the variables, lower case before upper case; none
 * for what NO_PROXY names, and for this machine.
 * @param setting http.proxy of Git; an empty one is none
 * @throws RefusedError when it is not the URL of a proxy
 */
export function proxyOf(
  url: string,
  setting: string | undefined,
  env: NodeJS.ProcessEnv,
): Pick<Way, "proxy" | "said"> {
  const { protocol, hostname, port } = new URL(url);
  const names = [`${protocol.slice(0, -1)}_proxy`, "all_proxy"].flatMap((name) => [name, name.toUpperCase()]);
  const name = setting === undefined ? names.find((one) => env[one]) : "http.proxy";
  const value = setting ?? (name === undefined ? "" : env[name]);
  if (name === undefined || value === undefined || value === "") return { proxy: undefined, said: undefined };
  const host = hostname.replace(/^\[|\]$/g, "");
  if (isLoopback(host)) return { proxy: undefined, said: undefined };
  const excepted = ["no_proxy", "NO_PROXY"].find((one) => env[one]);
  if (excepted && isExcepted(host, Number(port) || undefined, env[excepted] ?? "")) {
    return { proxy: undefined, said: `without the proxy of ${name}, as ${excepted} says` };
  }
  return { proxy: proxyUrl(value, name), said: `through the proxy of ${name}` };
}

function proxyUrl(value: string, name: string): string {
  const text = value.includes("://") ? value : `http://${value}`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && /^(https?|socks5h?):$/.test(url.protocol) && url.hostname !== "") {
    // Where none is said, curl's port is another than that of undici.
    const port = url.protocol === "https:" ? 443 : 1080;
    return /:\d+\/?$/.test(text) ? text : `${text.replace(/\/$/, "")}:${port}`;
  }
  // It may hold a password.
  throw new RefusedError(`${name} is not the URL of a proxy`, "http://, https:// or socks5://<host>:<port>");
}

/** Git signs in to a proxy in several ways; API calls know one. */
function refuseProxyAuth(git: ReadonlyMap<string, string | undefined>, env: NodeJS.ProcessEnv): void {
  const ofGit = git.get("proxyauthmethod");
  const [name, method] = env["GIT_HTTP_PROXY_AUTHMETHOD"]
    ? ["GIT_HTTP_PROXY_AUTHMETHOD", env["GIT_HTTP_PROXY_AUTHMETHOD"]]
    : ["http.proxyAuthMethod", ofGit];
  if (method !== undefined && /^(digest|negotiate|ntlm)$/i.test(method))
    throw new RefusedError(
      `${name} is ${method}, and API calls sign in to a proxy with a password only (basic)`,
      "set it to basic, or go through a proxy on this machine that signs in there",
    );
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8);
LOOPBACK.addAddress("::1", "ipv6");

function isLoopback(host: string): boolean {
  return host === "localhost" || host.endsWith(".localhost") || within(LOOPBACK, host);
}

/** Whether NO_PROXY names a host: it, a domain that it is in, an address or a network of addresses; `*` is all. */
function isExcepted(host: string, port: number | undefined, list: string): boolean {
  return list.split(/[\s,]+/).some((entry) => {
    if (entry === "*") return true;
    const [, address = "", bits] = /^\[?([\da-fA-F.:]+)\]?(?:\/(\d+))?$/.exec(entry) ?? [];
    if (isIP(address) !== 0 && !(isIP(host) === 0 && bits === undefined)) {
      const network = new BlockList();
      const kind = isIP(address) === 6 ? "ipv6" : "ipv4";
      const longest = kind === "ipv6" ? 128 : 32;
      network.addSubnet(address, Math.min(Number(bits ?? longest), longest), kind);
      return within(network, host);
    }
    const [, name = "", only] = /^\*?\.?(.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
    if (name === "" || (only !== undefined && Number(only) !== port)) return false;
    return host === name || host.endsWith(`.${name}`);
  });
}

function within(list: BlockList, host: string): boolean {
  const kind = isIP(host);
  return kind !== 0 && list.check(host, kind === 6 ? "ipv6" : "ipv4");
}

/**
 * Node's own authorities, the system's, and those that somebody has set for Node or Git.
 * @param end `proxy_` for the settings that are about a proxy
 */
async function readTls(
  root: string,
  git: ReadonlyMap<string, string | undefined>,
  env: NodeJS.ProcessEnv,
  end: "" | "proxy_",
): Promise<Tls> {
  const named = (what: string) => {
    const setting = `${end}ssl${what}`.replace("_", "");
    const variable = `GIT_${end}SSL_${what}`.toUpperCase();
    const path = env[variable] || git.get(setting);
    return path ? { name: env[variable] ? variable : `http.${setting}`, path } : undefined;
  };
  const read = async (place: { name: string; path: string } | undefined) =>
    place &&
    readFile(resolve(root, place.path), "utf8").catch((error: unknown) => {
      throw new RefusedError(
        `${place.name} names ${place.path}, which cannot be read`,
        "fix the setting, or the file",
        { cause: error },
      );
    });
  const extra = env["NODE_EXTRA_CA_CERTS"];
  const [system, ours, nodes, cert, key] = await Promise.all([
    Promise.all(SYSTEM_AUTHORITIES.map(readIfThere)).then((found) => found.find((text) => text)),
    read(named("cainfo")),
    read(extra ? { name: "NODE_EXTRA_CA_CERTS", path: extra } : undefined),
    read(named("cert")),
    read(named("key")),
  ]);
  const ca = [...rootCertificates, ...[system, ours, nodes].filter((text) => text !== undefined)];
  return { ca, ...(cert === undefined ? {} : { cert }), ...(key === undefined ? {} : { key }) };
}
