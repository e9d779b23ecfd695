/** This repository, as its own audit sees it. */
import { expect, it } from "vitest";
import { tryRun } from "../../scripts/lib/exec.ts";
import { overlayFindings } from "../../scripts/lib/release/overlay.ts";
import { renderCheckout } from "../../scripts/lib/render/checkout.ts";
import { referenceFindings } from "../../scripts/lib/secrets/audit/references.ts";
import { renderedFindings } from "../../scripts/lib/secrets/audit/rendered.ts";
import { readCatalogue } from "../../scripts/lib/tree/catalogue.ts";
import { readEnvironments } from "../../scripts/lib/tree/environment.ts";
import { allOverlays } from "../../scripts/lib/tree/overlays.ts";
import { readSettings } from "../../scripts/lib/tree/settings.ts";
import { bundledLine } from "../support/commands.ts";
import { ROOT } from "./support.ts";

it("`npm run secrets` is green: it has notes at most", async () => {
  const { exitCode, stdout, stderr } = await tryRun(...bundledLine("secrets", ["--json"]));
  const { secrets, findings }: { secrets: unknown[]; findings: { severity: string }[] } = JSON.parse(stdout);
  expect(findings.filter(({ severity }) => severity !== "note")).toEqual([]);
  expect(secrets.length).toBeGreaterThan(0);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
});

it("every overlay renders, applies its sealed files as they are, refers to nothing else, and differs from its release where it may", async () => {
  const overlays = await allOverlays(ROOT);
  const { renderings, findings } = await renderCheckout(ROOT, overlays);
  expect(findings).toEqual([]);
  expect(renderings.map(({ overlay }) => overlay)).toEqual(overlays);
  expect(await referenceFindings(ROOT, renderings)).toEqual([]);
  expect(await renderedFindings(ROOT, renderings)).toEqual([]);
  const [first] = await readEnvironments(ROOT);
  const { registry } = await readSettings(ROOT);
  const options = { registry, first: first?.name ?? "", apps: await readCatalogue(ROOT) };
  expect(await overlayFindings(ROOT, renderings, options)).toEqual([]);
});
