/** What a bump changes. Plans are made from what the forge has, and only from that. */

import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DIGEST } from "../digest.ts";
import { RefusedError, UsageError } from "../errors.ts";
import type { Remote } from "../git/remote.ts";
import type { Proposal } from "../pull-request/propose.ts";
import { refuseUnpromotable } from "../release/promotable.ts";
import { type App, readCatalogue } from "../tree/catalogue.ts";
import { readEnvironments } from "../tree/environment.ts";
import { inputDirectories } from "../tree/inputs.ts";
import { type ImageEdit, type ImageValue, withImage } from "../tree/kustomization.ts";
import {
  type BumpRecord,
  type BumpText,
  bumpText,
  formatBumpBranch,
  type ParsedBump,
  parseBump,
  type Unverified,
} from "./pull-request-body.ts";

export interface BumpRequest {
  app: string;
  image: ImageValue;
  askedAt: Date;
  /** Whether it is to be pushed to the deployed branch, without a pull request. */
  direct: boolean;
  /** The forge's pages, below which the source repositories are. */
  web: string;
  registry: Registry;
  /** Gives the path of the program. */
  kustomize: () => Promise<string>;
}

/** Gives the digest of an image, such as `shop/web:1`; or says why it is not asked for it. */
export type Registry = { unverified: string } | { digestOf: (image: string) => Promise<string> };

export interface BumpPlan {
  request: BumpRequest;
  record: BumpRecord;
  /** The commit of the deployed branch that it starts from. */
  base: string;
  /** The file it edits. */
  path: string;
  mode: string;
  /** No changes: the image is pinned already. */
  edit: ImageEdit;
  /** Name of the image in base. */
  image: string;
  unverified: Unverified;
  branch: string;
  text: BumpText;
}

/** In how many of the newest commits a later bump is looked for: more than land between the call and its first fetch. */
const SEARCHED = 50;

/**
 * Checks what the command was given.
 * @throws UsageError that says what is wrong with it
 */
export function parseImage(sha: string, digest: string | undefined): ImageValue {
  const hint = "give all 40 digits of the commit, as `git rev-parse <commit>` prints them";
  if (/^[0-9a-f]*[A-F][0-9a-fA-F]*$/.test(sha))
    throw new UsageError(`${sha} has upper-case digits`, "image tags are lower-case");
  if (/[^0-9a-f]/.test(sha) || sha === "") throw new UsageError(`"${sha}" is not a commit`, hint);
  if (sha.length !== 40) throw new UsageError(`${sha} has ${sha.length} digits, a commit has 40`, hint);
  if (digest === undefined) return { tag: sha };
  if (DIGEST.test(digest)) return { tag: sha, digest };
  throw new UsageError(`"${digest}" is not a digest`, "it is sha256: and 64 lower-case hexadecimal digits");
}

/** The branches to look at: this app's bump, in whatever the first environment is called. */
function pattern(app: string): string {
  return `bump/*/${app}`;
}

/**
 * Finds out what a bump changes, from what the forge has now. Changes nothing.
 * @throws UsageError for an app that the catalogue does not have, or that has no image of its own
 * @throws RefusedError when the first environment does not have the app, its file cannot be edited, or the registry does not
 * have the image, or a promotion of it would be refused
 */
export async function planBump(remote: Remote, request: BumpRequest): Promise<BumpPlan> {
  checkName(request.app);
  return planAt(remote, await fetchBase(remote, request), request);
}

async function fetchBase(remote: Remote, { app, direct }: BumpRequest): Promise<string> {
  await remote.fetch(pattern(app), { depth: direct ? SEARCHED : 1 });
  return (await remote.tip(remote.branch)) ?? "";
}

