/** The Applications of Argo CD that a change creates, deletes or renames, and two of one name. */
import { type Generated, type GeneratedApplication, generateApplications } from "../argocd/generated.ts";
import { counted } from "../cli/counted.ts";
import { type Finding, findingIn, noteIn } from "../finding.ts";
import { readRenderings } from "../manifests/rendering.ts";
import { type RenderOptions, renderJobs } from "../render/overlays.ts";
import type { State, States } from "../render/states.ts";
import { environmentOf, isEnvironment, overlaysIn } from "../tree/overlays.ts";
import type { Acknowledged } from "./acknowledged.ts";
import type { Part } from "./report.ts";

/** Argo CD's first application: it brings the add-ons, and the hub's own objects. */
const ROOT = "argocd/root";

/** Looks at the Applications before and after a change. */
export async function checkApplications({
  head,
  states,
  rendering,
  acknowledged,
  settings: { repoURL },
}: ApplicationsChecked): Promise<Part> {
  if (states !== undefined && !states.changed.some((path) => concerns(path, states)))
    return { name: "Applications", looked: undefined, findings: [] };
  const after = await applicationsOf(head, repoURL, rendering);
  const before = states === undefined ? undefined : await applicationsOf(states.base, repoURL, rendering);
  const changes = before === undefined ? [] : compareApplications(before.applications, after.applications);
  const findings = [
    ...twice(after.applications),
    ...changes.flatMap((change) => findingOf(change, acknowledged)),
    ...after.problems.map((problem) =>
      noteIn(PLACE, `${problem}, so \`check\` cannot tell its Applications`, "compare them yourself"),
    ),
  ];
  const created = changes.flatMap(({ kind, application }) => (kind === "created" ? application.name : []));
  const looked = [
    counted(after.applications.length, "Application"),
    ...(created.length > 0 ? [`creates ${created.join(", ")}`] : []),
  ].join("; ");
  return { name: "Applications", looked, findings };
}

interface ApplicationsChecked {
  settings: { repoURL: string };
  head: State;
  states: States | undefined;
  rendering: RenderOptions;
  acknowledged: Acknowledged;
}

/** Whether a path decides about Applications: the catalogue, Argo CD's own files, and an overlay that comes or goes. */
function concerns(path: string, { base, head }: States): boolean {
  if (/^(apps|argocd)\/|^overlays\/[^/]+\/[^/]+$/.test(path)) return true;
  return path.startsWith("overlays/") && base.files.has(path) !== head.files.has(path);
}

/** The Applications of one state of the repository. @param repoURL the repository's address */
export async function applicationsOf(
  state: State,
  repoURL: string,
  options: RenderOptions,
): Promise<Generated> {
  const own = overlaysIn(state.files.keys()).filter(isEnvironment);
  const overlays = [...own, ROOT];
  const jobs = overlays.map((overlay) => ({ state, overlay }));
  const { renderings } = readRenderings(overlays, await renderJobs(jobs, options));
  const catalogue = [...state.files].filter(([path]) => /^apps\/[^/]+$/.test(path));
  const texts = await state.git.texts(catalogue.map(([, { blob }]) => blob));
  const files = {
    repoURL,
    paths: new Set(state.files.keys()),
    read: (path: string) => texts.get(state.files.get(path)?.blob ?? ""),
  };
  const environments = own.map(environmentOf);
  return generateApplications(
    renderings.flatMap(({ manifests }) => manifests),
    files,
    environments,
  );
}

/** A change of the Applications, in few words. */
interface ApplicationChange {
  kind: "created" | "deleted" | "renamed" | "moved";
  application: GeneratedApplication;
  /** Before it was renamed or moved. */
  before?: GeneratedApplication;
}

/** Compares the Applications before and after a change. @returns in the order of their names */
function compareApplications(
  before: readonly GeneratedApplication[],
  after: readonly GeneratedApplication[],
): ApplicationChange[] {
  const [old, now] = [byName(before), byName(after)];
  const gone = [...old.values()].filter(({ name }) => !now.has(name));
  const renamed = new Map<GeneratedApplication, GeneratedApplication>();
  const changes: ApplicationChange[] = [];
  for (const application of now.values()) {
    const previous = old.get(application.name);
    if (previous !== undefined) {
      const isMoved =
        previous.namespace !== application.namespace || previous.project !== application.project;
      if (isMoved) changes.push({ kind: "moved", application, before: previous });
      continue;
    }
    const other = gone.find(
      (one) =>
        !renamed.has(one) && one.source === application.source && one.environment === application.environment,
    );
    if (other === undefined) changes.push({ kind: "created", application });
    else {
      renamed.set(other, application);
      changes.push({ kind: "renamed", application, before: other });
    }
  }
  const deleted = gone.filter((one) => !renamed.has(one));
  changes.push(...deleted.map((application) => ({ kind: "deleted", application }) as const));
  return changes.toSorted((one, other) => one.application.name.localeCompare(other.application.name));
}

function byName(applications: readonly GeneratedApplication[]): Map<string, GeneratedApplication> {
  return new Map(applications.map((application) => [application.name, application]));
}

const PLACE = "argocd";

function twice(applications: readonly GeneratedApplication[]): Finding[] {
  const names = applications.map(({ name }) => name);
  const doubled = [...new Set(names.filter((name, index) => names.indexOf(name) !== index))];
  return doubled.map((name) =>
    findingIn(
      placeOf(applications.find((one) => one.name === name)),
      `two Applications would be called ${name}`,
      "rename one of them",
    ),
  );
}

function findingOf({ kind, application, before }: ApplicationChange, acknowledged: Acknowledged): Finding[] {
  const place = placeOf(application);
  if (kind === "created") return [];
  if (kind === "moved")
    return [
      noteIn(
        place,
        `${application.name} goes from ${before?.project} and the namespace ${before?.namespace} to ${application.project} and ${application.namespace}`,
        "objects that name no namespace are deployed there anew",
      ),
    ];
  const gone = kind === "renamed" ? (before ?? application) : application;
  const fact =
    kind === "renamed"
      ? `${gone.name} becomes ${application.name}, a new Application`
      : `nothing makes ${gone.name} any more`;
  if (!gone.isRemoved)
    return [
      noteIn(
        place,
        `${fact}; Argo CD leaves ${gone.name} and its objects`,
        `delete it yourself: argocd app delete ${gone.name}`,
      ),
    ];
  const end = gone.takesObjects
    ? `Argo CD deletes ${gone.name} with its objects`
    : `Argo CD deletes ${gone.name} and leaves its objects`;
  return [acknowledged.asked(place, `${fact}; ${end}`, `${gone.name} is deleted`)];
}

function placeOf(application: GeneratedApplication | undefined): string {
  return application === undefined || application.source.includes(" ") ? PLACE : application.source;
}
