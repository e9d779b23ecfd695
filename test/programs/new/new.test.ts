/** `npm run new` in a copy of this repository, with the real sops, kustomize and API server. */
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { run, tryRun } from "../../../scripts/lib/exec.ts";
import { repositoryRoot } from "../../../scripts/lib/repository.ts";
import { readCatalogue } from "../../../scripts/lib/tree/catalogue.ts";
import { shapeFindings } from "../../../scripts/lib/tree/shape.ts";
import { bundledLine } from "../../support/commands.ts";
import { runCommand, runOnTerminal } from "../../support/seal.ts";
import { commit, git } from "../../support/tree.ts";

const ROOT = repositoryRoot();

const copies: string[] = [];
afterAll(async () => {
  for (const root of copies) await rm(root, { recursive: true, force: true });
});

/** The tracked files, as they are now, committed; without what a person has beside them. */
async function copy(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "new-"));
  copies.push(root);
  const files = (
    await run("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], { cwd: ROOT })
  )
    .split("\0")
    .filter((path) => path !== "");
  for (const path of files) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await cp(join(ROOT, path), join(root, path)).catch(() => {});
  }
  await symlink(join(ROOT, "node_modules"), join(root, "node_modules"));
  await git(root, "init", "--quiet", "--initial-branch=main");
  await commit(root);
  return root;
}

async function start(verb: string, root: string, args: readonly string[]) {
  const [program, rest] = bundledLine(verb, [...args, "--root", root]);
  return runCommand([program, ...rest], { env: process.env, cwd: root });
}

const make = async (root: string, ...args: string[]) => start("new", root, args);

const SERVICE = [
  "shipping-service",
  "--port",
  "8085",
  "--owners",
  "checkout",
  "--route",
  "/api/v1/shipments",
];
const USES = ["--stores", "postgresql,redis", "--callers", "order-service"];
const SECRETS = ["--secret", "webhook=token", "--supply", "carrier=api-key,account"];

