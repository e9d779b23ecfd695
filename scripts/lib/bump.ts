/** A bump: another image of one app in the first environment. Plans are made from what the forge has, and only from that. */
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import {
  type BumpRecord,
  type BumpText,
  bumpText,
  formatBumpBranch,
  isLater,
  parseBumpRecord,
  type Unverified,
} from "./bump-text.ts";
import { type App, readCatalogue } from "./catalogue.ts";
import { DIGEST } from "./digest.ts";
import { readEnvironments } from "./environment.ts";
import { ExternalError, RefusedError, UsageError } from "./errors.ts";
import type { Forge, PullRequest } from "./forge.ts";
import { withTreeAt } from "./git.ts";
import { type ImageEdit, type ImageValue, withImage } from "./kustomization.ts";
import { withdraw } from "./proposal.ts";
import { type EnsuredPullRequest, ensurePullRequest } from "./pull-request.ts";
import type { Author, Remote, RemoteFile } from "./remote.ts";

export interface BumpRequest {
  app: string;
  image: ImageValue;
  askedAt: Date;
  /** Whether it is to be pushed to the deployed branch, without a pull request. */
  direct: boolean;
  /** The forge's pages, below which the source repositories are. */
  web: string;
  registry: Registry;
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

export type BumpOutcome =
  | { kind: "unchanged" }
  | { kind: "pushed"; commit: string }
  | { kind: "pull-request"; commit: string; pull: EnsuredPullRequest };

/** How often a push is tried when others push at the same time. */
const ATTEMPTS = 40;
/** The pauses between are random and double up to the longest: room for 20 that fetch and push in 0.4 s each. */
const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 8000;
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
 * have the image
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
  const { app, environment } = await withTreeAt(
    remote.directory,
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
    "was the tag pushed a second time? leave --digest away to take what is there",
  );
}

/**
 * Takes back the pull request of an older bump, when the deployed branch has the image that was asked for now.
 * @returns the pull request that was open
 * @throws RefusedError when somebody else has commits on its branch
 */
export async function withdrawBump(
  remote: Remote,
  forge: Forge,
  plan: BumpPlan,
): Promise<PullRequest | undefined> {
  const { branch, record } = plan;
  const said = await recordOf(remote, plan, await remote.tip(branch));
  if (said !== undefined && isLater(said, record, new Date())) return undefined;
  const has = `\`${remote.branch}\` has ${record.image.tag} of ${record.app} already`;
  return withdraw(remote, forge, branch, `${has}, which was asked for after this.`);
}

/** The plan for what the forge has now; the same, from a newer commit, when nothing has changed that it was made from. */
async function planAgain(remote: Remote, plan: BumpPlan): Promise<BumpPlan> {
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

/**
 * Carries out a plan. When others were faster, it is made anew from what the forge then has.
 * @param options.forge gets the pull request
 * @throws RefusedError when a bump of the app was asked for later and came first, or the branch holds somebody else's commits
 * @throws ExternalError when the forge fails, or others push all the time
 */
export async function applyBump(
  remote: Remote,
  first: BumpPlan,
  options: { forge: Forge; author: Author },
): Promise<BumpOutcome> {
  const { forge, author } = options;
  const { direct } = first.request;
  const seen = await remote.tip(first.branch);
  let plan = first;
  let reason = "";
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    if (plan.edit.changes.length === 0) return { kind: "unchanged" };
    await (direct ? refuseAfterChange(remote, first, plan) : refuseAfterBump(remote, plan, seen));
    const step = direct ? await pushDirectly(remote, plan, author) : await pushBranch(remote, plan, author);
    if (step.kind === "there") {
      const { commit, isNew } = step;
      if (direct) return { kind: "pushed", commit };
      const way = { head: plan.branch, base: remote.branch };
      const pull = await ensurePullRequest(forge, way, plan.text);
      const change = pull.change === "unchanged" && isNew ? "updated" : pull.change;
      return { kind: "pull-request", commit, pull: { ...pull, change } };
    }
    reason = step.reason;
    await sleep(Math.random() * Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** attempt));
    plan = await planAgain(remote, plan);
  }
  throw new ExternalError(
    `others pushed ${ATTEMPTS} times while this tried to (${reason})`,
    "nothing was changed: run it again",
  );
}

type Step = { kind: "there"; commit: string; isNew: boolean } | { kind: "moved"; reason: string };

async function pushDirectly(remote: Remote, plan: BumpPlan, author: Author): Promise<Step> {
  const commit = await commitOf(remote, plan, author);
  const pushed = await remote.push(commit, remote.branch);
  return pushed.kind === "moved" ? pushed : { kind: "there", commit, isNew: true };
}

