/**
 * Whether the tree has the shape that the commands and Argo CD read it by: what is in another place, or of another name, one of
 * the two deploys and the other never looks at.
 */
import { lstat, readdir } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { glob } from "tinyglobby";
import { describeFinding, type Finding, findingIn } from "../finding.ts";
import { readCatalogue } from "./catalogue.ts";
import { readEnvironments } from "./environment.ts";
import { allowedInputs, foreignInputs } from "./inputs.ts";
import { allOverlays, environmentOverlays } from "./overlays.ts";
import { takenFindings } from "./taken.ts";

/** What is rendered lies in these. */
const DIRECTORIES = ["argocd", "base", "overlays"];

/**
 * Looks at the whole tree; it renders nothing.
 * @param built the overlays of which it looks what they are built from; all by default
 */
export async function shapeFindings(root: string, built?: ReadonlySet<string>): Promise<Finding[]> {
  const overlays = await allOverlays(root);
  const rendered = [...(await environmentOverlays(root)), ...overlays];
  const findings = [
    ...(await catalogueFindings(root, overlays)),
    ...(await fileFindings(root, rendered)),
    ...(await inputFindings(
      root,
      rendered.filter((overlay) => built?.has(overlay) !== false),
    )),
    ...(await takenFindings(root)),
  ];
  // Several overlays may be built from the same file.
  const once = new Map(findings.map((one) => [describeFinding(one), one]));
  return [...once.values()].toSorted((a, b) => a.path.localeCompare(b.path) || a.line - b.line);
}

/** What is in the catalogue only, or in the directories only, makes no Application, and Argo CD says nothing about it. */
async function catalogueFindings(root: string, overlays: readonly string[]): Promise<Finding[]> {
  const apps = new Set((await readCatalogue(root)).map(({ app }) => app));
  const [first] = await readEnvironments(root);
  const shared = ["base/components/**", "base/transformers/**"];
  const bases = await glob("base/*/kustomization.yaml", { cwd: root, ignore: shared });
  const files = [...bases, ...overlays.map((overlay) => `${overlay}/kustomization.yaml`)];
  const orphans = files.flatMap((file) => {
    const app = file.split("/").at(-2) ?? "";
    const way = `add apps/${app}.yaml, or remove the directory`;
    return apps.has(app) ? [] : [findingIn(file, `nothing deploys it: there is no apps/${app}.yaml`, way)];
  });
  const missing = [...apps].flatMap((app) => {
    const wanted = [`base/${app}`, `overlays/${first?.name}/${app}`].map(
      (path) => `${path}/kustomization.yaml`,
    );
    const absent = wanted.filter((file) => !files.includes(file));
    return absent.map((file) =>
      findingIn(`apps/${app}.yaml`, `there is no ${file}`, "add it, or remove this file"),
    );
  });
  return [...orphans, ...missing];
}

/**
 * Argo CD makes an Application of every directory below an environment's, whatever is in there, and takes parameters from files.
 * Source: argo-cd.readthedocs.io, user-guide/tool_detection and user-guide/parameters.
 */
async function fileFindings(root: string, overlays: readonly string[]): Promise<Finding[]> {
  const files = (await Promise.all(DIRECTORIES.map(async (top) => filesBelow(root, top)))).flat();
  const rendered = new Set(overlays);
  const strays = new Map(
    files.flatMap(({ path }) => {
      const overlay = /^overlays\/[^/]+\/[^/]+(?=\/)/.exec(path)?.[0];
      return overlay === undefined || rendered.has(overlay) ? [] : [[overlay, path]];
    }),
  );
  return [
    ...[...strays].map(([overlay, path]) =>
      findingIn(
        path,
        "Argo CD would deploy it, and no command looks at it",
        `have a ${overlay}/kustomization.yaml name it`,
      ),
    ),
    ...files.flatMap(({ path, isLink }) => {
      if (isLink)
        return [findingIn(path, "a symbolic link leads past the checks", "put what it leads to here")];
      if (/^\.argocd-source(-.*)?\.yaml$/.test(basename(path)))
        return [findingIn(path, "Argo CD would change with it what is deployed", "remove it")];
      // Argo CD takes the last such file of a directory for its kind. Source: argo-cd, util/app/discovery.
      if (path.endsWith("Chart.yaml") && rendered.has(dirname(path)))
        return [findingIn(path, "Argo CD would take its directory for a Helm chart", "rename or remove it")];
      if (["kustomization.yml", "Kustomization"].includes(basename(path)))
        return [
          findingIn(path, "no command reads a kustomization of this name", "rename it to kustomization.yaml"),
        ];
      return [];
    }),
  ];
}

async function filesBelow(root: string, top: string): Promise<{ path: string; isLink: boolean }[]> {
  if ((await lstat(join(root, top))).isSymbolicLink()) return [{ path: top, isLink: true }];
  const entries = await readdir(join(root, top), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => ({
      path: relative(root, join(entry.parentPath, entry.name)),
      isLink: entry.isSymbolicLink(),
    }));
}

async function inputFindings(root: string, overlays: readonly string[]): Promise<Finding[]> {
  const [first] = await readEnvironments(root);
  const found = overlays.map(async (overlay) => {
    const own = allowedInputs(overlay, first?.name);
    const way = `have it in ${own.slice(1).join(", ")}, or in the overlay itself`;
    const foreign = await foreignInputs(root, overlay, own);
    return foreign.map(({ kustomization, line, path }) =>
      path === undefined
        ? findingIn(
            kustomization,
            "kustomize might read it otherwise than the checks",
            "have one document, each field once, and no merge key (<<)",
          )
        : findingIn(kustomization, `${overlay} is built from ${path}`, way, line),
    );
  });
  return (await Promise.all(found)).flat();
}
