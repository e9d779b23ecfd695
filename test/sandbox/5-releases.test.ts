/** Releases from the bump to the rollback, as `npm run demo` shows them. */
import { beforeAll, describe, expect, it } from "vitest";
import { type RunResult, run } from "../../scripts/lib/exec.ts";
import { connectRepository } from "../../scripts/lib/forge/connection.ts";
import { connectForge } from "../../scripts/lib/forge/forge.ts";
import { holdPath, parseHolds } from "../../scripts/lib/release/hold.ts";
import { parseRelease, type Release, releasePath } from "../../scripts/lib/release/release.ts";
import { applicationOf, env, npm, root, work } from "./support.ts";

const APP = "user-service";
const HOLD = holdPath({ environment: "prod", app: APP });

const { address, token } = await connectRepository(root, {});
const forge = connectForge(address, token);

async function onMain(path: string): Promise<string> {
  await run("git", ["fetch", "--quiet", "origin", "main"], { cwd: work, env });
  return run("git", ["show", `FETCH_HEAD:${path}`], { cwd: work, env });
}

async function released(environment: string): Promise<Release> {
  const path = releasePath(environment, APP);
  return parseRelease(await onMain(path), path);
}

/** The newest commit of main, by its first parents, that changed a file. */
async function commitOf(path: string): Promise<string> {
  const args = ["log", "-1", "--first-parent", "--format=%H", "FETCH_HEAD", "--", path];
  return (await run("git", args, { cwd: work, env })).trim();
}

async function reports(commit: string, environment: string): Promise<string[]> {
  const statuses = await forge.statuses(commit);
  return statuses
    .filter(({ context }) => context === `argocd/${environment}/${APP}`)
    .map(({ state }) => state);
}

describe("npm run demo", () => {
  let before: Release;
  let demo: RunResult;

  beforeAll(async () => {
    before = await released("prod");
    demo = await npm("run", "demo");
  }, 1_200_000);

  it("runs through", () => {
    expect(demo.stderr).toBe("");
    expect(demo.exitCode).toBe(0);
    expect(demo.stdout).toContain("That was the loop, in ");
    // Nothing in a log that only a terminal understands.
    expect(demo.stdout).not.toContain("\u001B");
  });

  it("brings a release to prod, and takes it back", async () => {
    const passed = [...demo.stdout.matchAll(/✔ (\w+) is Synced Healthy and runs (\w{7})/g)].map(
      ([, environment, tag]) => `${environment} ${tag}`,
    );
    const bad = (await released("staging")).image?.split(":").at(-1)?.slice(0, 7);
    const good = before.image?.split(":").at(-1)?.slice(0, 7);
    expect(passed.slice(0, 4)).toEqual([`dev ${bad}`, `staging ${bad}`, `prod ${bad}`, `prod ${good}`]);
  });

  it("counts the commits of the app's own repository between two releases", async () => {
    const short = ({ image }: Release) => image?.split(":").at(-1)?.slice(0, 7);
    const row = `user-service +${short(before)} +${short(await released("staging"))} +2 +image`;
    expect(demo.stdout).toMatch(new RegExp(row));
  });

  it("leaves prod as it was: in Git byte for byte, and in the cluster", async () => {
    expect(await released("prod")).toEqual(before);
    const app = await applicationOf(`prod-${APP}`);
    expect(app).toMatchObject({ sync: "Synced", health: "Healthy" });
    expect(app?.images).toEqual([expect.stringContaining(String(before.image))]);
  });

  it("leaves a hold on the bad release on main", async () => {
    const holds = parseHolds(await onMain(HOLD), HOLD);
    expect(holds.at(-1)).toMatchObject({
      image: (await released("staging")).image,
      reason: "checkout fails for one customer in ten",
    });
  });

  it("asks the app's owners for a review of what goes to prod", async () => {
    const opened = /staging -> prod[^$]*opened: #(\d+)/.exec(demo.stdout)?.[1];
    expect((await forge.readPullRequest(Number(opened))).requestedTeams).toEqual(["identity"]);
    expect(demo.stdout).not.toContain("note: ");
  });

  it("has the result of each deployment on its commit", async () => {
    await onMain(HOLD);
    expect((await reports(await commitOf(releasePath("staging", APP)), "staging"))[0]).toBe("success");
    expect((await reports(await commitOf(HOLD), "prod"))[0]).toBe("success");
    expect((await reports(await commitOf(`overlays/dev/${APP}`), "dev"))[0]).toBe("success");
    const crashed = /user-service: bad0bad in dev \((\w+)\)/.exec(demo.stdout)?.[1];
    const commit = await run("git", ["rev-parse", String(crashed)], { cwd: work, env });
    expect(await reports(commit.trim(), "dev")).not.toContain("success");
  });

  it.each([
    ["the release that prod must not get", [], 0, "Held back\n  user-service: checkout fails", ""],
    [
      "who names it",
      [APP],
      3,
      "0 of 1 apps change\n",
      "promote: user-service: this release is held back from prod",
    ],
  ])("promote goes on to refuse %s", async (_, apps, exitCode, stdout, stderr) => {
    const promoted = await npm("run", "promote", "staging", "prod", ...apps);
    expect(promoted.stdout).toContain(stdout);
    expect(promoted.stderr).toContain(stderr);
    expect(promoted.exitCode).toBe(exitCode);
  });

  it("leaves no pull request open", async () => {
    expect(await forge.listOpenPullRequests("main")).toEqual([]);
  });
});
