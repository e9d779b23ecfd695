/** A rollback: an environment gets an earlier release of one app back, and a hold on the one it leaves. */

import { sha256 } from "../digest.ts";
import { moment } from "../duration.ts";
import { RefusedError, UsageError } from "../errors.ts";
import type { Forge, PullRequest } from "../forge/forge.ts";
import type { FileChange, Remote, RemoteFile } from "../git/remote.ts";
import { compareRenderings, type ObjectChange } from "../manifests/change.ts";
import { type OvertakenPromotion, overtakenPromotions } from "../promotion/open.ts";
import { withdrawOrLeave } from "../pull-request/withdraw.ts";
import {
  formatHolds,
  type Hold,
  type HoldPlace,
  holdPath,
  holds,
  isAbout,
  isInForce,
  parseHolds,
} from "../release/hold.ts";
import { formatRelease, imageCommit, type Release, releaseAt } from "../release/release.ts";
import { type GoodVersion, isSame, readVersions, type Version } from "../release/release-history.ts";
import { type App, findApp, readCatalogue } from "../tree/catalogue.ts";
import { type Environment, findEnvironment, readEnvironments } from "../tree/environment.ts";
import { counts, findVersion, keptImage, keptRelease, parseTarget, type Restorable } from "./target.ts";

export interface RollbackRequest extends HoldPlace {
  /** A number, a date, a commit or an image; one back by default. */
  to: string | undefined;
  reason: string;
  /** When the hold ends; somebody lifts it by default. */
  until: Date | undefined;
  /** Whether the release that is left is held. */
  hold: boolean;
  /** Who asks. */
  by: string;
  now: Date;
}

/** The app and the environment that a command is about, as the deployed branch has them. */
export interface Place {
  app: App;
  environment: Environment;
  /** The commit of the deployed branch. */
  base: string;
}

export interface RollbackPlan {
  place: Place;
  branch: string;
  from: Version<Release>;
  to: GoodVersion<Release>;
  reason: string;
  difference: readonly ObjectChange[];
  /** On the release that is left; undefined when there is to be none, or nothing that could be named. */
  hold: Hold | undefined;
  /** Holds of the open rollback on what that was to take out: they stay. */
  carried: readonly Hold[];
  /** Open promotions that would bring back what is held then. */
  overtaken: readonly OvertakenPromotion[];
  /** Holds on the release that is gone back to: they end. */
  lifted: readonly Hold[];
  changes: readonly FileChange[];
  /** What is not as it should be, and is not in the way. */
  notes: readonly string[];
}

export interface UnholdPlan {
  place: Place;
  branch: string;
  /** What may come back; empty when the file cannot be read, or is not there. */
  lifted: readonly Hold[];
  /** None when there is nothing to lift. */
  changes: readonly FileChange[];
  notes: readonly string[];
}

/** One row of what there is to go back to. */
export interface ListedVersion {
  /** The commit that brought it, when, and by whom. */
  commit: string;
  date: Date;
  author: string;
  /** Its image's commit, in short. */
  name: string;
  /** What `--to` takes to go there by counting; undefined when counting passes it. */
  back: number | undefined;
  /** Why it is passed; empty when it is not. */
  state: string;
}

export function formatRollbackBranch({ environment, app }: HoldPlace): string {
  return `rollback/${environment}/${app}`;
}

function formatUnholdBranch({ environment, app }: HoldPlace): string {
  return `unhold/${environment}/${app}`;
}

/**
 * Finds out what a rollback changes, from what the forge has now. Changes nothing, and asks no gate: going back is always allowed.
 * @throws UsageError for an unknown environment or app, or when it is not said where to
 * @throws RefusedError when there is nothing to go back to; in the first environment, with the command that does it there
 */
