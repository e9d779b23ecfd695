import { cp } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, inject, it, onTestFinished } from "vitest";
import { type RunResult, tryRun } from "../../scripts/lib/exec.ts";
import { formatHolds } from "../../scripts/lib/release/hold.ts";
import { formatRelease } from "../../scripts/lib/release/release.ts";
import { repositoryRoot } from "../../scripts/lib/repository.ts";
import type { StatusRow } from "../../scripts/lib/status/status.ts";
import { bundledLine } from "../support/commands.ts";
import { git, temporary, write } from "../support/tree.ts";
import {
  ask,
  bump,
  deadPort,
  environment,
  FILE,
  fileAt,
  history,
  NEW,
  NEWER,
  OLD,
  personCommits,
  pointAt,
  push,
  references,
  repository,
  standIn,
  type TestRepository,
} from "./support.ts";

async function status(
  root: string,
  args: readonly string[],
  env: Record<string, string> = { FORGE_TOKEN: inject("token") },
): Promise<RunResult> {
  return tryRun(...bundledLine("status", ["--root", root, ...args]), {
    cwd: root,
    env: environment(env),
  });
}

async function rowsOf(root: string): Promise<(key: string) => StatusRow | undefined> {
  const { stdout, exitCode } = await status(root, ["--json"]);
  expect(exitCode).toBe(0);
  const rows: StatusRow[] = JSON.parse(stdout);
  return (key) => rows.find(({ app, env }) => `${app} ${env}` === key);
}

/** A release of web or disk as a file. */
function release(env: string, app: string, tag: string | undefined, commit: string): Record<string, string> {
  const image = tag === undefined ? undefined : `shop/${app}:${tag}`;
  const body = `kind: Made\nimage: ${image}\n`;
  return {
    [`overlays/${env}/${app}/release.yaml`]: formatRelease({ app, image, from: "dev", commit, body }),
  };
}

async function openPull(
  { root, api }: TestRepository,
  branch: string,
  files: Record<string, string>,
  message = "By a command",
) {
  await history(root, "checkout", "--quiet", "--force", "--detach", "origin/main");
  await write(root, files);
  await git(root, "add", "--all");
  await git(root, "commit", "--quiet", "--message", message);
  await push(root, branch);
  await ask(`${api}/pulls`, "POST", { head: branch, base: "main", title: `About ${branch}` });
}

/** OLD is everywhere, dev has NEW since, and nothing is open. */
async function released(): Promise<{ repo: TestRepository; base: string }> {
  const repo = await repository();
  const base = await history(repo.root, "rev-parse", "origin/main");
  await personCommits(repo.root, "main", {
    ...release("test", "web", OLD, base),
    ...release("live", "web", OLD, base),
    ...release("test", "disk", undefined, base),
  });
  await personCommits(repo.root, "main", { [FILE]: (await fileAt(repo.root, "main")).replace(OLD, NEW) });
  return { repo, base };
}