async function pushBranch(remote: Remote, plan: BumpPlan, author: Author): Promise<Step> {
  const { branch, path } = plan;
  const tip = await remote.tip(branch);
  if (tip !== undefined) {
    const { commits, from } = await remote.ahead(branch, pattern(plan.record.app));
    const wanted = { mode: plan.mode, text: plan.edit.text };
    const isWanted = commits.length > 0 && same(await remote.read(tip, path), wanted);
    // Other files of main may have moved on: the pull request still says and does the same.
    const isFresh =
      from !== undefined && same(await remote.read(from, path), await remote.read(plan.base, path));
    if (isWanted && isFresh) return { kind: "there", commit: tip, isNew: false };
    await refuseForeign(remote, plan, commits, from);
  }
  const commit = await commitOf(remote, plan, author);
  const pushed = await remote.push(commit, branch, tip ?? "none");
  return pushed.kind === "moved" ? pushed : { kind: "there", commit, isNew: true };
}

async function commitOf(remote: Remote, plan: BumpPlan, author: Author): Promise<string> {
  return remote.commit({
    parent: plan.base,
    changes: [{ path: plan.path, file: { mode: plan.mode, text: plan.edit.text } }],
    message: plan.text.message,
    author,
    date: plan.record.askedAt,
  });
}

function same(a: RemoteFile | undefined, b: RemoteFile | undefined): boolean {
  return a !== undefined && a.text === b?.text && a.mode === b.mode;
}

/** The branch is replaced only when all it holds is one commit that a bump makes of its parent, byte for byte. */
async function refuseForeign(
  remote: Remote,
  plan: BumpPlan,
  commits: readonly string[],
  from: string | undefined,
): Promise<void> {
  const [newest] = commits;
  if (newest === undefined || (commits.length === 1 && (await isBump(remote, plan, newest, from)))) return;
  let foreign = newest;
  for (const commit of commits) {
    if (parseBumpRecord((await remote.describe(commit)).message) !== undefined) continue;
    foreign = commit;
    break;
  }
  throw new RefusedError(
    `${plan.branch} holds a commit that no bump made: ${foreign.slice(0, 7)}`,
    "merge or close its pull request and delete the branch, then run it again",
  );
}

/** Whether a commit is, byte for byte, what its record says a bump did to its parent. */
async function isBump(
  remote: Remote,
  { record, path, image }: BumpPlan,
  commit: string,
  from: string | undefined,
): Promise<boolean> {
  const { message, parents, paths } = await remote.describe(commit);
  const said = parseBumpRecord(message);
  if (said?.app !== record.app || said.environment !== record.environment) return false;
  if (parents.length !== 1 || parents[0] !== from || paths.length !== 1 || paths[0] !== path) return false;
  const before = await remote.read(from ?? "", path);
  const after = await remote.read(commit, path);
  if (before === undefined || after === undefined) return false;
  try {
    const text = withImage(before.text, path, image, said.image).text;
    return same(after, { mode: before.mode, text });
  } catch (error) {
    if (error instanceof RefusedError) return false;
    throw error;
  }
}

/** What a commit says about itself when it is a bump of the same app. */
async function recordOf(
  remote: Remote,
  { record }: BumpPlan,
  commit: string | undefined,
): Promise<BumpRecord | undefined> {
  const said = commit && parseBumpRecord((await remote.describe(commit)).message);
  return said && said.app === record.app && said.environment === record.environment ? said : undefined;
}

/** Of two bumps on the deployed branch the one that was asked for later stays; so does what a person has changed meanwhile. */
async function refuseAfterChange(remote: Remote, first: BumpPlan, now: BumpPlan): Promise<void> {
  const isMoved = now.edit.before !== first.edit.before;
  const commit = await remote.lastChange(now.base, now.path);
  const said = await recordOf(remote, now, commit);
  if (said === undefined ? !isMoved : !isLater(said, now.record, isMoved ? undefined : new Date())) return;
  throw new RefusedError(
    `${now.record.environment} got ${now.edit.before.slice(0, 7)} of ${now.record.app} while this ran, in ${commit?.slice(0, 7)}`,
    said ? "that was asked for later, so it stays" : "run it again to replace it",
  );
}

/** The same for the branch of the pull request, where commits that no bump made are refused anyway. */
async function refuseAfterBump(remote: Remote, now: BumpPlan, seen: string | undefined): Promise<void> {
  const tip = await remote.tip(now.branch);
  const said = await recordOf(remote, now, tip);
  if (said === undefined || !isLater(said, now.record, tip === seen ? new Date() : undefined)) return;
  // Whoever asked later wanted the same.
  if (isDeepStrictEqual(said.image, now.record.image)) return;
  throw new RefusedError(
    `${now.branch} got ${said.image.tag.slice(0, 7)} while this ran`,
    "that was asked for later, so it stays",
  );
}
