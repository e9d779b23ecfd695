/** What promotions take for a freeze is what Argo CD gets. */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { z } from "zod";
import { parseManifests } from "../../scripts/lib/manifests/manifest.ts";
import { readDenyWindows } from "../../scripts/lib/promotion/freeze.ts";
import { readEnvironments } from "../../scripts/lib/tree/environment.ts";
import { build } from "../../scripts/lib/tree/kustomize.ts";
import { kustomize, ROOT } from "./support.ts";

const Project = z.object({
  kind: z.literal("AppProject"),
  spec: z.object({
    syncWindows: z
      .array(z.object({ kind: z.string(), schedule: z.string(), duration: z.string() }))
      .default([]),
  }),
});

/** The deny windows in an environment's AppProject, rendered, and as they are read. */
async function compared(root: string, environment: string): Promise<[string[], string[]]> {
  const text = await build(await kustomize(), join(root, "overlays", environment));
  const projects = parseManifests(text).flatMap((manifest) => Project.safeParse(manifest).data ?? []);
  expect(projects).toHaveLength(1);
  const rendered = projects
    .flatMap(({ spec }) => spec.syncWindows)
    .filter(({ kind }) => kind === "deny")
    .map(({ schedule, duration }) => `${schedule} ${duration}`);
  const read = await readDenyWindows(root, environment);
  return [rendered, read.map(({ schedule, duration }) => `${schedule} ${duration}`)];
}

it("every environment's windows are read as they are rendered", async () => {
  for (const { name } of await readEnvironments(ROOT)) {
    const [rendered, read] = await compared(ROOT, name);
    expect(read).toEqual(rendered);
  }
});

it("a freeze that is added to prod's windows reaches both", async () => {
  const root = await mkdtemp(join(tmpdir(), "freeze-"));
  onTestFinished(() => rm(root, { recursive: true }));
  for (const part of ["argocd", "overlays"])
    await cp(join(ROOT, part), join(root, part), { recursive: true });
  const file = join(root, "overlays/prod/sync-windows.patch.yaml");
  const freeze = "    - {kind: deny, schedule: 0 0 20 12 *, duration: 336h, applications: ['*']}\n";
  await writeFile(file, (await readFile(file, "utf8")) + freeze);
  expect(await compared(root, "prod")).toEqual([["0 0 20 12 * 336h"], ["0 0 20 12 * 336h"]]);
});
