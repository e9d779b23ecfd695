/** What the deployed branch asks of a change and of a push, as far as the token may know. docs/workflows.md says what it should. */
import { z } from "zod";
import { answerOf, type ForgeCalls, isRefusal } from "./call.ts";
import type { Repository } from "./response-schema.ts";

/** What the deployed branch should have, in the words of a message. */
const GUARDS = [
  ["proposed", "pull requests only"],
  ["checked", "the required status check `checks`, of one source"],
  ["closed", "no bypass of that check"],
  ["current", "branches up to date, or a merge queue that checks each entry"],
  ["owned", "a review by code owners"],
  ["kept", "no force push and no deletion"],
  // Those make each commit of a pull request one that the branch has stood at, also one that the next takes back.
  ["joined", "no merge by rebase or fast-forward"],
] as const;
const CHECK = "checks";

export interface Protection {
  /** What should be there, and is not. */
  readonly missing: readonly string[];
  /** Whether the token was told all: if not, what is missing may be there. */
  readonly isWhole: boolean;
  /** Whether it takes signed commits only. */
  readonly signatures: boolean;
  /** What keeps merge commits out; undefined: nothing. */
  readonly noMergeCommit: string | undefined;
  /** What keeps pushes with this token out; undefined: nothing, or the token is not told. */
  readonly noPush: string | undefined;
}

/** What one ruleset asks, or a branch's own protection. All that apply count together. */
type Layer = { [name in (typeof GUARDS)[number][0] | "isWhole" | "signatures"]?: boolean | undefined } & {
  noMergeCommit?: string | undefined;
  noPush?: string | undefined;
};

/**
 * Asks the forge. A rule that it does not tell the token is not known; then the forge says so when somebody merges or pushes.
 * @param repository as the forge describes it
 */
export async function readProtection(
  calls: ForgeCalls,
  branch: string,
  repository: Repository,
): Promise<Protection> {
  const isGitea = calls.differences.product === "gitea";
  const rules = isGitea ? await ofGitea(calls, branch) : await ofGitHub(calls, branch);
  const rebase = isGitea ? repository.allow_rebase : repository.allow_rebase_merge;
  const joined = rebase === false && repository.allow_fast_forward_only_merge !== true;
  const layers: Layer[] = [{ joined, isWhole: rebase !== undefined }, ...rules];
  return {
    missing: GUARDS.flatMap(([guard, text]) => (layers.some((layer) => layer[guard] === true) ? [] : [text])),
    isWhole: layers.every(({ isWhole }) => isWhole !== false),
    signatures: layers.some(({ signatures }) => signatures === true),
    noMergeCommit: layers.find(({ noMergeCommit }) => noMergeCommit !== undefined)?.noMergeCommit,
    noPush: layers.find(({ noPush }) => noPush !== undefined)?.noPush,
  };
}

/** What a forge does not tell this token is undefined. */
async function ifTold<T>(answer: Promise<T>): Promise<T | undefined> {
  return answer.catch((error: unknown) => {
    if (isRefusal(error)) return undefined;
    throw error;
  });
}

// GitHub has rulesets, of a repository and of its organisation, and a branch's own protection.

const Rule = z.object({
  type: z.string(),
  ruleset_id: z.number().optional(),
  parameters: z
    .object({
      required_status_checks: z
        .array(z.object({ context: z.string(), integration_id: z.number().nullish() }))
        .optional(),
      strict_required_status_checks_policy: z.boolean().optional(),
      require_code_owner_review: z.boolean().optional(),
      allowed_merge_methods: z.array(z.string()).optional(),
      merge_method: z.string().optional(),
      grouping_strategy: z.string().optional(),
    })
    .optional(),
});
type Rule = z.infer<typeof Rule>;

const Ruleset = z.object({
  name: z.string(),
  current_user_can_bypass: z.string().optional(),
  // Only who may change the ruleset is told.
  bypass_actors: z.array(z.unknown()).nullish(),
});

const Switch = z.object({ enabled: z.boolean().optional() }).optional();
const Own = z.object({
  required_status_checks: z
    .object({
      strict: z.boolean().optional(),
      checks: z.array(z.object({ context: z.string(), app_id: z.number().nullish() })).optional(),
    })
    .optional(),
  required_pull_request_reviews: z.object({ require_code_owner_reviews: z.boolean().optional() }).optional(),
  required_signatures: Switch,
  required_linear_history: Switch,
  allow_force_pushes: Switch,
  allow_deletions: Switch,
  enforce_admins: Switch,
});

async function ofGitHub(calls: ForgeCalls, branch: string): Promise<Layer[]> {
  const { call, list } = calls;
  const [rules, own] = await Promise.all([
    ifTold(list("GET /repos/{owner}/{repo}/rules/branches/{branch}", { branch }, Rule)),
    ownProtection(calls, branch),
  ]);
  if (rules === undefined) return [own, { isWhole: false }];
  const ids = [...new Set(rules.map((rule) => rule.ruleset_id))];
  const layers = ids.map(async (id) => {
    const route = "GET /repos/{owner}/{repo}/rulesets/{id}";
    const set = id === undefined ? undefined : await ifTold(call(route, { id }, Ruleset));
    return layerOf(
      rules.filter((rule) => rule.ruleset_id === id),
      set,
    );
  });
  return [own, ...(await Promise.all(layers))];
}

