/**
 * The story of `npm run demo`, as plain data: a release goes up to prod, turns out to be bad, and is taken back; its fix
 * crashes, and then does not.
 */
import { formatBumpBranch } from "../bump/pull-request-body.ts";
import { formatPromotionBranch } from "../promotion/pull-request-body.ts";
import { formatRollbackBranch } from "../rollback/rollback.ts";

/** What the steps do things with. */
export interface DemoHands {
  /**
   * Runs a command of this repository as its user does, and shows what it prints.
   * @param exitCodes what it may end with, 0 by default; anything else ends the demo
   * @returns what it has ended with
   */
  command(args: readonly string[], exitCodes?: readonly number[]): Promise<number>;
  /** Shows the pods of the app in an environment. */
  showPods(env: string): Promise<void>;
  /**
   * Merges the open pull request of a branch: the click of a person.
   * @returns the commit of the deployed branch that it makes
   */
  merge(branch: string): Promise<string>;
  /** Waits until the app is as it should be on every cluster of the environment. */
  untilApp(env: string, state: AppState): Promise<void>;
  /** Waits until every cluster of the environment has reported a success of the app on a commit, and it has soaked since. */
  untilProven(env: string, commit: string): Promise<void>;
  /** The tag of the image that the app runs. */
  tagOf(env: string): Promise<string>;
  /** Whether all apps of the environment are Synced and Healthy. */
  isHealthy(env: string): Promise<boolean>;
  say(line: string): void;
}

/** What Argo CD says about an app; what is not named does not matter. */
export interface AppState {
  sync: string;
  health: string;
  /** The only image of the app that still has pods; with `beside`, one that has pods. */
  tag?: string;
  /** Whether pods of another image may be there, too. */
  beside?: boolean;
}

export interface DemoStep {
  title: string;
  /** What happens and why, in one sentence. */
  sentence: string;
  run: (hands: DemoHands) => Promise<void>;
}

export interface DemoPlot {
  app: string;
  /** The environments, the first one first. */
  environments: readonly [string, string, string];
  /** What a release has to be healthy in the second environment: here, and as the repository has it; in words. */
  soak: { here: string; else: string };
  /** Commits of the app's repository, each the tag of an image. */
  images: { release: string; crashing: string; fixed: string };
}

const REASON = "checkout fails for one customer in ten";
const RUNNING = { sync: "Synced", health: "Healthy" };
/** What a command ends with that refuses. */
const REFUSED = 3;

/** The tag of an image that crashes in the sandbox begins so: sandbox/kwok/crash.yaml. */
export const CRASHING = "bad0bad";

