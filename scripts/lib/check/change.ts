/** The overlays that a change has a part in, on both sides of it, as `npm run check` looks at them. */
import { diffStates } from "../diff/diff.ts";
import { type Verdict, verdictsOf } from "../diff/verdict.ts";
import type { Finding } from "../finding.ts";
import { inNamespace, ofKind } from "../manifests/manifest.ts";
import { demandGrows } from "../manifests/quota.ts";
import { type Rendered, type Rendering, readRenderings } from "../manifests/rendering.ts";
import { type RenderOptions, renderJobs } from "../render/overlays.ts";
import type { State, States } from "../render/states.ts";
import type { App } from "../tree/catalogue.ts";
import { appOf, environmentOf, isEnvironment, overlaysIn } from "../tree/overlays.ts";

export interface CheckedChange {
  /** One for each environment that changes; none where the whole tree is looked at. */
  verdicts: readonly Verdict[];
  /** Every overlay that the change has a part in, in its rendering or in the Secrets that it refers to. */
  touched: ReadonlySet<string>;
  /** Those of apps that do not render the same bytes as before: only they can break a rule, and only they are asked about. */
  differing: ReadonlySet<string>;
  /** The differing ones as they were rendered before the change. */
  before: readonly Rendering[];
  /** The touched ones as they are rendered now, the platform's overlays beside a differing one, and those of `summed`. */
  after: readonly Rendering[];
  /** Environments of which every app is rendered that shares a quota with a differing one: there the change needs more of it. */
  summed: ReadonlySet<string>;
  /** One for each touched overlay that does not render. */
  findings: readonly Finding[];
}

/** The differing ones as they are now. */
export function differingIn({ after, differing }: Pick<CheckedChange, "after" | "differing">): Rendering[] {
  return after.filter(({ overlay }) => differing.has(overlay));
}

/** Looks at a change. @param order of the environments */
export async function lookAtChange(
  states: States,
  { apps, order }: { apps: readonly App[]; order: readonly string[] },
  options: RenderOptions,
): Promise<CheckedChange> {
  const { base, head } = states;
  const changed = new Set(states.changed);
  const all = overlaysIn(head.files.keys());
  const depending = [...new Set([base.graph, head.graph])].map((graph) => graph.dependingOn(changed));
  const outside = touchedOutside(all, states.changed);
  const touched = all.filter(
    (overlay) => outside.has(overlay) || depending.some((found) => found.has(overlay)),
  );
  const jobs = [base, head].flatMap((state) => touched.map((overlay) => ({ state, overlay })));
  // Both sides at once: one that is the same on both is rendered once.
  const rendered = await renderJobs(jobs, options);
  const [before, after] = [rendered.slice(0, touched.length), rendered.slice(touched.length)];
  const differing = touched.filter((overlay, index) => {
    if (isEnvironment(overlay)) return false;
    const isMoved = changed.has(`apps/${appOf(overlay)}.yaml`);
    return isMoved || !isSame(before[index], after[index]);
  });
  const now = readRenderings(touched, after);
  const old = readRenderings(touched, before).renderings.filter(({ overlay }) => differing.includes(overlay));
  const renderBeside = async (wanted: readonly string[], known: readonly Rendering[]) => {
    const beside = wanted.filter((overlay) => !known.some((one) => one.overlay === overlay));
    return readRenderings(beside, await renderAll(head, beside, options)).renderings;
  };
  const catalogue = new Catalogue(apps);
  const platform = await renderBeside(catalogue.platformOf(all, differing), now.renderings);
  const known = [...now.renderings, ...platform];
  const growing = growingOverlays(differing, placed(old, apps), { now: placed(known, apps), catalogue });
  const neighbours = await renderBeside(catalogue.neighboursOf(all, growing), known);
  return {
    verdicts: verdictsOf(await diffStates(states, false, options), order),
    touched: new Set(touched),
    differing: new Set(differing),
    before: old,
    after: [...known, ...neighbours],
    summed: new Set(growing.map(environmentOf)),
    findings: now.findings,
  };
}

/** Looks at the whole tree. */
export async function lookAtAll(state: State, options: RenderOptions): Promise<CheckedChange> {
  const all = overlaysIn(state.files.keys());
  const { renderings: after, findings } = readRenderings(all, await renderAll(state, all, options));
  const differing = new Set(all.filter((overlay) => !isEnvironment(overlay)));
  const summed = new Set(all.map(environmentOf));
  return { verdicts: [], touched: new Set(all), differing, before: [], after, summed, findings };
}