export async function planRollback(
  remote: Remote,
  forge: Pick<Forge, "openPullRequests" | "listOpenPullRequests">,
  request: RollbackRequest,
): Promise<RollbackPlan> {
  const target = parseTarget(request.to);
  const branch = formatRollbackBranch(request);
  const place = await fetchPlace(remote, request, branch);
  if (place.environment.promotesFrom === undefined) return refuseLive(remote, request, place);

  await refuseRemoved(remote, request, place);
  const held = await readHoldsAt(remote, place.base, request);
  const isHeld = (release: Release) => held.list.some((other) => holds(other, release, request.now));
  const kept = keptRelease(request);
  const open = await openRollback(remote, forge, branch);
  if (target.kind === "back" && open !== undefined) await refuseLostRace(remote, kept, open, place);
  const { now: from, found: to } = await findVersion(remote, kept, target, isHeld);
  const lifted = held.list.filter((other) => holds(other, to.content, request.now));
  const proposed = open === undefined ? [] : (await readHoldsAt(remote, open.tip, request)).list;
  const hold = request.hold ? holdOn(from, to, request, proposed) : undefined;
  const carried = hold === undefined ? [] : otherHolds(proposed, held, [from, to]);
  const added = hold === undefined ? [] : [...carried, hold];
  const overtaken = await overtakenPromotions(
    remote,
    forge,
    request.environment,
    added.map((one) => ({ ...one, app: request.app })),
    request.now,
  );
  return {
    place,
    branch,
    from,
    to,
    reason: request.reason,
    difference: from.kind === "good" ? compareRenderings(from.content.body, to.content.body) : [],
    hold,
    carried,
    lifted,
    overtaken,
    changes: [
      { path: kept.path, file: { mode: "100644", text: formatRelease(to.content) } },
      ...changeOfHolds(request, held, { to, added }),
    ],
    notes: [
      ...(request.hold && from.kind === "bad"
        ? [`what ${request.environment} has now cannot be named in a hold: ${from.fault}`]
        : []),
      ...held.notes,
    ],
  };
}

/**
 * Finds out what there is to go back to, the newest first: releases, or images in the first environment.
 * @param limit how many of them
 * @throws UsageError for an unknown environment or app
 */
export async function listVersions(
  remote: Remote,
  request: HoldPlace & { now: Date },
  limit: number,
): Promise<ListedVersion[]> {
  const place = await fetchPlace(remote, request, formatRollbackBranch(request));
  if (place.environment.promotesFrom === undefined) {
    return list(remote, keptImage(request, imageOf(place)), limit, () => undefined);
  }
  const held = await readHoldsAt(remote, place.base, request);
  const stateOf = (release: Release) => {
    const hold = held.list.find((candidate) => holds(candidate, release, request.now));
    return hold && `held: ${hold.reason}`;
  };
  return list(remote, keptRelease(request), limit, stateOf);
}

async function list<T>(
  remote: Remote,
  kept: Restorable<T>,
  limit: number,
  stateOf: (content: T) => string | undefined,
): Promise<ListedVersion[]> {
  const newest = (await readVersions(remote, kept)).slice(0, limit);
  let back = 0;
  return newest.map((version) => {
    const { commit, date, author } = version;
    const [now = version] = newest;
    const isBack = counts(kept, now, version, (content) => stateOf(content) !== undefined);
    if (isBack) back += 1;
    const name = version.kind === "good" ? kept.name(version.content) : "-";
    const reason = version.kind === "good" ? stateOf(version.content) : version.fault;
    const state = [version === now ? "now" : isSame(kept, now, version) ? "as now" : undefined, reason];
    return {
      commit,
      date,
      author,
      name,
      back: isBack ? back : undefined,
      state: state.filter((word) => word !== undefined).join(", "),
    };
  });
}

/**
 * Finds out what there is to lift. A hold file that cannot be read is removed as well: it holds nothing back but promotions.
 * @throws UsageError for an unknown environment or app
 */
