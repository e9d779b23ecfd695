/** Syncs: started, watched, and ended as soon as no waiting helps. */
import pLimit from "p-limit";
import { ExternalError, messageOf } from "../errors.ts";
import { tryRun } from "../exec.ts";
import { Patience, waitFor } from "../wait.ts";
import { type Application, type Argocd, listApplicationSetErrors, readApplication } from "./applications.ts";

export interface SyncOptions {
  readonly timeoutSeconds: number;
  /** Gets a line now and then while it takes long. */
  readonly tell?: (line: string) => void;
  /** Between two looks; a second by default. */
  readonly everyMs?: number;
  /** For how long Argo CD may not answer in between; a minute by default. */
  readonly silenceMs?: number;
}

/** What becomes of an application that is being synced. */
export type Outcome =
  | { readonly kind: "done" }
  | { readonly kind: "pending"; readonly word: string }
  | { readonly kind: "failed"; readonly reason: string; readonly hint?: string };

/** Each call starts a client; more at once only make Argo CD's API slower. */
const CLIENTS = 4;
const LOOK_MS = 1_000;
const SILENCE_MS = 60_000;
/** So often Degraded, one look after another: just after a sync a controller may still report what was. */
const DEGRADED_LOOKS = 10;

/**
 * Syncs applications to what their branch contains now, and waits until they are Synced and Healthy. What has left Git goes,
 * as it does by itself in an environment that syncs by itself: the ConfigMap of a configuration that has changed, for one.
 * Without that the application would stay OutOfSync. What a manifest marks with `Prune=confirm` still waits for a person.
 * @param list reads the applications, these among them; it may be a moment behind
 * @throws ExternalError with Argo CD's reason when one fails, and when they take longer than the time given
 */
export async function syncApplications(
  argocd: Argocd,
  names: readonly string[],
  list: () => Promise<readonly Application[]>,
  { timeoutSeconds, tell, everyMs = LOOK_MS, silenceMs = SILENCE_MS }: SyncOptions,
): Promise<void> {
  const limit = pLimit(CLIENTS);
  const waiting = new Map(names.map((name) => [name, new Sync(argocd, name)]));
  const words = new Map<string, string>();
  let silence = new Patience(silenceMs);
  const step = async () => {
    const isAnyStarted = [...waiting.values()].some(({ isStarted }) => isStarted);
    const listed = isAnyStarted ? await list() : [];
    const seen = new Map(listed.map((application) => [application.name, application]));
    return Promise.all(
      [...waiting].map(async ([name, sync]) =>
        limit(async () => ({ name, outcome: await sync.step(seen.get(name)) })),
      ),
    );
  };
  const look = async () => {
    const steps = await step().catch((error: unknown) => {
      if (silence.hear("")) throw error;
      words.set("Argo CD", messageOf(error));
    });
    if (steps === undefined) return undefined;
    silence = new Patience(silenceMs);
    words.clear();
    for (const { name, outcome } of steps) {
      if (outcome.kind === "failed") throw new ExternalError(`${name}: ${outcome.reason}`, outcome.hint);
      if (outcome.kind === "done") waiting.delete(name);
      else words.set(name, outcome.word);
    }
    return waiting.size === 0 || undefined;
  };
  const lastWord = () =>
    [...words]
      .map(([name, word]) => `${name}: ${word}`)
      .join("; ")
      .slice(0, 600);
  await waitFor(`${names.join(", ")} ${names.length === 1 ? "is" : "are"} Synced and Healthy`, look, {
    timeoutMs: timeoutSeconds * 1000,
    everyMs,
    lastWord,
    hint: "Argo CD goes on: look at `npm run status`, or wait longer with --timeout",
    ...(tell === undefined ? {} : { tell }),
  });
}

/** One application on its way. */
class Sync {
  readonly #argocd: Argocd;
  readonly #name: string;
  isStarted = false;
  #degradedLooks = 0;

  constructor(argocd: Argocd, name: string) {
    this.#argocd = argocd;
    this.#name = name;
  }

