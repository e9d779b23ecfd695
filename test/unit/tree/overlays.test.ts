import { expect, it } from "vitest";
import { overlaysIn } from "../../../scripts/lib/tree/overlays.ts";

it("finds every app's overlay and every environment's own objects among the files", () => {
  const files = [
    "overlays/dev/web/kustomization.yaml",
    "overlays/dev/web/part/kustomization.yaml",
    "overlays/dev/web/patch.yaml",
    "overlays/dev/kustomization.yaml",
    "overlays/dev/bare/deployment.yaml",
    "base/web/kustomization.yaml",
    "my/overlays/dev/web/kustomization.yaml",
  ];
  expect(overlaysIn(files)).toEqual(["overlays/dev", "overlays/dev/web"]);
});