export async function planUnhold(remote: Remote, request: HoldPlace): Promise<UnholdPlan> {
  const branch = formatUnholdBranch(request);
  const place = await fetchPlace(remote, request, branch);
  const held = await readHoldsAt(remote, place.base, request);
  return {
    place,
    branch,
    lifted: held.list,
    changes: held.file === undefined ? [] : [{ path: holdPath(request), file: undefined }],
    notes: held.notes,
  };
}

/**
 * Takes back the pull request that lifts holds, when there are none left to lift.
 * @returns the pull request that was open
 * @throws RefusedError when somebody else has commits on its branch
 */
export async function withdrawUnhold(
  remote: Remote,
  forge: Forge,
  { place, branch }: UnholdPlan,
): Promise<PullRequest | undefined> {
  const reason = `\`${remote.branch}\` holds no release of ${place.app.app} in ${place.environment.name} any more.`;
  return withdrawOrLeave(remote, forge, branch, reason);
}

/** Fetches what is needed to plan, and checks that there is such an app in such an environment. */
async function fetchPlace(
  remote: Remote,
  { environment: name, app: appName }: HoldPlace,
  branch: string,
): Promise<Place> {
  // They become parts of paths and references.
  for (const [what, word] of [
    ["an environment", name],
    ["an app", appName],
  ]) {
    if (!/^[a-z0-9-]+$/.test(word ?? "")) throw new UsageError(`"${word}" is not the name of ${what}`);
  }
  await remote.fetch(`${branch}*`, { history: true });
  const base = (await remote.tip(remote.branch)) ?? "";
  const files = [...(await remote.entries(base, ["apps/"])).keys()];
  const apps = files.map((path) => ({ app: /^apps\/(.+)\.yaml$/.exec(path)?.[1] ?? "" }));
  findApp(
    apps.filter(({ app }) => app !== ""),
    appName,
  );
  // This app's file only: what is wrong with another one must not be in the way.
  const paths = [`apps/${appName}.yaml`, ":(glob)overlays/*/*.yaml"];
  return remote.withTree(base, paths, async (tree) => {
    const environment = findEnvironment(await readEnvironments(tree), name);
    return { app: findApp(await readCatalogue(tree), appName), environment, base };
  });
}

/** The first environment builds the live base: nothing of it is kept as a file, and its image is put back by a bump. */
async function refuseLive(remote: Remote, request: RollbackRequest, place: Place): Promise<never> {
  const { environment, app } = request;
  const kept = keptImage(request, imageOf(place));
  const { found } = await findVersion(remote, kept, parseTarget(request.to), () => false);
  const { tag, digest } = found.content;
  throw new RefusedError(
    `${environment} has no releases, it builds base/${app} as it is on ${remote.branch}`,
    `to put back the image it got on ${moment(found.date)}: npm run bump ${app} ${tag}${digest === undefined ? "" : ` -- --digest ${digest}`}`,
  );
}

function imageOf({ app, environment }: Place): string {
  if (app.kind === "service") return app.image;
  throw new RefusedError(
    `${environment.name} has no releases, and ${app.app} has no image of its own`,
    `revert the commit that changed base/${app.app}`,
  );
}

/** A release alone would be applied as it is, without what the overlay changes in it. */
async function refuseRemoved(
  remote: Remote,
  { environment, app }: HoldPlace,
  { base }: Place,
): Promise<void> {
  const path = `overlays/${environment}/${app}/kustomization.yaml`;
  if ((await remote.read(base, path)) !== undefined) return;
  throw new RefusedError(
    `${environment} has no ${app}: there is no ${path} on ${remote.branch}`,
    "put the overlay back by reverting the commit that removed it",
  );
}

interface Held {
  file: RemoteFile | undefined;
  list: Hold[];
  notes: string[];
}

/** A hold file that somebody has damaged must not be in the way of a rollback. */
async function readHoldsAt(remote: Remote, commit: string, place: HoldPlace): Promise<Held> {
  const path = holdPath(place);
  const file = await remote.read(commit, path);
  if (file === undefined) return { file, list: [], notes: [] };
  try {
    return { file, list: parseHolds(file.text, path), notes: [] };
  } catch (error) {
    if (error instanceof RefusedError) return { file, list: [], notes: [`unreadable: ${error.message}`] };
    throw error;
  }
}

