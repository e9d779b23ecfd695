import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { assert, constantFrom, property, string } from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import {
  exampleSettings,
  readSettings,
  SETTINGS_FILE,
  withSettings,
} from "../../../scripts/lib/tree/settings.ts";

const TEXT = `# a head
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  repoURL:   https://github.com/example/ecommerce-gitops.git   # with a comment
  revision: "main"
  forgeAPI: 'https://api.github.com'

  # before it
  registry: registry.example.com
  domain: example.com # the last
`;

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "settings-"));
});
afterEach(async () => {
  await rm(root, { recursive: true });
});

async function settingsOf(text: string) {
  await mkdir(dirname(join(root, SETTINGS_FILE)), { recursive: true });
  await writeFile(join(root, SETTINGS_FILE), text);
  return readSettings(root);
}

describe("reading", () => {
  const reporting = async (reporter: string) =>
    settingsOf(`${TEXT}  reporter: ${JSON.stringify(reporter)}\n`);
  it.each(["argocd", "Release-Bot[bot]"])("takes the account %s that reports", async (reporter) => {
    await expect(reporting(reporter)).resolves.toMatchObject({ reporter });
  });

  it.each(["@argocd", "a b", "github-actions[bot]"])("refuses the account %s", async (reporter) => {
    await expect(reporting(reporter)).rejects.toThrow(`${SETTINGS_FILE}:14: data.reporter: `);
  });

  it("gives the values", async () => {
    expect(await settingsOf(TEXT)).toEqual({
      repoURL: "https://github.com/example/ecommerce-gitops.git",
      revision: "main",
      forgeAPI: "https://api.github.com",
      registry: "registry.example.com",
      domain: "example.com",
    });
  });

  it.each([
    ["an unknown one", TEXT.replace("domain:", "domian:"), /settings\.yaml:\d+: data/],
    ["a missing one", TEXT.replace(/ {2}revision:.*\n/, ""), /settings\.yaml:\d+: data\.revision/],
    [
      "an API with a slash at its end",
      TEXT.replace("api.github.com", "api.github.com/"),
      /:9: data\.forgeAPI: not a URL/,
    ],
    [
      "a repository without a URL",
      TEXT.replace(/https:\/\/github\S+/, "ecommerce"),
      /:7: data\.repoURL: not the URL/,
    ],
    ["a registry with a scheme", TEXT.replace("registry.ex", "https://registry.ex"), /:12: data\.registry/],
    [
      "a domain with a path",
      TEXT.replace("example.com #", "example.com/shop #"),
      /:13: data\.domain: not a DNS name/,
    ],
  ])("refuses %s", async (_, text, message) => {
    await expect(settingsOf(text)).rejects.toThrow(message);
  });

  it.each([
    "git@git.acme.dev:shop/gitops.git",
    "ssh://git@git.acme.dev/shop/gitops.git",
    "http://127.0.0.1:3000/a/b.git",
  ])("takes the repository %s", async (url) => {
    expect((await settingsOf(withSettings(TEXT, { repoURL: url }))).repoURL).toBe(url);
  });
});

describe("example values", () => {
  it("are named", async () => {
    expect(exampleSettings(await settingsOf(TEXT))).toEqual(["repoURL", "registry", "domain"]);
  });

  it("are none after a fork", async () => {
    const own = {
      repoURL: "https://github.com/acme/gitops.git",
      registry: "ghcr.io/acme",
      domain: "acme-examples.shop",
    };
    expect(exampleSettings(await settingsOf(withSettings(TEXT, own)))).toEqual([]);
  });
});

describe("writing", () => {
  it("replaces the values and keeps every other byte: comments, blanks, quotes, order", () => {
    const values = {
      repoURL: "http://127.0.0.1:1/a/b.git",
      revision: "next",
      forgeAPI: "http://x/api/v1",
      domain: "local",
    };
    expect(withSettings(TEXT, values)).toBe(
      TEXT.replace("https://github.com/example/ecommerce-gitops.git", "http://127.0.0.1:1/a/b.git")
        .replace('"main"', '"next"')
        .replace("'https://api.github.com'", "'http://x/api/v1'")
        .replace("example.com # the last", "local # the last"),
    );
  });

  it("changes nothing when the values are there already", () => {
    expect(withSettings(TEXT, { domain: "example.com", revision: "main" })).toBe(TEXT);
  });

  it("is read back as it was written, whatever the value", () => {
    const line = string({ unit: "binary" }).filter((text) => !/[\r\n]/.test(text));
    const keys = { repoURL: 6, revision: 7, forgeAPI: 8, domain: 12 };
    const key = constantFrom<keyof typeof keys>("repoURL", "revision", "forgeAPI", "domain");
    assert(
      property(key, line, (name, value) => {
        const written = withSettings(TEXT, { [name]: value });
        expect(parse(written)).toHaveProperty(["data", name], value);
        expect(written.split("\n").toSpliced(keys[name], 1)).toEqual(
          TEXT.split("\n").toSpliced(keys[name], 1),
        );
      }),
    );
  });

  it.each([
    ["a key that is not there", { domian: "x" }, "argocd/settings/settings.yaml has no data.domian"],
    ["a value of two lines", { domain: "a\nb" }, /data\.domain .* more than one line/],
  ])("refuses %s", (_, values: Record<string, string>, message) => {
    expect(() => withSettings(TEXT, values)).toThrow(message);
  });
});
