import { expect, it } from "vitest";
import type { Diff, OverlayDiff } from "../../../scripts/lib/diff/diff.ts";
import { asHtml, asMarkdown, asText } from "../../../scripts/lib/diff/report.ts";
import { verdictsOf } from "../../../scripts/lib/diff/verdict.ts";
import { compareRenderings } from "../../../scripts/lib/manifests/change.ts";

const ORDER = ["dev", "staging", "prod"];

function deployment(name: string, image = "registry/shop/web:1", replicas = 2): string {
  return `apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: ${name}\n  namespace: shop\nspec:\n  replicas: ${replicas}\n  template:\n    spec:\n      containers:\n        - name: ${name}\n          image: ${image}\n`;
}

const CLAIM =
  "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: data\n  namespace: shop\nspec:\n  accessModes: [ReadWriteOnce]\n";
const SETTINGS =
  "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n  namespace: shop\ndata:\n  a: b\n";

/** An overlay as `diffStates` compares it. */
function overlay(environment: string, name: string, before: string, after: string): OverlayDiff {
  const change =
    before === after ? "unchanged" : before === "" ? "added" : after === "" ? "removed" : "changed";
  return {
    overlay: ["overlays", environment, name].filter((part) => part !== "").join("/"),
    environment,
    name,
    change,
    objects: compareRenderings(before, after),
    problem: undefined,
    rendered: { before, after },
  };
}

function diffOf(...affected: OverlayDiff[]): Diff {
  return { left: "0123456789", files: 1, total: 12, affected, unclear: [], isProven: false };
}

it.each<[string, OverlayDiff[], string[]]>([
  [
    "a new image in one app",
    [overlay("prod", "web", deployment("web"), deployment("web", "registry/shop/web:2"))],
    ["prod: 1 app, image only"],
  ],
  [
    "the same in the order of the environments, and two risks at once",
    [
      overlay("prod", "web", deployment("web"), deployment("web", "registry/shop/web:2", 3)),
      overlay("dev", "web", deployment("web"), deployment("web", "registry/shop/web:2")),
      overlay("dev", "api", deployment("api"), deployment("api", "registry/shop/api:2")),
    ],
    ["dev: 2 apps, image only", "prod: 1 app, replicas, image"],
  ],
  [
    "a claim that goes",
    [overlay("prod", "disk", `${deployment("disk")}---\n${CLAIM}`, deployment("disk"))],
    ["prod: deletes a claim, 1 app, storage"],
  ],
  [
    "an object that goes and holds no data",
    [overlay("prod", "web", `${deployment("web")}---\n${SETTINGS}`, deployment("web"))],
    ["prod: 1 app, deletes 1 object, configuration"],
  ],
  [
    "an immutable field",
    [
      overlay(
        "prod",
        "web",
        `${deployment("web")}  selector:\n    matchLabels: {app: web}\n`,
        `${deployment("web")}  selector:\n    matchLabels: {app: other}\n`,
      ),
    ],
    ["prod: changes 1 immutable object, 1 app"],
  ],
  [
    "files that change nothing once rendered",
    [overlay("prod", "web", deployment("web"), deployment("web"))],
    ["no environment changes: refactor"],
  ],
  [
    "files that no overlay is built from",
    [],
    ["no environment changes: no overlay is built from what differs"],
  ],
  [
    "an environment's own objects",
    [overlay("dev", "", SETTINGS, SETTINGS.replace("b", "c"))],
    ["dev: the environment's own objects, configuration only"],
  ],
  [
    "an overlay that does not render",
    [
      {
        ...overlay("dev", "web", deployment("web"), ""),
        change: "broken",
        objects: [],
        problem: "does not render: why",
      },
    ],
    ["dev: 1 overlay that does not render"],
  ],
  [
    "a directory that belongs to no environment",
    [{ ...overlay("", "clusters/hub", "", SETTINGS), overlay: "clusters/hub" }],
    ["outside of the environments: 1 app, configuration only"],
  ],
])("the verdict for %s", (_, affected, verdicts) => {
  expect(verdictsOf(diffOf(...affected), ORDER).map(({ text }) => text)).toEqual(verdicts);
});

it.each([
  ["claim", CLAIM, true],
  ["namespace", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n", true],
  ["map", SETTINGS, false],
])("whether somebody has to look at a deleted %s before the merge", (_, object, isDangerous) => {
  const diff = diffOf(overlay("prod", "disk", `${deployment("disk")}---\n${object}`, deployment("disk")));
  expect(verdictsOf(diff, ORDER).map((verdict) => verdict.isDangerous)).toEqual([isDangerous]);
});

const NAMES = ["api", "cart", "mail", "search", "web"];

it("says the same change of many apps once, and names the environments that get it together", () => {
  const both = ["dev", "staging"].flatMap((environment) =>
    NAMES.map((name) =>
      overlay(environment, name, deployment(name), deployment(name, "registry/shop/web:1", 3)),
    ),
  );
  const prod = overlay("prod", "web", deployment("web"), deployment("web", "registry/shop/web:2"));
  expect(asText(diffOf(...both, prod), ORDER)).toBe(
    [
      "dev: 5 apps, replicas only",
      "staging: 5 apps, replicas only",
      "prod: 1 app, image only",
      "",
      "dev and staging: api, cart, mail, search, web",
      "  replicas",
      "    apps/Deployment × 5 (shop/api, shop/cart, shop/mail, shop/search, and 1 more) spec.replicas: 2 → 3",
      "",
      "prod: web",
      "  image",
      "    apps/Deployment shop/web containers[web].image: registry/shop/web:1 → registry/shop/web:2",
      "",
      "since 0123456: 1 file differs, and 11 of 12 overlays are built from it; the other 1 are not",
    ].join("\n"),
  );
});

it.each<[string, (diff: Diff) => string, RegExp]>([
  ["Markdown", (diff) => asMarkdown(diff, ORDER, "https://forge.test/run"), /@admin/],
  ["HTML", (diff) => asHtml(diff, ORDER), /<img|"https:/],
])("what a directory is called is no markup in %s", (_, write, harm) => {
  const hostile = 'x</summary><img src="https://evil.test/a">@admin';
  const affected = overlay("prod", hostile, "", SETTINGS.replace("a: b", `a: '${hostile}'`));
  expect(write(diffOf(affected))).not.toMatch(harm);
});

it("the comment is never longer than a forge takes it, and says where the rest is", () => {
  const many = Array.from({ length: 3000 }, (_, index) =>
    overlay(`env-${index}`, "web", deployment("web"), deployment("web", `registry/shop/web:${index + 2}`)),
  );
  const text = asMarkdown(diffOf(...many), ORDER, "https://forge.test/run");
  expect(text.length).toBeLessThanOrEqual(61_000);
  expect(text).toMatch(/… and more: \[the whole change\]\(https:\/\/forge\.test\/run\)\n$/);
});

it("says which kustomization is not understood", () => {
  const diff = {
    ...diffOf(),
    unclear: ["overlays/dev/web/kustomization.yaml: the field files is not known"],
  };
  expect(asText(diff, ORDER)).toMatch(
    /\nnote: overlays\/dev\/web\/kustomization\.yaml: the field files is not known; any change counts for it$/,
  );
});
