/** The way of a merge: a pull request in the sandbox's forge, merged, until Argo CD has brought it to dev. */
import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Application, parseApplications } from "../argocd/argocd.ts";
import { ExternalError, UsageError } from "../errors.ts";
import { run } from "../exec.ts";
import type { Forge } from "../forge/forge.ts";
import type { Layout } from "../sandbox/layout.ts";
import { gitEnv } from "../sandbox/work.ts";
import { pinnedImage } from "../tree/kustomize.ts";
import { waitFor } from "../wait.ts";

/** How exactly the end of a delivery is seen. */
const LOOK_MS = 100;
/** Far above the limit, so that a slow delivery is measured and not cut off. */
const DELIVERY_QUIET_MS = 120_000;

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
 * @param forge the sandbox's
 * @param branch the one that is deployed
 * @param application name of the Argo CD application to watch
 * @throws ExternalError when the forge refuses, or nothing of it has moved for two minutes
 */
export async function measureMerge(options: {
  layout: Layout;
  forge: Forge;
  branch: string;
  argocd: ArgocdApi;
  environment: string;
  application: string;
  service: Service;
}): Promise<Merge> {
  const { layout, forge, branch: base, argocd, application, environment, service } = options;
  await untilDelivered(argocd, application);
  const tag = randomBytes(20).toString("hex");
  const head = `bench-${service.app}-${tag.slice(0, 7)}`;
  const commit = await pushTag(layout, { branch: head, onto: base, environment, service, tag });
  const pull = await forge.createPullRequest({ head, base }, { title: head, body: "" });
  if (pull === undefined) throw new ExternalError(`the forge has a pull request of ${head} already`);
  await forge.mergePullRequest(pull.number, commit);
  const merged = performance.now();
  await untilDelivered(argocd, application, tag);
  return { app: service.app, tag, seconds: (performance.now() - merged) / 1000 };
}

async function pushTag(
  layout: Layout,
  change: { branch: string; onto: string; environment: string; service: Service; tag: string },
): Promise<string> {
  const { branch, onto, environment, service, tag } = change;
  const git = async (...args: string[]) => run("git", args, { cwd: layout.work, env: gitEnv(layout) });
  await git("fetch", "--quiet", "origin", onto);
  await git("checkout", "--quiet", "-B", branch, "FETCH_HEAD");
  const path = `overlays/${environment}/${service.app}/kustomization.yaml`;
  const file = join(layout.work, path);
  await writeFile(file, withTag(await readFile(file, "utf8"), path, service.image, tag));
  await git("commit", "--quiet", "--all", "-m", `${service.app}: ${tag.slice(0, 7)} for ${environment}`);
  await git("push", "--quiet", "origin", branch);
  return (await git("rev-parse", "HEAD")).trim();
}

/** Replaces the tag that a kustomization pins for an image, and nothing else. */
export function withTag(text: string, file: string, image: string, tag: string): string {
  const pinned = pinnedImage(text, file, `registry/${image}`).tag;
  if (text.split(pinned).length === 2) return text.replace(pinned, tag);
  throw new UsageError(`${file} has the tag ${pinned} more than once`);
}

async function untilDelivered(argocd: ArgocdApi, name: string, tag?: string): Promise<void> {
  let seen: Application | undefined;
  await waitFor(
    `${name} is Synced and Healthy${tag === undefined ? "" : ` with ${tag}`}`,
    async () => {
      seen = await readApplication(argocd, name);
      return isDelivered(seen, tag) ? true : undefined;
    },
    {
      quietMs: DELIVERY_QUIET_MS,
      everyMs: LOOK_MS,
      lastWord: async () => `it is ${seen?.sync}, ${seen?.health} ${seen?.message}`.trim(),
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
