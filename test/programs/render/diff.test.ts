import { rm, utimes } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { tryRun } from "../../../scripts/lib/exec.ts";
import { repositoryRoot } from "../../../scripts/lib/repository.ts";
import { cacheDir } from "../../../scripts/lib/tools/cache.ts";
import { bundledLine } from "../../support/commands.ts";
import { commit, git, SHA, smallRepository, temporary, write } from "../../support/tree.ts";

const NEW = "89abcdef0123456789abcdef0123456789abcdef";
const CLAIM = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: disk\n";
const pod = (name: string, image = "registry/shop/web") =>
  `apiVersion: v1\nkind: Pod\nmetadata:\n  name: ${name}\nspec:\n  containers:\n    - name: app\n      image: ${image}\n`;

/** A repository with a branch `change`, which starts with these releases in `live`. */
async function changing(files: Record<string, string> = {}): Promise<string> {
  const root = await smallRepository();
  await write(root, {
    "overlays/live/web/release.yaml": pod("web"),
    "overlays/live/disk/release.yaml": CLAIM,
    "overlays/test/web/release.yaml": pod("web"),
    "overlays/test/disk/release.yaml": CLAIM,
    ...files,
  });
  await commit(root);
  await git(root, "checkout", "--quiet", "-b", "change");
  return root;
}

async function command(verb: string, root: string, ...args: string[]) {
  const env = {
    PATH: process.env["PATH"],
    HOME: join(root, ".git"),
    TOOLS_CACHE: cacheDir(process.env, repositoryRoot()),
  };
  const [program, line] = bundledLine(verb, ["--root", root, "--fresh", ...args]);
  return tryRun(program, line, { cwd: root, env });
}

/** The first lines that `diff` writes. */
async function verdict(root: string, ...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await command("diff", root, "--base", "main", ...args);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  return stdout.split("\n\n")[0] ?? "";
}

describe("the verdict stands first:", () => {
  it.each<[string, Record<string, string | undefined>, string]>([
    [
      "another image in the first environment",
      {
        "overlays/dev/web/kustomization.yaml": `resources:\n  - ../../../base/web\nimages:\n  - name: registry/shop/web\n    newTag: "${NEW}"\n`,
      },
      "dev: 1 app, image only",
    ],
    [
      "a base that only the first environment builds",
      { "base/web/pod.yaml": pod("web").replace("spec:", "spec:\n  hostNetwork: true") },
      "dev: 1 app, security only",
    ],
    [
      "a claim that goes in two environments",
      { "overlays/live/disk/release.yaml": "", "overlays/test/disk/release.yaml": "" },
      "test: deletes a claim, 1 app, storage\nlive: deletes a claim, 1 app, storage",
    ],
    [
      "an overlay that goes",
      { "overlays/live/disk/kustomization.yaml": undefined, "overlays/live/disk/release.yaml": undefined },
      "live: deletes a claim, 1 app, storage",
    ],
    [
      "a file under another name",
      {
        "base/web/pod.yaml": undefined,
        "base/web/web.yaml": pod("web"),
        "base/web/kustomization.yaml": "resources:\n  - web.yaml\ncomponents:\n  - ../components/labels\n",
      },
      "no environment changes: refactor",
    ],
    [
      "a file of no overlay",
      { "docs/read.md": "text" },
      "no environment changes: no overlay is built from what differs",
    ],
    [
      "an overlay that does not render any more",
      { "overlays/live/web/kustomization.yaml": "resources:\n  - release.yaml\n  - absent.yaml\n" },
      "live: 1 overlay that does not render",
    ],
    [
      "a base elsewhere",
      { "overlays/live/web/kustomization.yaml": "resources:\n  - https://forge.test/x//base?ref=v1\n" },
      "live: 1 overlay built from elsewhere, not compared",
    ],
    [
      "a new environment",
      { "overlays/next/web/kustomization.yaml": "resources:\n  - ../../../base/web\n" },
      "next: 1 app, image only",
    ],
    [
      "a list of resources with carriage returns and a byte order mark",
      { "overlays/live/web/kustomization.yaml": "\uFEFFresources:\r\n  - release.yaml\r\n" },
      "no environment changes: refactor",
    ],
  ])("%s", async (_, files, expected) => {
    const root = await changing();
    for (const [path, text] of Object.entries(files))
      await (text === undefined ? rm(join(root, path)) : write(root, { [path]: text }));
    // Before it is committed, and afterwards, and with every overlay rendered.
    expect(await verdict(root)).toBe(expected);
    await commit(root);
    expect(await verdict(root, "--prove")).toBe(expected);
  });
});

