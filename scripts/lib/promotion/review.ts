/** A promotion as its reviewers need to see it: what changes once rendered, what is in the images, and whether it may go. */
import pLimit from "p-limit";
import type { Argocd } from "../argocd/applications.ts";
import { moment } from "../duration.ts";
import { messageOf } from "../errors.ts";
import type { Comparison, Forge } from "../forge/forge.ts";
import type { Remote } from "../git/remote.ts";
import { compareManifests, type ObjectChange } from "../manifests/change.ts";
import { parseManifests } from "../manifests/manifest.ts";
import { findHeld, type Hold, readHolds } from "../release/hold.ts";
import { obstaclesIn } from "../release/promotable.ts";
import { imageCommit } from "../release/release.ts";
import { type App, readCatalogue } from "../tree/catalogue.ts";
import { type Environment, findEnvironment, readEnvironments } from "../tree/environment.ts";
import { build } from "../tree/kustomize.ts";
import { readSettings } from "../tree/settings.ts";
import { neverTogether } from "./combination.ts";
import { collectEvidence } from "./evidence.ts";
import { type Freeze, freezeOf, readSyncWindows, type SyncWindow } from "./freeze.ts";
import type { Verdict } from "./health.ts";
import { type OvertakenPromotion, overtakenPromotions } from "./open.ts";
import {
  applyPromotion,
  describeAbsent,
  type PromotionPlan,
  type PromotionStep,
  planPromotion,
} from "./plan.ts";
import { missingInTarget, type RenderedManifests } from "./references.ts";
import { argocdSource, type ReportSource, statusSource } from "./report-source.ts";

/** One app whose release changes. */
export interface ReviewedStep extends PromotionStep {
  owners: readonly string[];
  /** The namespace it goes to. */
  namespace: string;
  /** Repository of the image's source, `owner/name`; undefined for an app without an image of its own. */
  source: string | undefined;
  /** What Argo CD applies in the target today, and after the merge. */
  rendered: { before: string; after: string };
  difference: readonly ObjectChange[];
  /** What has come into the image; undefined where it stays, or the app has none. */
  commits: Comparison | undefined;
  /** Whether the release is proven in the source environment; undefined when only its head changes. */
  evidence: Verdict | undefined;
}

/** A closed gate. */
export interface Refusal {
  /** What is so. */
  fact: string;
  /** What can be done about it. */
  way: string;
  /** Whether a good reason is enough to pass. */
  mayOverride: boolean;
  /** Whether it opens by itself, in time. */
  opensItself: boolean;
}

export interface Review {
  from: string;
  to: string;
  /** The apps that were named; none for the whole environment. */
  apps: readonly string[];
  /** The commit of the deployed branch that all of it is about. */
  base: string;
  target: Environment;
  steps: readonly ReviewedStep[];
  /** How many apps were looked at; those that do not change among them. */
  total: number;
  /** Releases that somebody has rolled back, and that therefore stay away. */
  heldBack: readonly { app: string; hold: Hold }[];
  /** Open promotions to the target that would bring a held release back. */
  overtaken: readonly OvertakenPromotion[];
  refusals: readonly Refusal[];
  warnings: readonly string[];
}

export interface ReviewRequest {
  from: string;
  to: string;
  apps: readonly string[];
  /** Gives the path of the program; called only when the call is in order. */
  kustomize: () => Promise<string>;
  /** Asked instead of the forge what became of the releases. */
  argocd: Argocd | undefined;
  now: Date;
}

/** Renderings and calls at the same time: kustomize takes a core each, a forge answers several at once. */
const PARALLEL_RENDERINGS = 4;
const PARALLEL_CALLS = 8;

/** Half of the files, and no overlay is made of them; a fork's own directories may be a part of one. */
const TOOLING = ["docs", "scripts", "test", "tools"];

/**
 * Finds out everything about a promotion, from what the forge has, and changes nothing.
 * @param remote fetched with its history
 * @throws UsageError, RefusedError when the call, the tree or a file in it is not in order
 * @throws ExternalError when the forge or a program fails
 */
export async function reviewPromotion(remote: Remote, forge: Forge, request: ReviewRequest): Promise<Review> {
  const base = (await remote.tip(remote.branch)) ?? "";
  const paths = (await remote.top(base)).filter((name) => !TOOLING.includes(name));
  return remote.withTree(base, paths, async (tree) => reviewTree(remote, forge, { ...request, base, tree }));
}

