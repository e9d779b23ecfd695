import { describe, expect, it, onTestFinished, vi } from "vitest";
import { checkAdmission, checkQuotas, whileServerStarts } from "../../scripts/lib/admission/check.ts";
import { exceptionsOf } from "../../scripts/lib/admission/exception.ts";
import { exceptionFindings, quotaFindings } from "../../scripts/lib/admission/findings.ts";
import { Acknowledged } from "../../scripts/lib/check/acknowledged.ts";
import { describeFinding } from "../../scripts/lib/finding.ts";
import { parseManifests } from "../../scripts/lib/manifests/manifest.ts";
import { repositoryRoot } from "../../scripts/lib/repository.ts";
import { temporary } from "../support/tree.ts";

const REASON = "upstream does not support a read-only root file system";
const workload = (value: string) => `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
  annotations:
    exception.ecommerce/writable-root: ${JSON.stringify(value)}
`;
const rendering = (text: string, environment = "dev") => ({
  overlay: `overlays/${environment}/web`,
  manifests: parseManifests(text),
});

describe("an exception", () => {
  const options = { first: "dev", now: new Date("2027-03-02T12:00:00Z") };

  it("names its rule and its last day", () => {
    const [manifest] = parseManifests(workload(`until 2027-03-01: ${REASON}`));
    expect(manifest === undefined ? [] : exceptionsOf(manifest)).toEqual([
      { rule: "writable-root", until: "2027-03-01" },
    ]);
  });

  it.each([
    ["is fine on its last day", `until 2027-03-02: ${REASON}`, []],
    [
      "is over a day later",
      `until 2027-03-01: ${REASON}`,
      [/exception writable-root, which ended on 2027-03-01; /],
    ],
    ["has to have an end", REASON, [/exception writable-root without a date and a reason; /]],
    ["has to have a reason", "until 2027-03-02: because", [/exception writable-root without a date/]],
  ])("%s", (_, value, expected) => {
    const findings = exceptionFindings([rendering(workload(value))], options).map(describeFinding);
    expect(findings).toEqual(expected.map((pattern) => expect.stringMatching(pattern)));
  });

  it("that is over does not hold up a release: a rollback does not wait for a date", () => {
    const release = rendering(workload(`until 2027-03-01: ${REASON}`), "prod");
    expect(exceptionFindings([release], options)).toEqual([]);
  });
});

it("a quota that does not hold all autoscalers at their maximum is found, with what is needed", () => {
  const objects = (pods: number) => `apiVersion: v1
kind: ResourceQuota
metadata: { name: quota, namespace: shop }
spec: { hard: { pods: "${pods}" } }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: shop }
spec:
  strategy: { type: RollingUpdate, rollingUpdate: { maxSurge: 1 } }
  selector: { matchLabels: { app: web } }
  template: { metadata: { labels: { app: web } }, spec: { containers: [{ name: app, image: web }] } }
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: web, namespace: shop }
spec: { minReplicas: 1, maxReplicas: 9, metrics: [], scaleTargetRef: { kind: Deployment, name: web } }
`;
  expect(quotaFindings([rendering(objects(10))])).toEqual([]);
  expect(quotaFindings([rendering(objects(9))]).map(describeFinding)).toEqual([
    expect.stringMatching(
      /^overlays\/dev\/foundation\/\S+: ResourceQuota shop\/quota has 9 of pods, and 10 are needed/,
    ),
  ]);
});

it("where no API server is built, a check says so, and looks at the rest", async () => {
  onTestFinished(() => void vi.unstubAllEnvs());
  vi.stubEnv("TOOLS_CACHE", await temporary());
  vi.stubEnv("PATH", "");
  const over = rendering(workload(`until 2027-03-01: ${REASON}`));
  const change = {
    verdicts: [],
    touched: new Set([over.overlay]),
    differing: new Set([over.overlay]),
    before: [],
    after: [over],
    summed: new Set(["dev"]),
    findings: [],
  };
  const acknowledged = new Acknowledged(new Map());
  const options = { apps: [], first: "dev", now: new Date("2027-03-02T12:00:00Z"), acknowledged };
  const parts = await whileServerStarts(async (server) =>
    Promise.all([checkAdmission(repositoryRoot(), server, change, options), checkQuotas(change, options)]),
  );
  expect(parts).toMatchObject([
    {
      looked: "NOTHING: etcd and kube-apiserver not built; run `npm run tools -- etcd kube-apiserver`",
      findings: [],
    },
    { looked: "dev", findings: [{ what: expect.stringContaining("ended on 2027-03-01") }] },
  ]);
});
