import { readFile } from "node:fs/promises";
import { expect, it } from "vitest";
import { clearValues } from "../../../scripts/lib/plaintext/manifest.ts";
import { plaintextFindings } from "../../../scripts/lib/plaintext/plaintext.ts";

interface File {
  path: string;
  text: string;
}

/** Files of a corpus: after a first line, each is `=== <path>` and its text. */
async function corpus(name: string): Promise<File[]> {
  const all = await readFile(new URL(`corpus/${name}.txt`, import.meta.url), "utf8");
  return all
    .split(/^=== /m)
    .slice(1)
    .map((part) => {
      const end = part.indexOf("\n");
      return { path: part.slice(0, end), text: part.slice(end + 1) };
    });
}

/** Examples of `bad.txt` that are not found, because. */
const NOT_FOUND: Readonly<Record<string, readonly string[]>> = {
  "a template of Helm is not YAML, and this repository deploys none of its own": [
    "charts/web/templates/secret.yaml",
    "charts/web/templates/encoded.yaml",
    "charts/web/templates/default.yaml",
  ],
  "a script or a program deploys nothing: only credentials that have a known form are found in it": [
    "scripts/apply.sh",
    "scripts/apply-default.sh",
    "scripts/apply-json.sh",
    "scripts/apply-flow.sh",
    "scripts/apply-argument.sh",
    "scripts/apply-quoted.sh",
    "scripts/apply-brace.sh",
    "scripts/apply-line.sh",
    "scripts/apply-json-more.sh",
    "scripts/patch.sh",
    "src/manifest.ts",
  ],
  "a page deploys nothing: only credentials that have a known form are found in it": [
    "docs/runbook.md",
    "docs/list.md",
    "docs/flow.md",
    "docs/all-flow.md",
    "docs/secret-json.md",
    "docs/anchors.md",
    "docs/token.md",
    "docs/flow-more.md",
  ],
  "a comment, and a text in a ConfigMap or an annotation, is no manifest and is not applied": [
    "base/web/commented.yaml",
    "base/web/inside.yaml",
    "base/web/applied.yaml",
  ],
  "a patch needs a Secret to change: `check` refuses the Secret or SopsSecret that it would render": [
    "base/web/operations/kustomization.yaml",
    "base/web/operations-data/kustomization.yaml",
    "base/web/operations-6902/kustomization.yaml",
    "base/web/operations-pattern/kustomization.yaml",
    "base/web/operations-whole/kustomization.yaml",
    "base/web/operations-sops/kustomization.yaml",
    "base/web/db.patch.yaml",
    "base/web/db-data.patch.yaml",
    "base/web/db-bytes.patch.json",
    "base/web/strategic/kustomization.yaml",
    "argocd/patched.yaml",
    "overlays/dev/web/patched/kustomization.yaml",
    "overlays/dev/web/patched-json/kustomization.yaml",
    "overlays/dev/web/patch.json",
  ],
};

/** Examples of `good.txt` that are found all the same, because. */
const STRICT: Readonly<Record<string, readonly string[]>> = {
  "no Secret has a value: one of Argo CD without a credential needs the comment of a platform owner": [
    "argocd/repository.yaml",
    "argocd/credentials.yaml",
    "argocd/charts.yaml",
    "argocd/scp.yaml",
    "argocd/encoded.yaml",
    "argocd/cluster.yaml",
    "argocd/repository-more.yaml",
  ],
  "no Secret has a value: a certificate without its key belongs into a ConfigMap": [
    "base/web/authority.yaml",
  ],
  "no Secret has a value: words such as changeme are no placeholders, a test's need a comment": [
    "test/fixtures/secret.yaml",
    "test/fixtures/words.yaml",
    "charts/web/templates/address.yaml",
  ],
  "a secretGenerator makes a Secret in clear, whatever its values are": [
    "base/web/generator/kustomization.yaml",
  ],
};