/** The steps, in the order in which they are to be run. */
export function demoSteps({ app, environments, soak, images }: DemoPlot): DemoStep[] {
  const [dev, staging, prod] = environments;
  const bumped = formatBumpBranch({ environment: dev, app });
  const toStaging = formatPromotionBranch({ from: dev, to: staging, apps: [] });
  const toProd = formatPromotionBranch({ from: staging, to: prod, apps: [] });
  const short = (tag: string) => tag.slice(0, 7);
  // What the steps find out for those after them.
  const found = { proving: "", before: "" };

  return [
    {
      title: `${prod}, to begin with`,
      sentence: `Git says what ${prod} should run, and yet nothing changes there by itself: a person starts every sync.`,
      async run(hands) {
        if (await hands.isHealthy(prod)) hands.say(`${prod} runs already: nothing to start`);
        else await hands.command(["sync", prod]);
        found.before = await hands.tagOf(prod);
      },
    },
    {
      title: "A new image",
      sentence: `The CI of ${app} has built commit ${short(images.release)} and asks for it in ${dev}: a pull request that changes one line.`,
      async run(hands) {
        await hands.command(["bump", app, images.release]);
      },
    },
    {
      title: `${dev} follows`,
      sentence: `A person merges it, the forge tells Argo CD, ${dev} heals to what Git says now, and the result goes back to the commit as a status.`,
      async run(hands) {
        const commit = await hands.merge(bumped);
        await hands.untilApp(dev, { ...RUNNING, tag: images.release });
        await hands.untilProven(dev, commit);
      },
    },
    {
      title: `${dev} to ${staging}`,
      sentence: `promote renders the release once, shows what would change and why it may go, and opens a pull request for it.`,
      async run(hands) {
        await hands.command(["promote", dev, staging]);
      },
    },
    {
      title: "Too early",
      sentence: `A person merges it, and somebody in a hurry wants it in ${prod} at once: promote refuses, because ${staging} has not proven it yet.`,
      async run(hands) {
        found.proving = await hands.merge(toStaging);
        const code = await hands.command(["promote", staging, prod], [REFUSED, 0]);
        if (code === 0) hands.say(`this machine is slow: ${soak.here} were over before promote looked`);
      },
    },
    {
      title: "Soak",
      sentence: `${staging} has to be healthy with it for ${soak.here} in a sandbox, and ${soak.else} in earnest.`,
      async run(hands) {
        await hands.untilApp(staging, { ...RUNNING, tag: images.release });
        await hands.untilProven(staging, found.proving);
      },
    },
    {
      title: `${staging} to ${prod}`,
      sentence: `Now the gates are open: the file that ${staging} has tested goes to ${prod}, byte for byte.`,
      async run(hands) {
        await hands.command(["promote", staging, prod]);
      },
    },
    {
      title: `${prod} waits`,
      sentence: `A person merges it, and ${prod} keeps running what it ran: Argo CD only says that it differs.`,
      async run(hands) {
        await hands.merge(toProd);
        await hands.untilApp(prod, { sync: "OutOfSync", health: "Healthy", tag: found.before });
      },
    },
    {
      title: "Sync by hand",
      sentence: `A person starts the sync and watches it end.`,
      async run(hands) {
        await hands.command(["sync", prod, app]);
        await hands.untilApp(prod, { ...RUNNING, tag: images.release });
      },
    },
    {
      title: "It was a bad release",
      sentence: `Every probe is green, but ${REASON}: whoever is on call puts the release before it back, and a hold on this one.`,
      async run(hands) {
        await hands.command(["rollback", prod, app, "--", "--reason", REASON]);
      },
    },
    {
      title: "Back",
      sentence: `A rollback is merged and synced like any other release, and ${prod} runs the image from before.`,
      async run(hands) {
        await hands.merge(formatRollbackBranch({ environment: prod, app }));
        await hands.command(["sync", prod, app]);
        await hands.untilApp(prod, { ...RUNNING, tag: found.before });
      },
    },
    {
      title: "It does not come back",
      sentence: `${staging} still has the bad release, so the next promotion would bring it back: it leaves out what is held, and who names it is refused.`,
      async run(hands) {
        await hands.command(["promote", staging, prod]);
        await hands.command(["promote", staging, prod, app], [REFUSED]);
      },
    },
    {
      title: "A fix that crashes",
      sentence: `The first fix crashes when it starts: the pod from before keeps serving ${dev}, and without a success on its commit the release goes nowhere.`,
      async run(hands) {
        await hands.command(["bump", app, images.crashing]);
        await hands.merge(bumped);
        await hands.untilApp(dev, {
          sync: "Synced",
          health: "Progressing",
          tag: images.crashing,
          beside: true,
        });
        await hands.showPods(dev);
        await hands.command(["promote", dev, staging], [REFUSED]);
      },
    },
    {
      title: "The fix",
      sentence: `The second one starts, and may go up as the first release did: a hold is about one release only.`,
      async run(hands) {
        await hands.command(["bump", app, images.fixed]);
        const commit = await hands.merge(bumped);
        await hands.untilApp(dev, { ...RUNNING, tag: images.fixed });
        await hands.untilProven(dev, commit);
      },
    },
    {
      title: "What is where",
      sentence: "One table for all of it, from Git, the forge and Argo CD.",
      async run(hands) {
        await hands.command(["status"]);
      },
    },
  ];
}
