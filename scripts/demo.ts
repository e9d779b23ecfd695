/** `npm run demo`: the whole loop, told and shown in the sandbox. docs/demo.md. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { listApplications } from "./lib/argocd/applications.ts";
import { connectArgocd } from "./lib/argocd/connection.ts";
import { command, main, onInterrupt } from "./lib/cli/command.ts";
import { type DemoSandbox, demoHands, runCommand, Stage } from "./lib/demo/hands.ts";
import { CRASHING, type DemoPlot, type DemoStep, demoSteps } from "./lib/demo/steps.ts";
import { type Narrator, narrate } from "./lib/demo/terminal.ts";
import { inWords } from "./lib/duration.ts";
import { CommandError, RefusedError, UsageError } from "./lib/errors.ts";
import { type ForgeCalls, forgeCalls } from "./lib/forge/call.ts";
import { connectRepository } from "./lib/forge/connection.ts";
import { connectForge } from "./lib/forge/forge.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { REPORTER } from "./lib/sandbox/gitea.ts";
import { isWorkClone, layoutOf } from "./lib/sandbox/layout.ts";
import { sandboxExists } from "./lib/sandbox/lifetime.ts";
import { addCommit } from "./lib/sandbox/sources.ts";
import { readCatalogue } from "./lib/tree/catalogue.ts";
import { readEnvironments } from "./lib/tree/environment.ts";

interface Options {
  pause?: true;
  stop?: true;
}

/** The app whose releases are shown. */
const APP = "user-service";

const program = command("demo", "Show the whole loop in the sandbox: bump, promote, sync, roll back.")
  .option("--pause", "wait for Enter before each step")
  .option("--stop", "end and remove the sandbox afterwards")
  .action(demo);
await main(program);

async function demo({ pause, stop }: Options): Promise<void> {
  const root = repositoryRoot();
  if (isWorkClone(root))
    throw new RefusedError("this is the work clone of a sandbox", "run it in its checkout");
  if (pause === true && !process.stdin.isTTY) {
    throw new UsageError("--pause needs somebody at a terminal", "leave it out");
  }
  const env = ownEnvironment(process.env);
  const hasColours = process.stdout.isTTY && !process.env["NO_COLOR"];
  const narrator = narrate(process.stdout, hasColours);
  const stage = new Stage();
  onInterrupt(async () => {
    await stage.interrupt();
    narrator.space();
    narrator.text("Interrupted. `npm run demo` begins anew; `npm stop` ends and removes the sandbox.");
  });

  narrator.text(
    "The delivery loop of this repository, in a sandbox on this machine: real Git, forge, Kubernetes and Argo CD, and no containers. " +
      `Pods are simulated, so every image "runs", but for one whose tag begins with ${CRASHING}. The commits of ${APP} are made for the story.`,
  );
  const began = Date.now();
  await ensureSandbox(stage, narrator, { root, env });
  const sandbox = await connect(root, env);
  await play(demoSteps(await plotOf(sandbox)), sandbox, { stage, narrator, pause: pause === true });

  narrator.space();
  narrator.text(`That was the loop, in ${inWords((Date.now() - began) / 1000)}.`);
  if (stop === true) {
    await runCommand(stage, narrator, { root, env }, ["stop"]);
    return;
  }
  const { web } = sandbox.forge.address;
  narrator.text(
    `The sandbox runs on: ${web} has the pull requests, \`npm stop\` ends and removes all of it.`,
  );
}

/** What a user's shell has, but for what would lead a command to another forge, or to another Argo CD, than the sandbox's. */
function ownEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const foreign = /^(npm_|FORGE_|GITHUB_TOKEN$|SOURCES_TOKEN$|ARGOCD_)/;
  return Object.fromEntries(Object.entries(env).filter(([name]) => !foreign.test(name)));
}

async function ensureSandbox(
  stage: Stage,
  narrator: Narrator,
  where: { root: string; env: NodeJS.ProcessEnv },
): Promise<void> {
  const exists = await sandboxExists(layoutOf(where.root));
  if (exists && (await answers(where))) return;
  narrator.space();
  narrator.text(
    exists
      ? "The sandbox of this checkout does not answer: `npm start` repairs it."
      : "There is no sandbox yet: `npm start` makes one. That takes about a minute; on a machine without the tools, a quarter of an hour more, once.",
  );
  await runCommand(stage, narrator, where, ["start"]);
}

async function answers({ root, env }: { root: string; env: NodeJS.ProcessEnv }): Promise<boolean> {
  try {
    return (await listApplications(await connectArgocd(root, env))).length > 0;
  } catch (error) {
    if (error instanceof CommandError) return false;
    throw error;
  }
}

interface Connected extends DemoSandbox {
  /** Of the sandbox's forge. */
  calls: ForgeCalls;
}

async function connect(root: string, env: NodeJS.ProcessEnv): Promise<Connected> {
  const layout = layoutOf(root);
  const { address, token, branch } = await connectRepository(root, env);
  const app = (await readCatalogue(layout.work)).find((candidate) => candidate.app === APP);
  if (app === undefined) throw new RefusedError(`apps/ has no ${APP}, which the demo releases`);
  return {
    layout,
    app,
    environments: await readEnvironments(layout.work),
    forge: connectForge(address, token),
    calls: forgeCalls(address, token),
    reporter: REPORTER,
    branch,
    argocd: await connectArgocd(root, env),
    env,
  };
}

async function plotOf({ layout, app, environments, calls }: Connected): Promise<DemoPlot> {
  const [first, second, third] = environments;
  if (first === undefined || second === undefined || third === undefined || third.syncsItself) {
    throw new RefusedError("the demo needs three environments, of which the third waits for a person");
  }
  const develop = async (subject: string) =>
    (app.kind === "service" ? await addCommit(calls, app.source, subject) : undefined) ?? madeUp("");
  const inEarnest = (await readEnvironments(layout.root)).find(({ name }) => name === second.name);
  await develop("Remember the delivery address");
  return {
    app: app.app,
    environments: [first.name, second.name, third.name],
    soak: { here: inWords(second.soakSeconds), else: inWords(inEarnest?.soakSeconds ?? 0) },
    images: {
      release: await develop("Offer it at the next order"),
      crashing: madeUp(CRASHING),
      fixed: await develop("Forget the address of a guest"),
    },
  };
}

/** A commit that nobody has: another one each time, so that the demo can be repeated. */
function madeUp(beginning: string): string {
  const commit = beginning + randomBytes(20).toString("hex").slice(beginning.length);
  return beginning === "" && commit.startsWith(CRASHING) ? madeUp(beginning) : commit;
}

async function play(
  steps: readonly DemoStep[],
  sandbox: DemoSandbox,
  { stage, narrator, pause }: { stage: Stage; narrator: Narrator; pause: boolean },
): Promise<void> {
  const hands = demoHands(sandbox, stage, narrator);
  for (const [index, step] of steps.entries()) {
    narrator.step(index + 1, steps.length, step.title, step.sentence);
    if (pause) await enter();
    try {
      await step.run(hands);
    } finally {
      narrator.rest();
    }
  }
}

/** Waits for Enter, or the end of the input; the terminal stays as it is, so that Ctrl-C is what it always is. */
async function enter(): Promise<void> {
  process.stdout.write("   [Enter] ");
  const lines = createInterface({ input: process.stdin, terminal: false });
  await Promise.race([once(lines, "line"), once(lines, "close")]);
  lines.close();
}
