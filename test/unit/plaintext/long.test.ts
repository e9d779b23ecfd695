/** The hook ends soon, however long and odd a text is: people leave out a hook that takes minutes. */
import { describe, expect, it } from "vitest";
import { plaintextFindings } from "../../../scripts/lib/plaintext/plaintext.ts";

const LENGTH = 30_000;
const fill = (part: string, length = LENGTH) => part.repeat(Math.ceil(length / part.length)).slice(0, length);
const secret = (value: string) => `kind: Secret\nstringData:\n  token: ${value}\n`;
const numbered = (line: (index: number) => string) =>
  Array.from({ length: LENGTH / line(100).length }, (_, index) => line(index)).join("");

describe("30,000 characters are looked at", () => {
  it.each<[string, string, string]>([
    ["x", "a.yaml", secret(`${fill("x")}==`)],
    ["documents", "a.yaml", fill("---\nkind: Secret\n")],
    ["Secrets one in the other", "a.json", fill('{"kind":"Secret","data":')],
    ["placeholders", "a.yaml", secret(`${fill("<")}§`)],
    ["the beginnings of keys", "a.pem", fill("-----BEGIN A PRIVATE KEY-----")],
    ["the words of a key's header", "a.pem", `-----BEGIN ${fill("A ")} PRIVATE KEY`],
    ["keys", "a.txt", fill(`AGE-SECRET-KEY-1${fill("Q", 58)}\n`)],
    ["encoded keys", "a.txt", fill("LS0tLS1CRUdJTi")],
    ["aliases", "a.yaml", `x: &a b1\nkind: Secret\ndata:\n${numbered((index) => `  k${index}: *a\n`)}`],
    [
      "merged maps",
      "a.yaml",
      `kind: Secret\na: &m0 {}\n${numbered((index) => `a: &m${index + 1} { <<: *m${index} }\n`)}`,
    ],
    ["keys of a map", "a.yaml", `kind: Secret\ndata:\n${numbered((index) => `  k${index}: b1\n`)}`],
    ["brackets", "a.yaml", `kind: Secret\na: ${fill("[{")}`],
    ["addresses", "a.txt", fill("postgres://a:b@")],
    ["comments", "a.txt", fill("secretlint-disable\n")],
    ["a comment in the last line", "a.txt", "secretlint-disable-next-line"],
  ])("%s in %s", async (_, path, text) => {
    expect(Array.isArray(await plaintextFindings(path, text))).toBe(true);
  });
});

it("YAML that is nested too deeply is not looked at, and a finding says so", async () => {
  const text = `kind: Secret\n${"- ? ".repeat(50_000)}x: y\nz`;
  expect(await plaintextFindings("a.yaml", text)).toContainEqual(
    expect.objectContaining({ line: 1, what: expect.stringMatching(/nested too deeply/) }),
  );
});
