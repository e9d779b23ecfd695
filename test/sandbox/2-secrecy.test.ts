import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { run } from "../../scripts/lib/exec.ts";
import { layoutOf } from "../../scripts/lib/sandbox/layout.ts";
import { isPortOpen, isReady, startedProcesses } from "../../scripts/lib/sandbox/process.ts";
import { openFiles } from "../support/processes.ts";
import { ENVIRONMENTS, ensureProd, env, kubectl, root, secretValues, work } from "./support.ts";

const sandbox = join(root, ".sandbox");
/** The user that no file belongs to. */
const NOBODY = 65_534;
const { ports } = z
  .object({ ports: z.record(z.string(), z.number()) })
  .parse(JSON.parse(await readFile(join(sandbox, "state.json"), "utf8")));
await ensureProd();
const values = await secretValues();
const forms = new Map(values.map((value) => [value, formsOf(value)]));

/** As programs write a value: as it is, as in JSON, and in base64, also inside of something longer. */
function formsOf(value: string): string[] {
  const bytes = Buffer.from(value);
  const base64 = [0, 1, 2].map((before) => {
    const text = Buffer.concat([Buffer.alloc(before), bytes]).toString("base64");
    // Without the digits at both ends, which have bits of what is beside it.
    return text.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
  });
  return [...new Set([value, JSON.stringify(value).slice(1, -1), ...base64])];
}

/** The values that are in a text in any form. */
function leaks(text: string): string[] {
  return values.filter((value) => forms.get(value)?.some((form) => text.includes(form)));
}

describe("generated credentials", () => {
  it("are many enough for this test to mean something", () => {
    expect(values.length).toBeGreaterThan(20);
    const several = String(values.find((value) => value.includes("\n")));
    for (const value of [String(values[0]), several]) {
      expect(leaks(`a line with ${value} in it`)).toEqual([value]);
      expect(leaks(JSON.stringify({ request: { value } }))).toEqual([value]);
      for (const before of ["", "u", "u:"])
        expect(leaks(Buffer.from(`${before}${value}, and more`).toString("base64"))).toEqual([value]);
    }
  });

  it.each(ENVIRONMENTS)("of %s are among them", async (context) => {
    const path = "jsonpath={.data.password}";
    const password = await kubectl(context, "-n", "data", "get", "secret", "database", "-o", path);
    expect(values).toContain(Buffer.from(password, "base64").toString());
  });

  it("are in no log", async () => {
    const logs = await readdir(join(sandbox, "logs"));
    expect(logs.length).toBeGreaterThan(30);
    for (const log of logs)
      expect(leaks(await readFile(join(sandbox, "logs", log), "utf8")), log).toEqual([]);
  });

  it("are in no process's arguments", async () => {
    expect(leaks(await run("ps", ["-eww", "-o", "args"]))).toEqual([]);
  });

  // Argo CD takes the password of its cache from there and from nowhere else, and so does miniredis.
  it.skipIf(process.platform !== "linux")(
    "are in no process's environment, but for that of Argo CD's cache",
    async () => {
      const state: { credentials: Record<string, string> } = JSON.parse(
        await readFile(join(sandbox, "state.json"), "utf8"),
      );
      const cache = String(state.credentials["redis"]);
      const found = new Map<string, string[]>();
      for (const [name, { pid }] of await startedProcesses(layoutOf(root)))
        found.set(name, leaks(await readFile(`/proc/${pid}/environ`, "utf8")));
      expect(found.size).toBeGreaterThan(30);
      expect(found.get("argocd-server")).toEqual([cache]);
      for (const [name, leaked] of found) {
        const mayHave = name === "redis" || name.startsWith("argocd-") ? [cache] : [];
        expect(
          leaked.filter((value) => !mayHave.includes(value)),
          name,
        ).toEqual([]);
      }
    },
  );

  it("are in no commit, and not in the clone's configuration", async () => {
    expect(leaks(await run("git", ["log", "--all", "--patch"], { cwd: work, env }))).toEqual([]);
    expect(leaks(await readFile(join(work, ".git/config"), "utf8"))).toEqual([]);
  });

  it("are in a folder that only its owner may enter", async () => {
    expect(((await stat(sandbox)).mode & 0o777).toString(8)).toBe("700");
  });

  it("are the same for one credential in two namespaces, and others in each environment", async () => {
    const password = async (context: string, namespace: string, name: string) =>
      kubectl(context, "-n", namespace, "get", "secret", name, "-o", "jsonpath={.data.password}");
    const own = await password("dev", "data", "database");
    expect(await password("dev", "microservices", "user-service-database")).toBe(own);
    expect(await password("staging", "data", "database")).not.toBe(own);
  });
});

