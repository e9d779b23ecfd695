/** A forge for a while: a real Gitea with an empty database in a temporary directory, on a port of its own. */

import { mkdir, rm } from "node:fs/promises";
import { z } from "zod";
import { run } from "../../scripts/lib/exec.ts";
import type { Repository } from "../../scripts/lib/forge/address.ts";
import { ownEnvironment, type Setting } from "../../scripts/lib/git/variables.ts";
import { isAlive } from "../../scripts/lib/pid.ts";
import {
  ensureRepository,
  ensureToken,
  FORGE_CREDENTIALS,
  FORGE_PORTS,
  FORGE_USER,
  forgeUrl,
  prepareForge,
  repositoriesOf,
} from "../../scripts/lib/sandbox/gitea.ts";
import { layoutOf } from "../../scripts/lib/sandbox/layout.ts";
import { isReady, killGroup, lastLines, startProcess } from "../../scripts/lib/sandbox/process.ts";
import { ensureState } from "../../scripts/lib/sandbox/state.ts";
import { temporaryDirectory } from "../../scripts/lib/temporary.ts";
import { resolveTool } from "../../scripts/lib/tools/resolve.ts";
import { waitFor } from "../../scripts/lib/wait.ts";

export interface TemporaryForge {
  /** Where it is, without a slash at its end. */
  readonly url: string;
  /** Of an administrator. */
  readonly token: string;
}

export interface StartedForge extends TemporaryForge {
  /** Directory of its bare repositories, `<owner>/<name>.git` each. */
  readonly repositories: string;
  readonly stop: () => Promise<void>;
}

const PUSHED_LOOK_MS = 50;

/**
 * Starts a forge.
 * @param onInterrupt told how to end it when the command is interrupted, from before it answers
 * @returns once it answers; `stop` ends it and removes all it had
 * @throws ExternalError with the end of its log when it does not answer
 */
export async function startForge(
  onInterrupt: (undo: () => Promise<unknown>) => void = () => {},
): Promise<StartedForge> {
  const { path, assets } = await resolveTool("gitea");
  const root = await temporaryDirectory("forge-");
  const layout = layoutOf(root);
  const state = await ensureState(layout, FORGE_PORTS, FORGE_CREDENTIALS);
  await mkdir(layout.home, { recursive: true });
  const spec = await prepareForge(layout, state, { path, assets });
  const pid = await startProcess(layout, spec);
  const stop = async () => {
    killGroup(pid);
    await waitFor("the forge has ended", async () => !isAlive(pid) || undefined);
    await rm(root, { recursive: true, force: true });
  };
  onInterrupt(stop);
  try {
    await waitFor("the forge answers", async () => (await isReady(spec.ready)) || undefined, {
      lastWord: async () => lastLines(layout, spec.name),
    });
    return {
      url: forgeUrl(state),
      token: await ensureToken(layout, { path, assets }, FORGE_USER),
      repositories: repositoriesOf(layout),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Where a repository of the forge is for Git, without a credential. */
export function gitUrl({ url }: Pick<TemporaryForge, "url">, { owner, name }: Repository): string {
  return `${url}/${owner}/${name}.git`;
}

/** Makes a repository on the forge and pushes a checkout's HEAD as its branch `main`; returns when the forge has noticed. */
export async function publish(
  forge: TemporaryForge,
  checkout: string,
  repository: Repository,
): Promise<void> {
  const { url, token } = forge;
  await ensureRepository(url, token, repository, { urls: [], secret: "" });
  const address = gitUrl(forge, repository);
  await run("git", ["push", "--quiet", address, "HEAD:refs/heads/main"], {
    cwd: checkout,
    env: gitEnvironment(token),
  });
  const api = `/repos/${repository.owner}/${repository.name}`;
  const Answer = z.object({ empty: z.boolean() });
  const isThere = async () => (Answer.parse(await ask(forge, api)).empty ? undefined : true);
  // Until then it has no pull requests.
  await waitFor("the forge has the tree", isThere, {
    everyMs: PUSHED_LOOK_MS,
  });
}

/**
 * Calls the forge's REST API.
 * @param path below /api/v1
 * @throws Error with what it answered, unless that is a success
 */
export async function ask(
  { url, token }: TemporaryForge,
  path: string,
  method = "GET",
  body?: unknown,
): Promise<unknown> {
  const response = await fetch(`${url}/api/v1${path}`, {
    method,
    headers: { authorization: `token ${token}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text === "" ? undefined : JSON.parse(text);
}

/** The environment for git: nobody's configuration, one identity, and the token as a header, which no process list shows. */
export function gitEnvironment(token?: string): NodeJS.ProcessEnv {
  const header: Setting[] =
    token === undefined ? [] : [["http.extraHeader", `Authorization: token ${token}`]];
  return ownEnvironment(process.env, [
    ["user.name", "bench"],
    ["user.email", "bench@ecommerce-gitops.invalid"],
    ...header,
  ]);
}
