/** Tools as the first step of a command that shows its steps. */
import { progressLines, type ResolvedTool, resolveAssets, resolveTools } from "../tools/resolve.ts";
import { runSteps } from "./steps.ts";

/** On a terminal the line replaces itself. */
const REDRAW_MS = process.stdout.isTTY ? 200 : undefined;

/**
 * Makes the named tools available: see `resolveTools`.
 * @param files tools of which only the files are needed; see `resolveAssets`
 */
export async function resolveInSteps(
  names: readonly string[],
  files: readonly string[] = [],
): Promise<ResolvedTool[]> {
  let resolved: ResolvedTool[] = [];
  await runSteps([
    {
      title: "Tools",
      run: async (progress) => {
        const options = { onProgress: progressLines(progress, REDRAW_MS) };
        resolved = await resolveTools(names, options);
        for (const name of files) await resolveAssets(name, options);
      },
    },
  ]);
  return resolved;
}