describe("the network", () => {
  it("sees nothing of the sandbox: every process listens on loopback only", async () => {
    const sockets = await listening();
    expect(sockets.length).toBeGreaterThan(30);
    expect(sockets.filter((address) => !address.startsWith("127.0.0.1:"))).toEqual([]);
  });

  it("gets no answer from etcd or an API server without a certificate", async () => {
    const anonymous = { ...env, KUBECONFIG: "/dev/null" };
    const server = `https://127.0.0.1:${ports["dev-apiserver"]}`;
    await expect(
      run(
        "kubectl",
        ["--server", server, "--insecure-skip-tls-verify", "--token=guessed", "get", "secrets", "-A"],
        {
          env: anonymous,
        },
      ),
    ).rejects.toThrow(/Unauthorized/);
    const etcd = Number(ports["dev-etcd"]);
    expect(await isPortOpen(etcd)).toBe(true);
    // Any server certificate will do for this question; etcd ends the connection for want of a client's.
    expect(await isReady({ port: etcd, path: "/health" })).toBe(false);
  });

  it("gets from no port what it may not have, without a certificate, token or password", async () => {
    const open = (await listening()).map((address) => Number(address.split(":").at(-1)));
    const asked = Object.entries(ports).filter(([, port]) => open.includes(port));
    // Whatever listens is known by name.
    expect(new Set(asked.map(([, port]) => port))).toEqual(new Set(open));
    const said = await anonymously(asked.flatMap(([name, port]) => questions(name, port)));
    const table = await documentedPorts();
    for (const { name, path, answer } of said) {
      const [row, ...others] = table.filter(({ pattern }) => pattern.test(name));
      expect(others, name).toEqual([]);
      expect(`${name} ${path}: ${answer}`).toMatch(ANSWERS[row?.says ?? ""] ?? /not documented/);
    }
  });

  it.runIf(process.getuid?.() === 0)("finds nothing in the folder as another user", async () => {
    const { stderr, exitCode } = await asNobody(`require("fs").readdirSync(${JSON.stringify(sandbox)})`);
    expect(exitCode).not.toBe(0);
    expect(stderr).toContain("EACCES");
  });

  it("cannot use the certificate of dev in prod", async () => {
    const server = (
      await kubectl("prod", "config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
    ).trim();
    await expect(
      kubectl("dev", "--server", server, "--insecure-skip-tls-verify", "get", "namespaces"),
    ).rejects.toThrow(/Unauthorized|must be logged in|provide credentials/);
  });
});

/** What docs/sandbox.md says of each port, and what is taken for that. */
const ANSWERS: Record<string, RegExp> = {
  "nothing: TLS ends without a certificate": /: (?:ERR_SSL_\w+|ECONNRESET)$/,
  "401 or 403": /: 40[13]$/,
  NOAUTH: /: -NOAUTH/,
  figures: /: (?:200|404)$/,
  "400": /: 400$/,
};

async function documentedPorts(): Promise<{ pattern: RegExp; says: string }[]> {
  const text = await readFile(join(root, "docs/sandbox.md"), "utf8");
  const [, section = ""] = /\n## Other people on this machine\n(.*?)\n## /s.exec(text) ?? [];
  return [...section.matchAll(/^\| (`.+?`) \| ([^|]+) \|/gm)].map(([, names = "", says = ""]) => {
    const patterns = [...names.matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name.replace("*", "[\\w-]+"));
    return { pattern: new RegExp(`^(?:${patterns.join("|")})$`), says: says.trim() };
  });
}

const Question = z.object({
  name: z.string(),
  port: z.number(),
  /** Of HTTP; what is sent over TCP where there is none. */
  path: z.string(),
  method: z.enum(["GET", "POST", "TCP"]),
  isTls: z.boolean(),
});
type Question = z.infer<typeof Question>;

/** What is asked of a port: for what it guards. */
function questions(name: string, port: number): Question[] {
  const ask = (isTls: boolean, ...paths: string[]): Question[] =>
    paths.map((path) => ({ name, port, path, method: "GET", isTls }));
  if (name === "redis")
    return [{ name, port, path: "*2\r\n$4\r\nKEYS\r\n$1\r\n*\r\n", method: "TCP", isTls: false }];
  if (name === "forge")
    return ask(
      false,
      "/api/v1/repos/search",
      "/example/ecommerce-gitops.git/info/refs?service=git-upload-pack",
    );
  if (name === "argocd-server") return ask(false, "/api/v1/applications", "/api/v1/clusters");
  if (name === "argocd-repo-server") return ask(true, "/repository.RepoServerService/GenerateManifest");
  if (name === "argocd-applicationset-webhook")
    return ask(false, "/api/webhook").map((question) => ({ ...question, method: "POST" }));
  if (name.startsWith("argocd-")) return ask(false, "/metrics");
  if (name.endsWith("-kwok")) return ask(true, "/metrics");
  if (name.endsWith("-etcd") || name.endsWith("-etcd-peer")) return ask(true, "/health", "/members");
  if (name.endsWith("-metrics-server")) return ask(true, "/apis/metrics.k8s.io/v1beta1/pods", "/metrics");
  if (name.endsWith("-apiserver"))
    return ask(true, "/api/v1/secrets", "/metrics", "/apis/apps/v1/deployments");
  return ask(true, "/metrics", "/configz");
}

/** Asks as nobody where that is possible; else as oneself, without what one has. */
async function anonymously(asked: readonly Question[]): Promise<(Question & { answer: string })[]> {
  const { stdout, stderr } = await asNobody(`
    const asked = ${JSON.stringify(asked)};
    const answer = ({ port, path, method, isTls }) => new Promise((resolve) => {
      const failed = (error) => resolve(error.code ?? error.message);
      if (method === "TCP") {
        const socket = require("net").connect(port, "127.0.0.1", () => socket.write(path));
        socket.once("data", (data) => { resolve(data.toString().trim()); socket.destroy(); }).once("error", failed).once("close", () => resolve("closed"));
        return;
      }
      const { request } = require(isTls ? "https" : "http");
      const call = request({ host: "127.0.0.1", port, path, method, rejectUnauthorized: false }, (response) => {
        resolve(String(response.statusCode));
        response.destroy();
      });
      call.once("error", failed);
      call.end(method === "POST" ? "{}" : undefined);
    });
    Promise.all(asked.map(async (one) => ({ ...one, answer: await answer(one) })))
      .then((said) => process.stdout.write(JSON.stringify(said), () => process.exit()));`);
  expect(stderr).toBe("");
  return z.array(Question.extend({ answer: z.string() })).parse(JSON.parse(stdout));
}

/** Runs a script as another user, whom a test can be only as root. */
async function asNobody(script: string): Promise<{ stdout: string; stderr: string; exitCode: number }> {
  const other = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
  const child = spawn(process.execPath, ["--eval", script], { ...other, cwd: "/", env: {} });
  const output = { stdout: "", stderr: "" };
  child.stdout.on("data", (piece: Buffer) => (output.stdout += piece.toString()));
  child.stderr.on("data", (piece: Buffer) => (output.stderr += piece.toString()));
  const [exitCode] = await once(child, "close");
  return { ...output, exitCode: Number(exitCode) };
}

/** Where the sandbox's processes listen: from /proc on Linux, from lsof elsewhere. */
async function listening(): Promise<string[]> {
  const pids = [...(await startedProcesses(layoutOf(root))).values()].map(({ pid }) => pid);
  if (process.platform !== "linux") {
    const lines = (await run("lsof", ["-nP", "-a", "-iTCP", "-sTCP:LISTEN", "-p", pids.join(",")])).split(
      "\n",
    );
    return lines.flatMap((line) => /TCP (\S+:\d+) \(LISTEN\)/.exec(line)?.[1] ?? []);
  }
  const own = new Set((await Promise.all(pids.map(openFiles))).flat());
  const tables = await Promise.all(
    ["tcp", "tcp6"].map(async (name) => readFile(`/proc/net/${name}`, "utf8")),
  );
  // "  0: 0100007F:59DA 00000000:0000 0A … <inode>": address and port in hexadecimal, 0A is LISTEN, the inode is field 10.
  return tables
    .flatMap((table) => table.split("\n").slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state, , , , , , inode]) => state === "0A" && own.has(`socket:[${inode}]`))
    .map(([, local = ""]) => {
      const [address = "", port = ""] = local.split(":");
      return `${address === "0100007F" ? "127.0.0.1" : address}:${Number.parseInt(port, 16)}`;
    });
}
