/**
 * `npm run check`: every release that a change touches is one that a command wrote, its overlays run them, its Secrets are sealed,
 * everything that it refers to is there, an API server takes it, and the tree has its shape. docs/workflows.md, docs/secrets.md,
 * docs/policies.md.
 */
import { dirname } from "node:path";
import { type ApiServer, checkAdmission, whileServerStarts } from "./lib/admission/check.ts";
import { command, main, onInterrupt } from "./lib/cli/command.ts";
import { table } from "./lib/cli/table.ts";
import { RefusedError, UsageError } from "./lib/errors.ts";
import { type Finding, findingIn, findingOf, findingsError, real } from "./lib/finding.ts";
import { connectRepository } from "./lib/forge/connection.ts";
import { withForge } from "./lib/forge/session.ts";
import { refuseHidden } from "./lib/git/checkout.ts";
import { type Rendering, renderOverlays } from "./lib/manifests/rendering.ts";
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
} from "./lib/release/provenance.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { auditSecrets } from "./lib/secrets/audit/audit.ts";
import { referenceFindings } from "./lib/secrets/audit/references.ts";
import { renderedFindings } from "./lib/secrets/audit/rendered.ts";
import { findingLines } from "./lib/secrets/audit/report.ts";
import { toolPath } from "./lib/tools/path.ts";
import { type App, readCatalogue } from "./lib/tree/catalogue.ts";
import { readEnvironments } from "./lib/tree/environment.ts";
import {
  allOverlays,
  changedPaths,
  environmentOverlays,
  isEnvironment,
  touchedOverlays,
} from "./lib/tree/overlays.ts";
import { readSettings, SETTINGS_FILE } from "./lib/tree/settings.ts";
import { shapeFindings } from "./lib/tree/shape.ts";
import { trackedFindings } from "./lib/tree/tracked.ts";

interface Options {
  base?: string;
  all?: true;
  forge?: true;
  server: boolean;
  root: string;
}

const program = command("check", "Check the releases that a change touches, and all Secrets.")
  .option("--base <ref>", "check what HEAD changes since it left this; by default the deployed branch")
  .option("--all", "check every release of HEAD, and every overlay's Secrets")
  .option("--forge", "ask the forge, too, how the deployed branch is protected")
  .option("--no-server", "put nothing before an API server")
  .option("--root <directory>", "the repository", repositoryRoot())
  .action(check);
await main(program);

async function check({ base, all, forge, server, root }: Options): Promise<void> {
  if (all === true && base !== undefined)
    throw new UsageError("--all needs no --base", "leave one of them out");
  await refuseHidden(root);
  const scope =
    all === true ? await allReleases(root) : await changedReleases(root, base ?? (await defaultBase(root)));
  const looked = all === true ? undefined : scope.history;
  const [apps, first, settings, paths] = await Promise.all([
    readCatalogue(root),
    firstEnvironment(root, scope),
    readSettings(root),
    looked === undefined ? undefined : changedPaths(root, looked),
  ]);
  const { changed, rendering } = await touchedParts(root, paths, { first, apps });
  const now = new Date();
  const kustomize = async () => toolPath("kustomize");
  const asked = [...changed].filter((overlay) => !isEnvironment(overlay));
  const look = async (apiServer?: ApiServer) => {
    const rendered = renderOverlays(root, rendering, kustomize);
    return Promise.all([
      checkAdmission(
        root,
        apiServer,
        asked,
        rendered.then(({ renderings }) => renderings.filter(({ overlay }) => !isEnvironment(overlay))),
        { apps, first, now },
      ),
      checkProvenance(root, scope, kustomize),
      heldReleases(root, scope, { now, revision: settings.revision }),
      emptyReleases(root, scope),
      shapeFindings(root),
      fileFindings(root),
      trackedFindings(root),
      rendered.then(async ({ renderings, findings: broken }) => [
        ...broken.filter(({ path }) => changed.has(dirname(path))),
        ...(await checkOverlays(
          root,
          renderings.filter(({ overlay }) => changed.has(overlay)),
          { first, apps, registry: settings.registry },
        )),
      ]),
      checkSecrets(root, { base: looked, paths, now }),
      forge === true ? protectionFindings(root) : [],
    ]);
  };
  const [admission, releases, ...own] = await (server && asked.length > 0 ? whileServerStarts(look) : look());
  const differences = releases.flatMap(({ origin }) =>
    origin.kind === "unknown" ? [origin.difference] : [],
  );
  const findings = [...own.flat(), ...admission.findings];
  const parts = [
    describe(releases),
    admission.said,
    differences.map(explain).join("\n"),
    findingLines(findings),
  ];
  process.stdout.write(`${parts.filter((part) => part !== "").join("\n\n")}\n`);
  const way = "restore it from Git; `npm run promote` and `npm run rollback` write releases";
  const error = findingsError([
    ...differences.map(({ path, line, what }) => findingIn(path, what, way, line)),
    ...findings,
  ]);
  if (error !== undefined) throw error;
}

