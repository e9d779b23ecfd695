/** What Argo CD knows, beside what Git and the forge say. */
import type { Application } from "../argocd/applications.ts";
import type { Status, StatusRow } from "./status.ts";

/**
 * Adds what Argo CD says: a row for each cluster, and a note for each application that cannot be compared. Applications that no
 * row is about get one of their own.
 * @param apps only these; none for all
 */
export function withApplications(
  { rows, ...status }: Status,
  applications: readonly Application[],
  apps: readonly string[] = [],
): Status {
  const wanted = applications.filter(({ app }) => apps.length === 0 || apps.includes(app));
  const rest = new Set(wanted);
  const known = rows.flatMap((row) => {
    const here = applications.filter(({ app, env }) => app === row.app && env === row.env);
    for (const application of here) rest.delete(application);
    return here.length === 0
      ? [row]
      : here.map((application) => ({ ...row, ...stateOf(application, row.image) }));
  });
  const notes = wanted.flatMap(({ name, comparisonError }) =>
    comparisonError === undefined ? [] : [`${name} cannot be compared with Git: ${comparisonError}`],
  );
  return {
    ...status,
    rows: [...known, ...[...rest].map((application) => unknownRow(application))],
    notes: [...status.notes, ...notes.map((note) => note.replace(/\s+/g, " "))],
  };
}

/**
 * Applications that are Synced, as Argo CD says, and have deployed nothing since their release came. It may have brought nothing to
 * deploy, or was refused (`compareAnew`).
 */
export function doubtful(
  rows: readonly Pick<StatusRow, "app" | "env" | "since">[],
  applications: readonly Application[],
): Application[] {
  return applications.filter(({ app, env, sync, deployments }) => {
    const since = rows.find((row) => row.app === app && row.env === env)?.since;
    if (sync !== "Synced" || since === undefined || since === null) return false;
    return (deployments.at(-1)?.at.getTime() ?? 0) < new Date(since).getTime();
  });
}

function stateOf(application: Application, image: string | null) {
  const { app, cluster, sync, health, revision, images, isEmpty } = application;
  const path = image?.split(":")[0] ?? app;
  const running = images.filter((name) => name.includes(`/${path}:`));
  return { cluster, sync, health, isEmpty, revision: revision === "" ? null : revision, running };
}

function unknownRow(application: Application): StatusRow {
  return {
    app: application.app,
    env: application.env,
    release: null,
    image: null,
    commit: null,
    since: null,
    behind: null,
    commitsBehind: null,
    pullRequests: null,
    holds: [],
    alerts: null,
    lastRollback: null,
    ...stateOf(application, null),
  };
}
