/** A repository on the real forge, the command that works on it, and a look at what is there. */
import { spawn } from "node:child_process";
import { request as call, createServer, type RequestListener, type Server } from "node:http";
import { join } from "node:path";
import { inject, onTestFinished } from "vitest";
import { z } from "zod";
import { repositoryRoot } from "../../scripts/lib/repository.ts";
import { cacheDir } from "../../scripts/lib/tools/cache.ts";
import { bundledLine } from "../support/commands.ts";
import { ask as askForge } from "../support/gitea.ts";
import { git, settings, smallTree, temporary, write } from "../support/tree.ts";
import { OWNER } from "./setup.ts";

export const OLD = "0123456789abcdef0123456789abcdef01234567";
export const NEW = "89abcdef0123456789abcdef0123456789abcdef";
export const NEWER = "fedcba9876543210fedcba9876543210fedcba98";
export const FILE = "overlays/dev/web/kustomization.yaml";

export { OWNER };

export interface TestRepository {
  /** A checkout, its remote the forge. */
  readonly root: string;
  readonly name: string;
  /** Of the repository's REST API. */
  readonly api: string;
}

let count = 0;

/**
 * Makes a repository of the small tree on the forge.
 * @param files put over those of the tree
 * @param directory for the checkout; by default one that is gone after the test
 */
export async function repository(
  files: Record<string, string> = {},
  directory?: string,
): Promise<TestRepository> {
  const root = directory ?? (await temporary());
  await write(root, smallTree());
  await git(root, "init", "--quiet", "--initial-branch=main");
  return publish(root, files);
}

/**
 * Makes a repository on the forge of a checkout, which may have a history already.
 * @param files to be committed first, with the settings
 */
export async function publish(root: string, files: Record<string, string> = {}): Promise<TestRepository> {
  const forge = inject("forge");
  count += 1;
  const name = `gitops-${process.pid}-${count}`;
  const url = `${forge}/${OWNER}/${name}.git`;
  await write(root, { "argocd/settings/settings.yaml": settings(url, `${forge}/api/v1`), ...files });
  await git(root, "add", "--all");
  await git(root, "commit", "--quiet", "--message", "The tree");
  await git(root, "remote", "add", "origin", url);
  // What Gitea finds on its disk it takes as it is: 0.1 s instead of the 0.7 s of a new repository and a push.
  const bare = join(inject("repositories"), OWNER, `${name}.git`);
  await git(root, "clone", "--quiet", "--bare", "--template=", root, bare);
  await ask(`${forge}/api/v1/admin/unadopted/${OWNER}/${name}`, "POST");
  return { root, name, api: `${forge}/api/v1/repos/${OWNER}/${name}` };
}

/** Git's options for the forge's token. */
export function withToken(): string[] {
  return ["-c", `http.extraHeader=Authorization: token ${inject("token")}`];
}

/** Pushes a checkout's HEAD. */
export async function push(root: string, branch: string): Promise<void> {
  await git(root, ...withToken(), "push", "--quiet", "origin", `HEAD:refs/heads/${branch}`);
}

/** Commits files on top of a branch of the forge, as a person does. */
export async function personCommits(
  root: string,
  branch: string,
  files: Record<string, string | Buffer>,
): Promise<void> {
  await fetch(root);
  await git(root, "checkout", "--quiet", "--force", "--detach", `origin/${branch}`);
  await write(root, files);
  await git(root, "add", "--all");
  await git(root, "commit", "--quiet", "--message", "By hand");
  await push(root, branch);
}

async function fetch(root: string): Promise<void> {
  await git(root, ...withToken(), "fetch", "--quiet", "--prune", "origin");
}

/** A file as a branch of the forge has it. */
export async function fileAt(root: string, branch: string, path = FILE): Promise<string> {
  await fetch(root);
  return git(root, "cat-file", "blob", `origin/${branch}:${path}`);
}

/** Git in the checkout after a fetch. */
export async function history(root: string, ...args: string[]): Promise<string> {
  await fetch(root);
  return (await git(root, ...args)).trim();
}

/** Every branch, tag and pull request of the repository. */
export async function references(root: string): Promise<string> {
  const list = await git(root, ...withToken(), "ls-remote", "origin");
  // Gitea moves a pull request's own some time after a push to its branch.
  return list.replaceAll(/^\w+(?=\trefs\/pull\/)/gm, "");
}

