/** Does what a demo's steps ask for, in the sandbox of this checkout, and shows it. */
import { type Application, type Argocd, listApplications } from "../argocd/applications.ts";
import { ExternalError } from "../errors.ts";
import { run } from "../exec.ts";
import type { Forge } from "../forge/forge.ts";
import { verdictOf } from "../promotion/health.ts";
import { countedStatuses } from "../promotion/report-source.ts";
import { gitEnv } from "../sandbox/clone.ts";
import type { Layout } from "../sandbox/layout.ts";
import { type RunningProgram, startShown } from "../shown-program.ts";
import type { App } from "../tree/catalogue.ts";
import type { Environment } from "../tree/environment.ts";
import { waitFor } from "../wait.ts";
import type { AppState, DemoHands } from "./steps.ts";
import type { Narrator } from "./terminal.ts";

export interface DemoSandbox {
  layout: Layout;
  app: App;
  environments: readonly Environment[];
  forge: Forge;
  /** The account that Argo CD reports with. */
  reporter: string;
  /** The branch that is deployed. */
  branch: string;
  argocd: Argocd;
  /** For every program that is run. */
  env: NodeJS.ProcessEnv;
}

/** Longer than a rollout of the demo and its soak stand still. */
const QUIET_MS = 180_000;
const LOOK_MS = 500;

/** What runs at the moment, so that an interruption can end it. */
export class Stage {
  #running: RunningProgram | undefined;

  /** Runs a program and shows its lines; returns its exit code. */
  async run(narrator: Narrator, options: Omit<Parameters<typeof startShown>[0], "onLine">): Promise<number> {
    this.#running = startShown({ ...options, onLine: (line, stream) => narrator.output(line, stream) });
    try {
      return await this.#running.ended;
    } finally {
      this.#running = undefined;
    }
  }

  /** Ends what runs, and waits until it has undone what it began. */
  async interrupt(): Promise<void> {
    this.#running?.interrupt();
    await this.#running?.ended;
  }
}

/** Runs `npm run <args>` as its user types it, and shows both. */
export async function runCommand(
  stage: Stage,
  narrator: Narrator,
  where: { root: string; env: NodeJS.ProcessEnv },
  args: readonly string[],
  exitCodes: readonly number[] = [0],
): Promise<number> {
  const typed = `npm run ${args.map(quote).join(" ")}`;
  narrator.command(typed);
  const code = await stage.run(narrator, {
    program: "npm",
    args: ["--silent", "run", ...args],
    cwd: where.root,
    env: where.env,
  });
  if (exitCodes.includes(code)) return code;
  throw new ExternalError(
    `\`${typed}\` ended with ${code} and not with ${exitCodes.join(" or ")}`,
    "what it says is above; the sandbox is as it was left",
  );
}

function quote(word: string): string {
  return /^[\w./:=@-]+$/.test(word) ? word : `"${word}"`;
}

