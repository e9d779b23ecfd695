/** The way of a merge: a pull request in the sandbox's forge, merged, until Argo CD has brought it to dev. */
import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Octokit } from "@octokit/rest";
import { z } from "zod";
import { type Application, parseApplications } from "../argocd.ts";
import { ExternalError, UsageError } from "../errors.ts";
import { run } from "../exec.ts";
import { pinnedImage } from "../kustomize.ts";
import { repositoryOf } from "../sandbox/forge.ts";
import type { Layout } from "../sandbox/layout.ts";
import { gitEnv } from "../sandbox/work.ts";
import { readSettings } from "../settings.ts";
import { waitFor } from "../wait.ts";

/** How exactly the end of a delivery is seen. */
const LOOK_MS = 100;
/** Far above the limit, so that a slow delivery is measured and not cut off. */
const DELIVERY_TIMEOUT_MS = 120_000;
/** Gitea finds out in the background whether a pull request can be merged. */
const MERGEABLE_TIMEOUT_MS = 30_000;

export interface Forge {
  readonly url: string;
  readonly token: string;
}

export interface ArgocdApi {
  /** `host:port`, plain HTTP. */
  readonly server: string;
  readonly token: string;
}

export interface Service {
  readonly app: string;
  /** Path of its image in the registry. */
  readonly image: string;
}

export interface Merge {
  readonly app: string;
  readonly tag: string;
  /** From the forge's answer to the merge until the application is Synced, Healthy and runs the tag. */
  readonly seconds: number;
}

/**
 * Merges a new image of a service for an environment and waits until it runs there.
 * @param layout the running sandbox
 * @param application name of the Argo CD application to watch
 * @throws ExternalError when the forge refuses, or it is not delivered within two minutes
 */
export async function measureMerge(options: {
  layout: Layout;
  forge: Forge;
  argocd: ArgocdApi;
  environment: string;
  application: string;
  service: Service;
}): Promise<Merge> {
  const { layout, argocd, application, environment, service } = options;
  await untilDelivered(argocd, application);
  const tag = randomBytes(20).toString("hex");
  const branch = `bench-${service.app}-${tag.slice(0, 7)}`;
  const { repoURL, revision } = await readSettings(layout.work);
  await pushTag(layout, { branch, onto: revision, environment, service, tag });
  await mergeBranch(options.forge, repoURL, { branch, onto: revision });
  const merged = performance.now();
  await untilDelivered(argocd, application, tag);
  return { app: service.app, tag, seconds: (performance.now() - merged) / 1000 };
}

async function pushTag(
  layout: Layout,
  change: { branch: string; onto: string; environment: string; service: Service; tag: string },
): Promise<void> {
  const { branch, onto, environment, service, tag } = change;
  const git = async (...args: string[]) => run("git", args, { cwd: layout.work, env: gitEnv(layout) });
  await git("fetch", "--quiet", "origin", onto);
  await git("checkout", "--quiet", "-B", branch, "FETCH_HEAD");
  const path = `overlays/${environment}/${service.app}/kustomization.yaml`;
  const file = join(layout.work, path);
  await writeFile(file, withTag(await readFile(file, "utf8"), path, service.image, tag));
  await git("commit", "--quiet", "--all", "-m", `${service.app}: ${tag.slice(0, 7)} for ${environment}`);
  await git("push", "--quiet", "origin", branch);
}

/** Replaces the tag that a kustomization pins for an image, and nothing else. */
export function withTag(text: string, file: string, image: string, tag: string): string {
  const pinned = pinnedImage(text, file, `registry/${image}`).tag;
  if (text.split(pinned).length === 2) return text.replace(pinned, tag);
  throw new UsageError(`${file} has the tag ${pinned} more than once`);
}

async function mergeBranch(
  forge: Forge,
  repoURL: string,
  change: { branch: string; onto: string },
): Promise<void> {
  const { owner, name: repo } = repositoryOf(repoURL);
  const octokit = new Octokit({ baseUrl: `${forge.url}/api/v1`, auth: forge.token, log: quiet });
  const { branch: head, onto: base } = change;
  const opened = await octokit.request("POST /repos/{owner}/{repo}/pulls", {
    owner,
    repo,
    head,
    base,
    title: head,
  });
  const { number } = z.object({ number: z.number() }).parse(opened.data);
  const merge = { owner, repo, number, Do: "merge" };
  await waitFor(
    `the forge merges ${head}`,
    async () => {
      try {
        await octokit.request("POST /repos/{owner}/{repo}/pulls/{number}/merge", merge);
        return true;
      } catch (error) {
        // "Please try again later", as long as it is not known whether the branch can be merged.
        if (error instanceof Error && "status" in error && error.status === 405) return undefined;
        throw error;
      }
    },
    { timeoutMs: MERGEABLE_TIMEOUT_MS, everyMs: LOOK_MS },
  );
}

/** octokit prints a line for every answer that is not a success; one of them is expected. */
const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

async function untilDelivered(argocd: ArgocdApi, name: string, tag?: string): Promise<void> {
  let seen: Application | undefined;
  await waitFor(
    `${name} is Synced and Healthy${tag === undefined ? "" : ` with ${tag}`}`,
    async () => {
      seen = await readApplication(argocd, name);
      return isDelivered(seen, tag) ? true : undefined;
    },
    {
      timeoutMs: DELIVERY_TIMEOUT_MS,
      everyMs: LOOK_MS,
      explain: async () => `it is ${seen?.sync}, ${seen?.health} ${seen?.message}`.trim(),
    },
  );
}

/** Whether an application is Synced, Healthy and runs an image with the tag; any image will do when there is none. */
export function isDelivered({ sync, health, images }: Application, tag: string | undefined): boolean {
  const runs = tag === undefined || images.some((image) => image.includes(`:${tag}`));
  return sync === "Synced" && health === "Healthy" && runs;
}

/** Asks Argo CD's API itself: the command line client takes half a second to start, longer than what is to be seen. */
async function readApplication({ server, token }: ArgocdApi, name: string): Promise<Application> {
  const response = await fetch(`http://${server}/api/v1/applications/${name}`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const [application] = response.ok ? parseApplications(`[${await response.text()}]`) : [];
  if (application !== undefined) return application;
  throw new ExternalError(`Argo CD answers ${response.status} about ${name}`);
}
