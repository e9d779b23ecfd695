import { readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { CommandError } from "../../../scripts/lib/errors.ts";
import { GitObjects } from "../../../scripts/lib/git/objects.ts";
import { applyPromotion, checkoutHistory, planPromotion } from "../../../scripts/lib/promotion/plan.ts";
import { describePlan } from "../../../scripts/lib/promotion/terminal.ts";
import { deriveRelease, parseRelease } from "../../../scripts/lib/release/release.ts";
import { commit, git, SCALED, SHA, smallRepository, temporary, write } from "../../support/tree.ts";
import { kustomize } from "../../tree/support.ts";

const NEWER = "fedcba9876543210fedcba9876543210fedcba98";

async function promote(root: string, from: string, to: string, ...apps: string[]) {
  const plan = await planPromotion({ root, history: await checkoutHistory(root), from, to, apps, kustomize });
  await applyPromotion(root, plan);
  return plan.steps.map(({ app, change }) => `${app} ${change}`);
}

async function release(root: string, env: string, app: string) {
  const path = `overlays/${env}/${app}/release.yaml`;
  const text = await readFile(join(root, path), "utf8");
  return { text, ...parseRelease(text, path) };
}

async function edit(root: string, path: string, change: (text: string) => string): Promise<void> {
  await writeFile(join(root, path), change(await readFile(join(root, path), "utf8")));
}

async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof CommandError) return `${error.exitCode} ${error.message}`;
    throw error;
  }
  return "none";
}

