/** The programs that render. */
import { RefusedError } from "../errors.ts";
import { progressLines, type ResolvedTool, resolveTool } from "../tools/resolve.ts";

export interface RenderPrograms {
  kustomize: string;
  /** The version of kustomize. */
  version: string;
  /** kustomize-render; undefined where it cannot be built: then kustomize starts anew for each overlay. */
  render: string | undefined;
}

/**
 * Finds or builds them.
 * @param needsBoth whether kustomize alone will not do
 * @throws RefusedError when one that is needed cannot be built
 */
export async function renderPrograms(needsBoth: boolean): Promise<RenderPrograms> {
  const { path: kustomize, version } = await resolve("kustomize");
  try {
    return { kustomize, version, render: (await resolve("kustomize-render")).path };
  } catch (error) {
    if (needsBoth || !(error instanceof RefusedError)) throw error;
    process.stderr.write(
      `${error.message}: overlays are rendered one by one, which takes three times as long\n`,
    );
    return { kustomize, version, render: undefined };
  }
}

async function resolve(name: string): Promise<ResolvedTool> {
  const onProgress = progressLines((line) => process.stderr.write(`${line}\n`));
  return resolveTool(name, { onProgress });
}
