/** The figures of releases: many bumps at once, and how long a promotion takes; against a real forge that nobody else uses. */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { RemoteOptions } from "../git/remote.ts";
import { temporaryDirectory } from "../temporary.ts";
import { resolveTool } from "../tools/resolve.ts";
import { type Figure, median } from "./figures.ts";
import { gitUrl, publish, startForge } from "./forge.ts";
import { bumpApart, bumpTogether, type Contest, type Crowd, type Place, WAYS } from "./release-bumps.ts";
import { measurePromotion, type PromotionSize, type PromotionTimes } from "./release-promotion.ts";
import { writeTree } from "./release-tree.ts";

/** Bumps of different apps, and of one app. */
const APART = 50;
const TOGETHER = 10;
/** The promotions, and how long one may take in seconds. */
const PROMOTIONS: (PromotionSize & { limit: number })[] = [
  { apps: 20, changed: 10, commits: 300, limit: 3 },
  { apps: 300, changed: 30, commits: 300, limit: 10 },
];
/** What the bench needs beside git. */
export const RELEASE_TOOLS = ["gitea", "kustomize"];

export interface ReleaseReport {
  readonly figures: readonly Figure[];
  readonly apart: readonly Crowd[];
  readonly together: readonly Contest[];
  readonly promotions: readonly PromotionTimes[];
}

/**
 * Measures.
 * @param root this repository, with the tools built; it is only read
 * @param options.runs how many promotions of each kind are measured
 * @param options.say called with what is being measured
 * @param options.onInterrupt told what to undo when the command is interrupted
 * @throws ExternalError when the forge or a promotion fails
 */
export async function benchRelease(
  root: string,
  options: { runs: number; say: (line: string) => void; onInterrupt: RemoteOptions["onInterrupt"] },
): Promise<ReleaseReport> {
  const { runs, say, onInterrupt } = options;
  const directory = await temporaryDirectory("bench-");
  const clear = async () => rm(directory, { recursive: true, force: true, maxRetries: 5 });
  onInterrupt(clear);
  try {
    say("a forge");
    const forge = await startForge(onInterrupt);
    try {
      // First, while the forge has nothing else to do.
      const { path: kustomize } = await resolveTool("kustomize");
      const promotions: PromotionTimes[] = [];
      for (const { limit: _, ...size } of PROMOTIONS) {
        const own = { model: root, directory: join(directory, `promotion-${size.apps}`), kustomize };
        promotions.push(await measurePromotion(forge, size, { ...own, runs, say }));
      }
      const place = await placeFor(root, join(directory, "bumps"), forge, onInterrupt);
      const apart: Crowd[] = [];
      const together: Contest[] = [];
      for (const way of WAYS) {
        say(`${APART} bumps of different apps at once, ${way}`);
        apart.push(await bumpApart(place, way, place.tree.apps.slice(0, APART)));
      }
      for (const [index, way] of WAYS.entries()) {
        say(`${TOGETHER} bumps of one app at once, ${way}`);
        const contest = { app: place.tree.apps[APART + index] ?? "", bumps: TOGETHER };
        together.push(
          await bumpTogether(place, way, { ...contest, root: join(directory, `contest-${index}`) }),
        );
      }
      return { figures: figuresOf({ apart, together, promotions }), apart, together, promotions };
    } finally {
      await forge.stop();
    }
  } finally {
    await clear();
  }
}

async function placeFor(
  model: string,
  root: string,
  forge: Place["forge"],
  onInterrupt: Place["onInterrupt"],
): Promise<Place> {
  await mkdir(root);
  const repository = { owner: "shop", name: "bumps" };
  const settings = { repoURL: gitUrl(forge, repository), forgeAPI: `${forge.url}/api/v1` };
  const apps = APART + WAYS.length;
  const tree = await writeTree({ model, root, apps, settings, source: "shop/sources" });
  await publish(forge, root, repository);
  return { model, forge, repository, tree, onInterrupt };
}

/** The figures with their limits. */
export function figuresOf(measured: Omit<ReleaseReport, "figures">): Figure[] {
  const none = (name: string, found: readonly string[]): Figure => {
    return { name, unit: "items", measured: found.length, limit: 0 };
  };
  const apart = measured.apart.flatMap(({ way, bumps, lost, doubled, failures }) => {
    const name = `${bumps} bumps at once, ${way}`;
    return [
      none(`${name}: lost`, lost),
      none(`${name}: doubled`, doubled),
      none(`${name}: failed`, failures),
    ];
  });
  const together = measured.together.flatMap(({ way, bumps, wrong, failures }) => {
    const name = `${bumps} bumps of one app at once, ${way}`;
    return [none(`${name}: not the last one's`, wrong), none(`${name}: no reason given`, failures)];
  });
  const promotions = measured.promotions.flatMap(({ apps, changed, from, to, ...times }) => {
    const limit = PROMOTIONS.find((size) => size.apps === apps)?.limit ?? Number.NaN;
    const name = `promote ${from} ${to}, ${changed} of ${apps} apps`;
    const figure = (what: string, seconds: readonly number[]): Figure => {
      return { name: `${name}: ${what}`, unit: "s", measured: median(seconds), limit };
    };
    return [
      figure("opened", times.opened),
      figure("unchanged", times.unchanged),
      figure("--dry-run", times.dryRun),
    ];
  });
  return [...apart, ...together, ...promotions];
}
