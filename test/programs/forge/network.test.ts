/**
 * A forge that only a proxy leads to, or that an authority of its own has signed for: Git and the API go the same way. The forge
 * is a directory behind a web server, which Git's oldest protocol needs no more than.
 */
import "reflect-metadata"; // @peculiar/x509 needs it loaded first
import { webcrypto } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type RequestListener, request, type Server } from "node:http";
import { createServer as createSecureServer } from "node:https";
import {
  createServer as createSocket,
  connect as dial,
  type Server as NetServer,
  type Socket,
} from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { forgeAddress } from "../../../scripts/lib/forge/address.ts";
import { connectForge, type Forge } from "../../../scripts/lib/forge/forge.ts";
import { withRemote } from "../../../scripts/lib/git/remote.ts";
import { commit, git, smallTree, temporary, write } from "../../support/tree.ts";

/** Nobody can look it up: that is left to the proxy. */
const HOST = "forge.corp.test";
const CLEAN = { PATH: process.env["PATH"], HOME: "/nonexistent", GIT_CONFIG_SYSTEM: "/dev/null" };

let tip: string;
let bare: string;
let tls: { cert: string; key: string };
/** The certificate of who has signed the forge's. */
let authority: string;
beforeAll(async () => {
  const directory = await mkdtemp(join(tmpdir(), "network-"));
  const root = join(directory, "work");
  await write(root, smallTree());
  await git(root, "init", "--quiet", "--initial-branch=main");
  tip = await commit(root);
  bare = join(directory, "gitops.git");
  await git(root, "clone", "--quiet", "--bare", root, bare);
  await git(bare, "update-server-info");
  tls = await selfSigned([HOST, "localhost"]);
  authority = join(directory, "authority.pem");
  await writeFile(authority, tls.cert);
  return async () => rm(directory, { recursive: true });
});

async function selfSigned(names: readonly string[]): Promise<{ cert: string; key: string }> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=forge",
    notAfter: new Date(Date.now() + 3_600_000),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true),
      new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: "dns" as const, value }))),
    ],
  });
  const key = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
  return { cert: certificate.toString("pem"), key: x509.PemConverter.encode(key, "PRIVATE KEY") };
}

const serve: RequestListener = (incoming, outgoing) => {
  const path = new URL(incoming.url ?? "", "http://forge.test").pathname;
  if (path === "/api/v3/repos/shop/gitops/branches/main") {
    outgoing.writeHead(200, { "content-type": "application/json" });
    outgoing.end(JSON.stringify({ commit: { sha: tip } }));
    return;
  }
  readFile(join(bare, path.replace("/shop/gitops.git/", ""))).then(
    (file) => outgoing.end(file),
    () => outgoing.writeHead(404).end(),
  );
};

async function listen(server: Server | NetServer, host = "127.0.0.1"): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  onTestFinished(() => {
    if ("closeAllConnections" in server) server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the stand-in does not listen");
  return address.port;
}

/** Leads to one port of this machine, whatever the host is called, and notes what was asked for; with a certificate it speaks TLS. */
async function proxyTo(port: number, certificate?: typeof tls): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = [];
  const forward: RequestListener = (incoming, outgoing) => {
    asked.push(`${incoming.method} ${incoming.url}`);
    const { pathname, search } = new URL(incoming.url ?? "");
    const { method, headers } = incoming;
    const onward = request({ port, method, headers, path: pathname + search }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    incoming.pipe(onward);
  };
  const server = certificate === undefined ? createServer(forward) : createSecureServer(certificate, forward);
  server.on("connect", ({ url }, client) => {
    asked.push(`CONNECT ${url}`);
    const there = dial(port, "127.0.0.1", () => {
      client.write("HTTP/1.1 200 OK\r\n\r\n");
      there.pipe(client).pipe(there);
    });
    for (const end of [client, there]) end.on("error", () => there.destroy());
  });
  const origin = certificate === undefined ? "http://127.0.0.1" : "https://localhost";
  return { url: `${origin}:${await listen(server)}`, asked };
}

/** The same for SOCKS 5, which is told a name and a port; with the user and password that it wants, if any. */
async function socksTo(port: number, login?: string): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = [];
  const talk = async (client: Socket) => {
    const bytes = readerOf(client);
    const text = async () => (await bytes((await bytes(1))[0] ?? 0)).toString();
    await bytes((await bytes(2))[1] ?? 0);
    client.write(Buffer.from([5, login === undefined ? 0 : 2]));
    if (login !== undefined) {
      await bytes(1);
      const isRight = `${await text()}:${await text()}` === login;
      client.write(Buffer.from([1, isRight ? 0 : 1]));
      if (!isRight) return;
    }
    const kind = (await bytes(4))[3];
    const host = kind === 3 ? await text() : (await bytes(4)).join(".");
    asked.push(`${host}:${(await bytes(2)).readUInt16BE()}`);
    const there = dial(port, "127.0.0.1", () => {
      client.write(Buffer.from([5, 0, 0, 1, 127, 0, 0, 1, 0, 0]));
      there.pipe(client).pipe(there);
    });
    there.on("error", () => client.destroy());
  };
  const server = createSocket((client) => {
    client.on("error", () => {});
    talk(client).catch(() => client.destroy());
  });
  const own = login === undefined ? "" : `${login.replace("@", "%40")}@`;
  return { url: `socks5h://${own}127.0.0.1:${await listen(server)}`, asked };
}

