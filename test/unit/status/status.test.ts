import { describe, expect, it } from "vitest";
import { type Application, parseApplications } from "../../../scripts/lib/argocd/applications.ts";
import { withAlerts } from "../../../scripts/lib/status/alerts.ts";
import { doubtful, withApplications } from "../../../scripts/lib/status/applications.ts";
import type { OpenChange } from "../../../scripts/lib/status/changes.ts";
import type { Status, StatusRow } from "../../../scripts/lib/status/status.ts";
import { describeStatus, statusMarkdown, statusTable } from "../../../scripts/lib/status/tables.ts";

const SHA = "8f3c1d0a5b7e4926a1c8d35f60e97b24c41a8d6e";
const OLD = "4b1f0c2d9e8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c";
const NOW = new Date("2026-11-20T12:00:00Z");
const URL = "https://forge.example.com/shop/gitops";

function application(env: string, app: string, change: Partial<Application> = {}): Application {
  const name = `${env}-${app}`;
  const state = { sync: "Synced", health: "Healthy", revision: "a".repeat(40), operation: "", message: "" };
  const moment = {
    operating: false,
    operationMessage: "",
    comparisonError: undefined,
    unhealthy: undefined,
    isEmpty: false,
  };
  const past = { healthSince: undefined, deployments: [] };
  return { name, app, env, cluster: env, images: [], ...state, ...moment, ...past, ...change };
}

function deployedAt(time: string): Application["deployments"][number] {
  return { revision: "b".repeat(40), at: new Date(time) };
}

const ENVIRONMENTS = ["dev", "staging", "prod"];

function row(env: string, app: string, change: Partial<StatusRow> = {}): StatusRow {
  return {
    app,
    env,
    cluster: null,
    release: "8f3c1d0",
    image: `shop/${app}:${SHA}`,
    commit: "c".repeat(40),
    since: "2026-11-20T10:00:00.000Z",
    behind: env === "dev" ? null : 0,
    commitsBehind: null,
    sync: null,
    health: null,
    isEmpty: null,
    revision: null,
    running: [],
    pullRequests: [],
    holds: [],
    alerts: null,
    lastRollback: null,
    ...change,
  };
}

const bump = { number: 11, kind: "bump", url: `${URL}/pulls/11` } as const;
const promotion = { number: 12, kind: "promotion", url: `${URL}/pulls/12` } as const;
const CHANGES: OpenChange[] = [
  { ...bump, title: "web: 4b1f0c2 in dev", env: "dev", apps: ["web"] },
  { ...promotion, title: "Promote 2 apps from staging to prod", env: "prod", apps: ["disk", "web"] },
];

const STATUS: Status = {
  environments: ENVIRONMENTS,
  notes: ["without sync and health: there is no Argo CD to ask"],
  rows: [
    row("dev", "disk", { release: "base 1a2b3c4", image: null, since: "2026-11-19T12:00:00.000Z" }),
    row("staging", "disk", { release: "base 0f0f0f0", image: null, behind: null }),
    row("prod", "disk", { release: null, image: null, since: null, behind: null, pullRequests: [promotion] }),
    row("dev", "web", { since: "2026-11-20T11:59:15.000Z", pullRequests: [bump] }),
    row("staging", "web", { since: "2026-11-20T11:48:00.000Z" }),
    row("prod", "web", {
      release: "4b1f0c2",
      since: "2026-11-17T11:00:00.000Z",
      behind: 3,
      pullRequests: [promotion],
      holds: [
        {
          image: `shop/web:${SHA}`,
          digest: "",
          reason: "leaks *memory*",
          by: "Ann",
          since: "2026-11-17T11:00:00.000Z",
          until: null,
        },
      ],
      lastRollback: { commit: "d".repeat(40), at: "2026-11-17T11:00:00.000Z" },
    }),
    row("dev", "old"),
  ],
};

