import { describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { generateApplications } from "../../../scripts/lib/argocd/generated.ts";
import { parseManifests } from "../../../scripts/lib/manifests/manifest.ts";

const REPOSITORY = "https://forge.test/shop/x.git";
const git = (more: object) => ({ git: { repoURL: REPOSITORY, revision: "main", ...more } });
const MATRIX = [
  {
    matrix: {
      generators: [
        {
          matrix: {
            generators: [
              git({ directories: [{ path: "overlays/dev/*" }] }),
              git({ pathParamPrefix: "catalogue", files: [{ path: "apps/{{.path.basename}}.yaml" }] }),
            ],
          },
        },
        { clusters: { selector: { matchLabels: { environment: "dev" } } } },
      ],
    },
  },
];

interface Parts {
  generators?: object[];
  syncPolicy?: object;
  metadata?: object;
  name?: string;
}

/** As this repository's own are. */
function set({
  generators = MATRIX,
  syncPolicy = {},
  metadata = {},
  name = "{{.name}}-{{.path.basename}}",
}: Parts = {}): string {
  return stringify({
    apiVersion: "argoproj.io/v1alpha1",
    kind: "ApplicationSet",
    metadata: { name: "dev" },
    spec: {
      goTemplate: true,
      generators,
      syncPolicy,
      template: {
        metadata: { name, labels: { environment: "dev" }, ...metadata },
        spec: {
          project: "dev-{{.kind}}",
          source: { repoURL: REPOSITORY, path: "{{.path.path}}" },
          destination: { name: "{{.name}}", namespace: "{{.namespace}}" },
        },
      },
    },
  });
}

const FILES: Record<string, string> = {
  "apps/web.yaml": "app: web\nnamespace: shop\nkind: service\n",
  "apps/disk.yaml": "app: disk\nnamespace: data\nkind: store\n",
  "overlays/dev/web/kustomization.yaml": "",
  "overlays/dev/web/part/kustomization.yaml": "",
  "overlays/dev/disk/kustomization.yaml": "",
  "overlays/dev/other/kustomization.yaml": "",
  "overlays/prod/web/kustomization.yaml": "",
};
const files = {
  repoURL: REPOSITORY,
  paths: new Set(Object.keys(FILES)),
  read: (path: string) => FILES[path],
};
const made = (text: string) => generateApplications(parseManifests(text), files, ["dev", "prod"]);

describe("an ApplicationSet makes", () => {
  it("an Application of each directory that the catalogue has, on the clusters of its environment", () => {
    const { applications, problems } = made(set());
    expect(problems).toEqual([]);
    expect(applications).toEqual([
      {
        name: "dev-disk",
        environment: "dev",
        by: "dev",
        source: "overlays/dev/disk",
        namespace: "data",
        project: "dev-store",
        isRemoved: true,
        takesObjects: true,
      },
      expect.objectContaining({ name: "dev-web", namespace: "shop", project: "dev-service" }),
    ]);
  });

  it.each([
    ["nothing is said", {}, [], true, true],
    ["objects are to stay", { preserveResourcesOnDeletion: true }, [], true, false],
    [
      "objects are to stay, and a finalizer says otherwise",
      { preserveResourcesOnDeletion: true },
      ["resources-finalizer.argocd.argoproj.io"],
      true,
      true,
    ],
    ["it has another finalizer", {}, ["example.com/x"], true, false],
    ["Applications are not deleted", { applicationsSync: "create-update" }, [], false, false],
    ["Applications are created and deleted", { applicationsSync: "create-delete" }, [], true, true],
  ])("Applications that go when %s: as it says", (_, syncPolicy, finalizers, isRemoved, takesObjects) => {
    const { applications } = made(set({ syncPolicy, metadata: { finalizers } }));
    expect(applications[0]).toMatchObject({ isRemoved, takesObjects });
  });

  it.each<[string, object[], string[]]>([
    [
      "a list",
      [
        {
          list: { elements: [{ name: "a", path: { path: "x", basename: "y" }, kind: "k", namespace: "n" }] },
        },
      ],
      ["a-y"],
    ],
    [
      "clusters with an expression",
      [
        {
          matrix: {
            generators: [
              {
                clusters: {
                  selector: {
                    matchExpressions: [{ key: "environment", operator: "NotIn", values: ["dev"] }],
                  },
                },
              },
              git({ files: [{ path: "apps/web.yaml" }] }),
            ],
          },
        },
      ],
      ["prod-apps"],
    ],
    [
      "directories but some",
      [
        {
          matrix: {
            generators: [
              git({ directories: [{ path: "overlays/dev/*" }, { path: "overlays/dev/o*", exclude: true }] }),
              { list: { elements: [{ name: "l", kind: "k", namespace: "n" }] } },
            ],
          },
        },
      ],
      ["l-disk", "l-web"],
    ],
  ])("of %s what it says", (_, generators, names) => {
    const { applications, problems } = made(set({ generators }));
    expect({ names: applications.map(({ name }) => name), problems }).toEqual({ names, problems: [] });
  });

  it("nothing where it stands in Git as it is", () => {
    const text = set();
    const { spec } = parse(text).spec.template;
    const one = { apiVersion: "argoproj.io/v1alpha1", kind: "Application", metadata: { name: "hub" }, spec };
    expect(made(stringify(one)).applications).toMatchObject([
      { name: "hub", by: undefined, takesObjects: false },
    ]);
  });
});

it.each<[string, Parts, RegExp]>([
  [
    "another generator",
    { generators: [{ scmProvider: {} }] },
    /ApplicationSet dev: spec\.generators\.0.*scmProvider/,
  ],
  [
    "another repository",
    { generators: [git({ repoURL: "https://else.test/y.git", files: [] })] },
    /it reads https:\/\/else\.test/,
  ],
  [
    "another label",
    { generators: [{ clusters: { selector: { matchLabels: { region: "x" } } } }] },
    /selected by the label region/,
  ],
  ["a function in its template", { name: "{{.name | upper}}" }, /its template has \{\{\.name \| upper\}\}/],
  ["a parameter that is not there", { name: "{{.nome}}" }, /\{\{\.nome\}\} has no value/],
])("%s is not understood, and that is said", (_, options, problem) => {
  const { applications, problems } = made(set(options));
  expect(applications).toEqual([]);
  expect(problems).toEqual([expect.stringMatching(problem)]);
});
