import { describe, expect, it } from "vitest";
import { MovedError } from "../../../scripts/lib/errors.ts";
import { retry } from "../../../scripts/lib/pull-request/retry.ts";

const PATIENCE = { attempts: 3, longestPauseMs: 1 };

describe("contending for a branch", () => {
  it("tries again until nobody else is faster, and counts", async () => {
    const counts: number[] = [];
    const result = await retry(
      "main",
      async (count) => {
        counts.push(count);
        if (count < 3) throw new MovedError("main", "fetch first");
        return "there";
      },
      PATIENCE,
    );
    expect({ result, counts }).toEqual({ result: "there", counts: [1, 2, 3] });
  });

  it("ends with one line, exit code 5 and the last reason when others are faster each time", async () => {
    let count = 0;
    const always = retry(
      "bump/dev/web",
      async () => {
        count += 1;
        throw new MovedError("bump/dev/web", `reason ${count}`);
      },
      PATIENCE,
    );
    await expect(always).rejects.toMatchObject({
      exitCode: 5,
      message: "others pushed to bump/dev/web 3 times while this tried to (reason 3)",
      hint: "run it again",
    });
    expect(count).toBe(3);
  });
});