describe("nothing is written", () => {
  let root = "";
  beforeAll(async () => {
    root = await copy();
  });

  it("by a dry run, which says what would be", async () => {
    const { exitCode, output } = await make(root, ...SERVICE, ...USES, ...SECRETS, "--dry-run");
    expect(output).toMatch(/^apps\/shipping-service\.yaml +new +the catalogue's entry$/m);
    expect(output).toMatch(/\ndry run: nothing was written\n$/);
    expect(exitCode).toBe(0);
    expect(await git(root, "status", "--porcelain")).toBe("");
  });

  it("when a person on a terminal names a store that is not there", async () => {
    const [program, args] = bundledLine("new", [
      "cart",
      "--port",
      "8084",
      "--callers",
      "order-service",
      "--root",
      root,
    ]);
    const { exitCode, output } = await runOnTerminal([program, ...args], { env: process.env, cwd: root }, [
      ["Its stores (postgresql, redis; with commas, or nothing): ", "mysql, redis\n"],
      ["The teams that own it (", "checkout\n"],
    ]);
    expect(output).toContain("new: services use no store mysql");
    expect(exitCode).toBe(2);
    expect(await git(root, "status", "--porcelain")).toBe("");
  });

  it.each<[string, string[], number, RegExp]>([
    [
      "a name that is taken",
      ["order-service", "--port", "8085", "--owners", "checkout"],
      3,
      /order-service already/,
    ],
    ["a kind that is none", [...SERVICE, "--kind", "daemon"], 2, /--kind daemon is no kind/],
    ["a port in words", ["cart", "--port", "http", "--owners", "checkout"], 2, /--port is no port/],
    ["a Secret without keys", [...SERVICE, "--secret", "mail"], 2, /mail has no keys/],
    ["an option that is none", [...SERVICE, "--image", "x"], 2, /unknown option/],
    ["two names", ["cart", ...SERVICE], 2, /too many arguments/],
    ["no name", ["--port", "8085"], 2, /missing required argument/],
  ])("for bad input, and one line says why: %s", async (_, args, code, message) => {
    const { exitCode, output } = await make(root, ...args);
    expect(output).toMatch(/^new: /);
    expect(output).toMatch(message);
    expect(exitCode).toBe(code);
    expect(await git(root, "status", "--porcelain")).toBe("");
  });
});

describe("a service, a worker and a cron job", () => {
  let root = "";
  beforeAll(async () => {
    root = await copy();
  });

  it("are written, one after the other", async () => {
    for (const args of [
      [...SERVICE, ...USES, ...SECRETS],
      [
        "mailer",
        "--kind",
        "worker",
        "--owners",
        "post",
        "--new-team",
        "--stores",
        "redis",
        "--supply",
        "smtp=user",
      ],
      [
        "cleanup",
        "--kind",
        "cron-job",
        "--schedule",
        "30 1 * * *",
        "--owners",
        "platform,catalogue",
        "--secret",
        "broom=key",
      ],
    ]) {
      const { exitCode, output } = await make(root, ...args);
      expect(output).toMatch(/\nwritten\. Next:\n/);
      expect(exitCode).toBe(0);
    }
    await commit(root);
  });

  it("have an entry in the catalogue, and the tree has its shape", async () => {
    const apps = (await readCatalogue(root)).map(({ app }) => app);
    expect(apps).toEqual(expect.arrayContaining(["shipping-service", "mailer", "cleanup"]));
    expect(await shapeFindings(root)).toEqual([]);
  });

  it("begin in the first environment only", async () => {
    const overlays = (await git(root, "ls-files", "overlays")).split("\n");
    const theirs = overlays.filter((path) => /\/(shipping-service|mailer|cleanup)\//.test(path));
    expect([...new Set(theirs.map((path) => path.split("/")[1]))]).toEqual(["dev"]);
  });

  it("leave what they add to as it was, but for their own lines", async () => {
    const changed = await git(root, "diff", "--numstat", "--diff-filter=M", "HEAD~1", "--", ":!*.sops.yaml");
    const removed = changed.split("\n").flatMap((line) => line.split("\t")[1] ?? []);
    expect(removed.length).toBeGreaterThan(5);
    expect(removed.filter((count) => count !== "0")).toEqual([]);
  });

  it("keep the values of a person's Secret as ones that stand in", async () => {
    const file = await readFile(join(root, "overlays/dev/shipping-service/carrier.sops.yaml"), "utf8");
    expect(file).toMatch(/placeholder/);
  });

  it("pass `npm run check`, policies included", async () => {
    const { exitCode, output } = await start("check", root, ["--base", "HEAD~1"]);
    expect(output).toMatch(/^API server +\d+ overlays +ok/m);
    expect(exitCode).toBe(0);
  });

  it("pass the tests of the tree, none of which was edited for them", async () => {
    const files = ["tree/network", "tree/gateway", "tree/example", "security/owners"].map(
      (name) => `test/${name}.test.ts`,
    );
    const vitest = join(root, "node_modules/vitest/vitest.mjs");
    const args = [vitest, "run", "--config=vitest.config.ts", "--project=tree", ...files];
    const { exitCode, stdout } = await tryRun(process.execPath, args, {
      cwd: root,
      env: { ...process.env, CI: "1" },
    });
    expect(stdout).toMatch(/Test Files .*4 passed/);
    expect(exitCode).toBe(0);
  });
});

it("a run that is killed while it writes is completed by the next one", async () => {
  const root = await copy();
  // All that is left is to write: what a killed run leaves.
  const writes = [
    { path: "apps/cart.yaml", text: "app: cart\n" },
    { path: "base/cart/kustomization.yaml", text: "resources: []\n" },
  ];
  await mkdir(join(root, ".cache"), { recursive: true });
  await writeFile(join(root, ".cache/new.json"), JSON.stringify({ app: "cart", writes }));
  const { exitCode, output } = await make(root, ...SERVICE);
  expect(output).toBe("cart, which an earlier run has begun, is written now; nothing else was done\n");
  expect(exitCode).toBe(0);
  for (const { path, text } of writes) expect(await readFile(join(root, path), "utf8")).toBe(text);
});
