import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { type RunResult, tryRun } from "../../../scripts/lib/exec.ts";
import { auditSecrets } from "../../../scripts/lib/secrets/audit/audit.ts";
import { openSecrets } from "../../../scripts/lib/secrets/audit/open.ts";
import { describeAudit } from "../../../scripts/lib/secrets/audit/report.ts";
import { credentialsOf } from "../../../scripts/lib/secrets/credential.ts";
import { sealCredential, writeSealed } from "../../../scripts/lib/secrets/seal/seal.ts";
import { sealEnvironment } from "../../../scripts/lib/secrets/seal/seal-environment.ts";
import { parseSealed } from "../../../scripts/lib/secrets/sealed.ts";
import { readCatalogue } from "../../../scripts/lib/tree/catalogue.ts";
import { bundledLine } from "../../support/commands.ts";
import { commit, git, smallTree, temporary, write } from "../../support/tree.ts";
import { API, COPIED, DATABASE, read, type SealedRepository, sealedRepository } from "./audit-support.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const RULES = ".sops.yaml";
const LIVE = "overlays/live/web/api.sops.yaml";
const KUSTOMIZATION = "overlays/test/web/kustomization.yaml";

let repository: SealedRepository;
let root: string;
beforeAll(async () => {
  repository = await sealedRepository();
  ({ root } = repository);
});
afterAll(async () => repository.remove());

/** Calls a function while a file has another content; undefined: while it is not there. */
async function changed<T>(
  path: string,
  change: (text: string) => string | undefined,
  use: () => Promise<T>,
): Promise<T> {
  const file = join(root, path);
  const text = await readFile(file, "utf8").catch(() => undefined);
  const other = change(text ?? "");
  expect(other).not.toBe(text);
  if (other === undefined) await rm(file);
  else await writeFile(file, other);
  try {
    return await use();
  } finally {
    if (text === undefined) await rm(file, { force: true });
    else await writeFile(file, text);
  }
}

async function audit(now = new Date()) {
  const { findings, ...rest } = await auditSecrets(root, { now });
  const others = findings.filter(({ what }) => !what.endsWith("is a placeholder"));
  return { ...rest, findings: others, all: findings };
}

it("says of each Secret where it is, what it has, who reads it, and since when", async () => {
  const { secrets, findings } = await audit(new Date(Date.now() + 3 * DAY_MS));
  expect(findings).toEqual([]);
  expect(secrets.map(({ path }) => path).slice(0, 4)).toEqual([
    COPIED,
    API,
    DATABASE,
    "overlays/test/disk/disk-database.sops.yaml",
  ]);
  expect(secrets[1]).toEqual({
    environment: "dev",
    app: "web",
    name: "api",
    namespace: "shop",
    path: API,
    keys: ["token"],
    recipients: ["cluster", "ada"],
    sealed: expect.stringMatching(/^20\d\d-.*Z$/),
    ageDays: 3,
    placeholders: ["token"],
  });
});

it("finds nothing where there is no Secret and no rule", async () => {
  const empty = await temporary();
  await write(empty, smallTree());
  expect(await auditSecrets(empty, { now: new Date() })).toMatchObject({ secrets: [], findings: [] });
});

