/** A fault that `npm run faults` makes in the sandbox. */
import type { FaultSandbox } from "./sandbox.ts";

export interface Fault {
  readonly name: string;
  /** The state in which the system has to end, in a sentence. */
  readonly expected: string;
  /** Takes minutes: left out unless it is named, or --all is given. */
  readonly isSlow?: true;
  /**
   * Makes the fault, waits for what follows, and takes back what it did, also when something fails.
   * @returns what happened, in a sentence
   * @throws ExternalError when that is not what is expected
   */
  run(sandbox: FaultSandbox): Promise<string>;
}
