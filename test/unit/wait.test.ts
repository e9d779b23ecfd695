import { describe, expect, it } from "vitest";
import { waitFor } from "../../scripts/lib/wait.ts";

describe("waiting", () => {
  it("ends with the first answer", async () => {
    let looks = 0;
    const look = async () => ((looks += 1) === 3 ? "ready" : undefined);
    await expect(waitFor("it is ready", look, { timeoutMs: 5000, everyMs: 1 })).resolves.toBe("ready");
    expect(looks).toBe(3);
  });

  it("says what it waited for, how long, and why in vain", async () => {
    const options = { timeoutMs: 20, everyMs: 5, explain: async () => "connection refused" };
    await expect(waitFor("the forge answers", async () => undefined, options)).rejects.toThrow(
      "waited 0 s in vain until the forge answers: connection refused",
    );
  });
});