export interface Result {
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

/** What a person or a workflow has in the environment: the tools, no Git configuration, no token but the one that is given. */
export function environment(extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  return {
    PATH: process.env["PATH"],
    HOME: "/nonexistent",
    TOOLS_CACHE: cacheDir(process.env, repositoryRoot()),
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_CONFIG_SYSTEM: "/dev/null",
    TZ: "UTC",
    ...extra,
  };
}

type Started = (kill: (signal: NodeJS.Signals) => void) => void;

/** Runs a command as a process of its own, with the forge's token unless another environment is given. */
export async function commandLine(
  verb: string,
  root: string,
  args: readonly string[],
  env: Record<string, string> = { FORGE_TOKEN: inject("token") },
  started: Started = () => {},
): Promise<Result> {
  const child = spawn(...bundledLine(verb, ["--root", root, ...args]), {
    cwd: root,
    env: environment(env),
    stdio: ["ignore", "pipe", "pipe"],
  });
  started((signal) => child.kill(signal));
  const result: Result = { exitCode: null, stdout: "", stderr: "" };
  child.stdout.on("data", (chunk) => (result.stdout += String(chunk)));
  child.stderr.on("data", (chunk) => (result.stderr += String(chunk)));
  result.exitCode = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  // How long a command waits for the forge is the machine's affair.
  result.stderr = result.stderr.replaceAll(/^waiting .*\n/gm, "");
  return result;
}

/** Runs `bump`. */
export async function bump(
  root: string,
  args: readonly string[],
  env?: Record<string, string>,
  started?: Started,
): Promise<Result> {
  return commandLine("bump", root, args, env, started);
}

const Pulls = z.array(
  z.object({
    number: z.number(),
    title: z.string(),
    body: z.string(),
    state: z.string(),
    head: z.object({ ref: z.string(), sha: z.string() }),
  }),
);

/** All pull requests of a repository, the closed ones too, the newest first. */
export async function pullRequests({ api }: TestRepository): Promise<z.infer<typeof Pulls>> {
  return Pulls.parse(await ask(`${api}/pulls?state=all`));
}

/** Calls the forge's REST API. */
export async function ask(url: string, method?: string, body?: unknown): Promise<unknown> {
  return askAs(inject("token"), url, method, body);
}

/** The same with another token. */
export async function askAs(token: string, url: string, method?: string, body?: unknown): Promise<unknown> {
  const forge = { url: inject("forge"), token };
  return askForge(forge, url.slice(`${forge.url}/api/v1`.length), method, body);
}

/** Another person with a right to the repository, and a token that is good for so much. */
export async function makePerson(
  { api, name }: TestRepository,
  permission: "read" | "write",
  scopes: readonly string[] = ["write:repository", "write:issue"],
): Promise<{ user: string; token: string }> {
  const forge = inject("forge");
  count += 1;
  const user = `person-${name}-${count}`;
  const password = "correct horse battery staple";
  const account = { username: user, email: `${user}@shop.test`, password, must_change_password: false };
  await ask(`${forge}/api/v1/admin/users`, "POST", account);
  await ask(`${api}/collaborators/${user}`, "PUT", { permission });
  const response = await globalThis.fetch(`${forge}/api/v1/users/${user}/tokens`, {
    method: "POST",
    headers: {
      authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`,
      "content-type": "application/json",
    },
    body: JSON.stringify({ name: "t", scopes }),
  });
  const { sha1: token } = z.object({ sha1: z.string() }).parse(await response.json());
  return { user, token };
}

export interface StandIn {
  readonly url: string;
  /** Method and path of every request. */
  readonly requests: string[];
}

/** A stand-in for a forge that fails, because a real one does not do so when asked to. */
export async function standIn(answer: RequestListener): Promise<StandIn> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const port = portOf(server);
  return { url: `http://127.0.0.1:${port}`, requests };
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the stand-in does not listen");
  return address.port;
}

/** A port on which nothing listens. */
export async function deadPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const port = portOf(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/**
 * Stands between the command and the real forge.
 * @param before sees each request first; the status it returns is the answer, and the forge never sees the request
 * @param after is told when the forge has answered, before the command is
 */
export async function between(
  before: (method: string, path: string) => Promise<number | undefined>,
  after: (method: string, path: string) => void = () => {},
): Promise<StandIn> {
  const forge = new URL(inject("forge"));
  return standIn((incoming, outgoing) => {
    const { method = "", url: path = "", headers } = incoming;
    const forward = async () => {
      const status = await before(method, path);
      if (status !== undefined) {
        outgoing.writeHead(status).end("<html>\n</html>\n");
        return;
      }
      // Without an agent: a connection that is kept may be closed by the forge just when it is used again.
      const options = { host: forge.hostname, port: forge.port, method, path, headers, agent: false };
      const request = call(options, (response) => {
        after(method, path);
        outgoing.writeHead(response.statusCode ?? 502, response.headers);
        response.pipe(outgoing);
      });
      request.once("error", () => outgoing.destroy());
      incoming.pipe(request);
    };
    forward().catch(() => outgoing.destroy());
  });
}

/** Tells the requests for pull requests of one command apart: the first asks whether it may open one, and the others do. */
export function opening(): (method: string, path: string) => boolean {
  let asked = 0;
  return (method, path) => {
    if (method === "POST" && path.endsWith("/pulls")) asked += 1;
    return asked > 1 && method === "POST" && path.endsWith("/pulls");
  };
}

/** Points a checkout's settings at the address of a stand-in. */
export async function pointAt(repo: TestRepository, url: string): Promise<void> {
  const text = settings(`${url}/${OWNER}/${repo.name}.git`, `${url}/api/v1`);
  await write(repo.root, { "argocd/settings/settings.yaml": text });
}