describe("alerts that fire", () => {
  const firing = (env: string, alertname: string, labels: Record<string, string>) => ({
    env,
    labels: { alertname, severity: "warning", ...labels },
    summary: "it is so",
  });
  const rows = [
    row("dev", "apisix"),
    row("dev", "apisix-ingress-controller"),
    row("dev", "web"),
    row("prod", "web", { cluster: "prod-eu" }),
  ];
  const status: Status = { environments: ENVIRONMENTS, notes: [], rows };

  it.each([
    ["a service", firing("dev", "ServiceSlow", { service: "web" }), "dev/web"],
    [
      "a Service with another name",
      firing("dev", "GatewayDown", { service: "apisix-metrics" }),
      "dev/apisix",
    ],
    ["a pod", firing("dev", "PodRestarts", { pod: "web-6d5f-x2" }), "dev/web"],
    [
      "the longer of two names",
      firing("dev", "ServiceDown", { service: "apisix-ingress-controller" }),
      "dev/apisix-ingress-controller",
    ],
    [
      "a claim of a StatefulSet",
      firing("dev", "VolumeFilling", { persistentvolumeclaim: "data-web-0" }),
      "dev/web",
    ],
    ["an application of another cluster", firing("dev", "ReleaseWaits", { name: "prod-eu-web" }), "prod/web"],
  ])("stand beside %s", (_, alert, place) => {
    const found = withAlerts(status, [alert]);
    const marked = found.rows.filter(({ alerts }) => alerts?.length === 1);
    expect(marked.map(({ env, app }) => `${env}/${app}`)).toEqual([place]);
    expect(found.notes).toEqual([]);
  });

  it("are counted in the cell, and named below the table; those of no app are a note", () => {
    const found = withAlerts(status, [
      firing("dev", "ServiceSlow", { service: "web" }),
      firing("dev", "QuotaNearlyUsed", { namespace: "shop", resource: "pods" }),
    ]);
    const text = describeStatus(found, { source: "main at 1234567", changes: [], now: NOW });
    expect(text).toContain("web                        8f3c1d0 2h !1");
    expect(text).toContain("\n!  web in dev: ServiceSlow (warning): it is so\n");
    expect(text).toContain("\nalert  QuotaNearlyUsed (warning) in dev: it is so\n");
  });

  it("are null for machines when nobody was asked", () => {
    expect(status.rows.map(({ alerts }) => alerts)).toEqual([null, null, null, null]);
    expect(withAlerts(status, []).rows.map(({ alerts }) => alerts)).toEqual([[], [], [], []]);
  });
});

describe("the status table", () => {
  it("has release, age and marks; below it what they mean, what is open, what is held, and where it is from", () => {
    const text = describeStatus(STATUS, { source: "main at 1234567", changes: CHANGES, now: NOW });
    expect(text.split("\n")).toEqual([
      "app   dev              staging             prod",
      "disk  base 1a2b3c4 1d  base 0f0f0f0 2h ↓?  none #12",
      "old   8f3c1d0 2h       -                   -",
      "web   8f3c1d0 45s #11  8f3c1d0 12m         4b1f0c2 3d ↓3 hold ↺3d #12",
      "",
      "↓?    the environment before never had this release, as far as Git knows",
      "↓     so many releases behind the environment before",
      "↺     rolled back, so long ago",
      "",
      `#11  web: 4b1f0c2 in dev  ${URL}/pulls/11`,
      `#12  Promote 2 apps from staging to prod  ${URL}/pulls/12`,
      "",
      "hold  web in prod: leaks *memory* (Ann; npm run unhold prod web lifts it)",
      "",
      "main at 1234567",
      "without sync and health: there is no Argo CD to ask",
      "",
    ]);
  });

  it("says nothing below it that there is no reason for", () => {
    const status = {
      environments: ENVIRONMENTS,
      notes: [],
      rows: [row("dev", "web"), row("staging", "web")],
    };
    const text = describeStatus(status, { source: "main at 1234567", changes: [], now: NOW });
    expect(text).toBe("app  dev         staging\nweb  8f3c1d0 2h  8f3c1d0 2h\n\nmain at 1234567\n");
  });

  it("fits three environments into 120 columns, with what Argo CD says", () => {
    const applications = ENVIRONMENTS.map((env) => application(env, "product-service"));
    const rows = ENVIRONMENTS.map((env) =>
      row(env, "product-service", { behind: env === "dev" ? null : 3, pullRequests: [promotion] }),
    );
    const status = withApplications({ environments: ENVIRONMENTS, notes: [], rows }, applications);
    const [heading = "", line = ""] = describeStatus(status, { source: "", changes: [], now: NOW }).split(
      "\n",
    );
    expect(line).toContain("8f3c1d0 2h Synced Healthy ↓3 #12  8f3c1d0");
    expect(Math.max(heading.length, line.length)).toBeLessThanOrEqual(120);
  });

  it("counts the commits of the app's own repository when they are known", () => {
    const rows = [row("staging", "web", { behind: 2, commitsBehind: 14 })];
    const text = describeStatus(
      { environments: ENVIRONMENTS, notes: [], rows },
      { source: "", changes: [], now: NOW },
    );
    expect(text).toContain("web  8f3c1d0 2h ↓2 (14)\n");
    expect(text).toContain("behind the environment before (so many commits of its own repository)\n");
  });

  it("is a table in Markdown, too, in which nobody's text is markup", () => {
    const text = statusMarkdown(STATUS, { source: "main at 1234567", changes: CHANGES, now: NOW });
    expect(text.split("\n")).toEqual([
      "| app | dev | staging | prod |",
      "| --- | --- | --- | --- |",
      "| disk | `base 1a2b3c4` 1d | `base 0f0f0f0` 2h ↓? | `none` #12 |",
      "| old | `8f3c1d0` 2h | - | - |",
      "| web | `8f3c1d0` 45s #11 | `8f3c1d0` 12m | `4b1f0c2` 3d ↓3 hold ↺3d #12 |",
      "",
      "- ↓? the environment before never had this release, as far as Git knows",
      "- ↓ so many releases behind the environment before",
      "- ↺ rolled back, so long ago",
      `- [#11](${URL}/pulls/11) \`web: 4b1f0c2 in dev\``,
      `- [#12](${URL}/pulls/12) \`Promote 2 apps from staging to prod\``,
      "- `hold web in prod: leaks *memory* (Ann; npm run unhold prod web lifts it)`",
      "- main at 1234567",
      "- `without sync and health: there is no Argo CD to ask`",
      "",
    ]);
  });
});

