/**
 * `npm run check`: what a change does to every environment, and whether it may. Its releases are ones that a command wrote, its overlays
 * run them, its Secrets are sealed, everything that it refers to is there, an API server takes it in place of what is there, and the
 * tree has its shape. docs/workflows.md, docs/check.md.
 */
import { writeFile } from "node:fs/promises";
import { type ApiServer, checkAdmission, checkQuotas, whileServerStarts } from "./lib/admission/check.ts";
import { type Acknowledged, readAcknowledged } from "./lib/check/acknowledged.ts";
import { checkApplications } from "./lib/check/applications.ts";
import { type CheckedChange, differingIn, lookAtAll, lookAtChange } from "./lib/check/change.ts";
import { checkWithPrograms } from "./lib/check/programs.ts";
import { asAnnotations, asSarif, describeParts, type Part } from "./lib/check/report.ts";
import { command, main, onInterrupt } from "./lib/cli/command.ts";
import { counted } from "./lib/cli/counted.ts";
import { table } from "./lib/cli/table.ts";
import { RefusedError, UsageError } from "./lib/errors.ts";
import { type Finding, findingIn, findingOf, findingsError, noteIn, real } from "./lib/finding.ts";
import { connectRepository } from "./lib/forge/connection.ts";
import { withForge } from "./lib/forge/session.ts";
import { refuseHidden } from "./lib/git/checkout.ts";
import { GitHistory } from "./lib/git/history.ts";
import type { Rendering } from "./lib/manifests/rendering.ts";
import { plaintextInCommits, plaintextInTree } from "./lib/plaintext/scan.ts";
import { emptyReleases } from "./lib/release/empty-releases.ts";
import { heldReleases } from "./lib/release/held-releases.ts";
import { readHolds } from "./lib/release/hold.ts";
import { overlayFindings } from "./lib/release/overlay.ts";
import { obstaclesIn, obstaclesInLive } from "./lib/release/promotable.ts";
import {
  allReleases,
  type CheckedRelease,
  changedReleases,
  checkProvenance,
  type Difference,
  deployedBranch,
  firstEnvironment,
  type Origin,
  type ProvenanceScope,
} from "./lib/release/provenance.ts";
import { withRendering } from "./lib/render/checkout.ts";
import type { RenderOptions } from "./lib/render/overlays.ts";
import { type State, type States, withState, withStates } from "./lib/render/states.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { auditSecrets } from "./lib/secrets/audit/audit.ts";
import { referenceFindings } from "./lib/secrets/audit/references.ts";
import { renderedFindings } from "./lib/secrets/audit/rendered.ts";
import { findingLines } from "./lib/secrets/audit/report.ts";
import { toolPath } from "./lib/tools/path.ts";
import { type App, readCatalogue } from "./lib/tree/catalogue.ts";
import { environmentOrder, readEnvironments } from "./lib/tree/environment.ts";
import { appOf, environmentOf } from "./lib/tree/overlays.ts";
import { readSettings, SETTINGS_FILE, type Settings } from "./lib/tree/settings.ts";
import { shapeFindings } from "./lib/tree/shape.ts";
import { trackedFindings } from "./lib/tree/tracked.ts";

interface Options {
  base?: string;
  all?: true;
  forge?: true;
  server: boolean;
  annotations?: true;
  json?: true;
  sarif?: string;
  root: string;
}

/** Overlays and their gates are made of these. */
const DEPLOYED = /^(apps|argocd\/settings|base|overlays)\//;

/** Files that decide about Secrets: their values, their readers, and the list of them. */
const SEALING = /^apps\/|\.sops\.yaml$|\/environment\.yaml$/;

const program = command("check", "Check what a change does to every environment, and whether it may.")
  .option("--base <ref>", "check what HEAD changes since it left this; by default the deployed branch")
  .option("--all", "check every release of HEAD, every overlay, and all Secrets")
  .option("--forge", "ask the forge, too, how the deployed branch is protected")
  .option("--no-server", "put nothing before an API server")
  .option("--annotations", "add lines from which GitHub makes notes at the lines of a pull request")
  .option("--json", "for programs")
  .option("--sarif <file>", "besides, write the findings to a file for programs that collect them")
  .option("--root <directory>", "the repository", repositoryRoot())
  .action(check);
await main(program);

/** A change, or a whole tree. */
interface Checked {
  root: string;
  scope: ProvenanceScope;
  /** Undefined: all of the tree is looked at. */
  states: States | undefined;
  head: State;
  /** The changed ones; undefined: all count. */
  paths: readonly string[] | undefined;
  rendering: RenderOptions;
  apps: readonly App[];
  /** The environment that builds the live base. */
  first: string;
  settings: Settings;
  acknowledged: Acknowledged;
  now: Date;
}