describe("promotion from the live base", () => {
  it("writes what the base is, with the image and without the patches of the environment", async () => {
    const root = await smallRepository();
    await edit(root, "overlays/dev/web/kustomization.yaml", (text) => `${text}nameSuffix: -patched\n`);
    const head = await commit(root);
    expect(await promote(root, "dev", "test")).toEqual(["disk new", "web new"]);
    const web = await release(root, "test", "web");
    expect(web).toMatchObject({ app: "web", image: `shop/web:${SHA}`, from: "dev", commit: head });
    expect(web.body).toContain(`image: registry/shop/web:${SHA}\n`);
    expect(web.body).toContain("  name: web\n");
    expect(web.body).toContain("part-of: shop");
    expect(await release(root, "test", "disk")).toMatchObject({ app: "disk", image: undefined });
  });

  it("does nothing the second time, also after other commits", async () => {
    const root = await smallRepository();
    await promote(root, "dev", "test");
    const file = join(root, "overlays/test/web/release.yaml");
    const before = await readFile(file, "utf8");
    await utimes(file, 1, 1);
    await write(root, { "docs/other.md": "other\n" });
    await commit(root);
    expect(await promote(root, "dev", "test")).toEqual(["disk unchanged", "web unchanged"]);
    expect(await readFile(file, "utf8")).toBe(before);
    expect((await stat(file)).mtimeMs).toBe(1000);
  });

  it("carries a new image, and only to the named apps", async () => {
    const root = await smallRepository();
    await promote(root, "dev", "test");
    await edit(root, "overlays/dev/web/kustomization.yaml", (text) => text.replace(SHA, NEWER));
    await edit(root, "base/disk/claim.yaml", (text) => text.replace("name: disk", "name: disc"));
    await commit(root);
    expect(await promote(root, "dev", "test", "web")).toEqual(["web changed"]);
    expect((await release(root, "test", "web")).image).toBe(`shop/web:${NEWER}`);
    expect((await release(root, "test", "disk")).body).toContain("name: disk\n");
  });

  it("gives a release whose commit is not in the history a new head", async () => {
    const root = await smallRepository();
    await promote(root, "dev", "test");
    await edit(root, "overlays/test/web/release.yaml", (text) =>
      text.replace(/# commit: .*/, `# commit: ${"0".repeat(40)}`),
    );
    await commit(root);
    expect(await promote(root, "dev", "test")).toEqual(["disk unchanged", "web refreshed"]);
    const rendered = await git(root, "log", "-1", "--format=%H", "--", "base/web");
    expect((await release(root, "test", "web")).commit).toBe(rendered.trim());
  });

  it("leaves out, and tells, what the target has no overlay of yet", async () => {
    const root = await smallRepository();
    await rm(join(root, "overlays/test/disk"), { recursive: true });
    await commit(root);
    const history = await checkoutHistory(root);
    const plan = await planPromotion({ root, history, from: "dev", to: "test", apps: [], kustomize });
    expect(plan.steps.map(({ app }) => app)).toEqual(["web"]);
    expect(describePlan(plan)).toContain("\ntest has no overlay yet of disk: docs/new-service.md");
  });

  it("leaves nothing in the temporary directory", async () => {
    const root = await smallRepository();
    // One of its own: other tests work in the machine's at the same time.
    vi.stubEnv("TMPDIR", await temporary());
    onTestFinished(() => void vi.unstubAllEnvs());
    await promote(root, "dev", "test");
    expect(await readdir(tmpdir())).toEqual([]);
  });
});

describe("promotion of a release", () => {
  it("copies it byte for byte, whatever the base has become", async () => {
    const root = await smallRepository();
    await promote(root, "dev", "test");
    await edit(root, "base/web/pod.yaml", (text) => text.replace("name: web", "name: changed"));
    await commit(root);
    expect(await promote(root, "test", "live")).toEqual(["disk new", "web new"]);
    expect((await release(root, "live", "web")).text).toBe((await release(root, "test", "web")).text);
  });

  it("needs neither kustomize nor a clean base", async () => {
    const root = await smallRepository();
    await promote(root, "dev", "test");
    await commit(root);
    await edit(root, "base/web/pod.yaml", (text) => `${text}# edited\n`);
    const refuse = () => Promise.reject(new Error("kustomize was asked for"));
    const plan = await planPromotion({
      root,
      history: await checkoutHistory(root),
      from: "test",
      to: "live",
      apps: [],
      kustomize: refuse,
    });
    expect(plan.steps.map(({ change }) => change)).toEqual(["new", "new"]);
  });
});

describe("promotion is refused, and writes nothing,", () => {
  it.each([
    ["over a level", "dev", "live", [], "2 a promotion does not go from dev to live"],
    ["on the spot", "test", "test", [], "2 test to test is no promotion"],
    ["backwards", "live", "test", [], "2 a promotion does not go from live to test"],
    ["from nowhere", "nowhere", "test", [], "2 there is no environment nowhere"],
    ["to nowhere", "dev", "nowhere", [], "2 there is no environment nowhere"],
    ["of an unknown app", "dev", "test", ["web", "nothing"], "2 there is no app nothing"],
    [
      "of a release that is not there",
      "test",
      "live",
      ["web"],
      "3 there is no overlays/test/web/release.yaml",
    ],
  ])("%s", async (_, from, to, apps, message) => {
    const root = await smallRepository();
    expect(await refusal(promote(root, from, to, ...apps))).toBe(message);
    expect(await git(root, "status", "--porcelain")).toBe("");
  });

  it.each([
    ["base/web/pod.yaml", "3 base/web/pod.yaml: not committed"],
    [
      "base/components/labels/kustomization.yaml",
      "3 base/components/labels/kustomization.yaml: not committed",
    ],
    ["base/web/new.yaml", "3 base/web/new.yaml: not committed"],
    ["overlays/dev/web/kustomization.yaml", "3 overlays/dev/web/kustomization.yaml: not committed"],
  ])("while %s is not committed", async (path, message) => {
    const root = await smallRepository();
    await writeFile(join(root, path), "# edited\n");
    expect(await refusal(promote(root, "dev", "test", "web"))).toBe(message);
    expect((await git(root, "status", "--porcelain")).trim().split("\n")).toHaveLength(1);
  });

  it("without an overlay to go to", async () => {
    const root = await smallRepository();
    await rm(join(root, "overlays/test/web"), { recursive: true });
    await commit(root);
    expect(await refusal(promote(root, "dev", "test", "web"))).toBe(
      "3 there is no overlays/test/web/kustomization.yaml",
    );
    expect(await git(root, "status", "--porcelain")).toBe("");
  });

  it("of a tag that is no commit", async () => {
    const root = await smallRepository();
    await edit(root, "overlays/dev/web/kustomization.yaml", (text) => text.replace(SHA, "v1"));
    await commit(root);
    expect(await refusal(promote(root, "dev", "test"))).toMatch(
      /^3 overlays\/dev\/web\/kustomization\.yaml:5: /,
    );
    expect(await git(root, "status", "--porcelain")).toBe("");
  });

  it.each([
    [
      "whose image has a name of the environment's own",
      "overlays/dev/web/kustomization.yaml",
      (text: string) => `${text}    newName: elsewhere.test/web\n`,
      /^3 overlays\/dev\/web\/kustomization\.yaml:4: .*newName/,
    ],
    [
      "that states replicas beside an autoscaler",
      "base/web/pod.yaml",
      () => SCALED.replace("spec:\n", "spec:\n  replicas: 2\n"),
      /^3 overlays\/dev\/web\/kustomization\.yaml:1: apps\/Deployment web states its replicas, which autoscaling\/HorizontalPodAutoscaler web owns$/,
    ],
  ])("%s", async (_, path, change, message) => {
    const root = await smallRepository();
    await edit(root, path, change);
    await commit(root);
    expect(await refusal(promote(root, "dev", "test", "web"))).toMatch(message);
    expect(await git(root, "status", "--porcelain")).toBe("");
  });

  it("over an edit by hand", async () => {
    const root = await smallRepository();
    await promote(root, "dev", "test");
    await edit(root, "overlays/test/web/release.yaml", (text) => text.replace("name: web", "name: edited"));
    await commit(root);
    expect(await refusal(promote(root, "dev", "test", "web"))).toMatch(
      /^3 overlays\/test\/web\/release\.yaml:6: /,
    );
  });
});

describe("a release is derived anew", () => {
  it("from the commit it names, to the same bytes, whatever came later", async () => {
    const root = await smallRepository();
    await promote(root, "dev", "test");
    await edit(root, "base/web/pod.yaml", (text) => text.replace("name: web", "name: changed"));
    await edit(root, "overlays/dev/web/kustomization.yaml", (text) => text.replace(SHA, NEWER));
    await commit(root);
    const { text, from, commit: rendered } = await release(root, "test", "web");
    const where = {
      git: new GitObjects(root),
      app: "web",
      from,
      commit: rendered,
      kustomize: await kustomize(),
    };
    expect(await deriveRelease(where)).toBe(text);
  });
});