/** @param request.tree what the base holds; the releases that go are written into it */
async function reviewTree(
  remote: Remote,
  forge: Forge,
  request: ReviewRequest & { base: string; tree: string },
): Promise<Review> {
  const { from, to, apps, kustomize, argocd, now, base, tree } = request;
  const stoodAt = await remote.stoodAt(base);
  const history = {
    commitOf: async () => base,
    contains: async (commit: string) => stoodAt.has(commit),
    refuseChanged: async () => {},
  };
  const plan = await planPromotion({ root: tree, history, from, to, apps, kustomize });
  const environments = await readEnvironments(tree);
  const [source, target] = [findEnvironment(environments, from), findEnvironment(environments, to)];
  const reportSource =
    argocd === undefined ? await forgeSource(forge, request, environments) : argocdSource(argocd, from);
  const catalogue = new Map((await readCatalogue(tree)).map((app) => [app.app, app]));

  const changed = plan.steps.filter(({ change }) => change !== "unchanged");
  const inForce = await readHolds(tree, to);
  const releases = changed.map(({ app, after }) => ({ app, release: after }));
  const held = findHeld(inForce, releases, now);
  const going = changed.filter(({ app }) => !held.some((entry) => entry.app === app));
  const program = going.length === 0 ? "" : await kustomize();
  const [renderings, evidence, commits, apart, windows, overtaken] = await Promise.all([
    renderAll(request, { ...plan, steps: going }, program),
    collectEvidence(remote, reportSource, {
      environment: source,
      base,
      steps: going,
      kustomize: program,
      now,
    }),
    pLimit(PARALLEL_CALLS).map(going, async (step) => commitsOf(forge, catalogue.get(step.app), step)),
    neverTogether(remote, { base, source, to, steps: going }),
    going.length === 0 ? new Map<string, SyncWindow[]>() : readSyncWindows(program, tree, to),
    overtakenPromotions(remote, forge, to, inForce, now),
  ]);
  const manifests = renderings.map(({ app, before, after }) => ({
    app,
    before: before === "" ? [] : parseManifests(before),
    after: after === "" ? [] : parseManifests(after),
  }));
  const steps = going.map((step, index): ReviewedStep => {
    const app = catalogue.get(step.app);
    const { before = "", after = "" } = renderings[index] ?? {};
    const { before: running = [], after: wanted = [] } = manifests[index] ?? {};
    return {
      ...step,
      owners: app?.owners ?? [],
      namespace: app?.namespace ?? "",
      source: app?.kind === "service" ? app.source : undefined,
      rendered: { before, after },
      difference: after === "" ? [] : compareManifests(running, wanted),
      commits: commits[index],
      evidence: evidence.verdicts.get(step.app),
    };
  });
  const refusals = [
    ...(apps.length === 0 ? [] : held.map((entry) => refuseHeld(to, entry))),
    ...renderings.flatMap(({ fault }) => (fault === undefined ? [] : [fault])),
    ...manifests.flatMap((rendering) => refuseUnpromotable(to, rendering)),
    ...(await refuseMissing(request, manifests)),
    ...refuseFrozen(windows, target, steps, catalogue, now),
    ...steps.flatMap((step) => refuseUnproven(request, step)),
  ];
  return {
    from,
    to,
    apps,
    base,
    target,
    steps,
    total: plan.steps.length,
    heldBack: apps.length === 0 ? held : [],
    overtaken,
    refusals,
    warnings: [...describeAbsent(plan), ...apart, ...evidence.warnings],
  };
}

/** What the forge tells; undefined where the settings do not say whose word counts. */
async function forgeSource(
  forge: Forge,
  { from, tree }: ReviewRequest & { tree: string },
  environments: readonly Environment[],
): Promise<ReportSource | undefined> {
  const { reporter } = await readSettings(tree);
  if (reporter === undefined) return undefined;
  return statusSource(forge, {
    environment: from,
    environments: environments.map(({ name }) => name),
    reporter,
  });
}

interface Rendering {
  app: string;
  before: string;
  after: string;
  fault: Refusal | undefined;
}

/** Renders the target's overlays as they are, writes what the plan changes into the tree, and renders them again. */
async function renderAll(
  { tree, to }: ReviewRequest & { tree: string },
  plan: PromotionPlan,
  program: string,
): Promise<Rendering[]> {
  const { steps } = plan;
  const limit = pLimit(PARALLEL_RENDERINGS);
  const render = async ({ app }: PromotionStep) =>
    limit(async () => build(program, `${tree}/overlays/${to}/${app}`));
  const before = await Promise.allSettled(
    steps.map(async (step) => (step.before === undefined ? "" : render(step))),
  );
  await applyPromotion(tree, plan);
  const after = await Promise.allSettled(steps.map(render));
  return steps.map(({ app }, index): Rendering => {
    const [left, right] = [before[index], after[index]];
    // What cannot be rendered today is what this promotion may be there to fix.
    const old = left?.status === "fulfilled" ? left.value : "";
    if (right?.status === "fulfilled") return { app, before: old, after: right.value, fault: undefined };
    const fault = {
      fact: `${app}: ${to} cannot be rendered with this release: ${messageOf(right?.reason)}`,
      way: `adapt overlays/${to}/${app}`,
      mayOverride: false,
      opensItself: false,
    };
    return { app, before: old, after: "", fault };
  });
}