const listed = (list: Readonly<Record<string, readonly string[]>>) => new Set(Object.values(list).flat());
const [bad, good] = [await corpus("bad"), await corpus("good")];
const [notFound, strict] = [listed(NOT_FOUND), listed(STRICT)];
const isFound = bad.filter(({ path }) => !notFound.has(path));
const isLetPass = good.filter(({ path }) => !strict.has(path));

it("the corpus has all that the lists name, and more than that", () => {
  expect([...notFound].filter((path) => !bad.some((file) => file.path === path))).toEqual([]);
  expect([...strict].filter((path) => !good.some((file) => file.path === path))).toEqual([]);
  expect([isFound.length > 60, isLetPass.length > 30]).toEqual([true, true]);
});

/** Never the value itself. */
const VALUE = /correct-horse|Y29ycmVj|kX9v|KEY-1QQ|MIGHAg|ghp_/;

it.each(isFound)("something is found in $path", async ({ path, text }) => {
  const found = await plaintextFindings(path, text);
  expect(found).not.toEqual([]);
  expect(JSON.stringify(found)).not.toMatch(VALUE);
});

it.each<[string, (text: string) => string]>([
  ["with the line ends of Windows", (text) => text.replaceAll("\n", "\r\n")],
  // As files and blobs are read.
  ["in UTF-16 with a mark", (text) => Buffer.from(`\ufeff${text}`, "utf16le").toString("utf8")],
  ["in UTF-16, the higher byte first", (text) => Buffer.from(text, "utf16le").swap16().toString("utf8")],
])("%s, all of it is found", async (_, encode) => {
  for (const { path, text } of isFound)
    expect(await plaintextFindings(path, encode(text)), path).not.toEqual([]);
});

it.each(isLetPass)("nothing is found in $path", async ({ path, text }) => {
  expect(await plaintextFindings(path, text)).toEqual([]);
});

it.each(bad.filter(({ path }) => notFound.has(path)))(
  "$path is rightly in the list of what is not found",
  async ({ path, text }) => {
    expect(await plaintextFindings(path, text)).toEqual([]);
  },
);

it.each(good.filter(({ path }) => strict.has(path)))(
  "$path is rightly in the list of what is found all the same",
  async ({ path, text }) => {
    expect(await plaintextFindings(path, text)).not.toEqual([]);
  },
);

it.each([
  ["a Secret", "overlays/dev/web/secret.yaml", [6, "the value of password in a Secret is in clear"]],
  ["an anchor", "base/web/anchor.yaml", [8, "the value of password in a Secret is in clear"]],
  ["a map that is merged", "base/web/merged.yaml", [5, "the value of password in a Secret is in clear"]],
  [
    "a template",
    "overlays/dev/web/second.sops.yaml",
    [12, "the value of password in a SopsSecret is in clear"],
  ],
  ["a key of age", "keys.txt", [3, "a private key of age is in clear"]],
  ["a token", "docs/tokens.md", [1, "a credential is in clear: GITHUB_TOKEN"]],
])("the finding names line and key in %s", async (_, name, [line, what]) => {
  const { path = "", text = "" } = bad.find((file) => file.path === name) ?? {};
  expect(await plaintextFindings(path, text)).toMatchObject([{ path, line, what }]);
});

it.each([
  ["a rendered Secret", { kind: "Secret", data: { a: "YQ==" } }, [["data", "a"]]],
  ["a Secret without a value", { kind: "Secret", data: { a: "" }, stringData: null }, []],
  [
    "a SopsSecret",
    { kind: "SopsSecret", spec: { secretTemplates: [{ stringData: { a: "b" } }] } },
    [["spec", "secretTemplates", 0, "stringData", "a"]],
  ],
  ["a ConfigMap", { kind: "ConfigMap", data: { a: "b" } }, []],
])("the rule reads manifests, too: %s", (_, manifest, paths) => {
  expect(clearValues(manifest).map(({ path }) => path)).toEqual(paths);
});
