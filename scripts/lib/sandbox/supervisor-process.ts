/** The supervisor as a process: `supervisor-process.ts <checkout>`. Started by `ensureSupervisor`, not by hand. */
import { layoutOf } from "./layout.ts";
import { supervise } from "./supervisor.ts";

const [root] = process.argv.slice(2);
if (root === undefined) throw new Error("the checkout's path is missing");
await supervise(layoutOf(root), (line) => process.stdout.write(`${new Date().toISOString()} ${line}\n`));