interface Result {
  change: CheckedChange;
  releases: readonly CheckedRelease[];
  parts: readonly Part[];
}

async function check({ base, all, root, sarif, json, annotations, ...options }: Options): Promise<void> {
  if (all === true && base !== undefined)
    throw new UsageError("--all needs no --base", "leave one of them out");
  await refuseHidden(root);
  const scope =
    all === true ? await allReleases(root) : await changedReleases(root, base ?? (await defaultBase(root)));
  const { change, releases, parts } = await withRendering(root, async (rendering, names) => {
    const look = async (head: State, states: States | undefined) =>
      checkParts(await prepare({ root, scope, head, states, rendering }), options);
    return all === true
      ? withState(root, names, async (state) => look(state, undefined))
      : withStates(root, scope.left, names, async (states) => look(states.head, states));
  });
  if (sarif !== undefined) await writeFile(sarif, `${JSON.stringify(asSarif(parts), null, 2)}\n`);
  const findings = parts.flatMap(({ findings: own }) => own);
  const texts = [
    change.verdicts.map(({ text }) => text).join("\n"),
    describe(releases),
    describeParts(parts),
    releases
      .flatMap(({ origin }) => (origin.kind === "unknown" ? explain(origin.difference) : []))
      .join("\n"),
    findingLines(findings),
  ];
  const shown =
    json === true
      ? JSON.stringify({ verdicts: change.verdicts, parts }, null, 2)
      : texts.filter((text) => text !== "").join("\n\n");
  process.stdout.write(`${shown}\n`);
  if (annotations === true) process.stdout.write(asAnnotations(parts));
  const error = findingsError(findings);
  if (error !== undefined) throw error;
}

type Given = Pick<Checked, "root" | "scope" | "head" | "states" | "rendering">;

async function prepare(given: Given): Promise<Checked> {
  const { root, scope, states } = given;
  const [apps, first, settings, acknowledged] = await Promise.all([
    readCatalogue(root),
    firstEnvironment(root, scope),
    readSettings(root),
    readAcknowledged(new GitHistory(root), states?.left),
  ]);
  return { ...given, paths: states?.changed, apps, first, settings, acknowledged, now: new Date() };
}

async function checkParts(
  checked: Checked,
  { forge, server }: { forge?: true; server: boolean },
): Promise<Result> {
  const { root, states, head, rendering, apps, paths } = checked;
  const look = async (apiServer?: ApiServer): Promise<Result> => {
    const order = await environmentOrder(root);
    const looking =
      states === undefined ? lookAtAll(head, rendering) : lookAtChange(states, { apps, order }, rendering);
    // The releases are looked at meanwhile.
    const [change, releases] = await Promise.all([looking, checkProvenance(root, checked.scope, kustomize)]);
    const parts = await Promise.all([
      checkReleases(checked, releases),
      partOf(
        "shape",
        "the whole tree",
        shapeFindings(root, change.touched),
        fileFindings(root),
        trackedFindings(root),
      ),
      checkOverlays(checked, change),
      checkSecrets(checked, change),
      checkApplications(checked),
      checkWithPrograms(head, paths, differingIn(change)),
      checkQuotas(change, checked),
      checkAdmission(root, server ? apiServer : "not asked", change, checked),
      forge === true ? checkProtection(root) : [],
    ]);
    const isShown = ({ looked, findings }: Part) => looked !== undefined || findings.length > 0;
    return { change, releases, parts: parts.flat().filter(isShown) };
  };
  // It takes longest to start, and most changes ask it.
  const isAsked = server && (paths ?? ["base/"]).some((path) => DEPLOYED.test(path));
  return isAsked ? whileServerStarts(look) : look();
}

async function kustomize(): Promise<string> {
  return toolPath("kustomize");
}

async function partOf(name: string, looked: string, ...findings: Promise<Finding[]>[]): Promise<Part> {
  return { name, looked, findings: (await Promise.all(findings)).flat() };
}

async function checkReleases(
  { root, scope, now, settings }: Checked,
  releases: readonly CheckedRelease[],
): Promise<Part> {
  const remedy = "restore it from Git; `npm run promote` and `npm run rollback` write releases";
  const unknown = releases.flatMap(({ origin }) =>
    origin.kind === "unknown"
      ? [findingIn(origin.difference.path, origin.difference.what, remedy, origin.difference.line)]
      : [],
  );
  const findings = [
    ...unknown,
    ...(await heldReleases(root, scope, { now, revision: settings.revision })),
    ...(await emptyReleases(root, scope)),
  ];
  return {
    name: "releases",
    looked: releases.length === 0 ? undefined : counted(releases.length, "release"),
    findings,
  };
}

