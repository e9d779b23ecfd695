/** The command-line tools this repository uses: which Go module pins each, how it is built and how it says its version. */

/** Files that a tool needs at run time beside its binary, by glob pattern inside the tool's Go module. */
export interface AssetSpec {
  pattern: string;
  /** Marks the copies executable: a module's files never are. */
  executable?: boolean;
}

/** One replacement in a file of the tool's module, applied while compiling; the module itself stays as it is. */
export interface SourceEdit {
  file: string;
  /** Stands in the file exactly once. */
  from: string;
  to: string;
}

export interface ToolSpec {
  name: string;
  /** Directory with the go.mod that pins the tool, relative to the repository's root. */
  module: string;
  /** The module in that go.mod whose version is the tool's. */
  versionOf: string;
  /** How the product's version follows from the module's, where the two differ. */
  released?: { module: RegExp; as: string };
  /** The main package. */
  package: string;
  /** String variables set by the linker, as upstream's own release build does; `{version}`, `{major}`, `{minor}` are replaced. */
  stamp?: Readonly<Record<string, string>>;
  tags?: readonly string[];
  /** Arguments that print the version, without network access and without side effects; a tool without them is never taken from PATH. */
  versionArgs?: readonly string[];
  /** Its first group is the version, without `v`. */
  versionPattern?: RegExp;
  /** Built only where it is asked for by name, not by a plain `npm run tools`. */
  onDemand?: true;
  /** Seconds of a cold build on two cores, measured; tools of one module share most of theirs. */
  usualSeconds: number;
  assets?: readonly AssetSpec[];
  /** What is changed in its source. A program from PATH does not have it: see `withoutEdits`. */
  edits?: readonly SourceEdit[];
}

const SEMVER = String.raw`v?(\d+\.\d+\.\d+[-+.\w]*)`;

const KUBERNETES = {
  module: "tools/kubernetes",
  versionOf: "k8s.io/kubernetes",
  stamp: Object.fromEntries(
    ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"].flatMap((path) => [
      [`${path}.gitVersion`, "v{version}"],
      [`${path}.gitMajor`, "{major}"],
      [`${path}.gitMinor`, "{minor}"],
      // A module carries no commit; upstream's default here is an unexpanded `$Format:%H$`.
      [`${path}.gitCommit`, "unknown"],
    ]),
  ),
  versionArgs: ["--version"],
  versionPattern: new RegExp(`^Kubernetes ${SEMVER}`, "m"),
};

/** Prometheus 3.15.0 is released to Go as v0.315.0. */
const PROMETHEUS_RELEASE = { module: /^0\.30?(\d+)\./, as: "3.$1." };

/** The monitoring stack: one module, because its programs share most of their packages. */
const MONITORING = {
  module: "tools/prometheus",
  // Of the many ways to discover targets only files, HTTP and Kubernetes: a sixth fewer packages.
  tags: ["remove_all_sd", "enable_kubernetes_sd"],
  stamp: { "github.com/prometheus/common/version.Version": "{version}" },
  versionArgs: ["--version"],
  onDemand: true,
} as const;

const ALERTMANAGER = {
  ...MONITORING,
  versionOf: "github.com/prometheus/alertmanager",
} as const;

