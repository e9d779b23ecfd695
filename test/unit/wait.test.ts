import { describe, expect, it } from "vitest";
import { RefusedError } from "../../scripts/lib/errors.ts";
import { Patience, stretched, waitFor } from "../../scripts/lib/wait.ts";

describe("waiting", () => {
  it("ends with the first answer", async () => {
    let looks = 0;
    const look = async () => ((looks += 1) === 3 ? "ready" : undefined);
    await expect(waitFor("it is ready", look, { everyMs: 1 })).resolves.toBe("ready");
    expect(looks).toBe(3);
  });

  it("ends at once when no waiting helps", async () => {
    const look = async () => Promise.reject(new RefusedError("it is closed"));
    await expect(waitFor("it is open", look)).rejects.toThrow("it is closed");
  });

  it("ends when nothing moves, and says what was said last and what to do", async () => {
    const options = { quietMs: 20, everyMs: 5, lastWord: () => "connection refused", hint: "start it" };
    await expect(waitFor("the forge answers", async () => undefined, options)).rejects.toMatchObject({
      message: expect.stringMatching(
        /^waited \d+ s until the forge answers, and nothing moves any more: connection refused$/,
      ),
      hint: "start it",
      exitCode: 5,
    });
  });

  it("ends at a limit that was set, though something moves", async () => {
    let count = 0;
    const options = { timeoutMs: 20, everyMs: 5, lastWord: async () => `${(count += 1)} of 999` };
    await expect(waitFor("all are there", async () => undefined, options)).rejects.toThrow(
      /^waited \d+ s until all are there: \d+ of 999$/,
    );
  });
});

describe("a limit", () => {
  it("is a whole number of milliseconds, whatever the machine has to do", () => {
    expect(stretched(10_000, 1)).toBe(10_000);
    // Nothing else is taken for a time-out.
    expect(() => AbortSignal.timeout(stretched(10_000, 8.374_93))).not.toThrow();
  });
});

describe("patience", () => {
  /** A machine whose clock is set by hand. */
  function machine(slowness = 1) {
    const clock = { time: 0, now: () => clock.time, slowness: () => slowness };
    const patience = new Patience(60_000, clock);
    /** Hears each word after so many seconds; says at which it was over. */
    const hear = (words: readonly string[], seconds: number) =>
      words.findIndex((word) => {
        clock.time += seconds * 1000;
        return patience.hear(word);
      });
    return hear;
  }
  const same = (word: string, times: number) => Array.from({ length: times }, () => word);

  it("ends a minute after the last news", () => {
    expect(machine()(same("starting", 20), 10)).toBe(6);
    expect(machine()(["1 of 3", "1 of 3", "2 of 3", "2 of 3", ...same("3 of 3", 20)], 10)).toBe(10);
  });

  it("does not end while there is news, however long it takes", () => {
    const words = Array.from({ length: 500 }, (_, index) => `${index} of 500`);
    expect(machine()(words, 50)).toBe(-1);
  });

  it("lasts longer on a machine that has more to do than it can", () => {
    expect(machine(10)(same("starting", 60), 10)).toBe(-1);
    expect(machine(10)(same("starting", 70), 10)).toBe(60);
  });

  it("takes what fails and starts again, and fails again, for no news", () => {
    const crash = (at: number) => [
      `I1130 12:00:${at}.123456 ${at}999 server.go:45] starting`,
      `F1130 12:00:${at}.223456 ${at}999 server.go:99] no space left`,
    ];
    const log = Array.from({ length: 20 }, (_, index) => crash(index + 10)).flat();
    expect(machine()(log, 10)).toBe(7);
  });

  it("takes a night in which the machine slept, and a look that took long, for no silence", () => {
    expect(machine()(same("starting", 4), 30_000)).toBe(-1);
  });
});