describe("Argo CD's state", () => {
  const image = (tag: string) => `r.example.com/shop/web:${tag}@sha256:${"0".repeat(64)}`;
  const describe1 = (change: Partial<Application>) => {
    const status = { environments: ENVIRONMENTS, notes: [], rows: [row("dev", "web")] };
    const whole = withApplications(status, [application("dev", "web", change)]);
    return describeStatus(whole, { source: "", changes: [], now: NOW }).split("\n")[1];
  };

  it.each([
    [{ images: ["busybox:1.37", image(SHA)] }, "web  8f3c1d0 2h Synced Healthy"],
    [{ images: [image(OLD)], sync: "OutOfSync" }, "web  8f3c1d0 2h OutOfSync Healthy runs 4b1f0c2"],
    [{ images: [image(OLD), image(SHA)], health: "Progressing" }, "web  8f3c1d0 2h Synced Progressing"],
    [{ images: [`r.example.com/other/web:${OLD}`] }, "web  8f3c1d0 2h Synced Healthy"],
    [{ sync: "OutOfSync", health: "Missing" }, "web  8f3c1d0 2h OutOfSync Missing"],
  ])("%j stands beside the release, and what else the cluster runs", (change, line) => {
    expect(describe1(change)).toBe(line);
  });

  it.each<[string, Partial<Application>, boolean]>([
    ["has deployed nothing", {}, true],
    [
      "has deployed nothing since the release came",
      { deployments: [deployedAt("2026-11-20T09:59:59Z")] },
      true,
    ],
    ["has deployed since", { deployments: [deployedAt("2026-11-20T10:00:01Z")] }, false],
    ["says itself that it is not synced", { sync: "OutOfSync" }, false],
  ])("doubts a Synced application of which Argo CD knows no deployment: it %s", (_, change, isDoubtful) => {
    const found = doubtful([row("dev", "web")], [application("dev", "web", change)]);
    expect(found).toHaveLength(isDoubtful ? 1 : 0);
  });

  it("makes a row for each cluster of an environment, and for what Git does not have any more", () => {
    const status = { environments: ENVIRONMENTS, notes: [], rows: [row("prod", "web"), row("dev", "web")] };
    const { rows } = withApplications(status, [
      application("prod", "web", { cluster: "prod-eu" }),
      application("prod", "web", { cluster: "prod-us", revision: "", images: [image(SHA)] }),
      application("prod", "gone"),
    ]);
    expect(
      rows.map(({ app, cluster, release, revision, running }) => [app, cluster, release, revision, running]),
    ).toEqual([
      ["web", "prod-eu", "8f3c1d0", "a".repeat(40), []],
      ["web", "prod-us", "8f3c1d0", null, [image(SHA)]],
      ["web", null, "8f3c1d0", null, []],
      ["gone", "prod", null, "a".repeat(40), []],
    ]);
  });

  it("is a line below where it cannot compare an app, if anybody asked for that one", () => {
    const status = { environments: ENVIRONMENTS, notes: ["x"], rows: [row("dev", "web")] };
    const comparisonError = "ComparisonError: no\n  such file";
    const applications = ["web", "disk"].map((app) => application("dev", app, { comparisonError }));
    expect(withApplications(status, applications, ["web"]).notes).toEqual([
      "x",
      "dev-web cannot be compared with Git: ComparisonError: no such file",
    ]);
  });

  it("is left out for apps that nobody asked for", () => {
    const status = { environments: ENVIRONMENTS, notes: [], rows: [row("dev", "web")] };
    const { rows } = withApplications(
      status,
      [application("dev", "web"), application("dev", "disk")],
      ["web"],
    );
    expect(rows.map(({ app }) => app)).toEqual(["web"]);
  });
});

