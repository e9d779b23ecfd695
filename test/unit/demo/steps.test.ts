import { describe, expect, it } from "vitest";
import { type DemoHands, demoSteps } from "../../../scripts/lib/demo/steps.ts";
import { narrate, wrap } from "../../../scripts/lib/demo/terminal.ts";
import { startShown } from "../../../scripts/lib/shown-program.ts";
import { waitFor } from "../../../scripts/lib/wait.ts";

/** Hands that write down what they are asked for. `answers` are the exit codes of commands that may end in several ways. */
function recorder(answers: Record<string, number> = {}, isHealthy = false) {
  const asked: string[] = [];
  let merges = 0;
  const note = (line: string) =>
    asked.push(line.replaceAll(/([abc])\1{6,}|bad0badb+/g, (tag) => tag.slice(0, 7)));
  const hands: DemoHands = {
    async command(args, exitCodes = [0]) {
      const typed = args.join(" ");
      note(`${typed}${exitCodes.join() === "0" ? "" : ` (ends with ${exitCodes.join(" or ")})`}`);
      return answers[typed] ?? exitCodes[0] ?? 0;
    },
    async showPods(env) {
      note(`pods of ${env}`);
    },
    async merge(branch) {
      merges += 1;
      note(`merge ${branch}`);
      return `merge-${merges}`;
    },
    async untilApp(env, { sync, health, tag, beside }) {
      note(`until ${env} is ${sync} ${health} with ${tag}${beside === true ? " beside another" : ""}`);
    },
    async untilProven(env, commit) {
      note(`until ${env} has proven ${commit}`);
    },
    async tagOf(env) {
      return `what ${env} runs`;
    },
    async isHealthy() {
      return isHealthy;
    },
    say(line) {
      note(`say: ${line}`);
    },
  };
  return { hands, asked };
}

describe("the steps of the demo", () => {
  const make = () =>
    demoSteps({
      app: "shop",
      environments: ["one", "two", "three"],
      soak: { here: "5 s", else: "1 h" },
      images: { release: "a".repeat(40), crashing: `bad0bad${"b".repeat(33)}`, fixed: "c".repeat(40) },
    });
  const steps = make();
  const play = async (...told: Parameters<typeof recorder>) => {
    const { hands, asked } = recorder(...told);
    for (const step of make()) await step.run(hands);
    return asked;
  };

  it("are these commands, merges and waits, in this order", async () => {
    expect(await play()).toEqual([
      "sync three",
      "bump shop aaaaaaa",
      "merge bump/one/shop",
      "until one is Synced Healthy with aaaaaaa",
      "until one has proven merge-1",
      "promote one two",
      "merge promote/one/two/_all",
      "promote two three (ends with 3 or 0)",
      "until two is Synced Healthy with aaaaaaa",
      "until two has proven merge-2",
      "promote two three",
      "merge promote/two/three/_all",
      "until three is OutOfSync Healthy with what three runs",
      "sync three shop",
      "until three is Synced Healthy with aaaaaaa",
      "rollback three shop -- --reason checkout fails for one customer in ten",
      "merge rollback/three/shop",
      "sync three shop",
      "until three is Synced Healthy with what three runs",
      "promote two three",
      "promote two three shop (ends with 3)",
      "bump shop bad0bad",
      "merge bump/one/shop",
      "until one is Synced Progressing with bad0bad beside another",
      "pods of one",
      "promote one two (ends with 3)",
      "bump shop ccccccc",
      "merge bump/one/shop",
      "until one is Synced Healthy with ccccccc",
      "until one has proven merge-6",
      "status",
    ]);
  });

  it("leave out the first sync where all runs, and say so when the gate opened before it was looked at", async () => {
    const asked = await play({ "promote two three": 0 }, true);
    expect(asked[0]).toBe("say: three runs already: nothing to start");
    expect(asked).toContain("say: this machine is slow: 5 s were over before promote looked");
    expect(asked).not.toContain("sync three");
  });

  it("have a title of their own each", () => {
    expect(new Set(steps.map(({ title }) => title)).size).toBe(steps.length);
  });

  it.each(steps.map(({ title, sentence }) => [title, sentence]))(
    "%s: is told in one sentence",
    (_, sentence) => {
      expect(sentence).toMatch(/^[A-Za-z][^.]*\.$/);
    },
  );
});