async function planAt(remote: Remote, base: string, request: BumpRequest): Promise<BumpPlan> {
  const { app, environment } = await remote.withTree(
    base,
    ["apps", ":(glob)overlays/*/environment.yaml"],
    async (tree) => ({
      app: choose(await readCatalogue(tree), request.app),
      environment: (await readEnvironments(tree))[0]?.name ?? "",
    }),
  );
  const image = `registry/${app.image}`;
  const path = `overlays/${environment}/${app.app}/kustomization.yaml`;
  const file = await remote.read(base, path);
  if (file === undefined) throw new RefusedError(`${environment} has no ${app.app}`, `add ${path} first`);
  if (file.mode === "120000") throw new RefusedError(`${path} is a symbolic link`, "make it a file");
  const { registry } = request;
  const unverified = "unverified" in registry ? registry.unverified : undefined;
  const pin = "unverified" in registry ? request.image : await verify(registry, app.image, request.image);
  const edit = withImage(file.text, path, image, pin);
  await refuseLater(remote, base, { app, environment, path, text: edit.text, kustomize: request.kustomize });
  const record = { environment, app: app.app, image: pin, askedAt: request.askedAt };
  const source = `${request.web}/${app.source}`;
  return {
    request,
    record,
    base,
    path,
    mode: file.mode,
    edit,
    image,
    unverified,
    branch: formatBumpBranch(record),
    text: bumpText(record, { before: edit.before, source, unverified }),
  };
}

/** With the new image, what a promotion from there would refuse. */
async function refuseLater(
  remote: Remote,
  base: string,
  edited: { app: App; environment: string; path: string; text: string; kustomize: () => Promise<string> },
): Promise<void> {
  const { app, environment, path, text } = edited;
  const kustomize = await edited.kustomize();
  // A tree need not have each of the directories.
  const inputs = await remote.entries(base, inputDirectories(dirname(path)));
  await remote.withTree(base, [...inputs.keys()], async (root) => {
    await writeFile(join(root, path), text);
    await refuseUnpromotable({ root, app, environment, kustomize });
  });
}

/** The image with the digest that the registry has for it. */
async function verify(
  registry: Extract<Registry, { digestOf: unknown }>,
  path: string,
  { tag, digest: wanted }: ImageValue,
): Promise<ImageValue> {
  const digest = await registry.digestOf(`${path}:${tag}`);
  if (wanted === undefined || wanted === digest) return { tag, digest };
  throw new RefusedError(
    `the registry has ${digest} as ${path}:${tag}, not ${wanted}`,
    "was the tag pushed a second time? leave --digest out to take what is there",
  );
}

/** The plan for what the forge has now; the same, from a newer commit, when nothing has changed that it was made from. */
export async function planAgain(remote: Remote, plan: BumpPlan): Promise<BumpPlan> {
  const base = await fetchBase(remote, plan.request);
  const changed = base === plan.base ? [] : await remote.changed(plan.base, base);
  const matters = (path: string) =>
    path === plan.path || path.startsWith("apps/") || /^overlays\/[^/]+\/environment\.yaml$/.test(path);
  return changed.some(matters) ? planAt(remote, base, plan.request) : { ...plan, base };
}

function checkName(name: string): void {
  if (!/^[a-z0-9-]+$/.test(name)) throw new UsageError(`"${name}" is not the name of an app`);
}

function choose(catalogue: readonly App[], name: string): Extract<App, { kind: "service" }> {
  const app = catalogue.find((candidate) => candidate.app === name);
  const services = catalogue.filter(({ kind }) => kind === "service").map((candidate) => candidate.app);
  const hint = `there are ${services.join(", ")}`;
  if (app === undefined) throw new UsageError(`there is no app ${name}`, hint);
  if (app.kind === "service") return app;
  throw new UsageError(`${name} has no image of its own: it is a ${app.kind}`, hint);
}

/** What a commit says about itself when it is a bump of the same app. */
export async function recordOf(
  remote: Remote,
  { record }: BumpPlan,
  commit: string,
): Promise<ParsedBump | undefined> {
  const said = parseBump((await remote.describe(commit)).message);
  return said?.app === record.app && said.environment === record.environment ? said : undefined;
}

/** The commit and the pull request of a bump. */
export function bumpProposal({ branch, base, path, mode, edit, text }: BumpPlan): Proposal {
  return {
    branch,
    base,
    changes: [{ path, file: { mode, text: edit.text } }],
    mayHoldMore: true,
    title: text.title,
    body: text.body,
    summary: text.body,
    trailers: text.trailers,
    labels: [],
    reviewers: [],
  };
}
