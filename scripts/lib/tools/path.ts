/** A tool for a command: found or built, with a line on standard error for whoever waits. */
import { progressLines, type ResolveOptions, resolveTool } from "./resolve.ts";

/** Where a program is. @throws as `resolveTool` does */
export async function toolPath(
  name: string,
  options: Pick<ResolveOptions, "root" | "withoutEdits"> = {},
): Promise<string> {
  const tool = await resolveTool(name, {
    ...options,
    onProgress: progressLines((line) => process.stderr.write(`${line}\n`)),
  });
  return tool.path;
}
