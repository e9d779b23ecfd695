import { describe, expect, it } from "vitest";
import { retry } from "../../../scripts/lib/pull-request/retry.ts";

const PATIENCE = { attempts: 3, longestPauseMs: 1 };

describe("contending for a branch", () => {
  it("tries again until nobody else is faster, and counts", async () => {
    const counts: number[] = [];
    const result = await retry("main", PATIENCE, async (count) => {
      counts.push(count);
      return count < 3 ? { kind: "moved", reason: "fetch first" } : { kind: "done", result: "there" };
    });
    expect({ result, counts }).toEqual({ result: "there", counts: [1, 2, 3] });
  });

  it("ends with one line, exit code 5 and the last reason when others are faster each time", async () => {
    let count = 0;
    const always = retry("bump/dev/web", PATIENCE, async () => {
      count += 1;
      return { kind: "moved", reason: `reason ${count}` };
    });
    await expect(always).rejects.toMatchObject({
      exitCode: 5,
      message: "others pushed to bump/dev/web 3 times while this tried to (reason 3)",
      hint: "run it again",
    });
    expect(count).toBe(3);
  });
});
