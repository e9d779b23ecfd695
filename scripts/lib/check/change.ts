/** The overlays that a change has a part in, on both sides of it, as `npm run check` looks at them. */
import { diffStates } from "../diff/diff.ts";
import { type Verdict, verdictsOf } from "../diff/verdict.ts";
import type { Finding } from "../finding.ts";
import { type Rendered, type Rendering, readRenderings } from "../manifests/rendering.ts";
import { type RenderOptions, renderJobs } from "../render/overlays.ts";
import type { State, States } from "../render/states.ts";
import type { App } from "../tree/catalogue.ts";
import { isEnvironment, overlaysIn } from "../tree/overlays.ts";

export interface CheckedChange {
  /** What each environment gets; none where the whole tree is looked at. */
  verdicts: readonly Verdict[];
  /** Every overlay that the change has a part in, in its rendering or in the Secrets that it refers to. */
  touched: ReadonlySet<string>;
  /** Those of apps that do not render the same bytes as before: only they can break a rule, and only they are asked about. */
  differing: ReadonlySet<string>;
  /** What the differing ones rendered before the change. */
  before: readonly Rendering[];
  /** What is rendered now: the touched ones, and those that share a quota, a namespace or policies with a differing one. */
  after: readonly Rendering[];
  /** One for each touched overlay that does not render. */
  findings: readonly Finding[];
}

/** The differing ones as they are now. */
export function differingIn({ after, differing }: Pick<CheckedChange, "after" | "differing">): Rendering[] {
  return after.filter(({ overlay }) => differing.has(overlay));
}

/** Looks at what a change makes different. @param order of the environments */
export async function lookAtChange(
  states: States,
  { apps, order }: { apps: readonly App[]; order: readonly string[] },
  options: RenderOptions,
): Promise<CheckedChange> {
  const { base, head, changed } = states;
  const all = overlaysIn(head.files.keys());
  const depending = [base, head].map(({ graph }) => graph.dependingOn(changed));
  const outside = touchedOutside(all, changed);
  const touched = all.filter(
    (overlay) => outside.has(overlay) || depending.some((found) => found.has(overlay)),
  );
  const [before, after] = [await renderAll(base, touched, options), await renderAll(head, touched, options)];
  const differing = touched.filter((overlay, index) => {
    if (isEnvironment(overlay)) return false;
    const isMoved = changed.includes(`apps/${overlay.split("/")[2]}.yaml`);
    return isMoved || !isSame(before[index], after[index]);
  });
  const beside = neighbours(all, differing, apps).filter((overlay) => !touched.includes(overlay));
  const now = readRenderings(touched, after);
  const others = readRenderings(beside, await renderAll(head, beside, options));
  return {
    verdicts: verdictsOf(await diffStates(states, false, options), order),
    touched: new Set(touched),
    differing: new Set(differing),
    before: readRenderings(touched, before).renderings.filter(({ overlay }) => differing.includes(overlay)),
    after: [...now.renderings, ...others.renderings],
    findings: now.findings,
  };
}

/** Looks at the whole tree. */
export async function lookAtAll(state: State, options: RenderOptions): Promise<CheckedChange> {
  const all = overlaysIn(state.files.keys());
  const { renderings: after, findings } = readRenderings(all, await renderAll(state, all, options));
  const differing = new Set(all.filter((overlay) => !isEnvironment(overlay)));
  return { verdicts: [], touched: new Set(all), differing, before: [], after, findings };
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
    if (top === "apps") return [(overlay) => overlay.endsWith(`/${second.replace(/\.yaml$/, "")}`)];
    if (top === "argocd" && second === "settings") return [() => true];
    if (top !== "overlays") return [];
    const isOfApp = overlays.includes(`overlays/${second}/${third}`) && !path.endsWith(".sops.yaml");
    return isOfApp ? [] : [(overlay) => `${overlay}/`.startsWith(`overlays/${second}/`)];
  });
  return new Set(overlays.filter((overlay) => tests.some((isTouched) => isTouched(overlay))));
}

/** The overlays that share an environment's quota with one of some, or bring the namespaces and policies it is looked at with. */
function neighbours(all: readonly string[], overlays: readonly string[], apps: readonly App[]): string[] {
  const catalogue = new Map(apps.map((app) => [app.app, app]));
  const placeOf = (overlay: string) => {
    const [, environment, name = ""] = overlay.split("/");
    const app = catalogue.get(name);
    return { environment, namespace: app?.namespace, isFoundation: app?.kind === "foundation" };
  };
  const places = overlays.map(placeOf);
  return all.filter((overlay) => {
    if (isEnvironment(overlay)) return false;
    const { environment, namespace, isFoundation } = placeOf(overlay);
    return places.some(
      (one) =>
        one.environment === environment && (isFoundation || one.isFoundation || one.namespace === namespace),
    );
  });
}
