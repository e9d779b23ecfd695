import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { globSync } from "tinyglobby";
import { describe, expect, it } from "vitest";
import { NEXT_TOOLS } from "../../../scripts/lib/tools/catalogue.ts";
import { builtPath } from "../../../scripts/lib/tools/go.ts";
import { pinTools, requiredVersion } from "../../../scripts/lib/tools/pin.ts";
import { TOOLS, type ToolSpec } from "../../../scripts/lib/tools/resolve.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");

describe("the version a go.mod requires", () => {
  it.each<[string, string, string | undefined]>([
    ["in a block", "require (\n\texample.test/a v1.2.3 // indirect\n)", "1.2.3"],
    ["on one line", "require example.test/a v1.2.3", "1.2.3"],
    ["with +incompatible", "require example.test/a v1.2.3+incompatible", "1.2.3"],
    ["a pre-release", "require example.test/a v1.2.3-rc.1", "1.2.3-rc.1"],
    [
      "replaced by another version",
      "require example.test/a v1.2.3\nreplace example.test/a => example.test/b v1.2.4",
      "1.2.4",
    ],
    [
      "replaced in a block",
      "require example.test/a v1.2.3\nreplace (\n\texample.test/a v1.2.3 => x.test/b v1.2.5\n)",
      "1.2.5",
    ],
    ["replaced by a directory", "require example.test/a v1.2.3\nreplace example.test/a => ./a", "1.2.3"],
    ["another module with the same start", "require example.test/a/v2 v2.0.0", undefined],
    ["another module with a similar name", "require example-test/a v2.0.0", undefined],
    ["only replaced", "replace example.test/a => example.test/b v1.2.4", undefined],
  ])("%s", (_, goMod, version) => {
    expect(requiredVersion(goMod, "example.test/a")).toBe(version);
  });
});

