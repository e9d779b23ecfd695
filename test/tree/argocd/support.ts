/** What argocd/ and overlays/<env>/ render to, and the real argocd command line to ask about it. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { type RunResult, tryRun } from "../../../scripts/lib/exec.ts";
import { resolveTool } from "../../../scripts/lib/tools/resolve.ts";
import { build } from "../../../scripts/lib/tree/kustomize.ts";
import { kustomize, ROOT } from "../support.ts";

export interface Resource {
  kind: string;
  metadata: { name: string; namespace?: string; finalizers?: string[]; annotations?: Record<string, string> };
  data?: Record<string, string>;
  spec?: unknown;
}

/** Renders a directory with the real kustomize. */
export async function render(directory: string): Promise<Resource[]> {
  const text = await build(await kustomize(), join(ROOT, directory));
  return parseAllDocuments(text).map((document): Resource => document.toJS());
}

/** The one resource of that kind, and of that name where there are several. */
export function only(resources: readonly Resource[], kind: string, name?: string): Resource {
  const found = resources.filter(
    (resource) => resource.kind === kind && (name ?? resource.metadata.name) === resource.metadata.name,
  );
  const [resource] = found;
  if (resource === undefined || found.length > 1) throw new Error(`${found.length} of ${kind} ${name ?? ""}`);
  return resource;
}

/** A kubeconfig that leads nowhere: some commands of `argocd admin` want one, even when they only read files. */
const KUBECONFIG = {
  apiVersion: "v1",
  kind: "Config",
  "current-context": "none",
  contexts: [{ name: "none", context: { cluster: "none", user: "none" } }],
  clusters: [{ name: "none", cluster: { server: "http://127.0.0.1:1" } }],
  users: [{ name: "none", user: {} }],
};

/** `argocd admin …` over files only. */
export interface Admin extends AsyncDisposable {
  /** Writes a file for the command and returns its path; objects are written as JSON, which is YAML. */
  file: (name: string, content: string | object) => Promise<string>;
  run: (...args: string[]) => Promise<RunResult>;
}

export async function argocdAdmin(): Promise<Admin> {
  const { path: program } = await resolveTool("argocd");
  const directory = await mkdtemp(join(tmpdir(), "argocd-admin-"));
  const file: Admin["file"] = async (name, content) => {
    const path = join(directory, name);
    await writeFile(path, typeof content === "string" ? content : JSON.stringify(content));
    return path;
  };
  const env = { HOME: directory, PATH: "/usr/bin:/bin", KUBECONFIG: await file("kubeconfig", KUBECONFIG) };
  return {
    file,
    run: async (...args) => tryRun(program, ["admin", ...args], { env }),
    [Symbol.asyncDispose]: async () => rm(directory, { recursive: true }),
  };
}
