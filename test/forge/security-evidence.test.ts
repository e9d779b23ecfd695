/** Whose word opens the health gate: that of the account which the settings name, and nobody else's. */
import { describe, expect, it } from "vitest";
import { inert } from "../../scripts/lib/cli/markdown.ts";
import { git, REPORTER, write } from "../support/tree.ts";
import { deliver, promotable, promote, report } from "./promotion-support.ts";
import { makePerson, NEW, personCommits, pullRequests, type TestRepository } from "./support.ts";

/** A release in test that nobody has reported on, and a person whose token may post statuses. */
async function silentRelease(): Promise<{
  repo: TestRepository;
  commit: string;
  user: string;
  token: string;
}> {
  const repo = await promotable();
  const commit = await deliver(repo, "test", { web: NEW });
  return { repo, commit, ...(await makePerson(repo, "write")) };
}

describe("a token that may write statuses", () => {
  it("does not open the gate, makes no cluster up and is named; Argo CD's own opens it, and the other's is told", async () => {
    const { repo, commit, user, token } = await silentRelease();
    await report(repo, commit, "argocd/test/web", "success", "all is well", token);
    await report(repo, commit, "argocd/test-2/disk", "success", "all is well", token);
    const remark = `statuses of ${user} do not count, only those of ${REPORTER} (reporter in argocd/settings/settings.yaml)`;
    const refused = await promote(repo, "test", "live");
    expect(refused).toMatchObject({ exitCode: 3 });
    expect(refused.stderr).toContain(`promote: web: no cluster of test has reported on it yet; ${remark}; `);

    await report(repo, commit, "argocd/test/web", "success");
    const opened = await promote(repo, "test", "live");
    expect(opened).toMatchObject({
      exitCode: 0,
      stderr: "",
      stdout: expect.stringContaining(`web: ${remark}`),
    });
    expect((await pullRequests(repo))[0]?.body).toContain(`- ${inert(`web: ${remark}`)}\n`);
  });

  it("does not hide a failure, nor end the soak anew", async () => {
    const { repo, commit, token } = await silentRelease();
    await report(repo, commit, "argocd/test/web", "failure", "CrashLoopBackOff");
    await report(repo, commit, "argocd/test/web", "success", "all is well", token);
    expect((await promote(repo, "test", "live")).stderr).toMatch(
      /^promote: web: failed on test since .*: CrashLoopBackOff; /,
    );
    await report(repo, commit, "argocd/test/web", "success");
    await report(repo, commit, "argocd/test/web", "failure", "no", token);
    expect(await promote(repo, "test", "live")).toMatchObject({ exitCode: 0, stderr: "" });
  });

  it("names itself in a checkout's settings, or on another branch, for nothing: main's count", async () => {
    const { repo, commit, user, token } = await silentRelease();
    await report(repo, commit, "argocd/test/web", "success", "all is well", token);
    const own = (await git(repo.root, "show", "origin/main:argocd/settings/settings.yaml")).replace(
      REPORTER,
      user,
    );
    await write(repo.root, { "argocd/settings/settings.yaml": own });
    expect(await promote(repo, "test", "live")).toMatchObject({ exitCode: 3 });
  });

  it("opens nothing where the settings name no account: they are to be put right first", async () => {
    const { repo, commit } = await silentRelease();
    await report(repo, commit, "argocd/test/web", "success");
    const without = (await git(repo.root, "show", "origin/main:argocd/settings/settings.yaml")).replace(
      /.*reporter.*\n/,
      "",
    );
    await personCommits(repo.root, "main", { "argocd/settings/settings.yaml": without });
    expect(await promote(repo, "test", "live", "--if-ready")).toMatchObject({
      exitCode: 3,
      stderr:
        'promote: web: no commit status counts, since argocd/settings/settings.yaml does not say who reports (test); put the account of Argo CD\'s token there, as reporter, promote other apps by name, or give a reason: --override "…"\n',
    });
  });
});
