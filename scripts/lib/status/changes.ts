/** What is open on the forge: the pull requests that commands of this repository made, and which apps they are about. */
import { parseBumpBranch } from "../bump/pull-request-body.ts";
import type { Forge } from "../forge/forge.ts";
import type { Remote } from "../git/remote.ts";
import { promotedApps } from "../promotion/open.ts";
import { parsePromotionBranch } from "../promotion/pull-request-body.ts";
import type { HoldPlace } from "../release/hold.ts";
import { releasePath } from "../release/release.ts";

export type ChangeKind = "promotion" | "bump" | "rollback" | "unhold";

/** An open pull request that a command made. */
export interface OpenChange {
  kind: ChangeKind;
  number: number;
  title: string;
  url: string;
  /** The environment that it changes. */
  env: string;
  apps: readonly string[];
}

/**
 * The open pull requests that commands of this repository made. A promotion is about the apps whose files it would change.
 * @param remote fetched with the branches of promotions
 */
export async function openChanges(remote: Remote, forge: Forge): Promise<OpenChange[]> {
  const pulls = await forge.listOpenPullRequests(remote.branch);
  const changes: OpenChange[] = [];
  for (const { head, number, title, url } of pulls.toSorted((one, other) => one.number - other.number)) {
    const promotion = parsePromotionBranch(head);
    if (promotion !== undefined) {
      const { to } = promotion;
      changes.push({
        kind: "promotion",
        number,
        title,
        url,
        env: to,
        apps: await promoted(remote, head, to),
      });
      continue;
    }
    const place = placeOf(head);
    if (place === undefined) continue;
    const { kind, environment, app } = place;
    changes.push({ kind, number, title, url, env: environment, apps: [app] });
  }
  return changes;
}

function placeOf(branch: string): ({ kind: ChangeKind } & HoldPlace) | undefined {
  const bump = parseBumpBranch(branch);
  if (bump !== undefined) return { kind: "bump", ...bump };
  const [, kind, environment = "", app = ""] = /^(rollback|unhold)\/([^/]+)\/([^/]+)$/.exec(branch) ?? [];
  return kind === "rollback" || kind === "unhold" ? { kind, environment, app } : undefined;
}

/** What a branch promotes, and the deployed one does not have yet in another way. */
async function promoted(remote: Remote, branch: string, to: string): Promise<string[]> {
  const [main, tip] = [await remote.tip(remote.branch), await remote.tip(branch)];
  if (main === undefined || tip === undefined) return [];
  const differs = new Set(await remote.changed(main, tip));
  const apps = await promotedApps(remote, branch, to);
  return apps.filter((app) => differs.has(releasePath(to, app)));
}
