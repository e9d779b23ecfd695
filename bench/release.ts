/** Releases, against a real forge that nobody else uses: many bumps at once, and the time that a promotion takes. */
import { createHash } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { formatBumpBranch } from "../scripts/lib/bump/pull-request-body.ts";
import { ExternalError } from "../scripts/lib/errors.ts";
import { run, tryRun } from "../scripts/lib/exec.ts";
import { forgeAddress } from "../scripts/lib/forge/address.ts";
import { connectForge } from "../scripts/lib/forge/forge.ts";
import { formatContext } from "../scripts/lib/promotion/health.ts";
import { formatPromotionBranch } from "../scripts/lib/promotion/pull-request-body.ts";
import { FORGE_USER } from "../scripts/lib/sandbox/gitea.ts";
import { temporaryDirectory } from "../scripts/lib/temporary.ts";
import { resolveTool } from "../scripts/lib/tools/resolve.ts";
import {
  ask,
  gitEnvironment,
  gitUrl,
  publish,
  startForge,
  type TemporaryForge,
} from "../test/support/gitea.ts";
import { lastWord, runCommand } from "./command.ts";
import type { BenchOptions, Figure } from "./figures.ts";
import { carry, pin, pinPath, type Tree, writeSources, writeTree } from "./tree.ts";

const OWNER = "shop";
/** Bumps of different apps at the same moment. */
const BUMPS = 50;
/** The promotions, and how long one may take in seconds. */
const PROMOTIONS = [
  { apps: 20, changed: 10, limit: 3 },
  { apps: 300, changed: 30, limit: 10 },
];
/** Commits of the deployed branch beside the releases. */
const COMMITS = 300;
/** Commits of the sources between two images. */
const COMMITS_PER_IMAGE = 5;

interface Place {
  readonly model: string;
  readonly directory: string;
  readonly forge: TemporaryForge;
  readonly kustomize: string;
}

/** @throws ExternalError when the forge or a promotion fails */
export async function benchRelease(model: string, options: BenchOptions): Promise<Figure[]> {
  const { say, onInterrupt } = options;
  const directory = await temporaryDirectory("bench-");
  const clear = async () => rm(directory, { recursive: true, force: true, maxRetries: 5 });
  onInterrupt(clear);
  try {
    say("a forge");
    const forge = await startForge(onInterrupt);
    try {
      const place = { model, directory, forge, kustomize: (await resolveTool("kustomize")).path };
      const figures: Figure[] = [];
      // First, while the forge has nothing else to do.
      for (const size of PROMOTIONS) figures.push(...(await measurePromotion(place, size, options)));
      return [...figures, ...(await measureBumps(place, options))];
    } finally {
      await forge.stop();
    }
  } finally {
    await clear();
  }
}

