/** A release that does not come up. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { listApplications } from "../argocd/applications.ts";
import { ExternalError } from "../errors.ts";
import { connectRepository } from "../forge/connection.ts";
import { connectForge } from "../forge/forge.ts";
import { waitFor } from "../wait.ts";
import type { Fault } from "./fault.ts";
import { type FaultSandbox, isReady } from "./sandbox.ts";

/** A pod with such an image never becomes ready: sandbox/kwok/crash.yaml. */
const CRASHING = "bad0bad000000000000000000000000000000000";
const PLACE = { cluster: "dev", namespace: "microservices", app: "user-service" };
const FILE = "overlays/dev/user-service/kustomization.yaml";

export const badImage: Fault = {
  name: "bad-image",
  expected:
    "an image that crashes leaves dev's old pods serving; the application is Degraded, and its commit says so",
  isSlow: true,
  async run(sandbox) {
    const before = (await sandbox.pods(PLACE)).filter(isReady);
    const bad = await pushed(sandbox);
    try {
      await untilReported(sandbox, bad, "Degraded", "failure");
      const uids = (await sandbox.pods(PLACE)).filter(isReady).map(({ metadata }) => metadata.uid);
      const gone = before.filter(({ metadata }) => !uids.includes(metadata.uid));
      if (gone.length > 0) throw new ExternalError(`${gone.length} pods that served are gone`);
    } finally {
      await sandbox.git("revert", "--no-edit", "HEAD");
      await sandbox.git("push", "--quiet");
    }
    await untilReported(sandbox, await sandbox.git("rev-parse", "HEAD"), "Healthy", "success");
    return `Degraded and failure on ${bad.slice(0, 7)}, all ${before.length} old pods served; Healthy and success on its revert`;
  },
};

/** Waits until the app has a health at a commit, and the commit has the status of it. */
async function untilReported(sandbox: FaultSandbox, commit: string, health: string, state: string) {
  const { address, token } = await connectRepository(sandbox.layout.work, {});
  const forge = connectForge(address, token);
  const context = `argocd/${PLACE.cluster}/${PLACE.app}`;
  let word = "";
  await waitFor(
    `dev-user-service is ${health} at ${commit.slice(0, 7)}, and its status is ${state}`,
    async () => {
      const all = await listApplications(sandbox.argocd, PLACE.cluster);
      const found = all.find(({ app }) => app === PLACE.app);
      const status = (await forge.statuses(commit)).find((one) => one.context === context);
      word = `${found?.health} at ${found?.revision.slice(0, 7)}, ${status?.state ?? "no status"}`;
      return (found?.revision === commit && found.health === health && status?.state === state) || undefined;
    },
    // Longer than progressDeadlineSeconds in base/components/service/deployment.yaml.
    { lastWord: () => word, quietMs: 720_000 },
  );
}

/** Gives dev the image, in the clone of the sandbox's forge. @returns the commit */
async function pushed(sandbox: FaultSandbox): Promise<string> {
  await sandbox.git("pull", "--quiet", "--ff-only");
  const file = join(sandbox.layout.work, FILE);
  const text = await readFile(file, "utf8");
  await writeFile(file, text.replace(/newTag: .*/, `newTag: ${CRASHING}`));
  await sandbox.git("commit", "--quiet", "--all", "--message=An image that crashes");
  await sandbox.git("push", "--quiet");
  return sandbox.git("rev-parse", "HEAD");
}