it("compares with where the branch left its base, whatever has come there since", async () => {
  const root = await changing();
  await write(root, { "overlays/live/web/release.yaml": pod("web", `registry/shop/web:${SHA}`) });
  await commit(root);
  await git(root, "checkout", "--quiet", "main");
  await write(root, { "overlays/test/web/release.yaml": pod("other") });
  await commit(root);
  await git(root, "checkout", "--quiet", "change");
  expect(await verdict(root)).toBe("live: 1 app, image only");
});

it("names every field that differs, and the environments that get the same together", async () => {
  const root = await changing();
  const release = pod("web", `registry/shop/web:${NEW}`);
  await write(root, { "overlays/live/web/release.yaml": release, "overlays/test/web/release.yaml": release });
  const { stdout } = await command("diff", root, "--base", "main");
  const left = (await git(root, "rev-parse", "main")).slice(0, 7);
  expect(stdout).toBe(
    [
      "test: 1 app, image only",
      "live: 1 app, image only",
      "",
      "test and live: web",
      "  image",
      "    Pod web containers[app].image: registry/shop/web → registry/shop/web:89abcdef0123",
      "",
      `since ${left}: 2 files differ, and 2 of 6 overlays are built from them; the other 4 are not`,
      "",
    ].join("\n"),
  );
});

it("says as data what it says in words", async () => {
  const root = await changing();
  await write(root, { "overlays/live/web/release.yaml": pod("web", "registry/shop/web:2") });
  const { stdout } = await command("diff", root, "--base", "main", "--json");
  expect(JSON.parse(stdout)).toMatchObject({
    verdicts: [{ environment: "live", text: "live: 1 app, image only", isDangerous: false }],
    overlays: [
      {
        overlay: "overlays/live/web",
        change: "changed",
        objects: [
          {
            id: "Pod web",
            risks: ["image"],
            fields: [{ before: "registry/shop/web", after: "registry/shop/web:2" }],
          },
        ],
      },
    ],
    total: 6,
    isProven: false,
  });
});

it("tells of a sealed Secret which keys changed, and shows no ciphertext", async () => {
  const sealed = (text: string) =>
    `apiVersion: isindir.github.com/v1alpha3\nkind: SopsSecret\nmetadata:\n  name: db\nspec:\n  secretTemplates:\n    - name: db\n      stringData:\n        password: ENC[${text}]\nsops:\n  mac: ENC[${text}]\n`;
  const overlay = "resources:\n  - release.yaml\n  - db.sops.yaml\n";
  const root = await changing({
    "overlays/live/web/kustomization.yaml": overlay,
    "overlays/live/web/db.sops.yaml": sealed("first"),
  });
  await write(root, { "overlays/live/web/db.sops.yaml": sealed("second") });
  for (const format of [[], ["--markdown"], ["--html"], ["--json"], ["--patch", join(root, ".git/patch")]]) {
    const { stdout } = await command("diff", root, "--base", "main", ...format);
    const patch = format.includes("--patch") ? await git(root, "show", "--no-patch", "HEAD") : "";
    expect(`${stdout}${patch}`).toContain("password");
    expect(stdout).not.toMatch(/first|second/);
  }
});

