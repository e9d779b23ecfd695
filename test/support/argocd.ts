/**
 * A stand-in for Argo CD's client, since a real Argo CD runs in the sandbox's tests only. It prints what the real one printed
 * there for `argocd app list --output json`, without the fields that nobody reads.
 */
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { temporary } from "./tree.ts";

/** One application on one cluster, healthy unless something else is said. */
export function listed(
  place: { app: string; environment: string; cluster: string },
  status: { revision: string; sync?: string; health?: string; since?: string },
  history: readonly { revision: string; deployedAt: string }[],
): unknown {
  const { app, environment, cluster } = place;
  return {
    metadata: {
      name: `${cluster}-${app}`,
      namespace: "argocd",
      labels: { app, cluster, environment, tier: "service" },
    },
    status: {
      sync: { status: status.sync ?? "Synced", revision: status.revision },
      health: {
        status: status.health ?? "Healthy",
        ...(status.since === undefined ? {} : { lastTransitionTime: status.since }),
      },
      history: history.map((deployment, id) => ({
        id,
        deployStartedAt: deployment.deployedAt,
        ...deployment,
      })),
      operationState: { phase: "Succeeded", message: "successfully synced (all tasks run)" },
      summary: { images: [] },
    },
  };
}

/**
 * Makes the program.
 * @param version what it says its version is
 * @returns the directory that it is in, and what sets its answer
 */
export async function standInForArgocd(version: string): Promise<{
  directory: string;
  program: string;
  answer: (applications: readonly unknown[]) => Promise<void>;
}> {
  const directory = await temporary();
  const program = join(directory, "argocd");
  const file = join(directory, "answer.json");
  const script = `#!/bin/sh
case "$1 $2" in
  "version "*) echo "argocd: v${version}" ;;
  "app list") cat "${file}" ;;
  "appset list") echo "[]" ;;
  *) exit 2 ;;
esac
`;
  await writeFile(program, script);
  await chmod(program, 0o755);
  return {
    directory,
    program,
    answer: async (applications) => writeFile(file, JSON.stringify(applications)),
  };
}
