/** How a forge's REST API is called: which calls are tried again, every page of a list, and one line for what goes wrong. */
import { Octokit } from "@octokit/rest";
import { z } from "zod";
import { CommandError, codeOf, ExternalError, messageOf, RefusedError } from "../errors.ts";
import type { Way } from "../git/network.ts";
import { pause } from "../wait.ts";
import type { ForgeAddress } from "./address.ts";
import { differencesOf, type ForgeDifferences } from "./forge-differences.ts";
import { sender } from "./transport.ts";

export interface CallOptions {
  /** Another repository of the same forge. */
  repository?: { owner: string; name: string };
  /**
   * Whether the call is sent again when the forge fails (5xx), which does not say whether it was carried out. By default it is,
   * unless it is a POST: that would open or write something twice.
   */
  repeatable?: boolean;
}

export interface ForgeCalls {
  readonly address: ForgeAddress;
  readonly differences: ForgeDifferences;
  /**
   * Sends one request.
   * @param route as octokit writes it, such as `GET /repos/{owner}/{repo}`; owner and repo are put in here
   * @param parameters of the path; the others go to the query of a GET, or to the body
   * @throws RefusedError, ExternalError
   */
  call: <T>(route: string, parameters: object, schema: z.ZodType<T>, options?: CallOptions) => Promise<T>;
  /** Reads every page of a list. */
  list: <T>(route: string, parameters: object, schema: z.ZodType<T>) => Promise<T[]>;
}

/** A call that failed for a moment is tried again after these pauses; a forge that asks for a longer one is not waited for. */
const PAUSES_MS = [500, 1000, 2000];
const LONGEST_WAIT_MS = 30_000;
/** How long one call may take. A forge under load answers within seconds; 30 is what GitHub's own clients allow. */
const CALL_TIMEOUT_MS = 30_000;
/** A call is not tried again this long after it was sent first. */
const PATIENCE_MS = 60_000;

export interface ConnectOptions {
  /** Through the network, to the API; by default nothing is in between. */
  way?: Way;
  /** How long one call may take. */
  timeoutMs?: number;
}

/**
 * Prepares calls; nothing is sent yet.
 * @param address where the forge is, and the repository
 * @param token sent to the API at the address, and to nobody else
 */
export function forgeCalls(
  address: ForgeAddress,
  token: string,
  { way, timeoutMs = CALL_TIMEOUT_MS }: ConnectOptions = {},
): ForgeCalls {
  // octokit prints a line for each failure; here one line says what it means.
  const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
  const octokit = new Octokit({
    baseUrl: address.api,
    auth: token,
    log,
    userAgent: "ecommerce-gitops",
    request: { fetch: sender(way, timeoutMs) },
  });
  const differences = differencesOf(address.api);

  const send = async <T>(
    route: string,
    parameters: object,
    schema: z.ZodType<T>,
    options: CallOptions = {},
  ) => {
    const { owner, name: repo } = options.repository ?? address;
    const isRepeatable = options.repeatable ?? !route.startsWith("POST ");
    const { host } = new URL(address.api);
    // A parameter that is not in the path would go to the query.
    const place = route.includes("{owner}") ? { owner, repo } : {};
    const response = await retried(host, isRepeatable, async () =>
      octokit.request(route, { ...place, ...parameters }),
    ).catch((error: unknown) => {
      throw explain(error, { api: address.api, way, timeoutMs }, `${owner}/${repo}`, route, parameters);
    });
    const parsed = schema.safeParse(response.data);
    if (parsed.success) return { data: parsed.data, headers: response.headers };
    throw strange(address.api, response.headers["content-type"]);
  };

  return {
    address,
    differences,
    call: async (route, parameters, schema, options) => (await send(route, parameters, schema, options)).data,
    async list(route, parameters, schema) {
      // An empty list may be null, and Forgejo's may hold null.
      const Page = z.array(schema.nullable()).nullable();
      const found = [];
      for (let page = 1, seen = 0; ; page += 1) {
        const { data, headers } = await send(route, { ...parameters, page, ...differences.page }, Page);
        const items = data ?? [];
        seen += items.length;
        found.push(...items.filter((item) => item !== null));
        // The link's address may be one of a proxy, so it is not followed. Gitea counts the labels, but links no page of them.
        const more = /rel="next"/.test(headers.link ?? "") || seen < Number(headers["x-total-count"] ?? 0);
        if (items.length === 0 || !more) return found;
      }
    },
  };
}

