/** What GitHub and Gitea, which Forgejo comes from, want asked in different ways. Their answers: response-schema.ts. */
import type { Label } from "./response-schema.ts";

export interface ForgeDifferences {
  readonly product: "github" | "gitea";
  /** The largest page of a list. */
  readonly page: object;
  /** The order of statuses in which pages do not overlap. */
  readonly statuses: object;
  /** A merge of this commit, and no other, with a merge commit. */
  merge(head: string): { method: string; parameters: object };
  /** A comparison, without what takes long and is not used. */
  readonly comparison: object;
  /** The commits of a comparison, the newest first. */
  newestFirst<T>(commits: readonly T[]): T[];
  /** Whether labels have to be made before they are used, and are known by their numbers. */
  readonly hasLabelIds: boolean;
  /** What takes a label off is told this. */
  labelKey(label: Label): string | number;
}

const GITHUB: ForgeDifferences = {
  product: "github",
  page: { per_page: 100 },
  statuses: {},
  merge: (sha) => ({ method: "PUT", parameters: { merge_method: "merge", sha } }),
  comparison: {},
  newestFirst: (commits) => commits.toReversed(),
  hasLabelIds: false,
  labelKey: ({ name }) => name,
};

const GITEA: ForgeDifferences = {
  product: "gitea",
  // It ignores `per_page`.
  page: { limit: 50 },
  // By the number of the status: its default order is by seconds.
  statuses: { sort: "leastindex" },
  merge: (head) => ({ method: "POST", parameters: { Do: "merge", head_commit_id: head } }),
  // It reads the files of every commit unless told not to.
  comparison: { files: false, verification: false },
  newestFirst: (commits) => [...commits],
  hasLabelIds: true,
  labelKey: ({ id }) => id,
};

/**
 * The differences of an API.
 * @param api its base: Gitea and Forgejo have it at /api/v1; GitHub on a host of its own, and GitHub Enterprise at /api/v3
 */
export function differencesOf(api: string): ForgeDifferences {
  return /\/api\/v1\/?$/.test(api) ? GITEA : GITHUB;
}
