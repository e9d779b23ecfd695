/** Argo CD, through its command line client. */
import pLimit from "p-limit";
import { z } from "zod";
import { ExternalError } from "../errors.ts";
import { run } from "../exec.ts";
import { stretched } from "../wait.ts";

/** Where Argo CD is and who asks; the client reads both from its environment. */
export interface Argocd {
  /** The `argocd` program. */
  readonly program: string;
  /** With ARGOCD_SERVER, ARGOCD_AUTH_TOKEN and, where needed, ARGOCD_OPTS. */
  readonly env: NodeJS.ProcessEnv;
}

/** One application on one cluster. */
export interface Application {
  readonly name: string;
  readonly app: string;
  readonly env: string;
  readonly cluster: string;
  /** Images it runs, as Argo CD saw them. */
  readonly images: readonly string[];
  /** Synced, OutOfSync or Unknown. */
  readonly sync: string;
  /** Healthy, Progressing, Degraded, Suspended, Missing or Unknown. */
  readonly health: string;
  /** The commit it was compared with; empty before the first comparison. */
  readonly revision: string;
  /** Running, Succeeded, Failed, Error or empty. */
  readonly operation: string;
  /** Whether an operation runs, waits for its next attempt, or has ended and was not followed by a comparison yet. */
  readonly operating: boolean;
  /** Why it is not as it should be, if Argo CD says so. */
  readonly message: string;
  /** What its operation said last. */
  readonly operationMessage: string;
  /** Why what Git has cannot be compared with the cluster, such as `ComparisonError: …`. */
  readonly comparisonError: string | undefined;
  /** Its first object that is not Healthy, such as `Deployment user-service is Progressing: 1 of 3 …`. */
  readonly unhealthy: string | undefined;
  /** Whether it deploys nothing but sealed Secrets: Healthy says nothing then. */
  readonly isEmpty: boolean;
  /** When its health changed last; undefined when Argo CD does not say. */
  readonly healthSince: Date | undefined;
  /** What it deployed, the oldest first; Argo CD keeps ten. */
  readonly deployments: readonly { readonly revision: string; readonly at: Date }[];
}

const Listed = z.array(
  z.object({
    metadata: z.object({ name: z.string(), labels: z.record(z.string(), z.string()).optional() }),
    operation: z.unknown().optional(),
    status: z
      .object({
        sync: z.object({ status: z.string().optional(), revision: z.string().optional() }).optional(),
        health: z
          .object({ status: z.string().optional(), lastTransitionTime: z.string().optional() })
          .optional(),
        history: z.array(z.object({ revision: z.string().optional(), deployedAt: z.string() })).nullish(),
        summary: z.object({ images: z.array(z.string()).nullish() }).optional(),
        operationState: z
          .object({
            phase: z.string().optional(),
            message: z.string().optional(),
            finishedAt: z.string().nullish(),
          })
          .optional(),
        reconciledAt: z.string().nullish(),
        resources: z
          .array(
            z.object({
              kind: z.string(),
              name: z.string(),
              health: z.object({ status: z.string().optional(), message: z.string().optional() }).nullish(),
            }),
          )
          .nullish(),
        conditions: z.array(z.object({ type: z.string(), message: z.string() })).nullish(),
      })
      .optional(),
  }),
);

type Status = z.infer<typeof Listed>[number]["status"];
type Resource = NonNullable<NonNullable<Status>["resources"]>[number];

/** Conditions of an application that Argo CD cannot compare with its cluster. */
const COMPARISON_ERRORS = new Set(["ComparisonError", "InvalidSpecError"]);

/** For a slow server and a few hundred applications; chosen, not measured. */
const ANSWER_MS = 20_000;

/**
 * Every application that an environment's ApplicationSet made, sorted by name.
 * @throws ExternalError when Argo CD cannot be reached, or says nothing for 20 s: its client would wait for ever
 */
export async function listApplications(argocd: Argocd, environment?: string): Promise<Application[]> {
  const selector = environment === undefined ? "app" : `app,environment=${environment}`;
  return parseApplications(await ask(argocd, ["app", "list", "--output", "json", "--selector", selector]));
}

const ListedSets = z.array(
  z.object({
    metadata: z.object({ name: z.string() }),
    status: z
      .object({
        conditions: z
          .array(z.object({ type: z.string(), status: z.string(), message: z.string() }))
          .nullish(),
      })
      .optional(),
  }),
);

/**
 * Why ApplicationSets cannot make their applications, in a line each.
 * @throws ExternalError as `listApplications`
 */
export async function listApplicationSetErrors(argocd: Argocd): Promise<string[]> {
  const parsed = ListedSets.safeParse(
    JSON.parse(await ask(argocd, ["appset", "list", "--output", "json"])) ?? [],
  );
  if (!parsed.success) throw new ExternalError("argocd answered with ApplicationSets of an unknown shape");
  return parsed.data.flatMap(({ metadata, status }) => {
    const error = (status?.conditions ?? []).find(
      ({ type, status: is }) => type === "ErrorOccurred" && is === "True",
    );
    return error === undefined ? [] : [`the ApplicationSet ${metadata.name} fails: ${error.message}`];
  });
}

