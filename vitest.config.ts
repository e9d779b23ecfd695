import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** The sandbox's files tell a story in the order of their names; all others may run as suits. */
class InOrder extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isStory = ({ project }: TestSpecification) => project.name === "sandbox";
    const story = sorted.filter(isStory).toSorted((a, b) => a.moduleId.localeCompare(b.moduleId));
    return [...sorted.filter((file) => !isStory(file)), ...story];
  }
}

/** What never ends is noticed; nothing else is. How long a test takes is the machine's affair, and no result depends on it. */
const PATIENCE_MS = 600_000;

/** What these are about is changed by the tree, too. */
const OWNERS = "test/security/owners.test.ts";
/** What asks the argocd program, which takes minutes to build: all but these three. */
const ARGOCD = "test/tree/argocd/!(environments|root|settings).test.ts";

export default defineConfig({
  test: {
    sequence: { sequencer: InOrder },
    globalSetup: ["test/support/commands.ts"],
    // Most tests wait for programs that they have started: two cores have time for four of them.
    maxWorkers: Math.max(4, availableParallelism()),
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts"],
          // They leave nothing behind in their process, and to load everything anew for each file takes half of the time.
          isolate: false,
          testTimeout: PATIENCE_MS,
          hookTimeout: PATIENCE_MS,
        },
      },
      {
        test: {
          name: "programs",
          // After those that take seconds.
          sequence: { groupOrder: 1 },
          include: ["test/{programs,security}/**/*.test.ts"],
          exclude: [OWNERS],
          isolate: false,
          testTimeout: PATIENCE_MS,
          // Some wait for a tool that is built first.
          hookTimeout: 900_000,
        },
      },
      {
        test: {
          name: "tree",
          sequence: { groupOrder: 1 },
          // What a release waits for: no other program than kustomize is needed (docs/workflows.md).
          include: ["test/tree/**/*.test.ts", OWNERS],
          exclude: [ARGOCD],
          isolate: false,
          testTimeout: PATIENCE_MS,
          hookTimeout: 900_000,
        },
      },
      {
        test: {
          name: "policies",
          sequence: { groupOrder: 1 },
          include: ["test/policies/**/*.test.ts"],
          isolate: false,
          testTimeout: PATIENCE_MS,
          // It waits for an API server that is built first.
          hookTimeout: 900_000,
        },
      },
      {
        test: {
          name: "argocd",
          sequence: { groupOrder: 1 },
          include: [ARGOCD],
          isolate: false,
          testTimeout: PATIENCE_MS,
          hookTimeout: 900_000,
        },
      },
      {
        test: {
          name: "forge",
          sequence: { groupOrder: 1 },
          include: ["test/forge/**/*.test.ts"],
          isolate: false,
          globalSetup: ["test/forge/setup.ts"],
          testTimeout: PATIENCE_MS,
          hookTimeout: 900_000,
        },
      },
      {
        test: {
          name: "sandbox",
          // After all others: it is about a machine that has nothing else to do.
          sequence: { groupOrder: 2 },
          include: ["test/sandbox/**/*.test.ts"],
          globalSetup: ["test/sandbox/setup.ts"],
          fileParallelism: false,
          testTimeout: PATIENCE_MS,
          hookTimeout: 1_800_000,
        },
      },
      {
        test: {
          name: "monitoring",
          // Not part of `npm test`: its tools are built only for it, and alerts take minutes to fire and resolve.
          sequence: { groupOrder: 3 },
          include: ["test/monitoring/**/*.test.ts"],
          globalSetup: ["test/sandbox/setup.ts"],
          testTimeout: 3 * PATIENCE_MS,
          hookTimeout: 1_800_000,
        },
      },
      {
        test: {
          name: "traces",
          // Not part of `npm test`: its tools are built only for it.
          include: ["test/traces/**/*.test.ts"],
          testTimeout: PATIENCE_MS,
          hookTimeout: 900_000,
        },
      },
    ],
  },
});
