/** Releases from the bump to the rollback, as `npm run demo` shows them. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { type RunResult, run } from "../../scripts/lib/exec.ts";
import { connectRepository } from "../../scripts/lib/forge/connection.ts";
import { connectForge } from "../../scripts/lib/forge/forge.ts";
import { holdPath, parseHolds } from "../../scripts/lib/release/hold.ts";
import { parseRelease, type Release, releasePath } from "../../scripts/lib/release/release.ts";
import { REPORTER } from "../../scripts/lib/sandbox/gitea.ts";
import {
  applicationOf,
  ENVIRONMENTS,
  env,
  kubectl,
  npm,
  npmInWork,
  push,
  refresh,
  root,
  until,
  untilHealthy,
  work,
} from "./support.ts";

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

describe("what goes wrong before there is a sync", () => {
  /** Replaces a text of a file in the work clone, and pushes that; returns the commit. */
  async function edit(path: string, from: string, to: string): Promise<string> {
    await run("git", ["pull", "--quiet", "--rebase"], { cwd: work, env });
    const file = join(work, path);
    const text = await readFile(file, "utf8");
    expect(text).toContain(from);
    await writeFile(file, text.replace(from, to));
    return push(`${path}: ${to}`);
  }

  /** The newest status that Argo CD has posted of something on a commit, as `<state>: <description>`. */
  async function newest(commit: string, context: string): Promise<string> {
    const found = (await forge.statuses(commit)).find((status) => status.context === context);
    expect(found?.account ?? REPORTER).toBe(REPORTER);
    return `${found?.state}: ${found?.description}`;
  }
  const untilReported = async (commit: string, context: string, text: RegExp) =>
    until(
      `${commit} has the status ${context}: ${text}`,
      async () => text.test(await newest(commit, context)) || undefined,
      180,
    );
  const status = async () => (await npmInWork(["status"])).stdout;

  const OVERLAY = `overlays/dev/${APP}/kustomization.yaml`;
  const CATALOGUE = "apps/redis.yaml";
  let broken: string;

  it("an app that cannot be compared is on the commit that broke it", async () => {
    broken = await edit(OVERLAY, "path: hpa.yaml", "path: missing.yaml");
    await untilReported(broken, "argocd/dev", /^failure: an application cannot be made/);
    expect(await status()).toMatch(
      /^dev-user-service cannot be compared with Git: ComparisonError: .*missing/m,
    );
  });

  it("a sync that gives up before it has a commit is, too, and its first failure at once", async () => {
    const retry = ["--retry-limit", "1", "--retry-backoff-duration", "1s", "--retry-refresh"];
    await run("argocd", ["app", "sync", `dev-${APP}`, "--async", ...retry], { env });
    const context = `argocd/dev/${APP}`;
    await untilReported(broken, context, /^error: sync error: ComparisonError: /);
    const states = (await forge.statuses(broken)).filter((found) => found.context === context);
    expect(states.map(({ state }) => state)).toEqual(["error", "failure", "pending"]);
  });

  it("the app whose sync failed is healthy without another sync, on the commit that fixes it", async () => {
    const fixed = await edit(OVERLAY, "path: missing.yaml", "path: hpa.yaml");
    const found = await untilHealthy(`dev-${APP}`, fixed);
    expect(found.operation).toBe("Error");
    await untilReported(fixed, `argocd/dev/${APP}`, /^success: healthy, and nothing to sync/);
  });

  describe("a changed object that the API server refuses", () => {
    const DEPLOYMENT = `base/${APP}/deployment.yaml`;
    let refused: string;

    /** An event of another object, after which Argo CD takes the release for deployed. When it no longer does, `compareAnew` can go. */
    async function deceive(): Promise<void> {
      const annotation = `test/event=${Date.now()}`;
      await kubectl("dev", "-n", "microservices", "annotate", "--overwrite", "pdb", APP, annotation);
      await untilHealthy(`dev-${APP}`, refused);
    }

    it("leaves what runs, and Argo CD calls it Synced and Healthy all the same", async () => {
      refused = await edit(DEPLOYMENT, "containerPort: 9090", "containerPort: 99090");
      await until("Argo CD has seen the refusal", async () => {
        const found = await applicationOf(`dev-${APP}`);
        return (found?.revision === refused && found.comparisonError?.includes("is invalid")) || undefined;
      });
      await deceive();
      const path = "jsonpath={.spec.template.spec.containers[0].ports[1].containerPort}";
      expect(await kubectl("dev", "-n", "microservices", "get", "deployment", APP, "-o", path)).toBe("9090");
    });

    it("is reported by npm run verify", async () => {
      await deceive();
      const verified = await npmInWork(["verify", "dev"]);
      expect(verified.stdout).toMatch(
        new RegExp(`^Application dev-${APP}: Unknown .*Deployment.*is invalid: .*containerPort`, "m"),
      );
      expect(verified.exitCode).toBe(4);
    });

    it("is reported by npm run status", async () => {
      await deceive();
      expect(await status()).toMatch(
        new RegExp(`^dev-${APP} cannot be compared with Git: ComparisonError: .*containerPort`, "m"),
      );
    });

    it.each(["the forge", "Argo CD"])("is not promoted by the word of %s", async (word) => {
      await deceive();
      expect(await newest(refused, `argocd/dev/${APP}`)).toBe("undefined: undefined");
      const source = word === "Argo CD" ? ["--server"] : [];
      const promoted = await npmInWork(["promote", "--", "--dry-run", ...source, "dev", "staging", APP]);
      expect(promoted.stdout).toMatch(new RegExp(`^${APP} .* not proven$`, "m"));
    });

    it("is over with the commit that fixes it", async () => {
      await untilHealthy(`dev-${APP}`, await edit(DEPLOYMENT, "containerPort: 99090", "containerPort: 9090"));
    });
  });

  it("an application that cannot be made is on the commit that broke it, and all is well on the one that fixes it", async () => {
    const nameless = await edit(CATALOGUE, "namespace: data\n", "");
    await refresh(...ENVIRONMENTS);
    for (const environment of ENVIRONMENTS)
      await untilReported(nameless, `argocd/${environment}`, /^failure: an application cannot be made/);
    // The commands read the same files.
    const refused = await npmInWork(["status"]);
    expect(refused.stderr).toMatch(/^status: apps\/redis\.yaml:\d+: namespace: /);
    expect(refused.exitCode).toBe(3);
    const fixed = await edit(CATALOGUE, "kind: store\n", "namespace: data\nkind: store\n");
    // After an error Argo CD waits three minutes by itself.
    await refresh(...ENVIRONMENTS);
    for (const environment of ENVIRONMENTS) await untilReported(fixed, `argocd/${environment}`, /^success: /);
    expect(await status()).not.toMatch(/fails: |cannot be compared/);
  });

  it("an edit of the base that dev's own patch hides leaves its evidence as it was", async () => {
    const hidden = await edit(`base/${APP}/hpa.yaml`, "maxReplicas: 20", "maxReplicas: 21");
    await untilHealthy(`dev-${APP}`, hidden);
    const promoted = await npm("run", "promote", "--", "--if-ready", "--dry-run", "dev", "staging", APP);
    expect(promoted.stdout).toMatch(/user-service .* for \d+ /);
    expect(promoted.stdout).not.toContain("not proven");
    expect(await newest(hidden, `argocd/dev/${APP}`)).toBe("undefined: undefined");
  });
});