describe("without a key it finds", () => {
  const stray = "overlays/dev/web/more.sops.yaml";
  it.each([
    [
      "a Secret that is not there",
      DATABASE,
      () => undefined,
      DATABASE,
      /^the file is missing: .*web\/database in dev$/,
    ],
    ["a file of no Secret", stray, () => "a: b\n", stray, /^the catalogue has no Secret for it$/],
    [
      "a file in a wrong place",
      "base/web/x.sops.yaml",
      () => "a: b\n",
      "base/web/x.sops.yaml",
      /^the catalogue has no Secret for it$/,
    ],
    [
      "a file that nobody applies",
      KUSTOMIZATION,
      (text: string) => text.replace("  - api.sops.yaml\n", ""),
      KUSTOMIZATION,
      /^resources lacks api\.sops\.yaml/,
    ],
    [
      "an environment without a rule",
      RULES,
      (text: string) => text.slice(0, text.indexOf("  - path_regex: ^overlays/live")),
      RULES,
      /^no rule is for live$/,
    ],
    [
      "a rule for nothing",
      RULES,
      (text: string) => text.replace("^overlays/live/", "^overlays/life/"),
      RULES,
      /^(no rule is for live|a rule is for life, which is no environment)$/,
    ],
    [
      "a recipient that a rule has no more",
      RULES,
      (text: string) => text.replace("          - *cluster\n", ""),
      DATABASE,
      /can open it and is no recipient of dev$/,
    ],
    [
      "a Secret that the catalogue calls something else",
      "apps/web.yaml",
      (text: string) => text.replace("password:", "passphrase:"),
      DATABASE,
      /^(the key passphrase of web\/database is missing|web\/database has no key password)/,
    ],
    [
      "another type than the catalogue's",
      "apps/web.yaml",
      (text: string) => text.replace("  - name: api\n", "  - name: api\n    type: other\n"),
      API,
      /^spec\.secretTemplates\.0\.type differs from the text that sealing writes/,
    ],
    [
      "a type with required keys in the catalogue",
      "apps/web.yaml",
      (text: string) =>
        text.replace("  - name: api\n", "  - name: api\n    type: kubernetes.io/basic-auth\n"),
      "apps/web.yaml",
      /^web\/api has the type kubernetes\.io\/basic-auth, whose Secrets the operator may report as failed$/,
    ],
    [
      "another namespace than the catalogue's",
      "apps/web.yaml",
      (text: string) => text.replace("namespace: shop", "namespace: market"),
      DATABASE,
      /^metadata\.namespace differs from/,
    ],
  ])("%s", async (_, path, change, where, what) => {
    const { findings } = await changed(path, change, audit);
    const there = findings.filter((finding) => finding.path === where);
    expect(there, JSON.stringify(findings)).not.toEqual([]);
    for (const finding of there)
      expect(finding).toMatchObject({ severity: "finding", what: expect.stringMatching(what) });
  });

  it("a second rule for an environment, which SOPS would not look at", async () => {
    const twice = (text: string) =>
      `${text}${text.slice(text.indexOf("  - path_regex"), text.indexOf("  - path_regex: ^overlays/test"))}`;
    const { findings } = await changed(RULES, twice, audit);
    expect(findings).toMatchObject([{ what: "a second rule is for dev, and SOPS takes the first" }]);
  });
});

it.each(["./api.sops.yaml", "../web/api.sops.yaml", ".//api.sops.yaml"])(
  "a file that is listed as %s is listed",
  async (resource) => {
    const spell = (text: string) => text.replace("- api.sops.yaml", `- ${resource}`);
    expect((await changed(KUSTOMIZATION, spell, audit)).findings).toEqual([]);
  },
);

describe("it says, and does not fail,", () => {
  it("that a file was sealed long ago", async () => {
    const sealed = parseSealed(await read(root, COPIED), COPIED).sops?.lastModified.getTime() ?? 0;
    const { findings } = await audit(new Date(sealed + 366.5 * DAY_MS));
    expect(findings).toHaveLength(9);
    expect(findings[0]).toMatchObject({ path: COPIED, what: "sealed 366 days ago", severity: "note" });
  });

  it("that nobody has the key of an example, and what there is a placeholder", async () => {
    const rename = (text: string) =>
      text.replaceAll("&ada", "&example-dev").replaceAll("*ada", "*example-dev");
    const { all } = await changed(RULES, rename, audit);
    expect(all.every(({ severity }) => severity === "note")).toBe(true);
    expect(all.map(({ what }) => what)).toContain(
      "dev is sealed for cluster, example-dev: nobody has the example's key",
    );
  });

  it("that one key is all there is to open an environment", async () => {
    const { findings } = await changed(RULES, (text) => text.replace(/ {10}- \*ada\n$/, ""), audit);
    expect(findings.filter(({ path }) => path === RULES)).toEqual([
      {
        path: RULES,
        line: 1,
        what: "only cluster can read live: its values are lost with that key",
        way: "add one that is kept offline: npm run keys add live break-glass <age1…>",
        severity: "note",
      },
    ]);
  });
});