describe("the table without a look into Git", () => {
  it("has a line an app, and a column a cluster in the order of promotion", () => {
    const images = [`r.example.com/ecommerce/user-service:${SHA}@sha256:${"0".repeat(64)}`];
    const text = statusTable(
      [
        application("prod", "user-service", { sync: "OutOfSync", health: "Missing" }),
        application("dev", "redis", { images: ["redis:7.4.11-bookworm"] }),
        application("dev", "user-service", { images }),
      ],
      ENVIRONMENTS,
    );
    expect(text.split("\n")).toEqual([
      "app           dev                     prod",
      "redis         Synced Healthy          -",
      "user-service  8f3c1d0 Synced Healthy  OutOfSync Missing",
    ]);
  });

  it("says which applications deploy nothing, and that Healthy says nothing of them", () => {
    const text = statusTable(
      [application("dev", "apisix", { isEmpty: true }), application("prod", "apisix")],
      ENVIRONMENTS,
    );
    expect(text.split("\n")).toEqual([
      "app     dev                   prod",
      "apisix  Synced Healthy empty  Synced Healthy",
      "",
      "empty  nothing but sealed Secrets is deployed, so Healthy says nothing",
    ]);
  });

  it("shows two clusters of one environment side by side", () => {
    const text = statusTable(
      [
        application("prod", "redis", { cluster: "prod-eu" }),
        application("prod", "redis", { cluster: "prod-us" }),
      ],
      ENVIRONMENTS,
    );
    expect(text.split("\n")[0]).toBe("app    prod-eu         prod-us");
  });
});

describe("what argocd prints", () => {
  it("is read as far as it goes, for an application without a status too", () => {
    const json = JSON.stringify([
      { metadata: { name: "dev-redis", labels: { app: "redis", environment: "dev", cluster: "dev" } } },
    ]);
    expect(parseApplications(json)).toEqual([
      application("dev", "redis", { sync: "Unknown", health: "Unknown", revision: "" }),
    ]);
  });

  it.each<[string, string, string[], boolean]>([
    ["nothing", "Synced", [], true],
    ["sealed Secrets only", "OutOfSync", ["SopsSecret", "SopsSecret"], true],
    ["more than sealed Secrets", "Synced", ["SopsSecret", "Deployment"], false],
    ["nobody knows what", "Unknown", [], false],
  ])("is empty for an application that deploys %s: %s %j %s", (_, sync, kinds, isEmpty) => {
    const resources = kinds.map((kind, index) => ({ kind, name: String(index) }));
    const json = JSON.stringify([{ metadata: { name: "x" }, status: { sync: { status: sync }, resources } }]);
    expect(parseApplications(json)[0]?.isEmpty).toBe(isEmpty);
  });

  it("may be null, when there are no applications", () => {
    expect(parseApplications("null")).toEqual([]);
  });

  it("is refused when it is something else", () => {
    expect(() => parseApplications('{"items":[]}')).toThrow(
      "argocd answered with applications of an unknown shape",
    );
  });
});