describe("the narrator", () => {
  const tell = (screen: { isTTY: boolean; columns?: number }, hasColours: boolean) => {
    let written = "";
    const narrator = narrate({ ...screen, write: (text: string) => (written += text) }, hasColours);
    narrator.step(2, 15, "A title", "One sentence.");
    narrator.command("npm run bump");
    narrator.output("  - a line of four words", "stdout");
    narrator.output("", "stdout");
    narrator.waiting("12 s: still this");
    narrator.waiting("13 s: still that");
    narrator.done("it is so");
    return written;
  };

  it("writes plain lines into a log, and nothing while it waits", () => {
    expect(tell({ isTTY: false }, false)).toBe(
      "\n 2/15  A title\n   One sentence.\n\n   $ npm run bump\n     - a line of four words\n\n   ✔ it is so\n",
    );
  });

  it("takes back on a terminal what it wrote while it waited, and never a whole line's width", () => {
    expect(tell({ isTTY: true, columns: 18 }, false).split("$ npm run bump\n")[1]).toBe(
      "     - a line of\n     four words\n\n\r\u001B[K   ⠙ 12 s: still \r\u001B[K   ⠸ 13 s: still \r\u001B[K   ✔ it is so\n",
    );
  });

  it("keeps lines whole on a terminal that does not know its width", () => {
    expect(tell({ isTTY: true, columns: 0 }, false)).toContain("\n     - a line of four words\n");
  });

  it("has colours where they are wanted only", () => {
    expect(tell({ isTTY: true }, true)).toContain("\u001B[32m✔\u001B[39m it is so");
    expect(tell({ isTTY: true }, false)).not.toContain("\u001B[3");
  });

  it.each([
    ["", 10, [""]],
    ["one two three", 7, ["one two", "three"]],
    ["one two three", 5, ["one", "two", "three"]],
    ["a-word-that-is-longer yes", 8, ["a-word-that-is-longer", "yes"]],
    ["APP   TO   GETS", 20, ["APP   TO   GETS"]],
  ])("breaks %j at %i characters", (text, width, lines) => {
    expect(wrap(text, width)).toEqual(lines);
  });
});

describe("a program that is shown", () => {
  const start = (script: string) => {
    const lines: string[] = [];
    const onLine = (line: string, stream: string) => void lines.push(`${stream}: ${line}`);
    const shown = startShown({ program: "sh", args: ["-c", script], cwd: "/", env: process.env, onLine });
    return { ...shown, lines };
  };

  it("is heard line by line, to its last one, and ends with its code", async () => {
    const { ended, lines } = start("echo one; echo two >&2; printf three; exit 3");
    expect(await ended).toBe(3);
    expect(lines.filter((line) => line.startsWith("stdout"))).toEqual(["stdout: one", "stdout: three"]);
    expect(lines.filter((line) => line.startsWith("stderr"))).toEqual(["stderr: two"]);
  });

  it("is interrupted with all that it has started, and may undo what it began", async () => {
    const script = 'trap "echo undone; exit 130" INT; echo began; sleep 600; echo no';
    const { ended, interrupt, lines } = start(script);
    await waitFor("it has begun", async () => lines.length > 0 || undefined);
    interrupt();
    expect(await ended).toBe(130);
    expect(lines).toEqual(["stdout: began", "stdout: undone"]);
  });

  it("that is not there is said to be missing", async () => {
    const shown = startShown({
      program: "no-such-program",
      args: [],
      cwd: "/",
      env: process.env,
      onLine() {},
    });
    await expect(shown.ended).rejects.toThrow("no-such-program cannot be started: ");
  });
});
