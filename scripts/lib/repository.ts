/** Where this repository is checked out, and how its programs are started: the only place that knows. */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The root directory of the checkout that the running command belongs to. */
export function repositoryRoot(): string {
  return dirname(dirname(dirname(fileURLToPath(import.meta.url))));
}

/** How a checkout's `scripts/<name>.ts` is started as a process of its own. */
export function programLine(
  root: string,
  name: string,
  args: readonly string[],
): [command: string, args: string[]] {
  return [process.execPath, [join(root, "scripts/run.js"), name, ...args]];
}