/** Reads so many bytes of a connection, and leaves the others to whoever comes after. */
function readerOf(socket: Socket): (count: number) => Promise<Buffer> {
  return async (count) => {
    for (;;) {
      const chunk: unknown = count === 0 ? Buffer.alloc(0) : socket.read(count);
      if (Buffer.isBuffer(chunk)) return chunk;
      await once(socket, "readable");
    }
  };
}

/** What Git and the API say the branch is at. */
async function tips(origin: string, env: NodeJS.ProcessEnv): Promise<[string | undefined, string]> {
  const address = forgeAddress({ repoURL: `${origin}/shop/gitops.git`, forgeAPI: `${origin}/api/v3` });
  const options = {
    root: bare,
    url: address.git,
    token: "a-token",
    branch: "main",
    env: { ...CLEAN, ...env },
  };
  return withRemote({ ...options, onInterrupt: () => {} }, async (remote, wayTo) => {
    const api = await connectForge(address, "a-token", { way: await wayTo(address.api) }).branchTip("main");
    await remote.fetch("none/*", { history: true });
    return [await remote.tip("main"), api];
  });
}

/** A file with Git's configuration. */
async function gitConfig(settings: Record<string, string>): Promise<NodeJS.ProcessEnv> {
  const file = join(await temporary(), "gitconfig");
  for (const [key, value] of Object.entries(settings)) await git("/", "config", "--file", file, key, value);
  return { GIT_CONFIG_GLOBAL: file };
}

