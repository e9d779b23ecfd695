/**
 * Whether the tree has the shape that the commands and Argo CD read it by: what is in another place, or of another name, one of
 * the two deploys and the other never looks at.
 */
import { basename } from "node:path";
import { glob } from "tinyglobby";
import type { Finding } from "../finding.ts";
import { readCatalogue } from "./catalogue.ts";
import { readEnvironments } from "./environment.ts";
import { foreignInputs, inputDirectories } from "./inputs.ts";
import { allOverlays, environmentOverlays } from "./overlays.ts";

/** Looks at the whole tree; it renders nothing. */
export async function shapeFindings(root: string): Promise<Finding[]> {
  const findings = [
    ...(await catalogueFindings(root)),
    ...(await fileFindings(root)),
    ...(await inputFindings(root)),
  ];
  return findings.toSorted((a, b) => a.path.localeCompare(b.path) || a.line - b.line);
}

function finding(path: string, what: string, way: string, line = 1): Finding {
  return { path, line, what, way, severity: "finding" };
}

/** What is in the catalogue only, or in the directories only, makes no Application, and Argo CD says nothing about it. */
async function catalogueFindings(root: string): Promise<Finding[]> {
  const apps = new Set((await readCatalogue(root)).map(({ app }) => app));
  const [first] = await readEnvironments(root);
  const files = await glob(["base/*/kustomization.yaml", "overlays/*/*/kustomization.yaml"], {
    cwd: root,
    ignore: ["base/components/**", "base/transformers/**"],
  });
  const orphans = files.flatMap((file) => {
    const app = file.split("/").at(-2) ?? "";
    const way = `add apps/${app}.yaml, or remove the directory`;
    return apps.has(app) ? [] : [finding(file, `nothing deploys it: there is no apps/${app}.yaml`, way)];
  });
  const missing = [...apps].flatMap((app) => {
    const wanted = [`base/${app}`, `overlays/${first?.name}/${app}`].map(
      (path) => `${path}/kustomization.yaml`,
    );
    const absent = wanted.filter((file) => !files.includes(file));
    return absent.map((file) =>
      finding(`apps/${app}.yaml`, `there is no ${file}`, "add it, or remove this file"),
    );
  });
  return [...orphans, ...missing];
}

/**
 * Argo CD makes an Application of every directory below an environment's, whatever is in there, and takes parameters from files.
 * Source: argo-cd.readthedocs.io, user-guide/tool_detection and user-guide/parameters.
 */
async function fileFindings(root: string): Promise<Finding[]> {
  const files = await glob("overlays/*/*/**", { cwd: root, dot: true, followSymbolicLinks: false });
  const overlays = new Set(await allOverlays(root));
  const overlayOf = (file: string) => file.split("/").slice(0, 3).join("/");
  const strays = new Map(
    files.map((file) => [overlayOf(file), file] as const).filter(([overlay]) => !overlays.has(overlay)),
  );
  return [
    ...[...strays].map(([overlay, file]) =>
      finding(
        file,
        "Argo CD would deploy it, and no command looks at it",
        `have a ${overlay}/kustomization.yaml name it`,
      ),
    ),
    ...files
      .filter((file) => /^\.argocd-source(-.*)?\.yaml$/.test(basename(file)))
      .map((file) => finding(file, "Argo CD would change with it what is deployed", "remove it")),
  ];
}

async function inputFindings(root: string): Promise<Finding[]> {
  const overlays = [...(await environmentOverlays(root)), ...(await allOverlays(root))];
  const found = overlays.map(async (overlay) => {
    const [, ...others] = inputDirectories(overlay);
    const way = `it may be from ${others.join(", ")} and itself`;
    const foreign = await foreignInputs(root, overlay);
    return foreign.map(({ kustomization, line, path }) =>
      finding(kustomization, `${overlay} is built from ${path}`, way, line),
    );
  });
  return (await Promise.all(found)).flat();
}