it("a placeholder is a note, and in the last environment a finding", async () => {
  const { all } = await audit();
  const placeholder = (env: string) => ({
    path: `overlays/${env}/web/api.sops.yaml`,
    what: "token is a placeholder",
    severity: env === "live" ? "finding" : "note",
  });
  expect(all).toMatchObject(["dev", "live", "test"].map(placeholder));
  expect(all[0]?.way).toBe("bring the real value: npm run seal -- dev web --secret api token");
});

it("a sandbox has none: nobody will bring what there is made up", async () => {
  const made = await sealEnvironment(root, repository.sops.ada, "live", "example.com", true);
  const api = made.find(({ path }) => path === "overlays/live/web/api.sops.yaml");
  const { all } = await changed(String(api?.path), () => api?.text, audit);
  expect(all.map(({ path }) => path)).toEqual(
    ["dev", "test"].map((env) => `overlays/${env}/web/api.sops.yaml`),
  );
});

describe("with a key", () => {
  async function open(sops = repository.sops.ada) {
    const audited = await auditSecrets(root, { now: new Date() });
    const looks = audited.looks.filter(({ environment }) => environment === "dev");
    return openSecrets({ ...audited, looks }, sops);
  }
  /** The database's Secret of dev, sealed with other values. */
  async function sealed(values: Record<string, string>): Promise<string> {
    const credential = credentialsOf(await readCatalogue(root)).find(({ id }) => id === "web/database");
    if (credential === undefined) throw new Error("no such credential");
    const bytes = new Map(Object.entries(values).map(([key, value]) => [key, Buffer.from(value)]));
    const options = { credential, environment: "dev", values: bytes, placeholders: [] };
    const changes = await sealCredential(root, repository.sops.ada, options);
    return changes.find(({ path }) => path === DATABASE)?.text ?? "";
  }

  it("all is well, and every file was opened", async () => {
    expect(await open()).toEqual({ findings: [], opened: [COPIED, API, DATABASE], closed: new Map() });
  });

  it("a copy that differs is found, and no value is said", async () => {
    const text = await sealed({ username: "shop", password: "correct-horse" });
    const { findings } = await changed(DATABASE, () => text, open);
    expect(findings).toMatchObject([
      {
        path: DATABASE,
        line: 21,
        what: `password differs from ${COPIED}, a copy of the same credential`,
      },
    ]);
    expect(JSON.stringify(findings)).not.toContain("correct-horse");
  });

  it("a fixed value is what the catalogue says", async () => {
    const text = await sealed({ username: "mallory", password: "x" });
    const { findings } = await changed(DATABASE, () => text, open);
    expect(findings.map(({ what }) => what)).toContain("username is not what the catalogue says");
    expect(JSON.stringify(findings)).not.toContain("mallory");
  });

  it("files that were all sealed for somebody else, under an old recipient's name, are found", async () => {
    const { ada, stranger } = repository.recipients;
    const paths = [RULES, COPIED, API, DATABASE];
    const before = await Promise.all(paths.map(async (path) => [path, await read(root, path)] as const));
    onTestFinished(async () => write(root, Object.fromEntries(before)));
    const [[, rules] = ["", ""]] = before;
    await write(root, { [RULES]: rules.replaceAll(ada, stranger) });
    const forged = await sealEnvironment(root, repository.sops.ada, "dev", "example.com");
    await write(root, { [RULES]: rules });
    await writeSealed(
      root,
      forged.map((change) => ({ ...change, text: change.text.replaceAll(stranger, ada) })),
    );
    const { findings, opened } = await open();
    expect(opened).toEqual([]);
    expect(findings.map(({ path, what }) => [path, what])).toEqual(
      [COPIED, API, DATABASE].map((path) => [path, "the data key for ada is another's, or damaged"]),
    );
  });

  it("files that no key here opens are counted by who could", async () => {
    expect(await open(repository.sops.stranger)).toEqual({
      findings: [],
      opened: [],
      closed: new Map([["cluster, ada", [COPIED, API, DATABASE]]]),
    });
  });
});

