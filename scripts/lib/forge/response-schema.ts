/** The forges' answers: of everything they say, what is used, in one shape. */
import { z } from "zod";

/** What is optional is not told by every forge, nor to every token. */
export type Repository = z.infer<typeof Repository>;
export const Repository = z.object({
  full_name: z.string(),
  clone_url: z.string(),
  default_branch: z.string(),
  archived: z.boolean(),
  permissions: z.object({ pull: z.boolean(), push: z.boolean() }).optional(),
  has_pull_requests: z.boolean().optional(),
  // GitHub's and Gitea's.
  allow_merge_commit: z.boolean().optional(),
  allow_merge_commits: z.boolean().optional(),
  allow_rebase_merge: z.boolean().optional(),
  allow_rebase: z.boolean().optional(),
  allow_fast_forward_only_merge: z.boolean().optional(),
});

/** A file. */
export const Content = z
  .object({ content: z.string(), encoding: z.literal("base64") })
  .transform(({ content }) => ({ text: Buffer.from(content, "base64").toString() }));

const Team = z.object({ slug: z.string().optional(), name: z.string() });
const Teams = z.array(Team).nullish();

export type Label = z.infer<typeof Label>;
export const Label = z.object({ id: z.number(), name: z.string() });

/** A branch: GitHub's commit has a `sha`, Gitea's an `id`. */
export const Branch = z
  .object({ commit: z.union([z.object({ sha: z.string() }), z.object({ id: z.string() })]) })
  .transform(({ commit }) => ({ tip: "sha" in commit ? commit.sha : commit.id }));

/** A pull request; in lists, `merged` and `mergeable` are missing on GitHub. */
export const Pull = z
  .object({
    number: z.number(),
    html_url: z.string(),
    title: z.string(),
    body: z.string().nullish(),
    state: z.string(),
    head: z.object({ ref: z.string(), sha: z.string(), repo: z.object({ full_name: z.string() }).nullish() }),
    base: z.object({ ref: z.string() }),
    merged: z.boolean().optional(),
    mergeable: z.boolean().nullish(),
    labels: z.array(Label).nullish(),
    // GitHub's and Gitea's.
    requested_teams: Teams,
    requested_reviewers_teams: Teams,
  })
  .transform((pull) => ({
    number: pull.number,
    url: pull.html_url,
    title: pull.title,
    body: pull.body ?? "",
    state: pull.state,
    head: pull.head.ref,
    headCommit: pull.head.sha,
    headRepository: pull.head.repo?.full_name,
    base: pull.base.ref,
    merged: pull.merged ?? false,
    /** null while GitHub finds out */
    mergeable: pull.mergeable,
    labels: pull.labels ?? [],
    requestedTeams: [...(pull.requested_teams ?? []), ...(pull.requested_reviewers_teams ?? [])].map(
      (team) => team.slug ?? team.name,
    ),
  }));

/** GitHub answers with the pull request, Gitea with a list of the requests it made. */
export const Review = z.union([Pull, z.array(z.unknown())]);

/**
 * What a status of either forge means. Gitea counts a warning as a failure, too. `skipped` means that nothing was done, so it
 * says nothing. Gitea also takes any other word: it is an error, so that none of them opens a gate.
 */
const STATES = new Map<string, "pending" | "success" | "failure" | "error" | "skipped">([
  ["pending", "pending"],
  ["success", "success"],
  ["failure", "failure"],
  ["error", "error"],
  ["warning", "failure"],
  ["skipped", "skipped"],
]);

export const Status = z
  .object({
    context: z.string(),
    // Of GitHub.
    state: z.string().optional(),
    // Of Gitea.
    status: z.string().optional(),
    description: z.string().nullish(),
    created_at: z.string().pipe(z.coerce.date()),
    target_url: z.string().nullish(),
    // Nobody, when the account is gone.
    creator: z.object({ login: z.string() }).nullish(),
  })
  .refine(({ state, status }) => state !== undefined || status !== undefined)
  .transform(({ context, state, status, description, created_at, target_url, creator }) => ({
    context,
    state: STATES.get(state ?? status ?? "") ?? "error",
    description: description ?? "",
    at: created_at,
    url: target_url || undefined,
    account: creator?.login,
  }));

export const ComparisonAnswer = z
  .object({
    total_commits: z.number(),
    commits: z.array(z.object({ sha: z.string(), commit: z.object({ message: z.string() }) })).nullable(),
  })
  .transform(({ commits, total_commits }) => ({
    commits: (commits ?? []).map(({ sha, commit }) => ({
      sha,
      subject: commit.message.split(/\r?\n/, 1)[0] ?? "",
    })),
    total: total_commits,
  }));
