/** Asks a person before something is done. */
import { createInterface } from "node:readline/promises";
import { RefusedError } from "../errors.ts";

/** @throws RefusedError unless a person says yes, and where nobody can be asked */
export async function confirm(): Promise<void> {
  if (!process.stdin.isTTY)
    throw new RefusedError("nobody can be asked here", "say --yes if the plan above is right");
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await terminal.question("Do this? [y/N] ");
  terminal.close();
  if (!/^y(es)?$/i.test(answer.trim())) throw new RefusedError("nothing was changed");
}