async function commitsOf(
  forge: Forge,
  app: App | undefined,
  { before, after }: PromotionStep,
): Promise<Comparison | undefined> {
  const [old, tag] = [before && imageCommit(before), imageCommit(after)];
  if (app?.kind !== "service" || old === undefined || tag === undefined || old === tag) return undefined;
  return forge.compare(app.source, old, tag);
}

function refuseHeld(to: string, { app, hold }: { app: string; hold: Hold }): Refusal {
  return {
    fact: `${app}: this release is held back from ${to}: ${hold.reason} (${hold.by})`,
    way: `promote another one, or lift the hold: npm run unhold ${to} ${app}`,
    mayOverride: false,
    opensItself: false,
  };
}

function refuseUnpromotable(to: string, { app, after }: RenderedManifests): Refusal[] {
  return obstaclesIn(`overlays/${to}/${app}`, after).map(({ what, way }) => ({
    fact: `${app}: in ${to} ${what}`,
    way: `${way} (overlays/${to}/${app})`,
    mayOverride: false,
    opensItself: false,
  }));
}

async function refuseMissing(
  { tree, to, kustomize }: ReviewRequest & { tree: string },
  apps: readonly RenderedManifests[],
): Promise<Refusal[]> {
  const missing = await missingInTarget({ root: tree, to, apps, kustomize });
  return missing.map(({ app, kind, name, key, namespace, isSealing }) => {
    const object = `${kind} ${namespace === undefined ? "" : `${namespace}/`}${name}`;
    // Without sealed Secrets nobody can tell from here what the cluster has.
    const mayOverride = kind === "Secret" && !isSealing;
    const way = kind === "Secret" ? `seal it for ${to} first` : `add it to overlays/${to}/${app}`;
    return {
      fact: `${app}: ${to} does not have ${key === undefined ? object : `key ${key} of ${object}`}`,
      way: mayOverride ? `${way}, or, where the cluster has it, give a reason: --override "…"` : way,
      mayOverride,
      opensItself: false,
    };
  });
}

function refuseFrozen(
  windows: ReadonlyMap<string, readonly SyncWindow[]>,
  { name: to, syncsItself }: Environment,
  steps: readonly ReviewedStep[],
  catalogue: ReadonlyMap<string, App>,
  now: Date,
): Refusal[] {
  const found = new Map<string, { apps: string[]; ends: boolean }>();
  for (const { app, namespace } of steps) {
    const project = `${to}-${catalogue.get(app)?.kind}`;
    const target = { app, namespace, environment: to, syncsItself };
    const freeze = freezeOf(windows.get(project) ?? [], target, now);
    if (freeze === undefined) continue;
    const fact = describeFreeze(freeze);
    const apps = found.get(fact)?.apps ?? [];
    found.set(fact, { apps: [...apps, app], ends: freeze.ends });
  }
  return [...found].map(([fact, { apps, ends }]) => ({
    fact: `${apps.length === steps.length ? to : apps.join(", ")}: ${fact}`,
    way: `${ends ? "wait" : "remove the window"}, or give a reason: --override "…"`,
    mayOverride: true,
    opensItself: ends,
  }));
}

function describeFreeze({ window, until }: Freeze): string {
  const { kind, schedule, duration, description } = window;
  const about = `${kind} ${schedule} for ${duration}${description === undefined ? "" : `, ${description}`}`;
  if (kind === "allow") return `frozen outside of its window (${about})`;
  return `frozen${until === undefined ? "" : ` until ${moment(until)}`} (${about})`;
}

function refuseUnproven({ from }: ReviewRequest, { app, evidence }: ReviewedStep): Refusal[] {
  if (evidence?.kind !== "unproven") return [];
  const fact = `${app}: ${evidence.reason}`;
  const way = `${evidence.way}, promote other apps by name, or give a reason: --override "…"`;
  const { opensItself } = evidence;
  return [{ fact: fact.includes(from) ? fact : `${fact} (${from})`, way, mayOverride: true, opensItself }];
}