  async step(seen: Application | undefined): Promise<Outcome> {
    if (!this.isStarted) return this.#start();
    const outcome = seen && (await this.#judge(seen));
    if (outcome?.kind === "pending") return outcome;
    return this.#judge(await readApplication(this.#argocd, this.#name));
  }

  async #start(): Promise<Outcome> {
    const { exitCode, stderr } = await this.#call("sync", "--prune", "--async");
    this.isStarted = exitCode === 0;
    if (this.isStarted) return { kind: "pending", word: "started" };
    if (!/another operation is already in progress/.test(stderr))
      return { kind: "failed", reason: `it does not sync: ${reasonIn(stderr)}` };
    // One that fails for good may be about an older commit, and would try that again for a quarter of an hour.
    const other = outcomeOf(await readApplication(this.#argocd, this.#name));
    if (other.kind === "failed") await this.#call("terminate-op");
    return {
      kind: "pending",
      word: other.kind === "pending" ? other.word : "ends an earlier sync that fails",
    };
  }

  async #judge(application: Application): Promise<Outcome> {
    const outcome = outcomeOf(application);
    const isDegraded =
      outcome.kind === "pending" && !application.operating && application.health === "Degraded";
    this.#degradedLooks = isDegraded ? this.#degradedLooks + 1 : 0;
    return this.#degradedLooks > DEGRADED_LOOKS ? this.#degraded(application) : outcome;
  }

  /** An ApplicationSet says itself why it fails. Argo CD looks at one that has not reached Git or a cluster again, after three minutes. */
  async #degraded({ unhealthy, message }: Application): Promise<Outcome> {
    const word = unhealthy ?? message;
    const errors = word.includes("ApplicationSet") ? await listApplicationSetErrors(this.#argocd) : [];
    const reason = [`it is Degraded: ${word}`, ...errors].join("; ");
    return errors.some((error) => PASSING.test(error))
      ? { kind: "pending", word: reason }
      : { kind: "failed", reason };
  }

  async #call(verb: string, ...flags: string[]): Promise<{ exitCode: number; stderr: string }> {
    return tryRun(this.#argocd.program, ["app", verb, this.#name, ...flags], { env: this.#argocd.env });
  }
}

/** What an application that is being synced says of it. Whether Degraded is for good, only time shows. */
export function outcomeOf(application: Application): Outcome {
  const { operating, operation, operationMessage, comparisonError, sync, health, unhealthy } = application;
  const retry = / ?(?:\. )?Retrying attempt #\d+ at \S+\.$/;
  if (operating) {
    const reason = operationMessage.replace(retry, "");
    if (reason !== operationMessage && isFinal(reason)) return doesNotSync(reason);
    return { kind: "pending", word: operationMessage || operation || "waits for its turn" };
  }
  if (operation === "Failed" || operation === "Error") return doesNotSync(operationMessage);
  if (comparisonError !== undefined && isFinal(comparisonError)) return doesNotSync(comparisonError);
  if (sync === "Synced" && health === "Healthy") return { kind: "done" };
  const word = [`${sync} ${health}`, comparisonError ?? unhealthy].filter((part) => part !== undefined);
  return { kind: "pending", word: word.join(", ") };
}

function doesNotSync(message: string): Outcome {
  const reason = `it does not sync: ${message.replaceAll(/\s+/g, " ")}`;
  if (!isFinal(message)) return { kind: "failed", reason };
  return { kind: "failed", reason, hint: "no retry fixes that: push a commit that does" };
}

/** What the next attempt with the same commit meets again: it cannot be rendered, or an API server or a project says no to it. */
const FINAL =
  /^(?:ComparisonError|InvalidSpecError)|is invalid:|is immutable|strict decoding error|unknown field|not permitted in project|denied (?:the )?request/;
/** Argo CD has not reached the repository or the cluster, or not in time. */
const PASSING =
  /code = (?:Unavailable|DeadlineExceeded|Canceled)|connection re(?:fused|set)|deadline exceeded|timed out|(?:i\/o|handshake|request) timeout|no such host|context canceled|transport is closing|too many requests|load live state/i;

/** Whether no waiting helps. What an application of another step may bring yet, such as a namespace, a kind or room, is awaited. */
export function isFinal(message: string): boolean {
  return FINAL.test(message) && !PASSING.test(message);
}

/** The message in the last line that the client logged: JSON, or `level=fatal msg="…"`. */
function reasonIn(stderr: string): string {
  const line = stderr.trim().split("\n").at(-1) ?? "";
  return /"?msg"?[=:]"((?:[^"\\]|\\.)*)"/.exec(line)?.[1]?.replaceAll('\\"', '"') ?? line;
}
