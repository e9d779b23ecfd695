/** Argo CD, through its command line client. */
import { z } from "zod";
import { ExternalError } from "../errors.ts";
import { run, tryRun } from "../exec.ts";

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
  /** Why it is not as it should be, if Argo CD says so. */
  readonly message: string;
  /** When its health changed last; undefined when Argo CD does not say. */
  readonly healthSince: Date | undefined;
  /** What it deployed, the oldest first; Argo CD keeps ten. */
  readonly deployments: readonly { readonly revision: string; readonly at: Date }[];
}

const Listed = z.array(
  z.object({
    metadata: z.object({ name: z.string(), labels: z.record(z.string(), z.string()).optional() }),
    status: z
      .object({
        sync: z.object({ status: z.string().optional(), revision: z.string().optional() }).optional(),
        health: z
          .object({ status: z.string().optional(), lastTransitionTime: z.string().optional() })
          .optional(),
        history: z.array(z.object({ revision: z.string().optional(), deployedAt: z.string() })).nullish(),
        summary: z.object({ images: z.array(z.string()).nullish() }).optional(),
        operationState: z.object({ phase: z.string().optional(), message: z.string().optional() }).optional(),
        conditions: z.array(z.object({ type: z.string(), message: z.string() })).nullish(),
      })
      .optional(),
  }),
);

/** For a slow server and a few hundred applications; chosen, not measured. */
const ANSWER_MS = 20_000;

/**
 * Every application that an environment's ApplicationSet made, sorted by name.
 * @throws ExternalError when Argo CD cannot be reached, or says nothing for 20 s: its client would wait for ever
 */
export async function listApplications(argocd: Argocd, environment?: string): Promise<Application[]> {
  const selector = environment === undefined ? "app" : `app,environment=${environment}`;
  const args = ["app", "list", "--output", "json", "--selector", selector];
  const signal = AbortSignal.timeout(ANSWER_MS);
  try {
    return parseApplications(await run(argocd.program, args, { env: argocd.env, signal }));
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new ExternalError(`Argo CD does not answer within ${ANSWER_MS / 1000} s`, undefined, {
      cause: error,
    });
  }
}

/** Reads what `argocd app list --output json` prints. */
export function parseApplications(json: string): Application[] {
  const parsed = Listed.safeParse(JSON.parse(json) ?? []);
  if (!parsed.success) throw new ExternalError("argocd answered with applications of an unknown shape");
  const applications = parsed.data.map(({ metadata, status }): Application => {
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
      message: status?.conditions?.[0]?.message ?? status?.operationState?.message ?? "",
      healthSince: dateOf(status?.health?.lastTransitionTime),
      deployments: (status?.history ?? []).flatMap(({ revision = "", deployedAt }) => {
        const at = dateOf(deployedAt);
        return at === undefined ? [] : [{ revision, at }];
      }),
    };
  });
  return applications.toSorted((a, b) => a.name.localeCompare(b.name));
}

function dateOf(text: string | undefined): Date | undefined {
  return text === undefined ? undefined : new Date(text);
}

/**
 * Syncs one application to what its branch contains now, and waits until it is Synced and Healthy. What has left Git goes,
 * as it does by itself in an environment that syncs by itself: the ConfigMap of a configuration that has changed, for one.
 * Without that the application would stay OutOfSync. What a manifest marks with `Prune=confirm` still waits for a person.
 * @throws ExternalError with Argo CD's reason when it fails or takes longer than the time given
 */
export async function syncApplication(argocd: Argocd, name: string, timeoutSeconds: number): Promise<void> {
  const limit = ["--timeout", String(timeoutSeconds)];
  const synced = await tryRun(argocd.program, ["app", "sync", name, "--prune", ...limit], {
    env: argocd.env,
  });
  // One that Argo CD has started itself is as good.
  const running = /another operation is already in progress/.test(synced.stderr);
  if (synced.exitCode !== 0 && !running) throw failure(`${name} does not sync`, synced.stderr);
  const wait = ["app", "wait", name, "--operation", "--sync", "--health", ...limit];
  const waited = await tryRun(argocd.program, wait, { env: argocd.env });
  if (waited.exitCode !== 0) throw failure(`${name} is not Healthy`, waited.stderr);
}

/** What Argo CD said; a time that is up ends the client, not the sync. */
function failure(what: string, stderr: string): ExternalError {
  const reason = reasonIn(stderr);
  const hint = "Argo CD goes on: look at `npm run status`, or wait longer with --timeout";
  return new ExternalError(`${what}: ${reason}`, reason.startsWith("timed out ") ? hint : undefined);
}

/** The message in the last line that the client logged: JSON, or `level=fatal msg="…"`. */
function reasonIn(stderr: string): string {
  const line = stderr.trim().split("\n").at(-1) ?? "";
  return /"?msg"?[=:]"((?:[^"\\]|\\.)*)"/.exec(line)?.[1]?.replaceAll('\\"', '"') ?? line;
}
