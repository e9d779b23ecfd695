/**
 * A promotion that is killed at a step that changes something, and run again: what is there then is what one run that nobody
 * disturbed would have made.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, inject, it } from "vitest";
import { z } from "zod";
import { releasePath } from "../../scripts/lib/release/release.ts";
import { ensureTeams } from "../../scripts/lib/sandbox/gitea.ts";
import { git, smallTree, temporary } from "../support/tree.ts";
import { callerOf, environmentOf, noneIsOpen, promotable, promote, release } from "./promotion-support.ts";
import {
  ask,
  between,
  commandLine,
  fileAt,
  history,
  OWNER,
  opening,
  personCommits,
  pullRequests,
  references,
  type TestRepository,
  withToken,
} from "./support.ts";

const BRANCH = "promote/test/live/_all";
const LIVE = releasePath("live", "web");
const TEST = releasePath("test", "web");
/** Asked for reviews, so that this is a step, too. */
const TEAM = "killed-promotions";

/** Where the process is killed: at a request, before the forge has it or after. */
type Moment = "before" | "after";
type Step = [name: string, method: string, path: RegExp];

const PUSH: Step = ["the branch is pushed", "POST", /\/git-receive-pack$/];
const OPEN: Step = ["the pull request is opened", "POST", /\/pulls$/];
const REVIEWER: Step = ["a team is asked", "POST", /\/requested_reviewers$/];
const LABEL: Step = ["a label is made", "POST", /\/repos\/[^/]+\/[^/]+\/labels$/];
const PUT_LABELS: Step = ["the labels are put on", "POST", /\/issues\/[1-9]\d*\/labels$/];
const UPDATE: Step = ["the title and body are replaced", "PATCH", /\/pulls\/\d+$/];
const COMMENT: Step = ["the reason is written", "POST", /\/issues\/\d+\/comments$/];
const CLOSE: Step = ["the pull request is closed", "PATCH", /\/pulls\/\d+$/];
const DELETE: Step = ["the branch is deleted", "POST", /\/git-receive-pack$/];

const both = (...steps: Step[]): [string, Moment, Step][] =>
  steps.flatMap((step) =>
    (["before", "after"] as const).map((moment): [string, Moment, Step] => [step[0], moment, step]),
  );

let repo: TestRepository;
let count = 0;
beforeAll(async () => {
  const directory = await mkdtemp(join(tmpdir(), "forge-"));
  const web = (smallTree()["apps/web.yaml"] ?? "").replace("  - web\n", `  - ${TEAM}\n`);
  repo = await promotable({ "apps/web.yaml": web }, directory);
  await ensureTeams(inject("forge"), inject("token"), { owner: OWNER, name: repo.name }, [TEAM]);
  return async () => rm(directory, { recursive: true });
});

/** Takes away what another test has left, and puts a release into test that live does not have. */
async function prepare(): Promise<string> {
  for (const { number, state } of await pullRequests(repo)) {
    if (state === "open") await ask(`${repo.api}/pulls/${number}`, "PATCH", { state: "closed" });
  }
  for (const { id } of await labels()) await ask(`${repo.api}/labels/${id}`, "DELETE");
  await git(repo.root, ...withToken(), "push", "--quiet", "origin", `:refs/heads/${BRANCH}`).catch(() => "");
  return nextRelease();
}

async function nextRelease(): Promise<string> {
  count += 1;
  // Different in its first digits, too: titles have no more of it.
  const tag = count.toString(16).padStart(4, "0").padEnd(40, "e");
  await release(repo, { web: tag });
  return tag;
}

const Labels = z.array(z.object({ id: z.number(), name: z.string() }));

async function labels(): Promise<z.infer<typeof Labels>> {
  return Labels.parse(await ask(`${repo.api}/labels`));
}