it("the table has a line a Secret and says its state", async () => {
  const broken = (text: string) => text.replace(/password: .*/, "password: x");
  const audited = await changed(DATABASE, broken, async () => auditSecrets(root, { now: new Date() }));
  const lines = describeAudit(audited).split("\n");
  expect(lines[0]).toMatch(/^ENVIRONMENT +APP +SECRET +KEYS +RECIPIENTS +SEALED +STATE$/);
  expect(lines[1]).toMatch(
    /^dev +disk +disk-database +username password +cluster ada +\d{4}-\d\d-\d\d, 0 d +ok$/,
  );
  expect(lines[2]).toMatch(/ placeholder: token$/);
  expect(lines[3]).toMatch(/ 1 finding$/);
  expect(lines).toContainEqual(
    expect.stringMatching(
      /^overlays\/dev\/web\/database\.sops\.yaml:\d+: the value of password is not encrypted; Git keeps it/,
    ),
  );
});

describe("npm run", () => {
  async function run(verb: string, ...args: string[]): Promise<RunResult> {
    return tryRun(...bundledLine(verb, ["--root", root, ...args]), { env: repository.env });
  }
  const bring = (text: string) => text.replace(/\n.*ecommerce-gitops\/placeholder.*/, "");
  /** What customers use has no placeholder. */
  async function brought<T>(use: () => Promise<T>): Promise<T> {
    return changed(LIVE, bring, use);
  }

  it("secrets ends with 0 when all is well, and with 4 and the first finding otherwise", async () => {
    expect(await brought(async () => run("secrets"))).toMatchObject({ exitCode: 0, stderr: "" });
    const { exitCode, stderr } = await run("secrets");
    expect(exitCode).toBe(4);
    expect(stderr).toBe(
      `secrets: ${LIVE}:11: token is a placeholder; bring the real value: npm run seal -- live web --secret api token\n`,
    );
  });

  it("secrets --json is data", async () => {
    const { stdout } = await run("secrets", "--json");
    const data: { secrets: unknown[]; findings: unknown[] } = JSON.parse(stdout);
    expect(data.secrets).toHaveLength(9);
    expect(data.findings).toHaveLength(3);
  });

  it("secrets --open opens, and never says a value", async () => {
    const text = await read(root, DATABASE);
    const { stdout } = await run("secrets", "--open");
    expect(stdout).toContain("\nopened: 9 files\n");
    const opened = await repository.sops.ada.open(DATABASE, text);
    expect(stdout).not.toContain(opened.stringData.get("password") ?? "");
  });

  it("secrets finds a Secret in clear anywhere in the tree", async () => {
    const found = await changed(
      "base/web/secret.yaml",
      () => "kind: Secret\nstringData:\n  a: b1\n",
      async () => run("secrets"),
    );
    expect(found.stdout).toContain("base/web/secret.yaml:3: the value of a in a Secret is in clear");
  });

  it("secrets and check say of a Secret in clear at the path of a sealed one that its value must change", async () => {
    await commit(root);
    const clear = "kind: Secret\nstringData:\n  password: b1\n";
    await changed(
      DATABASE,
      () => clear,
      async () => {
        for (const [verb, ...args] of [["secrets"], ["check", "--no-server", "--base", "HEAD"]] as const) {
          const { stdout, exitCode } = await run(verb, ...args);
          expect(exitCode).toBe(4);
          expect(stdout).toContain(
            `${DATABASE}:3: the value of password in a Secret is in clear; make a new value where it is used`,
          );
        }
      },
    );
  });

  it.each([
    ["--staged", "--open"],
    ["--max-age", "soon"],
  ])("secrets %s %s is refused", async (...args) => {
    expect(await run("secrets", ...args)).toMatchObject({ exitCode: 2 });
  });

  it("check finds what a commit of the change had, and a later one took back", async () => {
    await brought(async () => {
      await commit(root);
      await git(root, "branch", "deployed");
      expect(await run("check", "--no-server", "--base", "deployed")).toMatchObject({
        exitCode: 0,
        stdout: expect.stringMatching(/^no environment changes: /),
      });
      await write(root, { "base/web/secret.yaml": "kind: Secret\nstringData:\n  a: b1\n" });
      const bad = await commit(root);
      await rm(join(root, "base/web/secret.yaml"));
      await commit(root);
      const { exitCode, stderr } = await run("check", "--no-server", "--base", "deployed");
      expect(exitCode).toBe(4);
      expect(stderr).toContain(
        `check: base/web/secret.yaml:3: the value of a in a Secret is in clear, in commit ${bad.slice(0, 7)}`,
      );
    });
  });
});