/** Rules that no commit fulfils which is new to the forge. */
const AGAINST_PUSHES = new Set(["pull_request", "merge_queue", "required_status_checks", "update"]);

function layerOf(rules: readonly Rule[], set: z.infer<typeof Ruleset> | undefined): Layer {
  const of = (type: string) => rules.find((rule) => rule.type === type);
  const [checks, queue, review] = ["required_status_checks", "merge_queue", "pull_request"].map(
    (type) => of(type)?.parameters,
  );
  // Without a source whoever may write statuses can report it.
  const checked = checks?.required_status_checks?.some(
    ({ context, integration_id: source }) => context === CHECK && typeof source === "number",
  );
  const barrier = rules.find(({ type }) => AGAINST_PUSHES.has(type));
  const mayPush = ["always", "exempt", undefined].includes(set?.current_user_can_bypass);
  const method = queue?.merge_method?.toLowerCase() ?? "merge";
  return {
    proposed: of("pull_request") !== undefined,
    ...(checked && { checked, closed: set?.bypass_actors?.length === 0 }),
    current:
      (checked && checks?.strict_required_status_checks_policy) || queue?.grouping_strategy === "ALLGREEN",
    owned: review?.require_code_owner_review,
    joined: queue !== undefined || review?.allowed_merge_methods?.includes("rebase") === false,
    kept: of("non_fast_forward") !== undefined && of("deletion") !== undefined,
    isWhole: Array.isArray(set?.bypass_actors),
    signatures: of("required_signatures") !== undefined,
    noMergeCommit:
      method !== "merge"
        ? `its merge queue makes a ${method} of each`
        : of("required_linear_history") !== undefined
          ? "its history has to be linear"
          : review?.allowed_merge_methods?.includes("merge") === false
            ? `a ruleset allows ${review.allowed_merge_methods.join(" and ")} only`
            : undefined,
    noPush:
      barrier === undefined || mayPush
        ? undefined
        : `the ruleset ${set?.name} has the rule ${barrier.type}, and this token may not bypass it`,
  };
}

/** Only administrators are told of it. */
async function ownProtection({ call }: ForgeCalls, branch: string): Promise<Layer> {
  const route = "GET /repos/{owner}/{repo}/branches/{branch}/protection";
  try {
    const own = await call(route, { branch }, Own);
    const checked = own.required_status_checks?.checks?.some(
      // -1 is any source.
      ({ context, app_id: source }) => context === CHECK && (source ?? -1) >= 0,
    );
    return {
      proposed: own.required_pull_request_reviews !== undefined,
      ...(checked && { checked, closed: own.enforce_admins?.enabled }),
      current: checked && own.required_status_checks?.strict,
      owned: own.required_pull_request_reviews?.require_code_owner_reviews,
      kept: own.allow_force_pushes?.enabled === false && own.allow_deletions?.enabled === false,
      signatures: own.required_signatures?.enabled,
      noMergeCommit: own.required_linear_history?.enabled ? "its history has to be linear" : undefined,
    };
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return { isWhole: answerOf(error)?.message.includes("Branch not protected") === true };
  }
}

// Gitea and Forgejo have one rule that counts for a branch. Of their code owners nothing is known here: they read another file.

const GiteaBranch = z.object({
  protected: z.boolean(),
  enable_status_check: z.boolean().optional(),
  status_check_contexts: z.array(z.string()).nullish(),
  user_can_push: z.boolean(),
  // Empty for all but administrators.
  effective_branch_protection_name: z.string().optional(),
});

const GiteaRule = z.object({
  enable_push: z.boolean().optional(),
  enable_force_push: z.boolean().optional(),
  required_approvals: z.number().optional(),
  enable_approvals_whitelist: z.boolean().optional(),
  block_on_outdated_branch: z.boolean().optional(),
  require_signed_commits: z.boolean().optional(),
  // Gitea's and Forgejo's.
  block_admin_merge_override: z.boolean().optional(),
  apply_to_admins: z.boolean().optional(),
});

async function ofGitea({ call }: ForgeCalls, branch: string): Promise<Layer[]> {
  const found = await call("GET /repos/{owner}/{repo}/branches/{branch}", { branch }, GiteaBranch);
  const name = found.effective_branch_protection_name || branch;
  const route = "GET /repos/{owner}/{repo}/branch_protections/{name}";
  const rule = found.protected ? await ifTold(call(route, { name }, GiteaRule)) : undefined;
  const checked = found.enable_status_check === true && (found.status_check_contexts ?? []).length > 0;
  return [
    {
      checked,
      proposed: rule === undefined ? !found.user_can_push : rule.enable_push === false,
      closed: checked && (rule?.block_admin_merge_override || rule?.apply_to_admins),
      current: checked && rule?.block_on_outdated_branch,
      owned: rule?.enable_approvals_whitelist && (rule.required_approvals ?? 0) > 0,
      kept: found.protected && rule?.enable_force_push !== true,
      isWhole: !found.protected || rule !== undefined,
      signatures: rule?.require_signed_commits,
      noPush: found.user_can_push ? undefined : "its protection does not let this token push",
    },
  ];
}
