import { randomUUID } from "node:crypto";
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { RefusedError } from "../../../scripts/lib/errors.ts";
import { run } from "../../../scripts/lib/exec.ts";
import {
  ensureWork,
  exportDelivered,
  type Remote,
  writeGitConfig,
  writeGitCredentials,
} from "../../../scripts/lib/sandbox/clone.ts";
import { type Layout, layoutOf } from "../../../scripts/lib/sandbox/layout.ts";

const SETTINGS = "argocd/settings/settings.yaml";
/** A person with habits: another default branch, signed commits, an alias for status. */
const IDENTITY = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgSign=false"];

interface Place {
  layout: Layout;
  remote: Remote;
  git: (...args: string[]) => Promise<string>;
}

async function checkout(): Promise<Place> {
  const parent = await mkdtemp(join(tmpdir(), "work-"));
  onTestFinished(async () => rm(parent, { recursive: true, force: true }));
  const root = join(parent, "checkout");
  await mkdir(join(root, "argocd/settings"), { recursive: true });
  await writeFile(
    join(root, SETTINGS),
    "kind: ConfigMap\ndata:\n  repoURL: https://example.com/a/b.git # ours\n",
  );
  await writeFile(join(root, ".gitignore"), ".sandbox/\nignored\n");
  await writeFile(join(root, "kept"), "kept\n");
  await writeFile(join(root, "changed"), "before\n");
  await writeFile(join(root, "deleted"), "deleted\n");
  const git = async (...args: string[]) => run("git", ["-C", root, ...IDENTITY, ...args]);
  await run("git", ["init", "--quiet", "--initial-branch=trunk", root]);
  await git("add", "--all");
  await git("commit", "--quiet", "-m", "first");
  const bare = join(parent, "forge.git");
  await run("git", ["init", "--quiet", "--bare", "--initial-branch=main", bare]);
  const layout = layoutOf(root);
  await mkdir(layout.dir);
  const remote = { url: `file://${bare}`, user: "sandbox", token: "t0ken" };
  await writeGitConfig(layout);
  return { layout, remote, git };
}

async function deliver({ layout, remote }: Place): Promise<void> {
  const changes = {
    settings: { [SETTINGS]: { repoURL: "http://127.0.0.1:1/a/b.git" } },
    seal: async (root: string) => writeFile(join(root, "sealed"), randomUUID()),
  };
  await ensureWork(layout, remote.url, changes, async () => writeGitCredentials(layout, remote));
}

const inForge = async ({ remote }: Place, path: string) =>
  run("git", ["-C", new URL(remote.url).pathname, "show", `main:${path}`]);

describe("the checkout in the forge", () => {
  it("is its HEAD, with the settings and Secrets of the sandbox as commits on top", async () => {
    const place = await checkout();
    await deliver(place);
    expect(await inForge(place, SETTINGS)).toBe(
      "kind: ConfigMap\ndata:\n  repoURL: http://127.0.0.1:1/a/b.git # ours\n",
    );
    const log = await run("git", ["-C", place.layout.work, "log", "--format=%s by %an"]);
    expect(log.trim().split("\n")).toEqual([
      "Secrets of the sandbox: new values, sealed for its own clusters by Sandbox",
      "Settings of the sandbox: the local forge, and a soak of seconds by Sandbox",
      "first by Ada",
    ]);
  });

  it("has its uncommitted work as one commit: changed, staged, new and deleted files, links and modes", async () => {
    const place = await checkout();
    const { root } = place.layout;
    await writeFile(join(root, "changed"), "after\n");
    await writeFile(join(root, "staged"), "staged\n");
    await place.git("add", "staged");
    await mkdir(join(root, "new folder"));
    await writeFile(join(root, "new folder/ü"), "new\n");
    await chmod(join(root, "new folder/ü"), 0o755);
    await writeFile(join(root, "ignored"), "ignored\n");
    await symlink("kept", join(root, "link"));
    await rm(join(root, "deleted"));
    const before = await place.git("status", "--porcelain");
    await deliver(place);

    expect(await inForge(place, "changed")).toBe("after\n");
    expect(await inForge(place, "staged")).toBe("staged\n");
    expect(await inForge(place, "new folder/ü")).toBe("new\n");
    expect(await inForge(place, "link")).toBe("kept");
    const tree = await run("git", ["-C", place.layout.work, "ls-tree", "-r", "-z", "HEAD"]);
    expect(tree).toMatch(/100755 blob [0-9a-f]+\tnew folder\/ü/);
    expect(tree).not.toContain("deleted");
    expect(tree).not.toContain("ignored\0");
    expect(await place.git("status", "--porcelain")).toBe(before);
  });

  it("is pushed once: what was merged there since stays", async () => {
    const place = await checkout();
    await deliver(place);
    const git = async (...args: string[]) => run("git", ["-C", place.layout.work, ...args]);
    await writeFile(join(place.layout.work, "kept"), "merged\n");
    await git("commit", "--quiet", "--all", "-m", "merged");
    await git("push", "--quiet");
    const sealed = await inForge(place, "sealed");
    await deliver(place);
    expect(await inForge(place, "kept")).toBe("merged\n");
    expect(await inForge(place, "sealed")).toBe(sealed);
  });

  it("is made anew when a start was interrupted before it was pushed", async () => {
    const place = await checkout();
    await mkdir(place.layout.work);
    await writeFile(join(place.layout.work, "half"), "");
    await deliver(place);
    expect(await inForge(place, "kept")).toBe("kept\n");
    await expect(inForge(place, "half")).rejects.toThrow(/half/);
  });

  it("comes back as a clone when somebody removed the clone", async () => {
    const place = await checkout();
    await deliver(place);
    await rm(place.layout.work, { recursive: true });
    await deliver(place);
    expect(await readFile(join(place.layout.work, "kept"), "utf8")).toBe("kept\n");
  });

  it("is its newest tree alone, when the checkout is a shallow clone", async () => {
    const place = await checkout();
    await writeFile(join(place.layout.root, "kept"), "second\n");
    await place.git("commit", "--quiet", "--all", "-m", "second");
    const shallow = layoutOf(`${place.layout.root}-shallow`);
    await run("git", ["clone", "--quiet", "--depth=1", `file://${place.layout.root}`, shallow.root]);
    await mkdir(shallow.dir);
    await writeGitConfig(shallow);
    await deliver({ ...place, layout: shallow });
    expect(await inForge(place, "kept")).toBe("second\n");
  });

  it("is refused when there is no commit to deliver", async () => {
    const place = await checkout();
    await rm(join(place.layout.root, ".git"), { recursive: true });
    await expect(deliver(place)).rejects.toThrow(RefusedError);
  });
});

describe("what is delivered", () => {
  it("is what the forge has, not what somebody is editing in the clone", async () => {
    const place = await checkout();
    await deliver(place);
    await writeFile(join(place.layout.work, "kept"), "being edited\n");
    await exportDelivered(place.layout);
    expect(await readFile(join(place.layout.delivered, "kept"), "utf8")).toBe("kept\n");
  });
});

describe("credentials", () => {
  it("are in one file of the sandbox, and neither in the clone nor in a URL", async () => {
    const place = await checkout();
    await deliver(place);
    expect(await readFile(join(place.layout.home, ".git-credentials"), "utf8")).toContain("t0ken");
    expect(await readFile(join(place.layout.work, ".git/config"), "utf8")).not.toContain("t0ken");
  });
});