/** The hands for the sandbox. */
export function demoHands(sandbox: DemoSandbox, stage: Stage, narrator: Narrator): DemoHands {
  const { layout, app, environments, forge, reporter, branch, argocd, env } = sandbox;
  const ofApp = async (name: string) =>
    (await listApplications(argocd, name)).filter((a) => a.app === app.app);
  const tipOf = async (ref: string) => {
    const args = ["ls-remote", "origin", `refs/heads/${ref}`];
    const [commit = ""] = (await run("git", args, { cwd: layout.work, env: gitEnv(layout) })).split("\t");
    return commit;
  };
  const until = async (what: string, look: () => Promise<{ done: boolean; facts: string }>) => {
    const began = Date.now();
    const seconds = () => Math.round((Date.now() - began) / 1000);
    let facts = "";
    await waitFor(
      what,
      async () => {
        const seen = await look();
        ({ facts } = seen);
        if (!seen.done) narrator.waiting(`${seconds()} s: ${facts} … until ${what}`);
        return seen.done ? true : undefined;
      },
      { quietMs: QUIET_MS, everyMs: LOOK_MS, lastWord: () => facts, tell: (line) => narrator.still(line) },
    );
    narrator.done(seconds() === 0 ? what : `${what} (after ${seconds()} s)`);
  };

  return {
    async command(args, exitCodes) {
      return runCommand(stage, narrator, { root: layout.root, env }, args, exitCodes);
    },
    async showPods(name) {
      const selector = `app.kubernetes.io/name=${app.app}`;
      const args = ["--context", name, "--namespace", app.namespace, "get", "pods", "--selector", selector];
      narrator.command(`kubectl ${args.join(" ")}`);
      const { env: inSandbox } = argocd;
      const code = await stage.run(narrator, { program: "kubectl", args, cwd: layout.root, env: inSandbox });
      if (code !== 0) throw new ExternalError(`kubectl ended with ${code}`, "what it says is above");
    },
    async merge(head) {
      const [pull] = await forge.openPullRequests({ head, base: branch });
      if (pull === undefined) {
        throw new ExternalError(`${head} has no open pull request`, "has somebody else merged it?");
      }
      await forge.mergePullRequest(pull.number, await tipOf(head));
      const commit = await tipOf(branch);
      narrator.space();
      narrator.done(
        `merged, as a person's click does it: #${pull.number} ${pull.title} (${commit.slice(0, 7)})`,
      );
      return commit;
    },
    async untilApp(name, state) {
      await until(describeState(name, state), async () => {
        const applications = await ofApp(name);
        const facts = applications.map((application) => describeApplication(application)).join("; ");
        const done = applications.length > 0 && applications.every((application) => isIn(application, state));
        return { done, facts: facts || `Argo CD has no ${app.app} there` };
      });
    },
    async untilProven(name, commit) {
      const environment = environments.find((candidate) => candidate.name === name);
      if (environment === undefined) throw new Error(`there is no environment ${name}`);
      const clusters = (await ofApp(name)).map(({ cluster }) => cluster);
      const statuses = clusters.map((cluster) => `argocd/${cluster}/${app.app}`).join(", ");
      const soak =
        environment.soakSeconds === 0 ? "" : `, and ${environment.soakSeconds} s have passed since`;
      await until(`${commit.slice(0, 7)} has the status ${statuses}: success${soak}`, async () => {
        const reports = [{ commit, statuses: countedStatuses(await forge.statuses(commit), reporter) }];
        const now = new Date();
        const query = { environment, app: app.app, clusters, reports, arrivedAt: now, now };
        const verdict = verdictOf(query);
        return { done: verdict.kind === "proven", facts: verdict.kind === "proven" ? "" : verdict.reason };
      });
    },
    async tagOf(name) {
      const [tag, ...others] = new Set((await ofApp(name)).flatMap((application) => tagsOf(application)));
      if (tag !== undefined && others.length === 0) return tag;
      throw new ExternalError(
        `${name} does not run one image of ${app.app}`,
        `npm run sync ${name} ${app.app}`,
      );
    },
    async isHealthy(name) {
      const applications = await listApplications(argocd, name);
      return (
        applications.length > 0 &&
        applications.every(({ sync, health }) => sync === "Synced" && health === "Healthy")
      );
    },
    say: (line) => narrator.done(line),
  };
}

function isIn(application: Application, { sync, health, tag, beside }: AppState): boolean {
  const tags = tagsOf(application);
  const runs = tag === undefined || (beside === true ? tags.includes(tag) : tags.every((one) => one === tag));
  return application.sync === sync && application.health === health && tags.length > 0 && runs;
}

/** The tags of the app's own images, each once; of a rollout that is under way, two. */
function tagsOf({ app, images }: Application): string[] {
  const own = images.filter((image) => image.includes(`/${app}:`));
  return [...new Set(own.map((image) => image.split("@")[0]?.split(":").at(-1) ?? ""))];
}

function describeState(env: string, { sync, health, tag, beside }: AppState): string {
  const runs = tag === undefined ? "" : ` and runs ${tag.slice(0, 7)}${beside === true ? ", too" : ""}`;
  return `${env} is ${sync} ${health}${runs}`;
}

function describeApplication(application: Application): string {
  const { name, sync, health, operation } = application;
  const message = operation === "Succeeded" ? "" : application.message;
  const tags = tagsOf(application).map((tag) => tag.slice(0, 7));
  return [`${name} is ${sync} ${health}`, tags.join(" and "), message]
    .filter((part) => part !== "")
    .join(", ");
}