/** Runs `promote` until it comes to a step, and kills it there. */
async function kill([, method, path]: Step, moment: Moment): Promise<void> {
  let end = (): void => {};
  let isReached = false;
  const opens = opening();
  const reach = (used: string, asked: string): boolean => {
    const isQuestion = used === "POST" && asked.endsWith("/pulls") && !opens(used, asked);
    if (isReached || isQuestion || used !== method || !path.test(asked.split("?")[0] ?? "")) return false;
    isReached = true;
    end();
    return true;
  };
  const proxy =
    moment === "before"
      ? await between(async (used, asked) => (reach(used, asked) ? 500 : undefined))
      : await between(
          async () => undefined,
          (used, asked) => void reach(used, asked),
        );
  const root = await callerOf(repo, { url: proxy.url });
  // What it leaves behind goes with the test.
  const env = environmentOf({ TMPDIR: await temporary() });
  const { exitCode } = await commandLine("promote", root, ["test", "live"], env, (signal) => {
    end = () => signal("SIGKILL");
  });
  expect({ exitCode, isReached }).toEqual({ exitCode: null, isReached: true });
}

/** What there is for reviewers of the promotion. */
async function proposal() {
  const open = (await pullRequests(repo)).filter(({ state }) => state === "open");
  const [pull] = open;
  const Worn = z.object({
    labels: Labels,
    requested_reviewers_teams: z.array(z.object({ name: z.string() })).nullable(),
  });
  const worn = Worn.parse(await ask(`${repo.api}/pulls/${pull?.number ?? 0}`));
  return {
    open: open.length,
    title: pull?.title,
    body: pull?.body,
    head: pull?.head.sha,
    labels: worn.labels.map(({ name }) => name).toSorted(),
    known: (await labels()).map(({ name }) => name).toSorted(),
    teams: worn.requested_reviewers_teams?.map(({ name }) => name),
    paths: await history(repo.root, "diff", "--name-only", `origin/main...origin/${BRANCH}`),
    commits: await history(repo.root, "rev-list", "--count", `origin/main..origin/${BRANCH}`),
    isRight: (await fileAt(repo.root, BRANCH, LIVE)) === (await fileAt(repo.root, "main", TEST)),
  };
}

async function expectRight(tag: string): Promise<void> {
  expect(await proposal()).toEqual({
    open: 1,
    title: `Promote web ${tag.slice(0, 7)} from test to live`,
    body: expect.stringMatching(new RegExp(`commit/${tag}[^]*healthy in test \\(test\\) since`)),
    head: await history(repo.root, "rev-parse", `origin/${BRANCH}`),
    labels: ["env/live", "promotion"],
    known: ["env/live", "promotion"],
    teams: [TEAM],
    paths: LIVE,
    commits: "1",
    isRight: true,
  });
}

describe("killed while it is made", () => {
  it.each(both(PUSH, OPEN, REVIEWER, LABEL, PUT_LABELS))(
    "as %s, %s the forge has done it: one is there",
    async (_, moment, step) => {
      const tag = await prepare();
      await kill(step, moment);
      expect(await promote(repo, "test", "live")).toMatchObject({ exitCode: 0, stderr: "" });
      await expectRight(tag);
    },
  );
});

describe("killed while it is brought up to date", () => {
  it.each(both(PUSH, UPDATE))(
    "as %s, %s the forge has done it: it is up to date",
    async (_, moment, step) => {
      await prepare();
      expect(await promote(repo, "test", "live")).toMatchObject({ exitCode: 0, stderr: "" });
      const tag = await nextRelease();
      await kill(step, moment);
      expect(await promote(repo, "test", "live")).toMatchObject({ exitCode: 0, stderr: "" });
      await expectRight(tag);
    },
  );
});

describe("killed while it is taken back", () => {
  it.each(both(DELETE, CLOSE, COMMENT))(
    "as %s, %s the forge has done it: nothing is left of it",
    async (_, moment, step) => {
      await prepare();
      expect(await promote(repo, "test", "live")).toMatchObject({ exitCode: 0, stderr: "" });
      await personCommits(repo.root, "main", { [LIVE]: await fileAt(repo.root, "main", TEST) });
      await kill(step, moment);
      expect(await promote(repo, "test", "live")).toMatchObject({
        exitCode: 0,
        stdout: expect.stringContaining("\nnothing to promote"),
        stderr: "",
      });
      expect(await references(repo.root)).not.toContain(BRANCH);
      await noneIsOpen(repo);
      const [newest] = await pullRequests(repo);
      const comments = z.array(z.object({ body: z.string() }));
      const said = comments.parse(await ask(`${repo.api}/issues/${newest?.number}/comments`));
      expect(said.filter(({ body }) => body.startsWith("Nothing is left")).length).toBeLessThanOrEqual(1);
    },
  );
});