/**
 * The overlays that a change has a part in, and with them those that share a quota, or bring namespaces and policies.
 * @param paths the changed ones; undefined: all overlays are looked at
 * @param options.first the name of the first environment
 */
async function touchedParts(
  root: string,
  paths: readonly string[] | undefined,
  { first, apps }: { first: string; apps: readonly App[] },
): Promise<{ changed: ReadonlySet<string>; rendering: string[] }> {
  const all = [...(await environmentOverlays(root)), ...(await allOverlays(root))];
  const changed = new Set(paths === undefined ? all : touchedOverlays(all, paths, first));
  const catalogue = new Map(apps.map((app) => [app.app, app]));
  const placeOf = (overlay: string) => {
    const [, environment, name = ""] = overlay.split("/");
    const app = catalogue.get(name);
    return { environment, namespace: app?.namespace, isFoundation: app?.kind === "foundation" };
  };
  // Of an environment whose own objects change only, nothing else is needed.
  const touched = [...changed].filter((overlay) => !isEnvironment(overlay)).map(placeOf);
  const isNeeded = (overlay: string) => {
    const { environment, namespace, isFoundation } = placeOf(overlay);
    return touched.some(
      (one) =>
        one.environment === environment && (isFoundation || one.isFoundation || one.namespace === namespace),
    );
  };
  const rendering = all.filter(
    (overlay) => changed.has(overlay) || (!isEnvironment(overlay) && isNeeded(overlay)),
  );
  return { changed, rendering };
}

async function checkOverlays(
  root: string,
  renderings: readonly Rendering[],
  { first, apps, registry }: { first: string; apps: readonly App[]; registry: string },
): Promise<Finding[]> {
  const differing = await overlayFindings(root, renderings, { registry, first, apps });
  const sealed = await renderedFindings(root, renderings);
  const early = await obstacleFindings(root, renderings, { first, apps });
  return [...differing, ...early, ...sealed, ...(await referenceFindings(root, renderings))];
}

/** What the branches that decide lack on the forge; a note where an administrator would be told more. */
async function protectionFindings(root: string): Promise<Finding[]> {
  const connection = await connectRepository(root, process.env);
  const { owner, name } = connection.address;
  const session = { env: process.env, onInterrupt, needs: [] };
  const branches = await withForge(connection, session, async (_, asked) =>
    asked.protections(connection.branch),
  );
  return branches.flatMap(({ name: branch, protection: { missing, isWhole } }): Finding[] => {
    if (missing.length === 0) return [];
    const what = `${branch} of ${owner}/${name} lacks ${missing.join("; ")}`;
    const way = "protect it as docs/workflows.md says";
    if (isWhole) return [findingIn(SETTINGS_FILE, what, way)];
    const limited = `${what}, as far as this token may know`;
    const note = findingIn(SETTINGS_FILE, limited, `${way}, or ask as an administrator`);
    return [{ ...note, severity: "note" }];
  });
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
    const [, environment = "", name = ""] = overlay.split("/");
    const app = catalogue.get(name);
    return app !== undefined && environment === first
      ? obstaclesInLive({ root, app, environment, manifests })
      : obstaclesIn(overlay, manifests);
  });
  return (await Promise.all(found)).flat();
}

/**
 * @param options.base its commits have been looked at; undefined: none are looked at
 * @param options.paths the changed ones; undefined: all of the tree is looked at
 */
async function checkSecrets(
  root: string,
  { base, paths, now }: { base: string | undefined; paths: readonly string[] | undefined; now: Date },
): Promise<Finding[]> {
  const { looks, findings } = await auditSecrets(root, { now });
  const inTree = await plaintextInTree(root, new Set(looks.map(({ path }) => path)), paths);
  const inCommits = base === undefined ? [] : await plaintextInCommits(root, base);
  return real([...findings, ...inTree, ...inCommits]);
}

async function defaultBase(root: string): Promise<string> {
  return deployedBranch(root, (await readSettings(root)).revision);
}

function describe(releases: readonly CheckedRelease[]): string {
  if (releases.length === 0) return "no release differs";
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

function explain({ path, line, what, expected, found }: Difference): string {
  const lines = [`${path}:${line}: ${what}`];
  if (expected !== undefined) lines.push(`  expected: ${expected}`, `  found:    ${found}`);
  return lines.join("\n");
}
