/** Many bumps at once, by processes of their own against one forge, and whether each of them came to what it should. */
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { formatBumpBranch } from "../bump/text.ts";
import { ExternalError } from "../errors.ts";
import type { Repository } from "../forge/address.ts";
import { forgeAddress } from "../forge/address.ts";
import { connectForge } from "../forge/forge.ts";
import { type Remote, type RemoteOptions, withRemote } from "../git/remote.ts";
import { SETTINGS_FILE, withSettings } from "../tree/settings.ts";
import { waitFor } from "../wait.ts";
import { type CommandRun, lastWord, runCommand } from "./command.ts";
import { gitUrl, type TemporaryForge } from "./forge.ts";
import { gateTo } from "./gate.ts";
import { pinPath, type Tree } from "./release-tree.ts";

/** By pull request, or as a commit on the deployed branch. */
export const WAYS = ["pull request", "--direct"] as const;
export type Way = (typeof WAYS)[number];

/** Where the bumps go. */
export interface Place {
  /** This repository, whose command is run. */
  readonly model: string;
  readonly forge: TemporaryForge;
  readonly repository: Repository;
  readonly tree: Tree;
  readonly onInterrupt: RemoteOptions["onInterrupt"];
}

/** Bumps of different apps. */
export interface Crowd {
  readonly way: Way;
  readonly bumps: number;
  /** From the first start to the last end. */
  readonly seconds: number;
  /** The apps whose image is not there. */
  readonly lost: readonly string[];
  /** The apps with more than one pull request or commit. */
  readonly doubled: readonly string[];
  /** What those said that failed. */
  readonly failures: readonly string[];
}

/** Bumps of one app. */
export interface Contest {
  readonly way: Way;
  readonly bumps: number;
  /** From when all go on to the last end. */
  readonly seconds: number;
  /** How many said that they had done it, the last one included. */
  readonly landed: number;
  /** How many gave way to one that was asked for later, and said so. */
  readonly gaveWay: number;
  /** What all the others said. */
  readonly failures: readonly string[];
  /** What there is other than the image that was asked for last. */
  readonly wrong: readonly string[];
}

const LOOK_MS = 20;

/** Starts a bump of each app at the same moment. */
export async function bumpApart(place: Place, way: Way, apps: readonly string[]): Promise<Crowd> {
  const { root } = place.tree;
  const began = performance.now();
  const runs = await Promise.all(apps.map(async (app) => bump(place, root, way, app, tagOf(way, app))));
  const seconds = (performance.now() - began) / 1000;
  const failures = runs.filter(({ exitCode }) => exitCode !== 0).map(lastWord);
  const there = await look(place, way, apps);
  const lost = there.filter(({ app, tag }) => tag !== tagOf(way, app)).map(({ app }) => app);
  const doubled = there.filter(({ commits, pulls }) => commits > 1 || pulls.length > 1);
  return { way, bumps: apps.length, seconds, lost, doubled: doubled.map(({ app }) => app), failures };
}

/**
 * Asks for a number of bumps of one app, one after the other, and lets them go on at the same moment. So it is known which was
 * asked for last.
 * @param root an empty directory
 * @throws ExternalError when one of them ends before it has asked
 */
export async function bumpTogether(
  place: Place,
  way: Way,
  contest: { app: string; bumps: number; root: string },
): Promise<Contest> {
  const { app, bumps, root } = contest;
  const tags = Array.from({ length: bumps }, (_, index) => tagOf(way, `${app} ${index}`));
  const gate = await gateTo(place.forge.url);
  try {
    await writeSettingsTo(place, root, gate.url);
    const running: Promise<CommandRun>[] = [];
    const ended: CommandRun[] = [];
    for (const tag of tags) {
      const run = bump(place, root, way, app, tag);
      running.push(run);
      void run.then((result) => ended.push(result));
      const isThere = async () => {
        const [early] = ended;
        if (early !== undefined) throw new ExternalError(`a bump has ended early: ${lastWord(early)}`);
        return gate.waiting() === running.length || undefined;
      };
      await waitFor("a bump has asked", isThere, { everyMs: LOOK_MS });
    }
    const began = performance.now();
    gate.open();
    const runs = await Promise.all(running);
    const seconds = (performance.now() - began) / 1000;
    const landed = runs.filter(hasLanded).length;
    const gaveWay = runs.filter(hasGivenWay).length;
    const failures = runs.filter((run) => !hasLanded(run) && !hasGivenWay(run)).map(lastWord);
    const [there] = await look(place, way, [app]);
    return { way, bumps, seconds, landed, gaveWay, failures, wrong: faultsOf(there, way, tags.at(-1) ?? "") };
  } finally {
    await gate.close();
  }
}