/**
 * What a forge answered to a call that failed.
 * @param error as call() throws it
 * @returns undefined when it did not answer, or with something else than an error
 */
export function answerOf(error: unknown): { status: number; message: string } | undefined {
  const cause = error instanceof CommandError ? error.cause : undefined;
  const status = statusOf(cause);
  return status === undefined || isUnanswered(cause) ? undefined : { status, message: brief(cause) };
}

/** Whether a forge said no, and knows why: neither a failure of its own, nor a token or a pace that it does not like. */
export function isRefusal(error: unknown): boolean {
  const status = answerOf(error)?.status ?? 0;
  const cause = error instanceof CommandError ? error.cause : undefined;
  return status >= 400 && status < 500 && status !== 401 && !isRateLimit(cause);
}

async function retried<T>(host: string, isRepeatable: boolean, call: () => Promise<T>): Promise<T> {
  const end = Date.now() + PATIENCE_MS;
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await call();
    } catch (error) {
      const own = PAUSES_MS[attempt];
      const wait = Math.max(askedPauseMs(error), own ?? 0);
      const isOver = own === undefined || wait > LONGEST_WAIT_MS || Date.now() + wait > end;
      if (isOver || !mayRepeat(error, isRepeatable)) throw error;
      await pause(`${host} takes calls again`, wait, brief(error));
    }
  }
}

/** A call that was one too many has not been carried out, so any may be sent again. */
function mayRepeat(error: unknown, isRepeatable: boolean): boolean {
  const isHopeless = refusalIn(error) !== undefined || isDistrust(rootOf(error));
  return isRateLimit(error) || (isRepeatable && (statusOf(error) ?? 0) >= 500 && !isHopeless);
}

/** GitHub answers 403 as well as 429 when there were too many calls. */
function isRateLimit(error: unknown): boolean {
  const headers = headersOf(error);
  return (
    statusOf(error) === 429 ||
    (statusOf(error) === 403 &&
      (headers["x-ratelimit-remaining"] === "0" ||
        headers["retry-after"] !== undefined ||
        /rate limit/i.test(messageOf(error))))
  );
}

/** The pause that the forge asks for. */
function askedPauseMs(error: unknown): number {
  const headers = headersOf(error);
  const seconds = Number(headers["retry-after"]);
  if (seconds > 0) return seconds * 1000;
  const reset = Number(headers["x-ratelimit-reset"]);
  return isRateLimit(error) && reset > 0 ? Math.max(0, reset * 1000 - Date.now()) : 0;
}

/** One line for what a forge answered, or did not. */
function explain(
  error: unknown,
  connection: Connection,
  repository: string,
  route: string,
  parameters: object,
): Error {
  const refusal = refusalIn(error);
  if (refusal !== undefined) return refusal;
  const status = statusOf(error);
  const { host } = new URL(connection.api);
  const options = { cause: error };
  if (status === undefined) return error instanceof Error ? error : new Error(String(error));
  if (isUnanswered(error)) return unanswered(error, connection);
  if (status === 401)
    return new RefusedError(
      `${host} does not accept the token`,
      "it may have expired: make a new one",
      options,
    );
  if (isRateLimit(error)) {
    const asked = Math.ceil(askedPauseMs(error) / 1000);
    return new ExternalError(
      `${host} answers ${status}: too many calls`,
      asked > 0 ? `try again in ${asked} s` : "try again later",
      options,
    );
  }
  if (status === 403)
    return new RefusedError(
      `${host} does not let this token do that to ${repository}: ${brief(error)}`,
      rightFor(route),
      options,
    );
  // GitHub answers 422 when it is asked about a commit that it does not have.
  if (status === 404 || (status === 422 && messageOf(error).startsWith("No commit found"))) {
    if (route.endsWith("/pulls")) return new RefusedError(...withoutPullRequests(host, repository), options);
    const [message, hint] = absent(repository, parameters);
    return new RefusedError(`${host} has ${message}`, hint, options);
  }
  const hint = status >= 500 ? "try again later" : undefined;
  return new ExternalError(`${host} answers ${status}: ${brief(error)}`, hint, options);
}