async function renderAll(
  state: State,
  overlays: readonly string[],
  options: RenderOptions,
): Promise<Rendered[]> {
  return renderJobs(
    overlays.map((overlay) => ({ state, overlay })),
    options,
  );
}

function isSame(before: Rendered | undefined, after: Rendered | undefined): boolean {
  return before?.kind === "rendered" && after?.kind === "rendered" && before.yaml === after.yaml;
}

/**
 * Those that changed files have a part in by more than their rendering: a sealed file may be used by another app of the environment,
 * the catalogue tells an app's namespace and Secrets, and the settings decide for all.
 */
function touchedOutside(overlays: readonly string[], paths: readonly string[]): Set<string> {
  const tests = paths.flatMap((path): ((overlay: string) => boolean)[] => {
    const [top, second = "", third = ""] = path.split("/");
    if (top === "apps") return [(overlay) => `${appOf(overlay)}.yaml` === second];
    if (top === "argocd" && second === "settings") return [() => true];
    if (top !== "overlays") return [];
    const isOfApp = overlays.includes(`overlays/${second}/${third}`) && !path.endsWith(".sops.yaml");
    return isOfApp ? [] : [(overlay) => `${overlay}/`.startsWith(`overlays/${second}/`)];
  });
  return new Set(overlays.filter((overlay) => tests.some((isTouched) => isTouched(overlay))));
}

/** Whose overlays bring the namespaces, limits and policies of an environment, and its classes of disks. */
const PLATFORM = ["foundation", "platform"];

/** The apps, as their overlays are looked at. */
class Catalogue {
  readonly #apps: ReadonlyMap<string, App>;

  constructor(apps: readonly App[]) {
    this.#apps = new Map(apps.map((app) => [app.app, app]));
  }

  of(overlay: string): App | undefined {
    return this.#apps.get(appOf(overlay));
  }

  namespaceOf(overlay: string): string {
    return this.of(overlay)?.namespace ?? "default";
  }

  /** Those of the same environments that bring what others are looked at with. */
  platformOf(all: readonly string[], overlays: readonly string[]): string[] {
    const environments = new Set(overlays.map(environmentOf));
    return all.filter(
      (overlay) =>
        environments.has(environmentOf(overlay)) && PLATFORM.includes(this.of(overlay)?.kind ?? ""),
    );
  }

  /** Those that share a quota with one of some; the foundation brings all quotas. */
  neighboursOf(all: readonly string[], overlays: readonly string[]): string[] {
    return all.filter(
      (overlay) =>
        !isEnvironment(overlay) &&
        overlays.some(
          (one) =>
            environmentOf(one) === environmentOf(overlay) &&
            (this.of(one)?.kind === "foundation" || this.namespaceOf(one) === this.namespaceOf(overlay)),
        ),
    );
  }
}

/** The differing overlays that need more of a quota than before, or bring quotas. */
function growingOverlays(
  differing: readonly string[],
  before: readonly Rendering[],
  { now: after, catalogue }: { now: readonly Rendering[]; catalogue: Catalogue },
): string[] {
  const manifestsOf = (renderings: readonly Rendering[], overlay: string) =>
    renderings.find((one) => one.overlay === overlay)?.manifests ?? [];
  return differing.filter((overlay) => {
    if (catalogue.of(overlay)?.kind === "foundation") return true;
    const ranges = after
      .filter((one) => environmentOf(one.overlay) === environmentOf(overlay))
      .flatMap(({ manifests }) => ofKind(manifests, "LimitRange"));
    const [old, now] = [manifestsOf(before, overlay), manifestsOf(after, overlay)];
    const namespaces = new Set([...old, ...now].map(({ metadata }) => metadata.namespace ?? ""));
    return [...namespaces].some((namespace) => demandGrows(old, now, { namespace, ranges }));
  });
}

/** Apps' overlays, each object with the namespace that Argo CD deploys it to. */
export function placed(renderings: readonly Rendering[], apps: readonly App[]): Rendering[] {
  const catalogue = new Catalogue(apps);
  return renderings
    .filter(({ overlay }) => !isEnvironment(overlay))
    .map(({ overlay, manifests }) => {
      const namespace = catalogue.namespaceOf(overlay);
      return { overlay, manifests: manifests.map((one) => inNamespace(one, namespace)) };
    });
}