/** Whether a bump says that it is done. */
function hasLanded({ exitCode, stdout }: CommandRun): boolean {
  return exitCode === 0 && /^(opened|updated|unchanged|pushed): /m.test(stdout);
}

/** Whether a bump says that another one counts, and which. */
function hasGivenWay({ exitCode, stderr }: CommandRun): boolean {
  return exitCode === 3 && /got [0-9a-f]{7} .*that was asked for later, so it stays$/.test(stderr.trim());
}

/** What is there of an app's bumps. */
export interface Standing {
  app: string;
  /** What the branch pins; undefined when there is no such branch. */
  tag: string | undefined;
  /** How many commits have changed it. */
  commits: number;
  /** Titles of the open pull requests. */
  pulls: readonly string[];
}

/**
 * What is wrong after several bumps of one app.
 * @param tag the one that was asked for last
 */
export function faultsOf(there: Standing | undefined, way: Way, tag: string): string[] {
  const image = there?.tag === tag ? [] : [`the image is ${there?.tag ?? "not there"}, not ${tag}`];
  if (way === "--direct") return image;
  const pulls = there?.pulls ?? [];
  const count = pulls.length === 1 ? [] : [`${pulls.length} pull requests`];
  const commits = there?.commits === 1 ? [] : [`${there?.commits ?? 0} commits on the branch`];
  const titles = pulls.filter((title) => !title.includes(tag.slice(0, 7)));
  return [...image, ...count, ...commits, ...titles.map((title) => `a pull request says: ${title}`)];
}

async function bump(
  { model, forge }: Place,
  root: string,
  way: Way,
  app: string,
  tag: string,
): Promise<CommandRun> {
  const options = ["--no-verify", ...(way === "--direct" ? [way] : [])];
  return runCommand(model, "bump", ["--root", root, ...options, app, tag], forge.token);
}

/** Looks at the forge. */
async function look(place: Place, way: Way, apps: readonly string[]): Promise<Standing[]> {
  const { forge, repository, tree, onInterrupt } = place;
  const address = forgeAddress({ repoURL: gitUrl(forge, repository), forgeAPI: `${forge.url}/api/v1` });
  const pulls = await connectForge(address, forge.token).listOpenPullRequests("main");
  const { root } = tree;
  const where = { root, url: address.git, token: forge.token, branch: "main" };
  const options = { ...where, env: process.env, onInterrupt };
  return withRemote(options, async (remote) => {
    await remote.fetch("bump/*", { history: true });
    const environment = tree.environments[0] ?? "";
    const found: Standing[] = [];
    for (const app of apps) {
      const branch = way === "--direct" ? "main" : formatBumpBranch({ environment, app });
      const path = pinPath(tree, app);
      const tip = await remote.tip(branch);
      const text = tip && (await remote.read(tip, path))?.text;
      found.push({
        app,
        tag: /newTag: "?([0-9a-f]{40})/.exec(text ?? "")?.[1],
        commits: tip === undefined ? 0 : await countOf(remote, branch, path),
        pulls: pulls.filter(({ head }) => head === branch).map(({ title }) => title),
      });
    }
    return found;
  });
}

async function countOf(remote: Remote, branch: string, path: string): Promise<number> {
  if (branch !== remote.branch) return (await remote.ahead(branch, "bump/*")).commits.length;
  // The first one has brought the file.
  return (await remote.log([path])).length - 1;
}

async function writeSettingsTo({ tree, repository }: Place, root: string, url: string): Promise<void> {
  const text = await readFile(join(tree.root, SETTINGS_FILE), "utf8");
  const values = { repoURL: gitUrl({ url }, repository), forgeAPI: `${url}/api/v1` };
  await mkdir(dirname(join(root, SETTINGS_FILE)), { recursive: true });
  await writeFile(join(root, SETTINGS_FILE), withSettings(text, values));
}

function tagOf(way: Way, what: string): string {
  return createHash("sha1").update(`${way} ${what}`).digest("hex");
}
