/** Where a status comes from: the forge or, where there is no token for one, the checkout; and Argo CD, where it can be asked. */
import { compareAnew, listApplicationSetErrors, listApplications } from "../argocd/applications.ts";
import { connectArgocd } from "../argocd/connection.ts";
import { moment } from "../duration.ts";
import { CommandError, messageOf, RefusedError } from "../errors.ts";
import { connectRepository, type RepositoryConnection } from "../forge/connection.ts";
import { withForge } from "../forge/session.ts";
import { deployedIn } from "../git/checkout.ts";
import { GitHistory } from "../git/history.ts";
import type { RemoteOptions } from "../git/remote.ts";
import { PROMOTIONS } from "../promotion/pull-request-body.ts";
import { readSettings } from "../tree/settings.ts";
import { firingAlerts, withAlerts } from "./alerts.ts";
import { doubtful, withApplications } from "./applications.ts";
import { type OpenChange, openChanges } from "./changes.ts";
import { readStatus, type Status } from "./status.ts";

export interface FoundStatus {
  status: Status;
  changes: readonly OpenChange[];
  /** What it was read from, such as `main at 44252a0 of https://…`. */
  source: string;
}

export interface StatusRequest extends Pick<RemoteOptions, "env" | "onInterrupt"> {
  root: string;
  /** None for all. */
  apps: readonly string[];
  /** Whether to count how many commits of its own repository an app is behind. */
  commits: boolean;
  now: Date;
  /** What was where then, as the checkout knows it; undefined: now. */
  at?: Date | undefined;
}

/**
 * Finds out which release of which app is where.
 * @throws UsageError for an unknown app; RefusedError, ExternalError when the forge is not in order
 */
export async function findStatus(request: StatusRequest): Promise<FoundStatus> {
  if (request.at !== undefined) return findEarlier(request, request.at);
  const connection = await connect(request);
  const found =
    "reason" in connection
      ? await fromCheckout(request, connection.reason)
      : await fromForge(request, connection);
  const withArgocd = await addArgocd(request, found.status);
  const firing = await firingAlerts(request.root, request.env);
  if (firing === undefined) return { ...found, status: withArgocd };
  const status = withAlerts(withArgocd, firing.alerts);
  return { ...found, status: { ...status, notes: [...status.notes, ...firing.notes] } };
}

async function connect({
  root,
  env,
  commits,
}: StatusRequest): Promise<RepositoryConnection | { reason: string }> {
  try {
    return await connectRepository(root, env);
  } catch (error) {
    if (!(error instanceof RefusedError) || commits) throw error;
    return { reason: `${error.message} (${error.hint})` };
  }
}

async function fromForge(request: StatusRequest, connection: RepositoryConnection): Promise<FoundStatus> {
  const { apps, commits, now } = request;
  const { address, branch } = connection;
  const session = { ...request, needs: [], history: PROMOTIONS };
  return withForge(connection, session, async (remote, forge) => {
    const commit = (await remote.tip(branch)) ?? "";
    const changes = await openChanges(remote, forge);
    const sources = commits ? forge : undefined;
    const status = await readStatus({ git: remote, commit, apps, changes, sources, now });
    const source = `${branch} at ${commit.slice(0, 7)} of ${address.git}`;
    return { status, changes: shown(changes, apps), source };
  });
}

function shown(changes: readonly OpenChange[], apps: readonly string[]): OpenChange[] {
  return changes.filter((change) => apps.length === 0 || change.apps.some((app) => apps.includes(app)));
}

/** What the checkout knows of the deployed branch, where there is no forge to ask. */
async function fromCheckout({ root, apps, now }: StatusRequest, reason: string): Promise<FoundStatus> {
  const { git, name, commit, notes: short } = await deployedHere(root);
  const status = await readStatus({ git, commit, changes: undefined, sources: undefined, apps, now });
  const notes = [`without open pull requests: ${reason}`, ...short];
  const source = `${name} at ${commit.slice(0, 7)}, as this checkout has it`;
  return { status: { ...status, notes }, changes: [], source };
}

async function findEarlier({ root, apps }: StatusRequest, at: Date): Promise<FoundStatus> {
  const { git, name, commit: tip, notes } = await deployedHere(root);
  const commit = await git.commitAt(at, tip);
  if (commit === undefined) throw new RefusedError(`${name} has no commit of before ${moment(at)}`);
  const status = await readStatus({ git, commit, changes: undefined, sources: undefined, apps, now: at });
  const source = `${name} as it was at ${moment(at)}: ${commit.slice(0, 7)}`;
  return { status: { ...status, notes }, changes: [], source };
}

/** The deployed branch, as a checkout has it. */
export async function deployedHere(
  root: string,
): Promise<{ git: GitHistory; name: string; commit: string; notes: string[] }> {
  const { revision } = await readSettings(root);
  const { name, commit, isShallow } = await deployedIn(root, revision);
  const short = "its history is short: `git fetch --unshallow` brings the rest";
  return { git: new GitHistory(root), name, commit, notes: isShallow ? [short] : [] };
}

async function addArgocd({ root, env, apps }: StatusRequest, status: Status): Promise<Status> {
  try {
    const argocd = await connectArgocd(root, env);
    const [listed, errors] = await Promise.all([listApplications(argocd), listApplicationSetErrors(argocd)]);
    const compared = await compareAnew(argocd, doubtful(status.rows, listed));
    const applications = listed.map((one) => compared.find(({ name }) => name === one.name) ?? one);
    return withApplications({ ...status, notes: [...status.notes, ...errors] }, applications, apps);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const note = `without sync and health: ${messageOf(error)}`;
    return { ...status, notes: [...status.notes, note] };
  }
}