describe("where there is no answer it says what to do:", () => {
  it.each<[string, (root: string) => Promise<unknown>, string[], number, string]>([
    [
      "a base that is not there",
      async () => {},
      ["--base", "absent"],
      2,
      "diff: there is no commit absent here; fetch it, or give another one with --base\n",
    ],
    [
      "a base without a common commit",
      async (root) => {
        await git(root, "checkout", "--quiet", "--orphan", "alone");
        await commit(root);
      },
      ["--base", "main"],
      3,
      "diff: HEAD and main have no commit in common; give another one with --base\n",
    ],
    [
      "no base that is known",
      async () => {},
      [],
      3,
      "diff: this clone has no origin/main; fetch it, give a branch with --base, or check everything with --all\n",
    ],
    [
      "two formats",
      async () => {},
      ["--base", "main", "--json", "--html"],
      2,
      "diff: --markdown, --json and --html are three formats; give one of them\n",
    ],
    [
      "a sparse checkout",
      async (root) => git(root, "sparse-checkout", "set", "overlays/dev"),
      ["--base", "main"],
      3,
      expect.stringMatching(/^diff: this checkout is sparse: .*; run `git sparse-checkout disable`\n$/),
    ],
  ])("%s", async (_, arrange, args, exitCode, stderr) => {
    const root = await changing();
    await arrange(root);
    expect(await command("diff", root, ...args)).toEqual({ exitCode, stdout: "", stderr });
  });

  it("a directory outside of any checkout", async () => {
    const root = await temporary();
    const { exitCode, stderr } = await command("diff", root, "--base", "main");
    expect({ exitCode, stderr }).toEqual({
      exitCode: 3,
      stderr: `diff: ${root} is not in a Git checkout; name another one with --root\n`,
    });
  });
});

it("sees a change of the same length in the second in which the file was committed", async () => {
  const root = await changing();
  const path = "overlays/live/web/release.yaml";
  const index = join(root, ".git/index");
  // As it is where a commit and an edit follow each other at once: Git's index holds whole seconds.
  const second = new Date("2026-01-01T00:00:00Z");
  await utimes(join(root, path), second, second);
  await git(root, "update-index", "--refresh");
  await write(root, { [path]: pod("bew") });
  await utimes(join(root, path), second, second);
  await utimes(index, second, second);
  expect(await verdict(root)).toBe("live: 1 app, renames 1 object, image");
});

it("leaves no trace in the repository", async () => {
  const root = await changing();
  await write(root, { "overlays/live/web/release.yaml": pod("other") });
  const state = async () => [
    await git(root, "status", "--porcelain"),
    await git(root, "count-objects", "--verbose"),
    await git(root, "for-each-ref"),
  ];
  const before = await state();
  await verdict(root);
  expect(await state()).toEqual(before);
});

describe("npm run render", () => {
  it("writes what kustomize makes of the files in the checkout", async () => {
    const root = await changing();
    await write(root, { "overlays/live/web/release.yaml": pod("other") });
    const { stdout } = await command("render", root, "overlays/live/web/");
    expect(stdout).toMatch(
      /^# overlays\/live\/web\n---\napiVersion: v1\nkind: Pod\nmetadata:\n {2}name: other\n/,
    );
  });

  it("writes all overlays as files", async () => {
    const root = await changing();
    const output = await temporary();
    const { exitCode } = await command("render", root, "--output", output);
    expect(exitCode).toBe(0);
    const { stdout } = await tryRun("find", [".", "-type", "f", "-printf", "%P\\n"], { cwd: output });
    expect(stdout.trim().split("\n").toSorted()).toEqual(
      ["dev", "live", "test"].flatMap((env) => ["disk", "web"].map((app) => `overlays/${env}/${app}.yaml`)),
    );
  });

  it.each<[string, Record<string, string>, string[], number, RegExp]>([
    [
      "a directory without a kustomization",
      {},
      ["overlays/live"],
      2,
      /^render: overlays\/live has no kustomization; name/,
    ],
    [
      "an overlay that does not render",
      { "overlays/live/web/kustomization.yaml": "resources: [absent.yaml]\n" },
      [],
      4,
      /^render: there is no absent\.yaml, and overlays\/live\/web is built from it; add it/,
    ],
    [
      "an overlay that would be fetched",
      { "overlays/live/web/kustomization.yaml": "resources: ['https://forge.test/x//base?ref=v1']\n" },
      [],
      4,
      /^render: overlays\/live\/web is built from https:\/\/forge\.test\/x\/\/base\?ref=v1, and nothing is fetched; have/,
    ],
  ])("%s is told in one line", async (_, files, args, exitCode, line) => {
    const root = await changing(files);
    const result = await command("render", root, ...args);
    expect(result.exitCode).toBe(exitCode);
    expect(result.stderr).toMatch(line);
    expect(result.stderr.trim().split("\n")).toHaveLength(1);
  });
});