/** A rollback of the same app that is proposed already. */
interface OpenRollback {
  number: number;
  /** Its commit, and where that left the deployed branch: the release there is the one that it takes out. */
  tip: string;
  left: string;
}

async function openRollback(
  remote: Remote,
  forge: Pick<Forge, "openPullRequests">,
  branch: string,
): Promise<OpenRollback | undefined> {
  const tip = await remote.tip(branch);
  if (tip === undefined) return undefined;
  // Without an open pull request it is the rest of an earlier rollback.
  const [pull] = await forge.openPullRequests({ head: branch, base: remote.branch });
  const { from: left } = await remote.ahead(branch, `${branch}*`);
  return pull === undefined || left === undefined ? undefined : { number: pull.number, tip, left };
}

/** Counted back from another release, the same words would go forward: to the very release that was to be taken out. */
async function refuseLostRace(
  remote: Remote,
  kept: Restorable<Release>,
  { number, tip, left }: OpenRollback,
  { base }: Place,
): Promise<void> {
  const [before, now, back] = await Promise.all(
    [left, base, tip].map(async (commit) => releaseAt(remote, commit, kept.path)),
  );
  if (before === undefined || (now !== undefined && kept.key(before) === kept.key(now))) return;
  const to = (back && kept.tag(back)?.slice(0, 7)) ?? "<commit>";
  throw new RefusedError(
    `${kept.environment} has ${now === undefined ? "a damaged release" : kept.name(now)} of ${kept.app} now, and #${number} is there to take ${kept.name(before)} out`,
    `say which release to go back to: npm run rollback ${kept.environment} ${kept.app} -- --to ${to}`,
  );
}

/** The holds of the open rollback that main does not have, and that are about neither of two releases. */
function otherHolds(proposed: readonly Hold[], held: Held, releases: readonly Version<Release>[]): Hold[] {
  return proposed.filter(
    (hold) =>
      !held.list.some(({ digest }) => digest === hold.digest) &&
      !releases.some((version) => version.kind === "good" && isAbout(hold, version.content)),
  );
}

function holdOn(
  from: Version<Release>,
  to: GoodVersion<Release>,
  { reason, by, now, until }: RollbackRequest,
  proposed: readonly Hold[],
): Hold | undefined {
  if (from.kind === "bad") return undefined;
  const { body, image } = from.content;
  const digest = sha256(body);
  // Where both have the same image it is not the image that is at fault, and the hold must not be about both.
  const isImage = imageCommit(from.content) !== imageCommit(to.content);
  const hold = { digest, image: isImage ? image : undefined, reason, by, until };
  const same = proposed.find(
    (other) =>
      other.digest === digest && other.reason === reason && other.by === by && sameMoment(other.until, until),
  );
  return { ...hold, since: same?.since ?? now };
}

function sameMoment(a: Date | undefined, b: Date | undefined): boolean {
  return a?.getTime() === b?.getTime();
}

/** The hold file afterwards: without what is over or gone back to, and with the new holds. */
function changeOfHolds(
  request: RollbackRequest,
  held: Held,
  { to, added }: Pick<RollbackPlan, "to"> & { added: readonly Hold[] },
): FileChange[] {
  const path = holdPath(request);
  const stay = held.list.filter((other) => !isAbout(other, to.content));
  // Without a new hold the file changes only to let go of the release that is gone back to.
  if (added.length === 0 && stay.length === held.list.length) return [];
  const older = stay.filter(
    (other) => isInForce(other, request.now) && !added.some(({ digest }) => digest === other.digest),
  );
  const wanted = [...older, ...added];
  if (wanted.length > 0) {
    return [{ path, file: { mode: "100644", text: formatHolds(request, wanted) } }];
  }
  return held.file === undefined ? [] : [{ path, file: undefined }];
}