describe("the tools", () => {
  const pinned = pinTools(TOOLS, ROOT);
  const versions = Object.fromEntries(pinned.map((tool) => [tool.spec.name, tool.version]));

  it("all have an exact version", () => {
    expect(Object.values(versions).filter((version) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
  });

  it("are named once, and each has a cache key of its own", () => {
    expect(new Set(TOOLS.map((tool) => tool.name)).size).toBe(TOOLS.length);
    expect(new Set(pinned.map((tool) => tool.key)).size).toBe(TOOLS.length);
  });

  it("do not overwrite each other when one go command builds a module's tools", () => {
    const paths = pinned.map((tool) => `${tool.spec.module} ${builtPath("", tool)}`);
    expect(new Set(paths).size).toBe(TOOLS.length);
  });

  it("are the packages that the go.mod files name as tools, and no others", () => {
    const named = globSync("tools/*/go.mod", { cwd: ROOT }).flatMap((file) => {
      const goMod = read(file);
      const blocks = [...goMod.matchAll(/^tool \(\n([^)]*)\)/gm)].flatMap(([, block = ""]) =>
        block.trim().split(/\s+/),
      );
      const lines = [...goMod.matchAll(/^tool (\S+)$/gm)]
        .map(([, path = ""]) => path)
        .filter((path) => path !== "(");
      return [...blocks, ...lines];
    });
    // What stands in this repository's own modules is built by its path and needs no directive.
    const used = [...TOOLS, ...NEXT_TOOLS]
      .map((tool) => tool.package)
      .filter((path) => !path.startsWith("ecommerce-gitops/"));
    expect(named.sort()).toEqual(used.sort());
  });

  it("give Prometheus' product version, not that of its Go module", () => {
    const promtool = TOOLS.filter((tool) => tool.name === "promtool");
    const of = (module: string): string | undefined => {
      const root = mkdtempSync(join(tmpdir(), "pins-"));
      mkdirSync(join(root, "tools/argocd"), { recursive: true });
      writeFileSync(
        join(root, "tools/argocd/go.mod"),
        `require github.com/prometheus/prometheus ${module}\n`,
      );
      const version = pinTools(promtool, root)[0]?.version;
      rmSync(root, { recursive: true });
      return version;
    };
    expect(["v0.315.2", "v0.310.0", "v0.305.1", "v0.300.0"].map(of)).toEqual([
      "3.15.2",
      "3.10.0",
      "3.5.1",
      "3.0.0",
    ]);
  });

  it("render with the kustomize that is inside the pinned Argo CD", () => {
    // hack/tool-versions.sh of argo-cd 3.6.1: kustomize5_version.
    expect([versions["argocd"], versions["kustomize"]]).toEqual(["3.6.1", "5.8.3"]);
  });
});

describe("mise.toml", () => {
  const backends: Record<string, readonly string[]> = {
    "aqua:kubernetes-sigs/kustomize": ["kustomize"],
    "aqua:getsops/sops": ["sops"],
    "aqua:FiloSottile/age": ["age", "age-keygen"],
    "aqua:google/go-containerregistry": ["crane"],
    "aqua:rhysd/actionlint": ["actionlint"],
    "aqua:argoproj/argo-cd": ["argocd"],
    "aqua:prometheus/prometheus": ["promtool", "prometheus"],
    "aqua:prometheus/alertmanager": ["alertmanager", "amtool"],
    "aqua:prometheus-community/postgres_exporter": ["postgres_exporter"],
    "aqua:oliver006/redis_exporter": ["redis_exporter"],
    "aqua:etcd-io/etcd": ["etcd"],
    "aqua:kubernetes/kubernetes/kubectl": ["kubectl"],
    "aqua:kubernetes/kubernetes/kube-apiserver": ["kube-apiserver"],
    "aqua:kubernetes/kubernetes/kube-controller-manager": ["kube-controller-manager"],
    "aqua:kubernetes/kubernetes/kube-scheduler": ["kube-scheduler"],
    "http:kwok": ["kwok"],
    "http:metrics-server": ["metrics-server"],
    "http:gitea": ["gitea"],
  };
  const mise = read("mise.toml");
  const pins = new Map(
    [/^"([^"]+)" = (?:\{ version = )?"([^"]+)"/gm, /^\[tools\."([^"]+)"\]\nversion = "([^"]+)"/gm]
      .flatMap((pattern) => [...mise.matchAll(pattern)])
      .map(([, backend, version]) => [backend, version]),
  );

  it("pins the versions of the go.mod files", () => {
    const pinned = pinTools(TOOLS, ROOT);
    const expected = Object.entries(backends).flatMap(([backend, names]) =>
      names.map((name) => [backend, name, pinned.find((tool) => tool.spec.name === name)?.version]),
    );
    const actual = Object.entries(backends).flatMap(([backend, names]) =>
      names.map((name) => [backend, name, pins.get(backend)]),
    );
    expect(actual).toEqual(expected);
    expect(new Set(pins.keys())).toEqual(new Set(Object.keys(backends)));
  });

  it("has a ready binary for every tool but Jaeger and this repository's own", () => {
    const own = (tool: ToolSpec): boolean => tool.package.startsWith("ecommerce-gitops/");
    // Upstream releases these as images only.
    const images = ["prometheus-operator", "kube-state-metrics", "prometheus-adapter"];
    // One test needs it, and its archives were not tried with mise.
    const built = ["jaeger"];
    const ready = [...Object.values(backends).flat(), ...images, ...built];
    expect(
      TOOLS.filter((tool) => !own(tool))
        .map((tool) => tool.name)
        .sort(),
    ).toEqual(ready.sort());
  });

  it("pins the Go that every go.mod asks for", () => {
    const asked = globSync("tools/*/go.mod", { cwd: ROOT }).map(
      (file) => /^go (\S+)$/m.exec(read(file))?.[1],
    );
    expect(new Set(asked)).toEqual(new Set([/^go = "([^"]+)"$/m.exec(mise)?.[1]]));
  });
});
