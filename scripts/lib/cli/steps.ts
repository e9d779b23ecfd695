/** Steps with progress: redrawn on a terminal, a line each elsewhere. The only module that imports listr2. */
import { Listr, type ListrTask } from "listr2";

/** What tells how far a step is; the same line twice is shown once. */
export type Progress = (line: string) => void;

export interface Step {
  readonly title: string;
  /** The work, or the steps it consists of, which run at the same time. */
  readonly run: (progress: Progress) => Promise<void | readonly Step[]>;
}

/**
 * Runs steps one after another, and ends with the first that fails.
 * @throws what that step threw; the reason is left to the caller to print, once
 */
export async function runSteps(steps: readonly Step[]): Promise<void> {
  const failures: unknown[] = [];
  const list = new Listr(
    steps.map((step) => taskOf(step, failures)),
    {
      // Interrupts are for the command to handle.
      registerSignalListeners: false,
      fallbackRenderer: "simple",
      fallbackRendererCondition: () => !process.stdout.isTTY,
      rendererOptions: { showErrorMessage: false, collapseSubtasks: false },
    },
  );
  try {
    await list.run();
  } catch (error) {
    throw failures[0] ?? error;
  }
}

function taskOf(step: Step, failures: unknown[]): ListrTask {
  return {
    title: step.title,
    task: async (_, task) => {
      let shown = "";
      const progress: Progress = (line) => {
        if (line !== shown) task.output = line;
        shown = line;
      };
      try {
        const below = await step.run(progress);
        return below === undefined
          ? undefined
          : task.newListr(
              below.map((child) => taskOf(child, failures)),
              { concurrent: true },
            );
      } catch (error) {
        failures.push(error);
        throw new Error("stopped", { cause: error });
      }
    },
  };
}