/** Whether overlays render, run their releases, and could be promoted. */
async function checkOverlays(
  { root, first, apps, settings: { registry } }: Checked,
  change: CheckedChange,
): Promise<Part> {
  const touched = change.after.filter(({ overlay }) => change.touched.has(overlay));
  const findings = [
    ...change.findings,
    ...(await overlayFindings(root, touched, { registry, first, apps })),
    ...(await obstacleFindings(root, differingIn(change), { first, apps })),
  ];
  const same = change.touched.size - change.differing.size;
  const looked = `${counted(change.touched.size, "overlay")}${same > 0 ? `, ${same} as before` : ""}`;
  return { name: "overlays", looked: change.touched.size === 0 ? undefined : looked, findings };
}

/** What the branches that decide lack on the forge; a note where an administrator would be told more. */
async function checkProtection(root: string): Promise<Part> {
  const connection = await connectRepository(root, process.env);
  const { owner, name } = connection.address;
  const session = { env: process.env, onInterrupt, needs: [] };
  const branches = await withForge(connection, session, async (_, asked) =>
    asked.protections(connection.branch),
  );
  const findings = branches.flatMap(({ name: branch, protection: { missing, isWhole } }): Finding[] => {
    if (missing.length === 0) return [];
    const what = `${branch} of ${owner}/${name} lacks ${missing.join("; ")}`;
    const remedy = "protect it as docs/workflows.md says";
    if (isWhole) return [findingIn(SETTINGS_FILE, what, remedy)];
    const limited = `${what}, as far as this token may know`;
    return [noteIn(SETTINGS_FILE, limited, `${remedy}, or ask as an administrator`)];
  });
  const names = branches.map((branch) => branch.name).join(", ");
  return { name: "forge", looked: `the protection of ${names}`, findings };
}

/** Files that a promotion to an environment reads: of a damaged one it refuses. */
async function fileFindings(root: string): Promise<Finding[]> {
  const names = (await readEnvironments(root)).map(({ name }) => name);
  const reads = names.map(async (name) => readHolds(root, name));
  return (await Promise.allSettled(reads)).flatMap((read) => {
    if (read.status === "fulfilled") return [];
    if (read.reason instanceof RefusedError) return [findingOf(read.reason, "overlays")];
    throw read.reason;
  });
}

/** What a promotion would refuse later. */
async function obstacleFindings(
  root: string,
  renderings: readonly Rendering[],
  { first, apps }: { first: string; apps: readonly App[] },
): Promise<Finding[]> {
  const catalogue = new Map(apps.map((app) => [app.app, app]));
  const found = renderings.map(async ({ overlay, manifests }) => {
    const environment = environmentOf(overlay);
    const app = catalogue.get(appOf(overlay));
    return app !== undefined && environment === first
      ? obstaclesInLive({ root, app, environment, manifests })
      : obstaclesIn(overlay, manifests);
  });
  return (await Promise.all(found)).flat();
}

/** The sealed files, the overlays that apply or use them, and values in clear: in the changed files, and in each commit of a change. */
async function checkSecrets(
  { root, scope, paths, now }: Checked,
  { after, touched }: CheckedChange,
): Promise<Part> {
  // A change that seals nothing concerns only the Secrets that its overlays apply.
  const isSealing = paths === undefined || paths.some((path) => SEALING.test(path));
  const only = isSealing ? undefined : { overlays: touched, paths };
  const { looks, findings } = await auditSecrets(root, { now, only });
  const renderings = after.filter(({ overlay }) => touched.has(overlay));
  const inTree = await plaintextInTree(root, new Set(looks.map(({ path }) => path)), paths);
  const inCommits = paths === undefined ? [] : await plaintextInCommits(root, scope.history);
  return {
    name: "Secrets",
    looked: `${counted(looks.length, "sealed file")}, ${paths === undefined ? "all files" : counted(paths.length, "changed file")}`,
    findings: [
      ...real([...findings, ...inTree, ...inCommits]),
      ...(await renderedFindings(root, renderings)),
      ...(await referenceFindings(root, renderings)),
    ],
  };
}

async function defaultBase(root: string): Promise<string> {
  return deployedBranch(root, (await readSettings(root)).revision);
}

function describe(releases: readonly CheckedRelease[]): string {
  if (releases.length === 0) return "";
  return table(
    ["RELEASE", "COMES FROM"],
    releases.map(({ path, origin }) => [path, sourceOf(origin)]),
  );
}

function sourceOf(origin: Origin): string {
  if (origin.kind === "removed") return "removed";
  if (origin.kind === "unknown") return "NOT KNOWN";
  const commit = origin.commit.slice(0, 7);
  if (origin.kind === "rendered") return `${origin.from}, rendered again at ${commit}`;
  return `${origin.from}, which got it in ${commit}`;
}

function explain({ path, line, what, expected, found }: Difference): string[] {
  if (expected === undefined) return [];
  return [`${path}:${line}: ${what}\n  expected: ${expected}\n  found:    ${found}`];
}