/** Every tool, in the order in which they are built: the small ones first. */
export const TOOLS: readonly ToolSpec[] = [
  {
    name: "kustomize",
    module: "tools/kustomize",
    versionOf: "sigs.k8s.io/kustomize/kustomize/v5",
    package: "sigs.k8s.io/kustomize/kustomize/v5",
    // No stamp: kustomize reads its version from the module list that Go writes into every binary.
    versionArgs: ["version"],
    versionPattern: new RegExp(`^(?:kustomize/)?${SEMVER}`, "m"),
    usualSeconds: 30,
  },
  {
    // The same library for many overlays in one process.
    name: "kustomize-render",
    module: "tools/kustomize",
    versionOf: "sigs.k8s.io/kustomize/kustomize/v5",
    package: "ecommerce-gitops/tools/kustomize/kustomize-render",
    stamp: { "main.version": "{version}" },
    versionArgs: ["--version"],
    versionPattern: new RegExp(`^kustomize-render ${SEMVER}`, "m"),
    usualSeconds: 2,
  },
  {
    name: "age",
    module: "tools/age",
    versionOf: "filippo.io/age",
    package: "filippo.io/age/cmd/age",
    stamp: { "main.Version": "v{version}" },
    versionArgs: ["--version"],
    versionPattern: new RegExp(`^${SEMVER}`, "m"),
    usualSeconds: 10,
  },
  {
    name: "age-keygen",
    module: "tools/age",
    versionOf: "filippo.io/age",
    package: "filippo.io/age/cmd/age-keygen",
    stamp: { "main.Version": "v{version}" },
    versionArgs: ["--version"],
    versionPattern: new RegExp(`^${SEMVER}`, "m"),
    usualSeconds: 2,
  },
  {
    name: "sops",
    module: "tools/sops",
    versionOf: "github.com/getsops/sops/v3",
    package: "github.com/getsops/sops/v3/cmd/sops",
    // The flag keeps sops from asking GitHub for a newer release.
    versionArgs: ["--disable-version-check", "--version"],
    versionPattern: new RegExp(`^sops ${SEMVER}`, "m"),
    usualSeconds: 70,
  },
  {
    name: "crane",
    module: "tools/crane",
    versionOf: "github.com/google/go-containerregistry",
    package: "github.com/google/go-containerregistry/cmd/crane",
    stamp: { "github.com/google/go-containerregistry/cmd/crane/cmd.Version": "{version}" },
    versionArgs: ["version"],
    versionPattern: new RegExp(`^${SEMVER}`, "m"),
    usualSeconds: 30,
  },
  {
    name: "actionlint",
    module: "tools/actionlint",
    versionOf: "github.com/rhysd/actionlint",
    package: "github.com/rhysd/actionlint/cmd/actionlint",
    // No stamp: it reads its version from the module list, as kustomize does.
    versionArgs: ["--version"],
    versionPattern: new RegExp(`^${SEMVER}`, "m"),
    usualSeconds: 15,
  },
  {
    name: "argocd",
    module: "tools/argocd",
    versionOf: "github.com/argoproj/argo-cd/v3",
    package: "github.com/argoproj/argo-cd/v3/cmd",
    stamp: { "github.com/argoproj/argo-cd/v3/common.version": "{version}" },
    versionArgs: ["version", "--client", "--short"],
    versionPattern: new RegExp(`^argocd: ${SEMVER}`, "m"),
    usualSeconds: 270,
    assets: [
      { pattern: "manifests/install.yaml" },
      { pattern: "manifests/crds/*.yaml" },
      { pattern: "manifests/base/config/*.yaml" },
      { pattern: "hack/git-ask-pass.sh", executable: true },
      { pattern: "hack/git-verify-wrapper.sh", executable: true },
      { pattern: "hack/gpg-wrapper.sh", executable: true },
    ],
    // These two have no flag for their metrics' address. The sandbox runs them on machines that are in some network.
    edits: [
      {
        file: "controller/appcontroller.go",
        from: 'metricsAddr := fmt.Sprintf("0.0.0.0:%d", metricsPort)',
        to: 'metricsAddr := fmt.Sprintf("127.0.0.1:%d", metricsPort)',
      },
      {
        file: "cmd/argocd-notification/commands/argocd_notification.go",
        from: 'http.ListenAndServe(fmt.Sprintf("0.0.0.0:%d", metricsPort), http.DefaultServeMux)',
        to: 'http.ListenAndServe(fmt.Sprintf("127.0.0.1:%d", metricsPort), http.DefaultServeMux)',
      },
    ],
  },
  {
    name: "kwok",
    module: "tools/argocd",
    versionOf: "sigs.k8s.io/kwok",
    package: "sigs.k8s.io/kwok/cmd/kwok",
    stamp: { "sigs.k8s.io/kwok/pkg/consts.Version": "{version}" },
    versionArgs: ["--version"],
    versionPattern: new RegExp(`^kwok version ${SEMVER}`, "m"),
    usualSeconds: 20,
    assets: [
      { pattern: "kustomize/crd/**/*.yaml" },
      { pattern: "kustomize/stage/{node,pod,volume}/fast/*.yaml" },
      { pattern: "kustomize/stage/node/{heartbeat,heartbeat-with-lease}/*.yaml" },
      { pattern: "kustomize/metrics/*/*.yaml" },
    ],
  },
  {
    name: "metrics-server",
    module: "tools/argocd",
    versionOf: "sigs.k8s.io/metrics-server",
    package: "sigs.k8s.io/metrics-server/cmd/metrics-server",
    stamp: { "k8s.io/client-go/pkg/version.gitVersion": "v{version}" },
    versionArgs: ["--version"],
    versionPattern: new RegExp(`^${SEMVER}`, "m"),
    usualSeconds: 55,
  },
  {
    // A few lines around the in-memory Redis that Argo CD embeds, for machines without redis-server.
    name: "miniredis",
    module: "tools/argocd",
    versionOf: "github.com/alicebob/miniredis/v2",
    package: "ecommerce-gitops/tools/argocd/miniredis",
    stamp: { "main.version": "{version}" },
    versionArgs: ["--version"],
    versionPattern: new RegExp(`^miniredis ${SEMVER}`, "m"),
    usualSeconds: 2,
  },
  {
    name: "promtool",
    module: "tools/argocd",
    versionOf: "github.com/prometheus/prometheus",
    released: PROMETHEUS_RELEASE,
    package: "github.com/prometheus/prometheus/cmd/promtool",
    stamp: { "github.com/prometheus/common/version.Version": "{version}" },
    versionArgs: ["--version"],
    versionPattern: new RegExp(`^promtool, version ${SEMVER}`, "m"),
    usualSeconds: 170,
  },
  {
    name: "postgres_exporter",
    module: "tools/exporters",
    versionOf: "github.com/prometheus-community/postgres_exporter",
    package: "github.com/prometheus-community/postgres_exporter/cmd/postgres_exporter",
    stamp: { "github.com/prometheus/common/version.Version": "{version}" },
    versionArgs: ["--version"],
    versionPattern: new RegExp(`^postgres_exporter, version ${SEMVER}`, "m"),
    usualSeconds: 45,
  },
  {
    name: "redis_exporter",
    module: "tools/exporters",
    versionOf: "github.com/oliver006/redis_exporter",
    package: "github.com/oliver006/redis_exporter",
    stamp: { "main.BuildVersion": "v{version}" },
    versionArgs: ["--version"],
    versionPattern: new RegExp(`Redis Metrics Exporter ${SEMVER}`),
    usualSeconds: 25,
  },
  {
    name: "etcd",
    module: "tools/kubernetes",
    versionOf: "go.etcd.io/etcd/server/v3",
    package: "go.etcd.io/etcd/server/v3",
    versionArgs: ["--version"],
    versionPattern: new RegExp(`^etcd Version: ${SEMVER}`, "m"),
    usualSeconds: 25,
  },
  {
    name: "kube-apiserver",
    package: "k8s.io/kubernetes/cmd/kube-apiserver",
    usualSeconds: 190,
    ...KUBERNETES,
  },
  {
    name: "kube-controller-manager",
    package: "k8s.io/kubernetes/cmd/kube-controller-manager",
    usualSeconds: 60,
    ...KUBERNETES,
  },
  {
    name: "kube-scheduler",
    package: "k8s.io/kubernetes/cmd/kube-scheduler",
    usualSeconds: 10,
    ...KUBERNETES,
  },
  {
    ...KUBERNETES,
    name: "kubectl",
    package: "k8s.io/kubernetes/cmd/kubectl",
    versionArgs: ["version", "--client"],
    versionPattern: new RegExp(`^Client Version: ${SEMVER}`, "m"),
    usualSeconds: 20,
  },
  {
    name: "gitea",
    module: "tools/gitea",
    versionOf: "code.gitea.io/gitea",
    package: "code.gitea.io/gitea",
    stamp: { "main.Version": "{version}", "main.Tags": "sqlite sqlite_unlock_notify" },
    tags: ["sqlite", "sqlite_unlock_notify"],
    versionArgs: ["--version"],
    versionPattern: new RegExp(`^gitea version ${SEMVER}`, "mi"),
    usualSeconds: 190,
    assets: [{ pattern: "templates/**" }, { pattern: "options/**" }, { pattern: "public/**" }],
  },
  {
    ...MONITORING,
    name: "prometheus-operator",
    versionOf: "github.com/prometheus-operator/prometheus-operator",
    package: "github.com/prometheus-operator/prometheus-operator/cmd/operator",
    versionPattern: new RegExp(`^prometheus-operator, version ${SEMVER}`, "m"),
    usualSeconds: 130,
    // Of the kinds that people write. Of the others a sandbox needs no schema (sandbox/crds).
    assets: [
      {
        pattern:
          "example/prometheus-operator-crd/monitoring.coreos.com_{servicemonitors,podmonitors,probes,prometheusrules}.yaml",
      },
    ],
  },
  {
    ...MONITORING,
    name: "prometheus",
    versionOf: "github.com/prometheus/prometheus",
    released: PROMETHEUS_RELEASE,
    package: "github.com/prometheus/prometheus/cmd/prometheus",
    versionPattern: new RegExp(`^prometheus, version ${SEMVER}`, "m"),
    usualSeconds: 90,
  },
  {
    ...ALERTMANAGER,
    name: "alertmanager",
    package: "github.com/prometheus/alertmanager/cmd/alertmanager",
    versionPattern: new RegExp(`^alertmanager, version ${SEMVER}`, "m"),
    usualSeconds: 15,
    // Its pages are not in the module: they are made by upstream's release build. The API is whole without them.
    edits: [{ file: "ui/web.go", from: "//go:embed app/dist", to: "//go:embed web.go" }],
  },
  {
    ...ALERTMANAGER,
    name: "amtool",
    package: "github.com/prometheus/alertmanager/cmd/amtool",
    versionPattern: new RegExp(`^amtool, version ${SEMVER}`, "m"),
    usualSeconds: 5,
  },
  {
    ...MONITORING,
    name: "kube-state-metrics",
    versionOf: "k8s.io/kube-state-metrics/v2",
    package: "k8s.io/kube-state-metrics/v2",
    versionArgs: ["version"],
    versionPattern: new RegExp(`^kube-state-metrics, version ${SEMVER}`, "m"),
    usualSeconds: 15,
  },
  {
    // A module of its own: its last release wants client-go 0.30. It cannot print its version.
    name: "prometheus-adapter",
    module: "tools/prometheus-adapter",
    versionOf: "sigs.k8s.io/prometheus-adapter",
    package: "sigs.k8s.io/prometheus-adapter/cmd/adapter",
    usualSeconds: 150,
    onDemand: true,
  },
  {
    name: "otelcol",
    module: "tools/otelcol",
    versionOf: "go.opentelemetry.io/collector/otelcol",
    package: "ecommerce-gitops/tools/otelcol",
    stamp: { "main.version": "{version}" },
    versionArgs: ["--version"],
    versionPattern: new RegExp(`^otelcol version ${SEMVER}`, "m"),
    usualSeconds: 90,
    onDemand: true,
  },
  {
    name: "jaeger",
    module: "tools/jaeger",
    versionOf: "github.com/jaegertracing/jaeger",
    // Jaeger 2 is not released to Go: its module path has no /v2. This is the release that both had on the same commit.
    released: { module: /^1\.76\.0$/, as: "2.13.0" },
    package: "github.com/jaegertracing/jaeger/cmd/jaeger",
    stamp: { "github.com/jaegertracing/jaeger/internal/version.latestVersion": "v{version}" },
    versionArgs: ["version"],
    versionPattern: new RegExp(`"gitVersion": ?"${SEMVER}"`),
    usualSeconds: 340,
    onDemand: true,
  },
];

/** The newest Kubernetes that the module registry has, for `npm run test:next` only: nothing else builds it. */
export const NEXT_TOOLS: readonly ToolSpec[] = [
  {
    name: "kube-apiserver",
    package: "k8s.io/kubernetes/cmd/kube-apiserver",
    usualSeconds: 240,
    ...KUBERNETES,
    module: "tools/kubernetes-next",
  },
];