/**
 * One application as it is at this moment; those of a list may be a moment old.
 * @throws ExternalError as `listApplications`, and when there is none of this name
 */
export async function readApplication(argocd: Argocd, name: string): Promise<Application> {
  const [application] = parseApplications(`[${await ask(argocd, ["app", "get", name, "--output", "json"])}]`);
  if (application === undefined) throw new ExternalError(`Argo CD has no application ${name}`);
  return application;
}

/** Comparisons at the same time: each has the API server try every object of an application. */
const COMPARED_AT_ONCE = 4;

/**
 * Has Argo CD compare applications with their clusters now, and says how they are then. What it says by itself can be wrong: when the
 * API server refuses a changed object while Argo CD compares, Argo CD 3.6 notes every object as unchanged beside its error. With the
 * next event of another object it believes the note: the application is Synced with a commit that its cluster does not have.
 * @throws ExternalError as `listApplications`
 */
export async function compareAnew(
  argocd: Argocd,
  applications: readonly Application[],
): Promise<Application[]> {
  const call = pLimit(COMPARED_AT_ONCE);
  const compared = applications.map(async ({ name }) =>
    call(async () => ask(argocd, ["app", "get", name, "--refresh", "--output", "json"])),
  );
  return parseApplications(`[${(await Promise.all(compared)).join(",")}]`);
}

async function ask({ program, env }: Argocd, args: readonly string[]): Promise<string> {
  const limitMs = stretched(ANSWER_MS);
  const signal = AbortSignal.timeout(limitMs);
  try {
    return await run(program, args, { env, signal });
  } catch (error) {
    if (!signal.aborted) throw error;
    const seconds = Math.round(limitMs / 1000);
    throw new ExternalError(`Argo CD does not answer within ${seconds} s`, undefined, { cause: error });
  }
}

/** Reads what `argocd app list --output json` prints. */
export function parseApplications(json: string): Application[] {
  const parsed = Listed.safeParse(JSON.parse(json) ?? []);
  if (!parsed.success) throw new ExternalError("argocd answered with applications of an unknown shape");
  const applications = parsed.data.map(({ metadata, operation, status }): Application => {
    const labels = metadata.labels ?? {};
    return {
      name: metadata.name,
      app: labels["app"] ?? "",
      env: labels["environment"] ?? "",
      cluster: labels["cluster"] ?? "",
      images: status?.summary?.images ?? [],
      sync: status?.sync?.status ?? "Unknown",
      health: status?.health?.status ?? "Unknown",
      revision: status?.sync?.revision ?? "",
      operation: status?.operationState?.phase ?? "",
      operating: operation !== undefined || isOperating(status),
      message: status?.conditions?.[0]?.message ?? status?.operationState?.message ?? "",
      operationMessage: status?.operationState?.message ?? "",
      comparisonError: comparisonErrorIn(status?.conditions ?? []),
      unhealthy: unhealthyIn(status?.resources ?? []),
      isEmpty: isEmpty(status),
      healthSince: dateOf(status?.health?.lastTransitionTime),
      deployments: (status?.history ?? []).flatMap(({ revision = "", deployedAt }) => {
        const at = dateOf(deployedAt);
        return at === undefined ? [] : [{ revision, at }];
      }),
    };
  });
  return applications.toSorted((a, b) => a.name.localeCompare(b.name));
}

/** As `argocd app wait` has it: the comparison after an operation is what tells its result. */
function isOperating(status: Status): boolean {
  if (status?.operationState === undefined) return false;
  const { finishedAt } = status.operationState;
  return !finishedAt || !status.reconciledAt || new Date(status.reconciledAt) < new Date(finishedAt);
}

function comparisonErrorIn(conditions: readonly { type: string; message: string }[]): string | undefined {
  const found = conditions.find(({ type }) => COMPARISON_ERRORS.has(type));
  return found === undefined ? undefined : `${found.type}: ${found.message}`;
}

function unhealthyIn(resources: readonly Resource[]): string | undefined {
  const found = resources.find(({ health }) => (health?.status ?? "Healthy") !== "Healthy");
  if (found === undefined) return undefined;
  const { kind, name, health } = found;
  return `${kind} ${name} is ${health?.status}${health?.message ? `: ${health.message}` : ""}`;
}

/** Only what was compared can be told from what is not there yet. */
function isEmpty(status: Status): boolean {
  const isCompared = ["Synced", "OutOfSync"].includes(status?.sync?.status ?? "");
  return isCompared && (status?.resources ?? []).every(({ kind }) => kind === "SopsSecret");
}

function dateOf(text: string | undefined): Date | undefined {
  return text === undefined ? undefined : new Date(text);
}