describe("what the forge has", () => {
  it("is shown app by environment, with what is open for it and how far it is behind", async () => {
    const { repo, base } = await released();
    const { root } = repo;
    const main = await history(root, "rev-parse", "origin/main");
    await bump(root, ["--no-verify", "web", NEWER]);
    await openPull(repo, "promote/dev/test/_all", release("test", "web", NEW, main));
    await openPull(repo, "rollback/live/web", { "README.md": "back\n" });
    await openPull(repo, "feature", release("live", "disk", undefined, base));

    const refs = await references(root);
    const { stdout, stderr, exitCode } = await status(root, []);
    expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
    const web = inject("forge");
    const pulls = `${web}/shop/${repo.name}/pulls`;
    const text = stdout.replaceAll(/ \d+[sm]/g, " 1s").replaceAll(/ +/g, " ");
    expect(text.split("\n")).toEqual([
      "app dev test live",
      `disk base ${base.slice(0, 7)} 1s base ${base.slice(0, 7)} 1s none`,
      "web 89abcde 1s #1 0123456 1s ↓1 #2 0123456 1s #3",
      "",
      "↓ so many releases behind the environment before",
      "",
      `#1 web: fedcba9 in dev ${pulls}/1`,
      `#2 About promote/dev/test/_all ${pulls}/2`,
      `#3 About rollback/live/web ${pulls}/3`,
      "",
      `main at ${main.slice(0, 7)} of ${web}/shop/${repo.name}.git`,
      "without sync and health: there is no Argo CD to ask",
      "",
    ]);
    expect(await references(root)).toBe(refs);

    const row = await rowsOf(root);
    expect(row("web test")).toMatchObject({
      release: "0123456",
      image: `shop/web:${OLD}`,
      behind: 1,
      pullRequests: [{ number: 2, kind: "promotion", url: `${pulls}/2` }],
      holds: [],
      sync: null,
      cluster: null,
    });
    expect(row("web dev")).toMatchObject({
      behind: null,
      commit: main,
      pullRequests: [{ number: 1, kind: "bump" }],
    });
    expect(row("disk test")?.pullRequests).toEqual([]);
  });

  it("counts a promotion for the apps whose files it would still change", async () => {
    const { repo, base } = await released();
    const files = { ...release("live", "web", NEW, base), ...release("live", "disk", undefined, base) };
    await openPull(repo, "promote/test/live/2-apps-0123456789ab", files);
    await personCommits(repo.root, "main", release("live", "disk", undefined, base));
    const row = await rowsOf(repo.root);
    expect(row("web live")?.pullRequests).toMatchObject([{ number: 1 }]);
    expect(row("disk live")?.pullRequests).toEqual([]);
  });

  it("is all that counts: not a stale, dirty checkout, and not its branch", async () => {
    const { repo } = await released();
    await history(repo.root, "checkout", "--quiet", "--force", "-B", "main", "origin/main~2");
    await write(repo.root, {
      "apps/mine.yaml": "app: mine\n",
      "overlays/dev/web/kustomization.yaml": "<<<<<<< broken\n",
    });
    const row = await rowsOf(repo.root);
    expect(row("web dev")?.release).toBe("89abcde");
  });

  it("says what is held, and when an app was rolled back", async () => {
    const { repo, base } = await released();
    const place = { environment: "live", app: "web" };
    const hold = { digest: `sha256:${"0".repeat(64)}`, image: `shop/web:${NEW}`, reason: "leaks", by: "Ann" };
    const holds = formatHolds(place, [{ ...hold, since: new Date(0), until: undefined }]);
    await personCommits(repo.root, "main", release("live", "web", NEW, base));
    const files = { ...release("live", "web", OLD, base), "overlays/live/web/hold.yaml": holds };
    await openPull(repo, "rollback/live/web", files, `Back\n\nRollback: live web ${base}`);
    const head = await history(repo.root, "rev-parse", "origin/rollback/live/web");
    await expect
      .poll(
        async () =>
          ask(`${repo.api}/pulls/1/merge`, "POST", { Do: "merge", head_commit_id: head }).catch(String),
        {
          timeout: 600_000,
        },
      )
      .toBeUndefined();
    const merged = await history(repo.root, "rev-parse", "origin/main");
    const { stdout } = await status(repo.root, ["web"]);
    expect(stdout).toMatch(/^web .* 0123456 \d+[sm] hold ↺\d+[sm]$/m);
    expect(stdout).toContain("hold  web in live: leaks (Ann; npm run unhold live web lifts it)\n");
    const row = await rowsOf(repo.root);
    expect(row("web live")).toMatchObject({
      commit: merged,
      lastRollback: { commit: merged },
      holds: [{ by: "Ann" }],
    });
  });

  it("is about the apps that were named only", async () => {
    const { repo } = await released();
    const { stdout } = await status(repo.root, ["disk", "--markdown"]);
    expect(stdout).toMatch(/^\| app \| dev \| test \| live \|\n\| --- \| --- \| --- \| --- \|\n\| disk \| /);
    expect(stdout).not.toContain("| web |");
  });

  it("says why commits cannot be counted", async () => {
    const { repo } = await released();
    const { stdout, exitCode } = await status(repo.root, ["--commits"]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^commits of shop\/web: \S/m);
  });
});

