/** The undoing of a start as a process: `remove-process.ts <checkout>`. Called by `removeFailedStart`, not by hand. */
import { layoutOf } from "./layout.ts";
import { removeSandbox } from "./lifetime.ts";

const [root] = process.argv.slice(2);
if (root === undefined) throw new Error("the checkout's path is missing");
// In a group of its own the undoing would outlive a closed terminal; here it only must not die of the same signal.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {});
await removeSandbox(layoutOf(root), ["logs"]);
