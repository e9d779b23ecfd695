/** The local Git forge: a real Gitea with SQLite, one user, one repository, and webhooks to Argo CD. */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { ExternalError } from "../errors.ts";
import { tryRun } from "../exec.ts";
import { exists, replaceFile } from "../file.ts";
import type { Repository } from "../forge/address.ts";
import { answerOf, type ForgeCalls, forgeCalls } from "../forge/call.ts";
import type { Layout } from "./layout.ts";
import { type ProcessSpec } from "./process.ts";
import { credentialOf, portOf, type State } from "./state.ts";

/** What of the forge needs a port. */
export const FORGE_PORTS = ["forge"];
export const FORGE_CREDENTIALS = ["forge-secret-key", "forge-lfs-secret", "forge-oauth-secret", "webhook"];
/** The person or bot that everything in the sandbox's forge belongs to. */
export const FORGE_USER = "sandbox";
/** The account of Argo CD, which reads the repository and reports. */
export const REPORTER = "argocd";

export interface ForgeProgram {
  readonly path: string;
  /** Gitea's templates and locales. */
  readonly assets: string;
}

/** Where people and programs find the forge. */
export function forgeUrl(state: State): string {
  return `http://127.0.0.1:${portOf(state, "forge")}`;
}

/** Writes Gitea's configuration, unless it is there, and returns its process. */
export async function prepareForge(
  layout: Layout,
  state: State,
  program: ForgeProgram,
): Promise<ProcessSpec> {
  const directory = join(layout.data, "forge");
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const config = configFile(layout);
  // Written once: Gitea adds secrets of its own to it.
  if (!(await exists(config))) await replaceFile(config, configuration(directory, state, program));
  return {
    name: "forge",
    command: program.path,
    args: ["web", "--config", config, "--work-path", directory],
    env: environment(layout),
    after: [],
    ready: { port: portOf(state, "forge") },
  };
}

function configuration(directory: string, state: State, program: ForgeProgram): string {
  return `APP_NAME = ecommerce-gitops sandbox
RUN_MODE = prod
; Only read when the sandbox is started by root, as in most build containers. It serves loopback only.
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true

[server]
PROTOCOL = http
HTTP_ADDR = 127.0.0.1
HTTP_PORT = ${portOf(state, "forge")}
ROOT_URL = ${forgeUrl(state)}/
STATIC_ROOT_PATH = ${program.assets}
DISABLE_SSH = true
OFFLINE_MODE = true
LFS_START_SERVER = false
LFS_JWT_SECRET = ${credentialOf(state, "forge-lfs-secret")}

[database]
DB_TYPE = sqlite3
PATH = ${join(directory, "gitea.db")}
SQLITE_JOURNAL_MODE = WAL

[security]
INSTALL_LOCK = true
SECRET_KEY = ${credentialOf(state, "forge-secret-key")}

[oauth2]
ENABLED = false
JWT_SECRET = ${credentialOf(state, "forge-oauth-secret")}

[service]
DISABLE_REGISTRATION = true
REQUIRE_SIGNIN_VIEW = true

[repository]
DEFAULT_PRIVATE = private
ENABLE_PUSH_CREATE_USER = false

; Deliveries go to Argo CD, which listens on loopback.
[webhook]
ALLOWED_HOST_LIST = loopback

[actions]
ENABLED = false

[packages]
ENABLED = false

[indexer]
ISSUE_INDEXER_TYPE = db

[cron]
ENABLED = false

[log]
MODE = console
LEVEL = Warn
`;
}

/** What a token may do: its user everything, Argo CD only read the repository and post statuses on commits. */
const SCOPES = { [FORGE_USER]: "all", [REPORTER]: "write:repository" };

/** An access token of an account, which is made with its first one. */
export async function ensureToken(
  layout: Layout,
  program: ForgeProgram,
  holder: keyof typeof SCOPES,
): Promise<string> {
  const file = join(layout.data, "forge", `token-${holder}`);
  if (await exists(file)) return readFile(file, "utf8");
  const admin = async (...args: string[]) =>
    tryRun(program.path, ["--config", configFile(layout), "admin", "user", ...args], {
      env: environment(layout),
    });
  const user = ["--username", holder, "--email", `${holder}@sandbox.invalid`];
  const created = await admin(
    "create",
    ...user,
    ...(holder === FORGE_USER ? ["--admin"] : []),
    "--random-password",
    "--must-change-password=false",
  );
  if (created.exitCode !== 0 && !/already exists/.test(created.stderr)) {
    throw new ExternalError(
      `the forge's user ${holder} cannot be made: ${created.stderr.trim().split("\n").at(-1)}`,
    );
  }
  const name = ["--token-name", `${holder}-${Date.now()}`, "--scopes", SCOPES[holder]];
  const made = await admin("generate-access-token", "--username", holder, "--raw", ...name);
  // Its log goes to standard output too, by a thread of its own: the token is a line, and not always the last one.
  const value = /^[0-9a-f]{40}$/m.exec(made.stdout)?.[0];
  if (value === undefined) {
    const reason = `${made.stdout}${made.stderr}`.trim().split("\n").at(-1);
    throw new ExternalError(`the forge gave no access token: ${reason}`);
  }
  await replaceFile(file, value);
  return value;
}