interface Connection {
  api: string;
  way: Way | undefined;
  timeoutMs: number;
}

/** A redirect that is not followed: octokit takes it for a connection that failed. */
function refusalIn(error: unknown): RefusedError | undefined {
  return error instanceof Error && error.cause instanceof RefusedError ? error.cause : undefined;
}

/** Whether a certificate is not accepted, by the names that OpenSSL and Node have for the reasons. */
function isDistrust(error: Error): boolean {
  return /CERT|SIGNATURE|ISSUER/.test(codeOf(error) ?? "");
}

/** One line for a connection that was not made, or broke off. */
function unanswered(error: unknown, { api, way, timeoutMs }: Connection): ExternalError {
  const { host } = new URL(api);
  const options = { cause: error };
  const by = way?.said === undefined ? "" : ` ${way.said}`;
  const cause = rootOf(error);
  if (cause.name === "TimeoutError")
    return new ExternalError(
      `${host} does not answer${by} within ${timeoutMs / 1000} s`,
      "try again later",
      options,
    );
  const line = `${host} does not answer${by}: ${messageOf(cause) || codeOf(cause)}`;
  if (isDistrust(cause))
    return new ExternalError(
      line,
      "put the file of who signs its certificates into NODE_EXTRA_CA_CERTS, or into http.sslCAInfo of Git",
      options,
    );
  const hint = `${way?.said === undefined ? "is" : "are that proxy and"} forgeAPI in the settings right?`;
  return new ExternalError(line, hint, options);
}

/** What went wrong first, below what octokit and undici say about it; of several addresses that were tried, for the last. */
function rootOf(error: unknown): Error {
  const [last] = error instanceof AggregateError ? error.errors.slice(-1) : [];
  const inner: unknown = last ?? (error instanceof Error ? error.cause : undefined);
  if (inner instanceof Error) return rootOf(inner);
  return error instanceof Error ? error : new Error(String(error));
}

/** What a repository whose pull requests are switched off is refused with: what, and what to do. */
export function withoutPullRequests(host: string, repository: string): [message: string, hint: string] {
  return [`${host} has no pull requests for ${repository}`, "switch them on in its settings"];
}

/** The right that a token lacks. */
function rightFor(route: string): string {
  if (/\/(labels|comments)$/.test(route))
    return "it needs to write issues, too: labels and comments are theirs";
  if (route.endsWith("/statuses")) return "it needs to read commit statuses, too";
  return "it needs to write contents and pull requests";
}

/** What is not there, and what to do. */
function absent(repository: string, parameters: object): [message: string, hint: string] {
  if ("number" in parameters)
    return [
      `no pull request #${String(parameters.number)} in ${repository}`,
      "it may have been closed: run it again",
    ];
  if ("ref" in parameters)
    return [`no commit ${String(parameters.ref)} in ${repository}`, "it may be gone, or not pushed yet"];
  if ("basehead" in parameters)
    return [
      `no ${repository} with the commits ${String(parameters.basehead)}, or the token may not see it`,
      "compare source in the catalogue",
    ];
  return [
    `no repository ${repository}, or the token may not see it`,
    "compare repoURL and forgeAPI in the settings",
  ];
}

function strange(api: string, type: string | undefined): ExternalError {
  return new ExternalError(
    `${new URL(api).host} answers ${type?.split(";")[0] ?? "something"} that is no answer of a forge's API`,
    "is forgeAPI in the settings right?",
  );
}

function statusOf(error: unknown): number | undefined {
  return error instanceof Error && "status" in error && typeof error.status === "number"
    ? error.status
    : undefined;
}

/** octokit reports a connection that failed as status 500 without a response. */
function isUnanswered(error: unknown): boolean {
  return !(error instanceof Error && "response" in error && error.response !== undefined);
}

function headersOf(error: unknown): Record<string, string | undefined> {
  const Answer = z.object({ response: z.object({ headers: z.record(z.string(), z.string().optional()) }) });
  const parsed = Answer.safeParse(error);
  return parsed.success ? parsed.data.response.headers : {};
}

/** The first line of what the forge said; a page of HTML is none of it. */
function brief(error: unknown): string {
  const text = messageOf(error);
  return text.startsWith("<") ? "a page of HTML" : text.slice(0, 200);
}
