/** What the bench of releases makes of what it finds, and the repository that it measures in. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { lastWord } from "../../../scripts/lib/bench/command.ts";
import { isWithinLimit } from "../../../scripts/lib/bench/figures.ts";
import { gateTo } from "../../../scripts/lib/bench/gate.ts";
import { figuresOf } from "../../../scripts/lib/bench/release.ts";
import { type Contest, type Crowd, faultsOf } from "../../../scripts/lib/bench/release-bumps.ts";
import type { PromotionTimes } from "../../../scripts/lib/bench/release-promotion.ts";
import {
  carry,
  pin,
  pinPath,
  type Tree,
  writeSources,
  writeTree,
} from "../../../scripts/lib/bench/release-tree.ts";
import { formatRelease, parseRelease, releasePath } from "../../../scripts/lib/release/release.ts";
import { repositoryRoot } from "../../../scripts/lib/repository.ts";
import { readCatalogue } from "../../../scripts/lib/tree/catalogue.ts";
import { readEnvironments } from "../../../scripts/lib/tree/environment.ts";
import { readSettings } from "../../../scripts/lib/tree/settings.ts";
import { git, temporary } from "../../support/tree.ts";

const crowd: Crowd = { way: "pull request", bumps: 50, seconds: 1, lost: [], doubled: [], failures: [] };
const contest: Contest = {
  way: "--direct",
  bumps: 10,
  seconds: 1,
  landed: 1,
  gaveWay: 9,
  failures: [],
  wrong: [],
};
const times: PromotionTimes = {
  apps: 300,
  changed: 30,
  commits: 300,
  from: "staging",
  to: "prod",
  dryRun: [1, 2, 3],
  opened: [9, 9, 30],
  unchanged: [1, 1, 1],
};
const good = { apart: [crowd], together: [contest], promotions: [times] };

describe("the figures of releases", () => {
  it("are all met when nothing is lost and the medians are within their limits", () => {
    expect(figuresOf(good).filter((figure) => !isWithinLimit(figure))).toEqual([]);
  });

  it.each([
    ["50 bumps at once, pull request: lost", { apart: [{ ...crowd, lost: ["a"] }] }],
    ["50 bumps at once, pull request: doubled", { apart: [{ ...crowd, doubled: ["a"] }] }],
    ["50 bumps at once, pull request: failed", { apart: [{ ...crowd, failures: ["no"] }] }],
    [
      "10 bumps of one app at once, --direct: not the last one's",
      { together: [{ ...contest, wrong: ["a"] }] },
    ],
    [
      "10 bumps of one app at once, --direct: no reason given",
      { together: [{ ...contest, failures: ["a"] }] },
    ],
    ["promote staging prod, 30 of 300 apps: opened", { promotions: [{ ...times, opened: [9, 11, 12] }] }],
    ["promote staging prod, 30 of 300 apps: unchanged", { promotions: [{ ...times, unchanged: [11] }] }],
    ["promote staging prod, 30 of 300 apps: --dry-run", { promotions: [{ ...times, dryRun: [] }] }],
  ])("say which one is missed: %s", (name, change) => {
    const figures = figuresOf({ ...good, ...change });
    expect(figures.filter((figure) => !isWithinLimit(figure)).map((figure) => figure.name)).toEqual([name]);
  });
});

describe("bumps of one app", () => {
  const [last, other] = ["a".repeat(40), "b".repeat(40)];
  const right = { app: "web", tag: last, commits: 1, pulls: [`web: ${last.slice(0, 7)} in dev`] };

  it.each([
    ["nothing, when there is one pull request with the last image", right, "pull request", []],
    [
      "the image of another one",
      { ...right, tag: other },
      "pull request",
      [`the image is ${other}, not ${last}`],
    ],
    ["no branch", { ...right, tag: undefined }, "pull request", [`the image is not there, not ${last}`]],
    [
      "a second pull request",
      { ...right, pulls: [...right.pulls, ...right.pulls] },
      "pull request",
      ["2 pull requests"],
    ],
    ["none", { ...right, pulls: [] }, "pull request", ["0 pull requests"]],
    ["a second commit", { ...right, commits: 2 }, "pull request", ["2 commits on the branch"]],
    [
      "another one's title",
      { ...right, pulls: ["web: bbbbbbb in dev"] },
      "pull request",
      ["a pull request says: web: bbbbbbb in dev"],
    ],
    [
      "nothing, with --direct and several that came one after the other",
      { ...right, commits: 4, pulls: [] },
      "--direct",
      [],
    ],
    [
      "the image of another one, with --direct",
      { ...right, tag: other },
      "--direct",
      [`the image is ${other}, not ${last}`],
    ],
  ] as const)("are found to leave %s", (_, there, way, faults) => {
    expect(faultsOf(there, way, last)).toEqual(faults);
  });
});

describe("the last word of a command", () => {
  it.each([
    ["that failed", { exitCode: 3, stdout: "a plan\n", stderr: "bump: no\n" }, "bump: no"],
    ["that succeeded", { exitCode: 0, stdout: "a plan\nopened: #1\n", stderr: "" }, "opened: #1"],
    ["that was killed", { exitCode: 1, stdout: "", stderr: "" }, "exit code 1, without a word"],
  ])("%s", (_, result, word) => {
    expect(lastWord(result)).toBe(word);
  });
});

describe("the gate", () => {
  it("holds git's first look until it is opened, and lets everything else pass", async () => {
    const server = createServer((request, response) => response.end(`${request.method} ${request.url}`));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void server.close());
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const gate = await gateTo(`http://127.0.0.1:${port}`);
    onTestFinished(async () => gate.close());
    const look = "/shop/web.git/info/refs?service=git-upload-pack";
    const held = fetch(`${gate.url}${look}`);
    for (const path of ["/api/v1/repos", "/shop/web.git/info/refs?service=git-receive-pack"]) {
      expect(await (await fetch(`${gate.url}${path}`)).text()).toBe(`GET ${path}`);
    }
    expect(gate.waiting()).toBe(1);
    gate.open();
    expect(await (await held).text()).toBe(`GET ${look}`);
    expect(await (await fetch(`${gate.url}${look}`)).text()).toBe(`GET ${look}`);
    expect(gate.waiting()).toBe(0);
  });
});

describe("the repository that is measured in", () => {
  const [old, next] = ["0".repeat(40), "1".repeat(40)];

  async function written(apps: number): Promise<Tree> {
    const root = await temporary();
    const settings = { repoURL: "http://127.0.0.1:1/shop/x.git", forgeAPI: "http://127.0.0.1:1/api/v1" };
    return writeTree({ model: repositoryRoot(), root, apps, settings, source: "shop/sources" });
  }

  it("is this one, with other services, and soaks for no time", async () => {
    const tree = await written(10);
    expect(tree.apps.slice(0, 2)).toEqual(["service-01", "service-02"]);
    const catalogue = await readCatalogue(tree.root);
    expect(catalogue.map(({ app }) => app)).toEqual(tree.apps);
    expect(catalogue[0]).toMatchObject({ kind: "service", source: "shop/sources" });
    const environments = await readEnvironments(tree.root);
    expect(environments.map(({ name }) => name)).toEqual(tree.environments);
    expect(environments.map(({ soakSeconds }) => soakSeconds)).toEqual(environments.map(() => 0));
    expect(await readSettings(tree.root)).toMatchObject({ repoURL: "http://127.0.0.1:1/shop/x.git" });
    expect(await git(tree.root, "status", "--porcelain")).toBe("");
    expect(await git(tree.root, "ls-files", "*/release.yaml", "*/hold.yaml")).toBe("");
  });

  it("gets a history of images that are pinned and carried on", async () => {
    const tree = await written(2);
    const [app = ""] = tree.apps;
    const [, second = "", third = ""] = tree.environments;
    const at = async (environment: string) => {
      const path = releasePath(environment, app);
      return parseRelease(await readFile(join(tree.root, path), "utf8"), path);
    };
    await pin(tree, new Map(tree.apps.map((name) => [name, old])));
    const body = `image: registry/ecommerce/${app}:${old}\n`;
    for (const environment of [second, third]) {
      const path = join(tree.root, releasePath(environment, app));
      await mkdir(dirname(path), { recursive: true });
      await writeFile(
        path,
        formatRelease({ app, image: `ecommerce/${app}:${old}`, from: "dev", commit: old, body }),
      );
    }
    await git(tree.root, "add", "--all");
    await git(tree.root, "commit", "--quiet", "--message", "releases");
    const tags = new Map([[app, next]]);
    const pinned = await pin(tree, tags);
    expect(await readFile(join(tree.root, pinPath(tree, app)), "utf8")).toContain(`"${next}"`);
    await carry(tree, second, tags);
    expect(await at(second)).toMatchObject({ body: body.replace(old, next), commit: pinned });
    expect((await at(third)).body).toBe(body);
    const carried = await carry(tree, third, tags);
    expect(await at(third)).toEqual(await at(second));
    expect((await git(tree.root, "rev-parse", "HEAD")).trim()).toBe(carried);
  });

  it("has sources with as many commits as asked for, the oldest first", async () => {
    const root = await temporary();
    const commits = await writeSources(root, 3);
    expect(commits).toHaveLength(3);
    expect(await git(root, "log", "--reverse", "--format=%H %s", "main")).toBe(
      commits.map((commit, index) => `${commit} Change ${index + 1} of the sources\n`).join(""),
    );
  });
});
