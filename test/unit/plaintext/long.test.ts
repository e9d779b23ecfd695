/** The hook answers, however long and odd a text is: who waits for minutes leaves it out. What takes too long is over the tests' time. */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { plaintextFindings } from "../../../scripts/lib/plaintext/plaintext.ts";

const LENGTH = 100_000;
const fill = (part: string, length = LENGTH) => part.repeat(Math.ceil(length / part.length)).slice(0, length);
const secret = (value: string) => `kind: Secret\nstringData:\n  token: ${value}\n`;
const fence = (text: string) => `\`\`\`yaml\n${text}\`\`\`\n`;
const numbered = (line: (index: number) => string) =>
  Array.from({ length: LENGTH / line(100).length }, (_, index) => line(index)).join("");

describe("an answer is there for 100,000 characters", () => {
  it.each<[string, string, string]>([
    ["of x", "a.md", fence(secret(`${fill("x")}==`))],
    ["of x, 200 only", "a.md", fence(secret(`${fill("x", 200)}==`))],
    ["of x and signs", "a.md", fence(secret(`${fill("x-x_x1 ")}§`))],
    ["of words", "a.md", fence(secret(`${fill("changeme-")}§`))],
    ["of words without a space", "test/a.yaml", secret(`${fill("usernamepasswordan")}§`)],
    ["of signs behind a word", "test/a.yaml", secret(`test${fill("-", 190)}§`)],
    ["of digits behind words", "test/a.yaml", secret(fill("a1", 199))],
    ["of kinds in one line", "a.yaml", `${fill("kind:")}\nSecret`],
    ["of kinds in one line of JSON", "a.json", `[${fill('{"kind":"Secrets"},')}{}]`],
    ["of Secrets in one map", "a.md", fill("kind: Secret\n")],
    ["of Secrets in one list", "a.yaml", fill("- kind: Secret\n  data:\n    a: |\n      b1\n")],
    ["of Secrets one in the other", "a.sh", fill('{"kind":"Secret","data":')],
    ["of Secrets one in the other, closed", "a.sh", `${fill('{"kind":"Secret","data":')}1${fill("}", 5000)}`],
    [
      "of SopsSecrets one in the other",
      "a.yaml",
      numbered((index) => `${" ".repeat(index % 300)}kind: SopsSecret\n`),
    ],
    ["of values of several lines", "a.md", `kind: Secret\ndata:\n${fill("  a: |\n")}`],
    ["of documents", "a.yaml", fill("---\nkind: Secret\n")],
    ["of spaces before a line", "a.md", `kind: Secret\n${fill(" ")}x\ndata:\n${fill(" ")}x: y`],
    ["of spaces in a line", "a.md", `kind: Secret\ndata:\n  a:${fill(" ")}\u2028x`],
    ["of comments in a line", "a.md", `kind: Secret\ndata:\n  a: b${fill(" #")}\u2028x`],
    ["of ends of a literal", "a.ts", `kind: Secret\n${fill("`;")}x`],
    ["of templates", "a.yaml", secret(`${fill("{{ ")}\${${fill("a", 1000)}`)],
    ["of variables", "a.sh", secret(`${fill("$(")}${fill("'$(", 1000)}`)],
    ["of the beginnings of keys", "a.pem", fill("-----BEGIN A PRIVATE KEY-----")],
    ["of the words of a key's header", "a.pem", `-----BEGIN ${fill("A ")} PRIVATE KEY`],
    ["of keys", "a.txt", fill(`AGE-SECRET-KEY-1${fill("Q", 58)}\n`)],
    ["of encoded keys", "a.txt", fill("LS0tLS1CRUdJTi")],
    ["of certificates", "a.yaml", secret(fill("-----BEGIN CERTIFICATE----- A -----END CERTIFICATE----- "))],
    ["of aliases", "a.yaml", `x: &a b1\nkind: Secret\ndata:\n${numbered((index) => `  k${index}: *a\n`)}`],
    [
      "of merged maps",
      "a.yaml",
      `kind: Secret\na: &m0 {}\n${numbered((index) => `a: &m${index + 1} { <<: *m${index} }\n`)}`,
    ],
    ["of keys of a map", "a.yaml", `kind: Secret\ndata:\n${numbered((index) => `  k${index}: b1\n`)}`],
    ["of brackets", "a.yaml", `kind: Secret\na: ${fill("[{")}`],
    [
      "of an address",
      "a.yaml",
      `metadata: { labels: { argocd.argoproj.io/secret-type: cluster } }\n${secret("").replace("token: ", `server: a:${fill("/")}§`)}`,
    ],
    ["of operations", "a.sh", fill('{"op":"add","path":"/data/a","value":1')],
    ["of a path", "a.sh", `op: add, path: ${fill("/data")}`],
    ["of JSON in one line", "data.txt", `${fill('{"a": 1}, ')}Secret`],
    ["of here-documents", "a.sh", fill("<<A\nkind: Secret\n")],
  ])("%s in %s", (_, path, text) => {
    expect(Array.isArray(plaintextFindings(path, text))).toBe(true);
  });

  it("more YAML than there is memory for is not looked at, and a finding says so", () => {
    const large = fill("password: correct-horse\n", 10_000_001);
    expect(plaintextFindings("a.yaml", large)).toEqual([]);
    expect(plaintextFindings("a.yaml", `kind: Secret\n${large}`)).toMatchObject([
      { path: "a.yaml", line: 1, what: "not looked at: more than 10 MB that may hold a Secret" },
    ]);
  });

  it("YAML that is nested too deeply is not looked at, and a finding says so", () => {
    const text = `kind: Secret\n${"- ? ".repeat(50_000)}x: y\nz`;
    expect(plaintextFindings("a.yaml", text)).toContainEqual(
      expect.objectContaining({ what: expect.stringMatching(/nested too deeply/) }),
    );
  });

  it("whatever is in them again and again", () => {
    const part = fc.constantFrom(
      ..."kind: Secret|data:|stringData: |SopsSecret|password: |op: add|path: /data/a|value: |secretGenerator:".split(
        "|",
      ),
      ..."x|=|-|_|.|1| |\n|\t|'|\"|`|{|}|[|]|,|:|#|//|---|${|{{|$(|<|\\|&a |*a |<<: |: |- |\u2028|§".split(
        "|",
      ),
      "AGE-SECRET-KEY-1",
      "-----BEGIN CERTIFICATE-----",
      "-----BEGIN A PRIVATE KEY-----",
      "LS0tLS1CRUdJTi",
    );
    const parts = (maxLength: number) =>
      fc.array(part, { minLength: 1, maxLength }).map((some) => some.join(""));
    const paths = fc.constantFrom("a.md", "a.yaml", "a.sh", "a.ts", "test/a.json");
    const text = fc
      .tuple(parts(4), parts(3), parts(2))
      .map(([before, again, after]) => `${secret("a")}${before}${fill(again, 5000)}${after}`);
    fc.assert(
      fc.property(paths, text, (path, some) => {
        expect(Array.isArray(plaintextFindings(path, some))).toBe(true);
      }),
      { numRuns: 100 },
    );
  });
});