describe("a proxy", () => {
  it.each<[string, (url: string) => NodeJS.ProcessEnv | Promise<NodeJS.ProcessEnv>]>([
    ["http_proxy", (url) => ({ http_proxy: url })],
    ["HTTP_PROXY, which curl does not read", (url) => ({ HTTP_PROXY: url })],
    ["ALL_PROXY without a scheme", (url) => ({ ALL_PROXY: url.replace("http://", "") })],
    ["http.proxy of Git", async (url) => gitConfig({ "http.proxy": url })],
    [
      "http.<url>.proxy, before the environment",
      async (url) => ({
        ...(await gitConfig({ [`http.http://${HOST}.proxy`]: url })),
        http_proxy: "http://127.0.0.1:1",
      }),
    ],
  ])("leads Git and the API to the forge: %s", async (_, set) => {
    const { url, asked } = await proxyTo(await listen(createServer(serve)));
    expect(await tips(`http://${HOST}`, await set(url))).toEqual([tip, tip]);
    const paths = asked.map((line) => line.replace(`http://${HOST}`, "").split("?")[0]);
    expect(paths).toContain("GET /api/v3/repos/shop/gitops/branches/main");
    expect(paths).toContain("GET /shop/gitops.git/info/refs");
  });

  it("leads to a forge with HTTPS through a tunnel", async () => {
    const { url, asked } = await proxyTo(await listen(createSecureServer(tls, serve)));
    const env = { HTTPS_PROXY: url, NODE_EXTRA_CA_CERTS: authority };
    expect(await tips(`https://${HOST}`, env)).toEqual([tip, tip]);
    expect(asked).toEqual(asked.map(() => `CONNECT ${HOST}:443`));
    expect(asked.length).toBeGreaterThanOrEqual(2);
  });

  it.each<[string, string | undefined]>([
    ["without a password", undefined],
    ["with a password", "ann:p@ss"],
  ])("of SOCKS 5 leads to a forge with HTTP, and with HTTPS: %s", async (_, password) => {
    const plain = await socksTo(await listen(createServer(serve)), password);
    expect(await tips(`http://${HOST}`, { ALL_PROXY: plain.url })).toEqual([tip, tip]);
    expect(new Set(plain.asked)).toEqual(new Set([`${HOST}:80`]));
    const secure = await socksTo(await listen(createSecureServer(tls, serve)), password);
    const env = { HTTPS_PROXY: secure.url, NODE_EXTRA_CA_CERTS: authority };
    expect(await tips(`https://${HOST}`, env)).toEqual([tip, tip]);
    expect(new Set(secure.asked)).toEqual(new Set([`${HOST}:443`]));
  });

  it.each<[string, () => NodeJS.ProcessEnv | Promise<NodeJS.ProcessEnv>]>([
    ["NODE_EXTRA_CA_CERTS", () => ({ NODE_EXTRA_CA_CERTS: authority })],
    [
      "http.proxySSLCAInfo of Git, and http.sslCAInfo for the forge",
      async () => gitConfig({ "http.proxySSLCAInfo": authority, "http.sslCAInfo": authority }),
    ],
    ["the variables of both", () => ({ GIT_PROXY_SSL_CAINFO: authority, GIT_SSL_CAINFO: authority })],
  ])("that speaks TLS itself leads to a forge, with an authority of one's own: %s", async (_, set) => {
    const { url, asked } = await proxyTo(await listen(createSecureServer(tls, serve)), tls);
    expect(await tips(`https://${HOST}`, { ...(await set()), HTTPS_PROXY: url })).toEqual([tip, tip]);
    expect(asked).toEqual(asked.map(() => `CONNECT ${HOST}:443`));
    expect(asked.length).toBeGreaterThanOrEqual(2);
  });

  it.each<[string, () => NodeJS.ProcessEnv | Promise<NodeJS.ProcessEnv>, string]>([
    [
      "of SOCKS 4, which API calls do not know",
      () => ({ ALL_PROXY: "socks4://127.0.0.1:1" }),
      "ALL_PROXY is not the URL of a proxy",
    ],
    [
      "whose sign-in API calls do not know",
      async () => ({
        ...(await gitConfig({ "http.proxyAuthMethod": "ntlm" })),
        http_proxy: "http://x.test:1",
      }),
      "http.proxyAuthMethod is ntlm, and API calls sign in to a proxy with a password only (basic)",
    ],
    [
      "whose sign-in a variable names",
      () => ({ GIT_HTTP_PROXY_AUTHMETHOD: "negotiate", http_proxy: "http://x.test:1" }),
      "GIT_HTTP_PROXY_AUTHMETHOD is negotiate, and API calls sign in to a proxy with a password only (basic)",
    ],
  ])("%s is refused, and the setting is named", async (_, set, message) => {
    await expect(tips(`http://${HOST}`, await set())).rejects.toMatchObject({ exitCode: 3, message });
  });

  it("that cannot be found is named", async () => {
    await expect(tips(`http://${HOST}`, { HTTP_PROXY: "http://proxy.invalid:3128" })).rejects.toMatchObject({
      exitCode: 5,
      message: expect.stringMatching(
        /^forge\.corp\.test does not answer through the proxy of HTTP_PROXY: getaddrinfo E\w+ proxy\.invalid$/,
      ),
      hint: "are that proxy and forgeAPI in the settings right?",
    });
  });

  it("that does not lead to the forge is named as what is left out", async () => {
    const env = { http_proxy: "http://127.0.0.1:1", no_proxy: "corp.test" };
    await expect(tips(`http://${HOST}`, env)).rejects.toThrow(
      /^forge\.corp\.test does not answer without the proxy of http_proxy, as no_proxy says: getaddrinfo E\w+ forge\.corp\.test$/,
    );
  });
});