/** Promotes in a repository with many apps, a history, and the commit statuses of Argo CD. */
async function measurePromotion(
  place: Place,
  { apps, changed, limit }: (typeof PROMOTIONS)[number],
  { runs, say }: BenchOptions,
): Promise<Figure[]> {
  say(`a repository of ${apps} apps and ${COMMITS} commits`);
  const { forge, model } = place;
  const name = `promotion-${apps}`;
  const tree = await promotable(place, { name, apps, changed });
  const [from = "", to = ""] = tree.environments.slice(-2);
  const seconds: Record<"--dry-run" | "opened" | "unchanged", number[]> = {
    "--dry-run": [],
    opened: [],
    unchanged: [],
  };
  const promote = async (kind: keyof typeof seconds, expected: RegExp, ...args: string[]) => {
    const ended = await runCommand(model, "promote", ["--root", tree.root, ...args, from, to], forge.token);
    const isComplete = ended.stdout.includes(`: ${changed} of ${apps} apps change`);
    if (ended.exitCode !== 0 || !isComplete || !expected.test(ended.stdout))
      throw new ExternalError(`promote ${from} ${to} failed: ${lastWord(ended)}`);
    seconds[kind].push(ended.seconds);
    return ended.stdout;
  };
  say(`promote ${from} ${to}: ${changed} of ${apps} apps, ${runs} times each`);
  for (let index = 0; index < runs; index += 1) {
    await promote("--dry-run", /^nothing was changed: a dry run$/m, "--dry-run");
    const number = /^opened: #(\d+) /m.exec(await promote("opened", /^opened: #\d+ /m))?.[1] ?? "";
    await promote("unchanged", /^unchanged: #\d+ /m);
    // So that the next run has to open it again.
    const branch = encodeURIComponent(formatPromotionBranch({ from, to, apps: [] }));
    await ask(forge, `/repos/${OWNER}/${name}/pulls/${number}`, "PATCH", { state: "closed" });
    await ask(forge, `/repos/${OWNER}/${name}/branches/${branch}`, "DELETE");
  }
  return Object.entries(seconds).map(([kind, measured]) => {
    return { name: `promote, ${changed} of ${apps} apps: ${kind}`, unit: "s", measured, limit };
  });
}

/** Every app runs everywhere; some have a newer image in all environments but the last one, and it is proven there. */
async function promotable(
  { forge, model, directory, kustomize }: Place,
  { name, apps: count, changed }: { name: string; apps: number; changed: number },
): Promise<Tree> {
  const [sources, root] = [join(directory, `${name}-sources`), join(directory, name)];
  for (const path of [sources, root]) await mkdir(path);
  const commits = await writeSources(sources, COMMITS_PER_IMAGE + 1);
  const [old = "", fresh = ""] = [commits[0], commits.at(-1)];
  await publish(forge, sources, { owner: OWNER, name: `${name}-sources` });
  const settings = { ...settingsFor(forge, name), reporter: FORGE_USER };
  const tree = await writeTree({ model, root, count, settings, source: `${OWNER}/${name}-sources` });
  const { apps, environments } = tree;
  const promoteTo = async (targets: readonly string[]) => {
    let commit = "";
    for (const to of targets) {
      const from = environments[environments.indexOf(to) - 1] ?? "";
      commit = await carry(tree, { from, to, kustomize });
    }
    return commit;
  };
  await pin(tree, new Map(apps.map((app) => [app, old])));
  await promoteTo(environments.slice(1));
  const going = apps.slice(0, changed);
  await pin(tree, new Map(going.map((app) => [app, fresh])));
  const commit = await promoteTo(environments.slice(1, -1));
  // A history of the other apps.
  for (let index = 0; index < COMMITS; index += 1)
    await pin(tree, new Map([[apps[changed + (index % (count - changed))] ?? "", sha(`commit ${index}`)]]));
  await publish(forge, root, { owner: OWNER, name });
  const status = { state: "success", description: "synced and healthy" };
  for (const app of going) {
    const context = formatContext({ cluster: environments.at(-2) ?? "", app });
    await ask(forge, `/repos/${OWNER}/${name}/statuses/${commit}`, "POST", { context, ...status });
  }
  return tree;
}

/** Starts a bump of each app at the same moment, by pull request and on the branch itself, and looks at the result. */
async function measureBumps({ model, directory, forge }: Place, { say }: BenchOptions): Promise<Figure[]> {
  const name = "bumps";
  const root = join(directory, name);
  await mkdir(root);
  const settings = settingsFor(forge, name);
  const tree = await writeTree({ model, root, count: BUMPS, settings, source: "shop/sources" });
  await publish(forge, root, { owner: OWNER, name });
  const git = async (...args: string[]) => run("git", args, { cwd: root, env: gitEnvironment(forge.token) });
  const first = (await git("rev-parse", "HEAD")).trim();
  const figures: Figure[] = [];
  for (const flags of [[], ["--direct"]]) {
    const kind = flags[0] ?? "pull request";
    say(`${BUMPS} bumps at once, ${kind}`);
    const tagOf = (app: string) => sha(`${kind} ${app}`);
    const ended = await Promise.all(
      tree.apps.map(async (app) =>
        runCommand(model, "bump", ["--root", root, "--no-verify", ...flags, app, tagOf(app)], forge.token),
      ),
    );
    const failed = ended.filter(({ exitCode }) => exitCode !== 0);
    for (const result of failed) say(lastWord(result));
    await git("fetch", "--quiet", gitUrl(forge, { owner: OWNER, name }), "+refs/heads/*:refs/bench/*");
    const pulls = await connectForge(forgeAddress(settings), forge.token).listOpenPullRequests("main");
    const found = tree.apps.map(async (app) => {
      const branch = formatBumpBranch({ environment: tree.environments[0] ?? "", app });
      const ref = `refs/bench/${flags.length === 0 ? branch : "main"}`;
      const { stdout: text } = await tryRun("git", ["show", `${ref}:${pinPath(tree, app)}`], { cwd: root });
      const commits = await git("rev-list", "--count", `${first}..${ref}`, "--", pinPath(tree, app));
      const opened = pulls.filter(({ head }) => head === branch);
      return { isLost: !text.includes(tagOf(app)), isDoubled: Number(commits) > 1 || opened.length > 1 };
    });
    const all = await Promise.all(found);
    const none = (what: string, count: number): Figure => {
      return { name: `${BUMPS} bumps at once, ${kind}: ${what}`, unit: "items", measured: [count], limit: 0 };
    };
    figures.push(
      none("lost", all.filter(({ isLost }) => isLost).length),
      none("doubled", all.filter(({ isDoubled }) => isDoubled).length),
      none("failed", failed.length),
    );
  }
  return figures;
}

function sha(text: string): string {
  return createHash("sha1").update(text).digest("hex");
}

function settingsFor(forge: TemporaryForge, name: string): { repoURL: string; forgeAPI: string } {
  return { repoURL: gitUrl(forge, { owner: OWNER, name }), forgeAPI: `${forge.url}/api/v1` };
}
