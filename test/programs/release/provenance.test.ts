import { readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { sha256 } from "../../../scripts/lib/digest.ts";
import { tryRun } from "../../../scripts/lib/exec.ts";
import { emptyReleases } from "../../../scripts/lib/release/empty-releases.ts";
import { heldReleases } from "../../../scripts/lib/release/held-releases.ts";
import { formatHolds, holdPath } from "../../../scripts/lib/release/hold.ts";
import { OVERLAY_FIELDS } from "../../../scripts/lib/release/overlay-fields.ts";
import {
  allReleases,
  type CheckedRelease,
  changedReleases,
  checkProvenance,
  deployedBranch,
} from "../../../scripts/lib/release/provenance.ts";
import { formatRelease, releasePath, renderRelease } from "../../../scripts/lib/release/release.ts";
import { readCatalogue } from "../../../scripts/lib/tree/catalogue.ts";
import { bundledLine } from "../../support/commands.ts";
import {
  commit,
  git,
  SCALED,
  SHA,
  smallRepository,
  smallTree,
  temporary,
  write,
} from "../../support/tree.ts";
import { kustomize } from "../../tree/support.ts";

const NEWER = "fedcba9876543210fedcba9876543210fedcba98";
const TEST = releasePath("test", "web");
const LIVE = releasePath("live", "web");
const HOLD = holdPath({ environment: "live", app: "web" });
const DEV = "overlays/dev/web/kustomization.yaml";

async function read(root: string, path: string): Promise<string> {
  return readFile(join(root, path), "utf8");
}

async function edit(root: string, path: string, change: (text: string) => string): Promise<void> {
  await writeFile(join(root, path), change(await read(root, path)));
}

/** What a promotion from dev writes, as of a commit. */
async function render(root: string, from = "HEAD"): Promise<string> {
  const app = (await readCatalogue(root)).find((candidate) => candidate.app === "web");
  if (app === undefined) throw new Error("the small tree has no web");
  const sha = (await git(root, "rev-parse", from)).trim();
  const program = await kustomize();
  return formatRelease(await renderRelease({ root, app, from: "dev", commit: sha, kustomize: program }));
}

/** A change on a branch, over a main on which test had an older and has a newer release; live has the older one. */
async function repository() {
  const root = await smallRepository();
  for (const environment of ["test", "live"])
    await rm(join(root, "overlays", environment, "disk"), { recursive: true });
  await commit(root);
  const older = await render(root);
  await write(root, { [TEST]: older });
  await commit(root);
  await write(root, { [LIVE]: older });
  const first = await commit(root);
  await edit(root, DEV, (text) => text.replace(SHA, NEWER));
  await commit(root);
  const newer = await render(root);
  // As a merged pull request, with a commit of its own that main never had as such.
  await git(root, "checkout", "--quiet", "-b", "merged");
  const detour = newer.replace("name: web", "name: detour");
  await write(root, { [TEST]: detour });
  await commit(root);
  await write(root, { [TEST]: newer });
  await commit(root);
  await git(root, "checkout", "--quiet", "main");
  await git(root, "merge", "--quiet", "--no-ff", "-m", "Merge", "merged");
  await git(root, "checkout", "--quiet", "-b", "change");
  return { root, older, newer, detour, first };
}

async function check(root: string, base = "main"): Promise<CheckedRelease[]> {
  return checkProvenance(root, await changedReleases(root, base), kustomize);
}

/** The release with another content, and a head that goes with it. */
function forged(text: string, change: (text: string) => string): string {
  const lines = change(text).split("\n");
  const body = lines.slice(6).join("\n");
  return [...lines.slice(0, 5), `# digest: ${sha256(body)}`, body].join("\n");
}

describe("a release that a command wrote", () => {
  it("is rendered again from the commit it names", async () => {
    const { root } = await repository();
    await git(root, "checkout", "--quiet", "main");
    await write(root, { "base/web/more.yaml": "kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: more\n" });
    await edit(root, "base/web/kustomization.yaml", (text) =>
      text.replace("  - pod.yaml", "  - pod.yaml\n  - more.yaml"),
    );
    const source = await commit(root);
    await git(root, "checkout", "--quiet", "-B", "change");
    await write(root, { [TEST]: await render(root) });
    await commit(root);
    expect(await check(root)).toEqual([
      { path: TEST, origin: { kind: "rendered", from: "dev", commit: source } },
    ]);
  });

  it("with a digest that stands in the tag, too", async () => {
    const { root } = await repository();
    await git(root, "checkout", "--quiet", "main");
    const digest = `sha256:${"a".repeat(64)}`;
    await edit(root, DEV, (text) => text.replace(NEWER, `${NEWER}@${digest}`));
    const source = await commit(root);
    await git(root, "checkout", "--quiet", "-B", "change");
    const text = await render(root);
    expect(text).toContain(`\n# image: shop/web:${NEWER}@${digest}\n`);
    expect(text).toContain(`image: registry/shop/web:${NEWER}@${digest}\n`);
    await write(root, { [TEST]: text });
    await commit(root);
    expect(await check(root)).toMatchObject([{ origin: { kind: "rendered", commit: source } }]);
  });

  it.each(["newer", "older"] as const)("is copied from the environment before: the %s one", async (which) => {
    const { root, ...releases } = await repository();
    await rm(join(root, LIVE));
    await commit(root);
    await git(root, "branch", "--force", "main");
    await write(root, { [LIVE]: releases[which] });
    await commit(root);
    // Without its own history, in which it had the older one.
    const scope = { ...(await changedReleases(root, "main")), mayRestore: false };
    expect(await checkProvenance(root, scope, kustomize)).toMatchObject([
      { path: LIVE, origin: { kind: "copied", from: "test" } },
    ]);
  });

  it("names the merge by which the environment before got it", async () => {
    const { root, newer } = await repository();
    await write(root, { [LIVE]: newer });
    await commit(root);
    const merge = (await git(root, "rev-parse", "main")).trim();
    expect(await check(root)).toEqual([
      { path: LIVE, origin: { kind: "copied", from: "test", commit: merge } },
    ]);
  });

  it("may come back, also when today's base would render something else", async () => {
    const { root, older } = await repository();
    await write(root, { [TEST]: older, "overlays/test/web/hold.yaml": "kind: Hold\n" });
    await commit(root);
    expect(await check(root)).toMatchObject([{ path: TEST, origin: { kind: "restored", from: "test" } }]);
  });

  it("may go, and needs no program when nothing else changes", async () => {
    const { root } = await repository();
    await rm(join(root, LIVE));
    await commit(root);
    const none = async () => Promise.reject(new Error("nothing is to be rendered"));
    expect(await checkProvenance(root, await changedReleases(root, "main"), none)).toEqual([
      { path: LIVE, origin: { kind: "removed" } },
    ]);
  });

  it("is not looked at when only the base has changed it", async () => {
    const { root, older } = await repository();
    await write(root, { "docs/x.md": "x\n" });
    await commit(root);
    await git(root, "checkout", "--quiet", "main");
    await write(root, { [TEST]: older.replace("name: web", "name: hand") });
    await commit(root);
    await git(root, "checkout", "--quiet", "change");
    expect(await check(root)).toEqual([]);
  });
});

describe("a release that somebody edited", () => {
  interface Case {
    path: string;
    change: (text: string) => string;
    line: number;
    what: RegExp;
    expected?: string;
    found?: string;
  }
  const image = (text: string) => text.replaceAll(NEWER, "0".repeat(40));
  it.each<[string, Case]>([
    [
      "one line of it",
      {
        path: TEST,
        change: (text) => text.replace("name: app", "name: mine"),
        line: 16,
        what: /^not what dev rendered at \w{7}$/,
        expected: "    name: app",
        found: "    name: mine",
      },
    ],
    [
      "one line, and its digest to go with it",
      {
        path: TEST,
        change: (text) => forged(text, (old) => old.replace("name: app", "name: mine")),
        line: 16,
        what: /^not what dev rendered/,
        found: "    name: mine",
      },
    ],
    [
      "its image, all over it",
      { path: TEST, change: (text) => forged(text, image), line: 15, what: /^not what dev rendered/ },
    ],
    [
      "its head only",
      {
        path: TEST,
        change: (text) => text.replace("# from: dev", "# from: live"),
        line: 4,
        what: /^not what dev rendered/,
        expected: "# from: dev",
        found: "# from: live",
      },
    ],
    [
      "its end",
      {
        path: TEST,
        change: (text) => `${text}---\n`,
        line: 17,
        what: /^not what/,
        expected: "",
        found: "---",
      },
    ],
    [
      "its line ends",
      { path: TEST, change: (text) => text.replaceAll("\n", "\r\n"), line: 1, what: /^not the head/ },
    ],
    [
      "its first byte, invisibly",
      { path: TEST, change: (text) => `\uFEFF${text}`, line: 1, what: /^not what dev/ },
    ],
    [
      "its commit, to one that is nowhere",
      {
        path: TEST,
        change: (text) => text.replace(/# commit: .*/, `# commit: ${"1".repeat(40)}`),
        line: 5,
        what: /^its commit 1111111 is none that the deployed branch has stood at$/,
      },
    ],
    [
      "its commit away",
      {
        path: TEST,
        change: (text) => text.replace(/# commit: .*/, "# commit: main"),
        line: 5,
        what: /^not a line "# commit: …"/,
      },
    ],
    [
      "in the last environment",
      {
        path: LIVE,
        change: (text) => forged(text, (old) => old.replace("name: app", "name: mine")),
        line: 16,
        what: /^not a release that test had on the deployed branch, compared with that of \w{7}$/,
        expected: "    name: app",
        found: "    name: mine",
      },
    ],
  ])(
    "%s, is refused with the line that differs",
    async (_, { path, change, line, what, expected, found }) => {
      const { root, newer } = await repository();
      await write(root, { [path]: change(newer) });
      await commit(root);
      expect(await check(root)).toEqual([
        {
          path,
          origin: {
            kind: "unknown",
            difference: expect.objectContaining({
              path,
              line,
              what: expect.stringMatching(what),
              ...(expected === undefined ? {} : { expected: JSON.stringify(expected) }),
              ...(found === undefined ? {} : { found: JSON.stringify(found) }),
            }),
          },
        },
      ]);
    },
  );
});

it("a release without objects is found", async () => {
  const { root, newer } = await repository();
  await write(root, {
    [LIVE]: newer,
    [TEST]: forged(newer, (text) => text.split("\n").slice(0, 6).join("\n")),
  });
  await commit(root);
  expect(await emptyReleases(root, await changedReleases(root, "main"))).toEqual([
    {
      path: TEST,
      line: 1,
      what: "the release has no objects, and would be called Healthy",
      way: "add them to base/web and promote again, or remove the directory",
      severity: "finding",
    },
  ]);
});

describe("a release that is held back", () => {
  /** A branch that brings live the newer release, beside a main that has taken it back and holds it. */
  async function stale() {
    const { root, newer, older } = await repository();
    await write(root, { [LIVE]: newer });
    await commit(root);
    await git(root, "branch", "early");
    await git(root, "checkout", "--quiet", "main");
    await write(root, { [LIVE]: newer, "docs/x.md": "the same release, by another pull request\n" });
    await commit(root);
    const hold = {
      digest: sha256(""),
      image: `shop/web:${NEWER}`,
      reason: "it loses orders",
      by: "Ada",
      since: new Date("2026-11-20T12:00Z"),
      until: undefined,
    };
    const text = formatHolds({ environment: "live", app: "web" }, [hold]);
    await write(root, { [LIVE]: older, [HOLD]: text });
    await commit(root);
    return { root, newer };
  }
  const look = async (root: string, now = new Date("2026-11-21T12:00Z")) =>
    heldReleases(root, await changedReleases(root, "main"), { now, revision: "main" });
  const finding = {
    path: LIVE,
    line: 1,
    what: "fedcba9 is held back from live: it loses orders (Ada)",
    way: "leave it out; or lift the hold first: npm run unhold live web",
    severity: "finding",
  };

  it("is found, merged with main or not, though it is a release that test had", async () => {
    const { root, newer } = await stale();
    await git(root, "checkout", "--quiet", "early");
    expect(await look(root)).toEqual([finding]);
    // main went back to what the branch started from, so Git sees one side's change only: it merges without a conflict.
    await git(root, "merge", "--quiet", "-m", "Merge", "main");
    await write(root, { [LIVE]: newer });
    await git(root, "commit", "--quiet", "--all", "--allow-empty", "--message", "again");
    expect(await look(root)).toEqual([finding]);
    expect(await check(root)).toMatchObject([{ path: LIVE, origin: { kind: "restored" } }]);
  });

  it("may come with the change that lifts the hold", async () => {
    const { root, newer } = await stale();
    await git(root, "checkout", "--quiet", "-B", "change", "main");
    await rm(join(root, HOLD));
    await write(root, { [LIVE]: newer });
    await commit(root);
    expect(await look(root)).toEqual([]);
  });

  it("may come when the hold has ended, and another release may come at any time", async () => {
    const { root, newer } = await stale();
    await git(root, "checkout", "--quiet", "-B", "change", "main");
    await edit(root, HOLD, (text) => `${text}    until: 2026-11-22T00:00:00Z\n`);
    await git(root, "commit", "--quiet", "--all", "--message", "x");
    await git(root, "branch", "--force", "main");
    await write(root, { [LIVE]: newer });
    await commit(root);
    expect(await look(root)).toEqual([finding]);
    expect(await look(root, new Date("2026-11-22T12:00Z"))).toEqual([]);
    await write(root, { [LIVE]: newer.replaceAll(NEWER, "1".repeat(40)) });
    await commit(root);
    expect(await look(root)).toEqual([]);
  });

  it("ends the command with 4", async () => {
    const { root } = await stale();
    await git(root, "checkout", "--quiet", "early");
    const env = { ...process.env, KUSTOMIZE: await kustomize() };
    const ended = await tryRun(...bundledLine("check", ["--no-server", "--root", root, "--base", "main"]), {
      env,
    });
    expect(ended).toMatchObject({
      exitCode: 4,
      stderr: `check: ${LIVE}:1: ${finding.what}; ${finding.way}\n`,
    });
    expect(ended.stdout).toContain(`\n\n${LIVE}:1: ${finding.what}; ${finding.way}\n`);
  });
});

describe("a release from nowhere", () => {
  async function faultOf(root: string): Promise<string> {
    await commit(root);
    const [checked] = await check(root);
    return checked?.origin.kind === "unknown" ? checked.origin.difference.what : JSON.stringify(checked);
  }

  it("is rendered from a commit that only the pull request has", async () => {
    const { root } = await repository();
    await edit(root, "base/web/pod.yaml", (text) => text.replace("name: app", "name: mine"));
    const own = await commit(root);
    await write(root, { [TEST]: await render(root) });
    expect(await faultOf(root)).toBe(
      `its commit ${own.slice(0, 7)} is none that the deployed branch has stood at`,
    );
  });

  it("is copied from what only the pull request puts into the environment before", async () => {
    const { root, newer } = await repository();
    const text = forged(newer, (old) => old.replace("name: app", "name: mine"));
    await write(root, { [TEST]: text, [LIVE]: text });
    await commit(root);
    expect(await check(root)).toMatchObject([
      { path: LIVE, origin: { kind: "unknown" } },
      { path: TEST, origin: { kind: "unknown" } },
    ]);
  });

  it("is copied from a commit of a merged pull request that main itself never was at", async () => {
    const { root, detour } = await repository();
    await write(root, { [LIVE]: detour });
    expect(await faultOf(root)).toMatch(/^not a release that test had/);
  });

  it("names a commit that did not have the app", async () => {
    const { root, newer, first } = await repository();
    await git(root, "checkout", "--quiet", "main");
    await write(root, {
      "apps/other.yaml": (await read(root, "apps/web.yaml")).replace("app: web", "app: other"),
    });
    await commit(root);
    await git(root, "checkout", "--quiet", "-B", "change");
    await write(root, {
      [releasePath("test", "other")]: newer.replace(/# commit: .*/, `# commit: ${first}`),
    });
    expect(await faultOf(root)).toMatch(/^nothing can be rendered from \w{7}: /);
  });

  it.each([
    [
      "where the live base is built",
      releasePath("dev", "web"),
      "dev builds the live base and has no releases",
    ],
    ["in an environment that is not there", releasePath("qa", "web"), "there is no environment qa"],
    ["of an app that is not there", releasePath("test", "webb"), "there is no app webb"],
    [
      "of an app that the environment before never had",
      releasePath("live", "disk"),
      "test never had a release of disk on the deployed branch",
    ],
  ])("is %s", async (_, path, what) => {
    const { root, newer } = await repository();
    await write(root, { [path]: newer });
    expect(await faultOf(root)).toBe(what);
  });

  it("is a symbolic link", async () => {
    const { root } = await repository();
    await rm(join(root, LIVE));
    await symlink("../../test/web/release.yaml", join(root, LIVE));
    expect(await faultOf(root)).toBe("a symbolic link");
  });
});

describe("all releases", () => {
  it("are compared with history as well, though they are in it", async () => {
    const { root, newer } = await repository();
    expect(await checkProvenance(root, await allReleases(root), kustomize)).toMatchObject([
      { path: LIVE, origin: { kind: "copied" } },
      { path: TEST, origin: { kind: "rendered" } },
    ]);
    await write(root, { [TEST]: newer.replace("name: app", "name: mine") });
    await commit(root);
    expect(await checkProvenance(root, await allReleases(root), kustomize)).toMatchObject([
      { path: LIVE, origin: { kind: "copied" } },
      { path: TEST, origin: { kind: "unknown" } },
    ]);
  });
});

describe("a clone", () => {
  it("that is shallow is refused: what is missing would look like what never was", async () => {
    const { root } = await repository();
    const clone = join(await temporary(), "clone");
    await git(root, "clone", "--quiet", "--depth=1", `file://${root}`, clone);
    const refusal = { exitCode: 3, hint: expect.stringContaining("git fetch --unshallow") };
    await expect(changedReleases(clone, "HEAD")).rejects.toMatchObject(refusal);
    await expect(allReleases(clone)).rejects.toMatchObject(refusal);
  });

  it("that does not have the base is refused", async () => {
    const { root } = await repository();
    await expect(changedReleases(root, "trunk")).rejects.toThrow(/^there is no commit trunk here$/);
    await expect(changedReleases(root, "--all")).rejects.toThrow(/^there is no commit --all here$/);
    await expect(deployedBranch(root, "main")).rejects.toMatchObject({
      exitCode: 3,
      message: "this clone has no origin/main",
    });
  });

  it("whose HEAD has nothing in common with the base is refused", async () => {
    const { root } = await repository();
    await git(root, "checkout", "--quiet", "--orphan", "alone");
    await commit(root);
    await expect(changedReleases(root, "main")).rejects.toThrow("HEAD and main have no commit in common");
  });
});

describe("the order of the environments", () => {
  const order = async (root: string, name: string, from: string) =>
    edit(root, `overlays/${name}/environment.yaml`, (text) =>
      text.replace(/promotesFrom: .*/, `promotesFrom: ${from}`),
    );

  it.each<[string, (root: string) => Promise<void>]>([
    [
      "turned round",
      async (root) => {
        await order(root, "live", "dev");
        await order(root, "test", "live");
      },
    ],
    [
      "without the one between",
      async (root) => {
        await order(root, "live", "dev");
        await rm(join(root, "overlays/test"), { recursive: true });
      },
    ],
  ])(
    "is the deployed branch's: %s by the change, it leads no release past an environment",
    async (_, turn) => {
      const { root } = await repository();
      await git(root, "checkout", "--quiet", "main");
      await edit(root, "base/web/pod.yaml", (text) => text.replace("name: web", "name: newest"));
      await commit(root);
      const newest = await render(root);
      await git(root, "checkout", "--quiet", "-B", "change");
      await turn(root);
      await write(root, { [LIVE]: newest });
      await commit(root);
      expect((await check(root)).find(({ path }) => path === LIVE)?.origin).toMatchObject({
        kind: "unknown",
        difference: { what: expect.stringMatching(/^not a release that test had on the deployed branch/) },
      });
    },
  );

  it("of an environment that the change brings is its own", async () => {
    const { root, older } = await repository();
    const text = await read(root, "overlays/test/environment.yaml");
    const canary = text
      .replace("name: test", "name: canary")
      .replace("promotesFrom: dev", "promotesFrom: live");
    const path = releasePath("canary", "web");
    await write(root, { "overlays/canary/environment.yaml": canary, [path]: older });
    await commit(root);
    expect(await check(root)).toMatchObject([{ path, origin: { kind: "copied", from: "live" } }]);
  });
});

describe("npm run check", () => {
  async function run(root: string, args: readonly string[] = [], more: NodeJS.ProcessEnv = {}) {
    const env = { ...process.env, KUSTOMIZE: await kustomize(), ...more };
    return tryRun(...bundledLine("check", ["--no-server", "--root", root, ...args]), { env });
  }

  it("compares with the deployed branch, lists what it looked at, and ends with 4 for a finding", async () => {
    const { root, newer } = await repository();
    await git(root, "update-ref", "refs/remotes/origin/main", "main");
    const same = await run(root);
    expect(same).toMatchObject({ exitCode: 0, stderr: "" });
    expect(same.stdout).toMatch(/^no environment changes: no file differs\n\nCHECK /);
    await write(root, { [LIVE]: newer, [TEST]: newer.replace("name: app", "name: mine") });
    await commit(root);
    const { exitCode, stdout, stderr } = await run(root);
    expect(exitCode).toBe(4);
    expect(stdout).toMatch(
      /^RELEASE +COMES FROM\n\S+live\/web\/release\.yaml +test, which got it in \w{7}\n/m,
    );
    expect(stdout).toMatch(/\n\S+test\/web\/release\.yaml +NOT KNOWN\n/);
    expect(stdout).toContain('\n  expected: "    name: app"\n  found:    "    name: mine"\n');
    expect(stderr).toMatch(
      /^check: overlays\/test\/web\/release\.yaml:16: not what dev rendered at \w{7}; restore it from Git; .*\n$/,
    );
  });

  it.each<[string, (other: string) => NodeJS.ProcessEnv]>([
    [
      "where Git is set to other line ends",
      () => ({ GIT_CONFIG_COUNT: "1", GIT_CONFIG_KEY_0: "core.autocrlf", GIT_CONFIG_VALUE_0: "true" }),
    ],
    ["in a hook of another repository", (other) => ({ GIT_DIR: join(other, ".git") })],
  ])("says the same %s", async (_, env) => {
    const { root } = await repository();
    const other = await smallRepository();
    const result = await run(root, ["--base", "main~1"], env(other));
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
    expect(result.stdout).toMatch(/test\/web\/release\.yaml +dev, rendered again at \w{7}\n/);
    expect(await run(root, ["--all"], env(other))).toEqual(await run(root, ["--all"]));
  });

  describe("finds an overlay", () => {
    const OVERLAY = "overlays/live/web/kustomization.yaml";
    const patch = (...operations: string[]) =>
      `resources:\n  - release.yaml\npatches:\n  - target: {kind: Pod}\n    options: {allowNameChange: true}\n    patch: |-\n${operations.map((operation) => `      - {${operation}}\n`).join("")}`;
    const evil = "op: replace, path: /spec/containers/0/image, value: registry/evil:1";
    const generator = (field: string) =>
      `apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata:\n  name: more\nfiles:\n  - ${field}\n`;
    const POD = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: evil\n";

    it.each<[string, Record<string, string>, string]>([
      [
        "without a release, that has something else in its place",
        { [LIVE]: "", [OVERLAY]: "resources:\n  - pod.yaml\n", "overlays/live/web/pod.yaml": POD },
        "has no release.yaml, and would deploy something else; restore its release.yaml, or promote one; or remove the directory",
      ],
      [
        "that renames the workload",
        { [OVERLAY]: patch("op: replace, path: /metadata/name, value: other", evil) },
        "adds Pod shop/other, and its release does not; leave it to a promotion, or have argocd/settings/overlay-fields.yaml allow it",
      ],
      [
        "that renames the container",
        { [OVERLAY]: patch("op: replace, path: /spec/containers/0/name, value: other", evil) },
        "Pod shop/web has spec.containers[app].image: nothing, and its release registry/shop/web:fedcba987654 (and 1 more); leave it to a promotion",
      ],
      [
        "with an object that is a list to Argo CD",
        {
          [OVERLAY]: "resources:\n  - release.yaml\n  - map.yaml\n",
          "overlays/live/web/map.yaml": `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\nitems:\n  - ${POD.trim().replaceAll("\n", "\n    ")}\n`,
        },
        "ConfigMap x has items, and Argo CD would deploy those; make each of them a resource of its own",
      ],
      [
        "that a generator brings something into from elsewhere",
        {
          [OVERLAY]: "resources:\n  - release.yaml\ngenerators:\n  - generator.yaml\n",
          "overlays/live/web/generator.yaml": generator("x=https://forge.test/x"),
        },
        "overlays/live/web is built from what is not in this repository, and nothing is fetched; correct it until it does",
      ],
    ])("%s", async (_, files, what) => {
      const { root, newer } = await repository();
      await write(root, { [LIVE]: newer });
      await write(root, files);
      if (files[LIVE] === "") await rm(join(root, LIVE));
      await commit(root);
      const { exitCode, stdout } = await run(root, ["--base", "main"]);
      expect(exitCode).toBe(4);
      expect(stdout).toContain(`${OVERLAY}:1: `);
      expect(stdout).toContain(what);
    });

    it("that needs a release now, because the change turns the environments round", async () => {
      const { root } = await repository();
      const turned = (name: string, from?: string) =>
        (smallTree()[`overlays/${name}/environment.yaml`] ?? "")
          .replace(/^ {2}promotesFrom: .*\n/m, "")
          .replace("  soak", `${from === undefined ? "" : `  promotesFrom: ${from}\n`}  soak`);
      await write(root, {
        "overlays/live/environment.yaml": turned("live"),
        "overlays/dev/environment.yaml": turned("dev", "live"),
        "overlays/test/environment.yaml": turned("test", "dev"),
        [OVERLAY]: "resources:\n  - pod.yaml\n",
        "overlays/live/web/pod.yaml": POD,
      });
      await rm(join(root, LIVE), { force: true });
      await commit(root);
      expect((await run(root, ["--base", "main"])).stdout).toContain(`${OVERLAY}:1: has no release.yaml`);
    });
  });

  it("finds an overlay that runs another image than its release says, and one that does not render", async () => {
    const { root, newer } = await repository();
    const overlay = "overlays/live/web/kustomization.yaml";
    const images = (registry: string, tag: string) =>
      `resources:\n  - release.yaml\nimages:\n  - name: registry/shop/web\n    newName: ${registry}/shop/web\n    newTag: "${tag}"\n`;
    const past = (image: string) =>
      `${overlay}:1: Pod shop/web has spec.containers[app].image: ${image}, and its release registry/shop/web:${NEWER.slice(0, 12)}; leave it to a promotion, or have ${OVERLAY_FIELDS} allow it`;
    const list = { kinds: ["Pod"], paths: ["spec.containers.*.image"], reason: "it is the settings'" };
    await write(root, { [OVERLAY_FIELDS]: stringify({ fields: [], registry: list, objects: [] }) });
    for (const [text, code, line] of [
      // As the settings' transformer does.
      [images("registry.shop.test", NEWER), 0, "test, which got it in "],
      [images("registry", SHA), 4, past(`registry/shop/web:${SHA.slice(0, 12)}`)],
      [images("elsewhere.test", NEWER), 4, past(`elsewhere.test/shop/web:${NEWER.slice(0, 12)}`)],
      ["resources:\n  - gone.yaml\n", 4, `${overlay}:1: does not render: `],
    ] as const) {
      await write(root, { [LIVE]: newer, [overlay]: text });
      await commit(root);
      const { exitCode, stdout } = await run(root, ["--base", "main"]);
      expect(exitCode).toBe(code);
      expect(stdout).toContain(line);
    }
  });

  it.each<[string, Record<string, string>, string]>([
    [
      "a name for the image, which a release would not have",
      {
        [DEV]: `resources:\n  - ../../../base/web\nimages:\n  - name: registry/shop/web\n    newName: elsewhere.test/web\n    newTag: "${NEWER}"\n`,
      },
      `${DEV}:4: images.0: Unrecognized key: "newName"`,
    ],
    [
      "replicas beside an autoscaler",
      {
        [DEV]: `resources:\n  - ../../../base/web\n  - scaled.yaml\nimages:\n  - name: registry/shop/web\n    newTag: "${NEWER}"\nreplicas:\n  - name: web\n    count: 2\n`,
        "overlays/dev/web/scaled.yaml": SCALED,
      },
      "apps/Deployment web states its replicas, which autoscaling/HorizontalPodAutoscaler web owns",
    ],
    ["a hold that cannot be read", { [HOLD]: "holds: 1\n" }, `${HOLD}:`],
  ])("finds what a promotion would refuse later: %s", async (_, files, what) => {
    const { root } = await repository();
    await write(root, files);
    await commit(root);
    const { exitCode, stdout } = await run(root, ["--base", "main"]);
    expect(exitCode).toBe(4);
    expect(stdout).toContain(what);
  });

  it("takes one of --base and --all", async () => {
    const { root } = await repository();
    expect(await run(root, ["--all", "--base", "main"])).toMatchObject({ exitCode: 2, stdout: "" });
    expect(await run(root, ["--all"])).toMatchObject({ exitCode: 0, stderr: "" });
  });
});
