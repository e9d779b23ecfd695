/** Promotions read the sync windows that Argo CD gets. */
import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { RefusedError } from "../../scripts/lib/errors.ts";
import { readSyncWindows } from "../../scripts/lib/promotion/freeze.ts";
import { readCatalogue } from "../../scripts/lib/tree/catalogue.ts";
import { readEnvironments } from "../../scripts/lib/tree/environment.ts";
import { temporary, write } from "../support/tree.ts";
import { kustomize, ROOT } from "./support.ts";

const program = await kustomize();

it.each(await readEnvironments(ROOT))("no freeze is shipped with $name", async ({ name }) => {
  expect([...(await readSyncWindows(program, ROOT, name)).values()].flat()).toEqual([]);
});

/** The freeze of docs/promote.md, in a copy of the tree. */
it("a freeze that is added as the docs say is one of every project", async () => {
  const root = await temporary();
  for (const part of ["argocd", "overlays"])
    await cp(join(ROOT, part), join(root, part), { recursive: true });
  const docs = await readFile(join(ROOT, "docs/promote.md"), "utf8");
  const [patch = "", listed = ""] = [...docs.matchAll(/^```yaml\n([^]*?)^```$/gm)].map(([, text]) => text);
  const file = join(root, "overlays/prod/kustomization.yaml");
  await writeFile(file, (await readFile(file, "utf8")).replace(/^patches:\n/m, listed));
  await writeFile(join(root, "overlays/prod/freeze.patch.yaml"), patch);

  const windows = await readSyncWindows(program, root, "prod");
  const kinds = new Set((await readCatalogue(ROOT)).map(({ kind }) => kind));
  expect([...windows.keys()].toSorted()).toEqual([...kinds].map((kind) => `prod-${kind}`).toSorted());
  for (const own of windows.values())
    expect(own).toMatchObject([
      { kind: "deny", schedule: "0 0 20 12 *", duration: "336h", applications: ["*"] },
    ]);
});

const project = (windows: string): Record<string, string> => ({
  "overlays/prod/kustomization.yaml": "resources:\n  - project.yaml\n",
  "overlays/prod/project.yaml": `apiVersion: argoproj.io/v1alpha1\nkind: AppProject\nmetadata:\n  name: prod-service\nspec:\n  syncWindows: ${windows}\n`,
});
const deny = (more: string): string => `[{kind: deny, schedule: 0 17 * * 5, duration: 8h, ${more}}]`;

describe("sync windows", () => {
  it.each<[string, string, string]>([
    [
      "a schedule that is none",
      "[{kind: deny, schedule: every friday, duration: 8h}]",
      'spec.syncWindows.0.schedule: "every friday" is no schedule: 2 fields instead of 5',
    ],
    ["a duration that is none", "[{kind: deny, schedule: 0 17 * * 5, duration: 1 day}]", ".duration: not a"],
    ["an unknown zone", deny("timeZone: Europe/Berlim"), "spec.syncWindows.0.timeZone: not a time zone"],
    ["a zone that Argo CD would take for UTC", deny("timeZone: europe/berlin"), ".timeZone: not a time zone"],
    ["an offset as a zone", deny('timeZone: "+01:00"'), "not a time zone"],
    ["a pattern of more than * and ?", deny('applications: ["prod-[a-c]"]'), "with more than * and ?"],
    [
      "a kind with a capital",
      "[{kind: Deny, schedule: 0 17 * * 5, duration: 8h}]",
      "spec.syncWindows.0.kind",
    ],
    ["an unknown field", deny("timezone: UTC"), "spec.syncWindows.0:"],
    ["no list", "friday", "spec.syncWindows: "],
  ])("are refused with %s", async (_, windows, fault) => {
    const root = await temporary();
    await write(root, project(windows));
    const reading = readSyncWindows(program, root, "prod");
    await expect(reading).rejects.toThrow("overlays/prod: the AppProject prod-service: ");
    await expect(reading).rejects.toThrow(fault);
    await expect(reading).rejects.toBeInstanceOf(RefusedError);
  });

  it("are none where the environment has no AppProject", async () => {
    expect(await readSyncWindows(program, await temporary(), "prod")).toEqual(new Map());
  });
});