/** Makes the repository and its webhooks, where they are missing. */
export async function ensureRepository(
  forge: string,
  token: string,
  repository: Repository,
  webhooks: { readonly urls: readonly string[]; readonly secret: string },
): Promise<void> {
  const { owner, name } = repository;
  const calls = callsOf(forge, token, repository);
  await ensureOwner(calls, owner);
  const options = { name, private: true, default_branch: "main" };
  await ensure(calls, "/repos/{owner}/{repo}", "/orgs/{owner}/repos", options);
  const hooks = "/repos/{owner}/{repo}/hooks";
  const known = new Set((await calls.list(`GET ${hooks}`, {}, Webhook)).map(({ config }) => config.url));
  for (const url of webhooks.urls.filter((candidate) => !known.has(candidate))) {
    const config = { url, content_type: "json", secret: webhooks.secret };
    const hook = { type: "gitea", active: true, events: ["push"], config };
    await calls.call(`POST ${hooks}`, hook, z.unknown());
  }
}

/**
 * Has the forge take a bare repository as it is on its disk, unless it has one of that name: 0.1 s instead of the 0.7 s of a new
 * one and a push.
 * @param make puts it into the directory
 */
export async function ensureAdopted(
  layout: Layout,
  forge: string,
  token: string,
  repository: Repository,
  make: (directory: string) => Promise<unknown>,
): Promise<void> {
  const { owner, name } = repository;
  const calls = callsOf(forge, token, repository);
  if (await isThere(calls, "/repos/{owner}/{repo}")) return;
  await ensureOwner(calls, owner);
  await make(join(repositoriesOf(layout), owner.toLowerCase(), `${name.toLowerCase()}.git`));
  await calls.call("POST /admin/unadopted/{owner}/{repo}", {}, z.unknown());
}

/** Directory of the forge's bare repositories, `<owner>/<name>.git` each. */
export function repositoriesOf(layout: Layout): string {
  return join(layout.data, "forge", "data", "gitea-repositories");
}

async function ensureOwner(calls: ForgeCalls, owner: string): Promise<void> {
  await ensure(calls, "/orgs/{owner}", "/orgs", { username: owner, visibility: "private" });
}

async function ensure(calls: ForgeCalls, wanted: string, made: string, parameters: object): Promise<void> {
  if (await isThere(calls, wanted)) return;
  try {
    await calls.call(`POST ${made}`, parameters, z.unknown());
  } catch (error) {
    // Somebody else may have made it meanwhile.
    if (!(await isThere(calls, wanted))) throw error;
  }
}

async function isThere({ call }: ForgeCalls, wanted: string): Promise<boolean> {
  try {
    await call(`GET ${wanted}`, {}, z.unknown());
    return true;
  } catch (error) {
    if (answerOf(error)?.status === 404) return false;
    throw error;
  }
}

const Webhook = z.object({ config: z.object({ url: z.string().optional() }) });

/** Lets Argo CD's account read the repository and post statuses on its commits. */
export async function ensureReporter(forge: string, token: string, repository: Repository): Promise<void> {
  const { call } = callsOf(forge, token, repository);
  const route = "PUT /repos/{owner}/{repo}/collaborators/{collaborator}";
  await call(route, { collaborator: REPORTER, permission: "write" }, z.unknown());
}

/** Makes the teams that promotions ask for a review, where they are missing. They have no members. */
export async function ensureTeams(
  forge: string,
  token: string,
  repository: Repository,
  teams: readonly string[],
): Promise<void> {
  const { call, list } = callsOf(forge, token, repository);
  const known = new Set((await list("GET /orgs/{owner}/teams", {}, Team)).map(({ name }) => name));
  const rights = { permission: "read", units: ["repo.code", "repo.pulls"], includes_all_repositories: true };
  for (const name of teams.filter((candidate) => !known.has(candidate)))
    await call("POST /orgs/{owner}/teams", { name, ...rights }, z.unknown());
}

const Team = z.object({ name: z.string() });

/** Nothing here needs what git fetches from. */
function callsOf(forge: string, token: string, repository: Repository): ForgeCalls {
  return forgeCalls({ api: `${forge}/api/v1`, web: forge, git: "", ...repository }, token);
}

function configFile(layout: Layout): string {
  return join(layout.data, "forge", "app.ini");
}

function environment(layout: Layout): Record<string, string> {
  // Git starts Gitea for three hooks at each push, and for as long as they live there is nothing to collect: 350 ms instead
  // of 400. The server takes 40 MB more.
  const collector = { GOGC: "400", GOMEMLIMIT: "200MiB" };
  return { HOME: layout.home, USER: FORGE_USER, PATH: process.env["PATH"] ?? "", ...collector };
}