describe("Argo CD", () => {
  // Both lists are asked for at once, and either may be refused first.
  const refused = "argocd app(set)? list --output failed: .*refused";
  // Longer on a busy machine.
  const silent = "Argo CD does not answer within \\d{2,} s";
  it.each([
    ["that is not there", deadPort, refused],
    ["that says nothing", silentPort, silent],
  ])("%s is one line, and not an error", async (_, listen, reason) => {
    const { repo } = await released();
    // What pins the client.
    await cp(join(repositoryRoot(), "tools/argocd"), join(repo.root, "tools/argocd"), { recursive: true });
    const env = {
      FORGE_TOKEN: inject("token"),
      ARGOCD_SERVER: `127.0.0.1:${await listen()}`,
      ARGOCD_AUTH_TOKEN: "x",
      HOME: String(process.env["HOME"]),
      ARGOCD_OPTS: "--plaintext",
    };
    const { stdout, stderr, exitCode } = await status(repo.root, ["--json"], env);
    expect(exitCode).toBe(0);
    expect(stderr).toMatch(new RegExp(`^without sync and health: ${reason}.*\n$`));
    const rows: StatusRow[] = JSON.parse(stdout);
    expect(rows).toHaveLength(6);
    expect(rows.find(({ app, env: name }) => app === "web" && name === "dev")).toMatchObject({
      release: "89abcde",
      sync: null,
    });
  });
});

/** A port on which something listens that never says a word. */
async function silentPort(): Promise<number> {
  const server = createServer(() => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("it does not listen");
  return address.port;
}

describe("without a token", () => {
  it("shows what the checkout has of the deployed branch, and says so", async () => {
    const { repo } = await released();
    const fetched = await history(repo.root, "rev-parse", "--short=7", "origin/main");
    await git(repo.root, "checkout", "--quiet", "--force", "--detach", "HEAD~2");
    const { stdout, stderr, exitCode } = await status(repo.root, [], {});
    expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
    expect(stdout).toMatch(/^web +89abcde \d+[sm] +0123456 \d+[sm] ↓1 +0123456 \d+[sm]$/m);
    expect(stdout).toContain(
      `origin/main at ${fetched}, as this checkout has it\nwithout open pull requests: there is no token for the forge (set FORGE_TOKEN or GITHUB_TOKEN)\n`,
    );
    const machine = await status(repo.root, ["--json"], {});
    expect(machine.stderr).toContain("without open pull requests: there is no token");
    const rows: StatusRow[] = JSON.parse(machine.stdout);
    expect(rows[0]?.pullRequests).toBeNull();
  });

  it("does not count commits", async () => {
    const { repo } = await released();
    expect(await status(repo.root, ["--commits"], {})).toEqual({
      exitCode: 3,
      stdout: "",
      stderr: "status: there is no token for the forge; set FORGE_TOKEN or GITHUB_TOKEN\n",
    });
  });
});

it("says that a checkout without its history knows less", async () => {
  const { repo } = await released();
  const clone = await temporary();
  await git(clone, "clone", "--quiet", "--depth=1", `file://${repo.root}`, ".");
  const { stdout } = await status(clone, [], {});
  expect(stdout).toMatch(/^web +89abcde +0123456 ↓\? +0123456 ↓\?$/m);
  expect(stdout).toContain("its history is short: `git fetch --unshallow` brings the rest\n");
});

describe("it refuses", () => {
  it.each<[string[], string, number]>([
    [["users"], "status: there is no app users; there are disk, web\n", 2],
    [["--json", "--markdown"], "status: --json and --markdown are two things; leave one of them out\n", 2],
  ])("%j", async (args, stderr, exitCode) => {
    const repo = await repository();
    expect(await status(repo.root, args)).toEqual({ exitCode, stderr, stdout: "" });
  });

  it("a release that somebody edited, with its line", async () => {
    const { repo, base } = await released();
    const path = "overlays/test/web/release.yaml";
    const text = `${release("test", "web", NEW, base)[path]}more: 1\n`;
    await personCommits(repo.root, "main", { [path]: text });
    expect(await status(repo.root, [])).toEqual({
      exitCode: 3,
      stdout: "",
      stderr: `status: ${path}:6: the content is not the one this digest names; restore it from Git, or remove it and promote again\n`,
    });
  });

  it("a forge that fails, or a token that it does not accept", async () => {
    const { repo } = await released();
    expect(await status(repo.root, [], { FORGE_TOKEN: "0".repeat(40) })).toMatchObject({
      exitCode: 3,
      stdout: "",
    });
    const broken = await standIn((_, response) => response.writeHead(404).end("{}"));
    await pointAt(repo, broken.url);
    expect(await status(repo.root, [])).toMatchObject({ exitCode: 3, stdout: "" });
    await pointAt(repo, `http://127.0.0.1:${await deadPort()}`);
    expect(await status(repo.root, [])).toMatchObject({ exitCode: 5, stdout: "" });
  });
});
