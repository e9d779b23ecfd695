/** This repository, as its own audit sees it. */
import { expect, it } from "vitest";
import { tryRun } from "../../scripts/lib/exec.ts";
import { programLine } from "../../scripts/lib/repository.ts";
import { allOverlays, referenceFindings } from "../../scripts/lib/secrets/audit-references.ts";
import { kustomize, ROOT } from "./support.ts";

it("`npm run secrets` is green: it has notes at most", async () => {
  const { exitCode, stdout, stderr } = await tryRun(...programLine(ROOT, "secrets", ["--json"]));
  const { secrets, findings }: { secrets: unknown[]; findings: { severity: string }[] } = JSON.parse(stdout);
  expect(findings.filter(({ severity }) => severity !== "note")).toEqual([]);
  expect(secrets.length).toBeGreaterThan(0);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
});

it("every reference to a Secret in every overlay is one to a sealed key", async () => {
  const overlays = await allOverlays(ROOT);
  expect(overlays.length).toBeGreaterThan(0);
  expect(await referenceFindings(ROOT, overlays, kustomize)).toEqual([]);
});
