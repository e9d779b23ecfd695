/** Which alerts fire, from each environment's Alertmanager, beside the apps that they are about. */
import { z } from "zod";
import { messageOf, UsageError } from "../errors.ts";
import { findSandbox } from "../sandbox/variables.ts";
import type { Status, StatusRow } from "./status.ts";

/** One that fires and is not silenced. */
export interface Alert {
  readonly env: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly summary: string;
}

const Listed = z.array(
  z.object({
    labels: z.record(z.string(), z.string()),
    annotations: z.record(z.string(), z.string()).default({}),
  }),
);

const VARIABLE = "ALERTMANAGER_URLS";
const ANSWER_MS = 5000;
/** Labels that tell which app an alert is about, in whose value its name stands. */
const SUBJECTS = [
  "service",
  "deployment",
  "horizontalpodautoscaler",
  "persistentvolumeclaim",
  "pod",
  "name",
] as const;

/**
 * Asks the Alertmanagers of `ALERTMANAGER_URLS`, such as `dev=http://127.0.0.1:9093,prod=https://…`, else the sandbox's.
 * @param only the environment to ask about; all of them by default
 * @returns undefined when there is none to ask; a note for each that does not answer
 * @throws UsageError when the variable cannot be read
 */
export async function firingAlerts(
  root: string,
  env: NodeJS.ProcessEnv,
  only?: string,
): Promise<{ alerts: Alert[]; notes: string[] } | undefined> {
  const urls = env[VARIABLE] ?? (await findSandbox(root, env))?.variables[VARIABLE] ?? "";
  const entries = urls.split(",").filter((entry) => entry !== "");
  const asked = entries
    .map((entry) => parseEntry(entry))
    .filter(({ environment }) => only === undefined || environment === only);
  if (asked.length === 0) return undefined;
  const found = await Promise.all(
    asked.map(async ({ environment, url }) =>
      ask(environment, url).catch((error: unknown) => ({
        alerts: [],
        notes: [`without the alerts of ${environment}: ${messageOf(error)}`],
      })),
    ),
  );
  return { alerts: found.flatMap(({ alerts }) => alerts), notes: found.flatMap(({ notes }) => notes) };
}

function parseEntry(entry: string): { environment: string; url: string } {
  const [, environment, url] = /^([\w-]+)=(https?:\/\/.+)$/.exec(entry.trim()) ?? [];
  if (environment !== undefined && url !== undefined) return { environment, url };
  throw new UsageError(
    `${VARIABLE} has "${entry}", which is no <environment>=<url>`,
    "write it as dev=http://127.0.0.1:9093,prod=https://alerts.example.com",
  );
}

async function ask(environment: string, url: string): Promise<{ alerts: Alert[]; notes: string[] }> {
  const path = "/api/v2/alerts?active=true&silenced=false&inhibited=false";
  const response = await fetch(`${url.replace(/\/$/, "")}${path}`, {
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  const alerts = Listed.parse(await response.json()).map(({ labels, annotations }) => ({
    env: environment,
    labels,
    summary: annotations["summary"] ?? "",
  }));
  return { alerts, notes: [] };
}

/** Adds what fires to the rows; what is about no app of a row becomes a note. */
export function withAlerts(status: Status, alerts: readonly Alert[]): Status {
  const rows = status.rows.map((row) => ({ ...row, alerts: [] as NonNullable<StatusRow["alerts"]> }));
  const notes: string[] = [];
  for (const { env, labels, summary } of alerts) {
    const { alertname: name = "", severity = "" } = labels;
    // An application of Argo CD names its cluster itself: the hub is none of the environments.
    const application = rows.find(
      ({ app, cluster, env: own }) => labels["name"] === `${cluster ?? own}-${app}`,
    );
    const apps = rows.filter((row) => row.env === env).map(({ app }) => app);
    const app = subjectOf(labels, apps);
    const about =
      application === undefined ? rows.filter((row) => row.env === env && row.app === app) : [application];
    for (const row of about) row.alerts.push({ name, severity, summary });
    if (about.length === 0) notes.push(`alert  ${name} (${severity}) in ${env}: ${summary}`);
  }
  return { ...status, rows, notes: [...status.notes, ...new Set(notes)] };
}

/** The app whose name stands in a label, the longest where several do. */
function subjectOf(labels: Alert["labels"], apps: readonly string[]): string | undefined {
  const longestFirst = apps.toSorted((one, other) => other.length - one.length);
  const values = SUBJECTS.flatMap((subject) => labels[subject] ?? []);
  return values
    .map((value) => longestFirst.find((app) => `-${value}-`.includes(`-${app}-`)))
    .find((app) => app !== undefined);
}
