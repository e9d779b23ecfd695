/** `npm stop`: end the sandbox and remove everything it wrote. */
import { command, main } from "./lib/cli/command.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { layoutOf } from "./lib/sandbox/layout.ts";
import { holdSandbox, removeSandbox, sandboxExists } from "./lib/sandbox/lifetime.ts";

const program = command("stop", "end the sandbox and remove everything it wrote").action(stop);
await main(program);

async function stop(): Promise<void> {
  const layout = layoutOf(repositoryRoot());
  const release = await holdSandbox(layout);
  try {
    const existed = await sandboxExists(layout);
    const ended = await removeSandbox(layout);
    process.stdout.write(
      existed ? `The sandbox is gone: ${ended} processes ended.\n` : "There is no sandbox.\n",
    );
  } finally {
    await release();
  }
}
