import { describe, expect, it } from "vitest";
import { asAnnotations, asSarif, describeParts, type Part } from "../../../scripts/lib/check/report.ts";
import { findingIn, noteIn } from "../../../scripts/lib/finding.ts";

const parts: Part[] = [
  { name: "shape", looked: "the whole tree", findings: [] },
  {
    name: "API server",
    looked: "2 overlays",
    findings: [
      findingIn("overlays/dev/a b/x.yaml", "100% of it,\nand more", "correct it", 7),
      noteIn("apps/web.yaml", "is worth knowing", "read it"),
    ],
  },
];

it("is a line for each part", () => {
  expect(describeParts(parts).split("\n")).toEqual([
    "CHECK       LOOKED AT       RESULT",
    "shape       the whole tree  ok",
    "API server  2 overlays      1 finding, 1 note",
  ]);
});

it("is a workflow command for each finding, whatever it has in it", () => {
  expect(asAnnotations(parts).split("\n")).toEqual([
    "::error file=overlays/dev/a b/x.yaml,line=7,title=API server::100%25 of it,%0Aand more; correct it",
    "::notice file=apps/web.yaml,line=1,title=API server::is worth knowing; read it",
    "",
  ]);
});

describe("SARIF", () => {
  it("has a rule for each part, and a result for each finding with its place", () => {
    expect(asSarif(parts)).toMatchObject({
      version: "2.1.0",
      runs: [
        {
          tool: { driver: { rules: [{ id: "shape" }, { id: "api-server", name: "API server" }] } },
          results: [
            {
              ruleId: "api-server",
              level: "error",
              locations: [
                {
                  physicalLocation: {
                    artifactLocation: { uri: "overlays/dev/a%20b/x.yaml" },
                    region: { startLine: 7 },
                  },
                },
              ],
            },
            { ruleId: "api-server", level: "note" },
          ],
        },
      ],
    });
  });
});
