import { describe, expect, it } from "vitest";
import { touchedOverlays } from "../../../scripts/lib/tree/overlays.ts";

describe("a change has a part in", () => {
  const environments = ["overlays/dev", "overlays/live"];
  const apps = environments.flatMap((env) => [`${env}/web`, `${env}/disk`]);
  it.each([
    ["overlays/dev/web/patch.yaml", ["overlays/dev", "overlays/dev/web"]],
    ["overlays/dev/web/api.sops.yaml", ["overlays/dev", "overlays/dev/web", "overlays/dev/disk"]],
    ["overlays/dev/environment.yaml", ["overlays/dev", "overlays/dev/web", "overlays/dev/disk"]],
    ["overlays/dev/gone/kustomization.yaml", ["overlays/dev", "overlays/dev/web", "overlays/dev/disk"]],
    ["base/web/pod.yaml", ["overlays/dev/web"]],
    ["base/web/checksums/kustomization.yaml", ["overlays/dev/web", "overlays/live/web"]],
    ["base/components/labels/kustomization.yaml", ["overlays/dev/web", "overlays/dev/disk"]],
    ["base/transformers/spread.yaml", ["overlays/dev/web", "overlays/dev/disk"]],
    ["base/transformers/hosts/kustomization.yaml", apps],
    ["argocd/settings/settings.yaml", [...environments, ...apps]],
    ["argocd/environment/project.yaml", environments],
    ["apps/web.yaml", []],
    ["README.md", []],
  ])("%s", (path, touched) => {
    expect(touchedOverlays([...environments, ...apps], [path], "dev")).toEqual(touched);
  });
});
