import { describe, expect, it } from "vitest";
import {
  autoscalerOf,
  idOf,
  ofKind,
  parseManifests,
  selects,
  workloads,
} from "../../../scripts/lib/manifests/manifest.ts";

const TEXT = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: any
  namespace: shop
spec:
  scaleTargetRef:
    kind: Deployment
    name: web
---
apiVersion: v1
kind: Namespace
metadata:
  name: shop
`;

describe("manifests", () => {
  it("are read and named", () => {
    expect(parseManifests(TEXT).map(idOf)).toEqual([
      "apps/Deployment shop/web",
      "autoscaling/HorizontalPodAutoscaler shop/any",
      "Namespace shop",
    ]);
  });

  it.each(["", "just: data\n", "apiVersion: v1\nkind: Pod\nmetadata: {}\n", "- 1\n"])(
    "are not in %j",
    (text) => {
      expect(() => parseManifests(`${TEXT}---\n${text}`)).toThrow("document 4 of the rendering has no");
    },
  );

  it("are found by kind", () => {
    expect(ofKind(parseManifests(TEXT), "Namespace").map(idOf)).toEqual(["Namespace shop"]);
    expect(workloads(parseManifests(TEXT)).map(idOf)).toEqual(["apps/Deployment shop/web"]);
  });

  it.each([
    ["Deployment", "shop", "web", true],
    ["Deployment", "other", "web", false],
    ["Deployment", "shop", "api", false],
    ["StatefulSet", "shop", "web", false],
  ])("have an autoscaler by kind, namespace and name: %s %s/%s", (kind, namespace, name, found) => {
    const manifests = parseManifests(TEXT);
    const [workload] = workloads(parseManifests(TEXT.replace("kind: Deployment", "kind: Deployment")));
    if (workload === undefined) throw new Error("no workload");
    const other = { ...workload, kind, metadata: { name, namespace } };
    expect(autoscalerOf(other, manifests) !== undefined).toBe(found);
  });

  it.each([
    [{}, {}, true],
    [{}, { a: "1" }, true],
    [{ a: "1" }, { a: "1", b: "2" }, true],
    [{ a: "1", b: "2" }, { a: "1" }, false],
    [{ a: "1" }, { a: "2" }, false],
    [{ a: "1" }, undefined, false],
  ])("selector %j of labels %j: %s", (selector, labels, expected) => {
    expect(selects(selector, labels)).toBe(expected);
  });
});