describe("an authority of one's own", () => {
  const start = async () => `https://localhost:${await listen(createSecureServer(tls, serve))}`;

  it.each<[string, () => NodeJS.ProcessEnv | Promise<NodeJS.ProcessEnv>]>([
    ["NODE_EXTRA_CA_CERTS", () => ({ NODE_EXTRA_CA_CERTS: authority })],
    ["GIT_SSL_CAINFO", () => ({ GIT_SSL_CAINFO: authority })],
    ["http.sslCAInfo of Git", async () => gitConfig({ "http.sslCAInfo": authority })],
  ])("is one for Git and the API: %s", async (_, set) => {
    expect(await tips(await start(), await set())).toEqual([tip, tip]);
  });

  it("that nobody has set is not trusted, and the line says where to", async () => {
    await expect(tips(await start(), {})).rejects.toMatchObject({
      exitCode: 5,
      message: expect.stringMatching(/^localhost:\d+ does not answer: .*certificate/),
      hint: "put the file of who signs its certificates into NODE_EXTRA_CA_CERTS, or into http.sslCAInfo of Git",
    });
  });

  it.each(["NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO"])("whose file is not there: %s", async (name) => {
    await expect(tips(await start(), { [name]: "/none.pem" })).rejects.toMatchObject({
      exitCode: 3,
      message: `${name} names /none.pem, which cannot be read`,
    });
  });
});

describe("the forge's own address", () => {
  it("may be one of IPv6", async () => {
    const origin = `http://[::1]:${await listen(createServer(serve), "::1")}`;
    expect(await tips(origin, {})).toEqual([tip, tip]);
  });

  it("may be a name with one of IPv6 on which nothing listens", async () => {
    const origin = `http://localhost:${await listen(createServer(serve))}`;
    expect(await tips(origin, {})).toEqual([tip, tip]);
  });
});

describe("an answer", () => {
  const connected = async (listener: RequestListener, timeoutMs?: number): Promise<Forge> => {
    const origin = `http://127.0.0.1:${await listen(createServer(listener))}`;
    const settings = { repoURL: `${origin}/shop/gitops.git`, forgeAPI: `${origin}/api/v3` };
    return connectForge(forgeAddress(settings), "a-token", timeoutMs === undefined ? {} : { timeoutMs });
  };
  const TEXT = { title: "t", body: "b" };

  it.each<[string, RequestListener]>([
    ["that does not come", () => {}],
    ["that stops half-way", (_, outgoing) => outgoing.writeHead(200).write('{"id":')],
  ])("%s is waited for so long, and then said", async (_, listener) => {
    const forge = await connected(listener, 100);
    // A comment: it may not be sent twice.
    await expect(forge.comment(7, "text")).rejects.toMatchObject({
      exitCode: 5,
      message: expect.stringMatching(/^127\.0\.0\.1:\d+ does not answer within 0\.1 s$/),
    });
  });

  it("that breaks off is none, and no strange one", async () => {
    const cut: RequestListener = (_, outgoing) => {
      outgoing.writeHead(200, { "content-type": "application/json", "content-length": "100" }).write("{");
      setImmediate(() => outgoing.destroy());
    };
    await expect((await connected(cut)).comment(7, "text")).rejects.toThrow(
      /^127\.0\.0\.1:\d+ does not answer: /,
    );
  });

  it("that sends a writing call elsewhere is an error, whatever is there", async () => {
    const methods: string[] = [];
    const moved: RequestListener = ({ method, url }, outgoing) => {
      methods.push(`${method} ${url}`);
      outgoing.writeHead(301, { location: "/api/v3/repos/shop/renamed/pulls" }).end("{}");
    };
    const created = (await connected(moved)).createPullRequest({ head: "a", base: "main" }, TEXT);
    await expect(created).rejects.toMatchObject({
      exitCode: 3,
      message: expect.stringMatching(
        /^127\.0\.0\.1:\d+ sends POST \/api\/v3\/repos\/shop\/gitops\/pulls on to \/api\/v3\/repos\/shop\/renamed\/pulls$/,
      ),
    });
    expect(methods).toEqual(["POST /api/v3/repos/shop/gitops/pulls"]);
  });

  it("that sends a reading call to another host is an error; within the forge it is followed", async () => {
    const forge = await connected(({ url }, outgoing) => {
      if (url === "/new")
        outgoing.setHeader("content-type", "application/json").end('{"commit":{"sha":"a"}}');
      else
        outgoing.writeHead(302, { location: url?.endsWith("main") ? "/new" : "https://other.test/x" }).end();
    });
    expect(await forge.branchTip("main")).toBe("a");
    await expect(forge.branchTip("other")).rejects.toThrow(/on to https:\/\/other\.test\/x$/);
  });
});
