/** Tools as the first step of a command that shows its steps. */
import { progressLines, type ResolvedTool, resolveTools } from "../tools/resolve.ts";
import { runSteps } from "./steps.ts";

/** On a terminal the line replaces itself. */
const REDRAW_MS = process.stdout.isTTY ? 200 : undefined;

/** Makes the named tools available: see `resolveTools`. */
export async function resolveInSteps(names: readonly string[]): Promise<ResolvedTool[]> {
  let resolved: ResolvedTool[] = [];
  await runSteps([
    {
      title: "Tools",
      run: async (progress) => {
        resolved = await resolveTools(names, { onProgress: progressLines(progress, REDRAW_MS) });
      },
    },
  ]);
  return resolved;
}
