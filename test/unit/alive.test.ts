import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, it, onTestFinished } from "vitest";
import { isAlive, startOf } from "../../scripts/lib/alive.ts";
import { waitFor } from "../../scripts/lib/wait.ts";

describe("a process", () => {
  it("is alive until it has ended, and keeps its start", async () => {
    const child = spawn("sleep", ["600"]);
    const pid = child.pid ?? 0;
    const start = startOf(pid);
    expect(isAlive(pid)).toBe(true);
    expect(start).toMatch(/^\d+$/);
    expect(startOf(pid)).toBe(start);
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(isAlive(pid)).toBe(false);
    expect(startOf(pid)).toBe(undefined);
  });

  it("of another user is alive, too", () => {
    expect(isAlive(1)).toBe(true);
  });

  it("that nobody has waited for has ended", async () => {
    // exec leaves the child to a program that knows nothing of it.
    const parent = spawn("sh", ["-c", "sleep 0 & echo $!; exec sleep 600"]);
    onTestFinished(() => void parent.kill());
    const [line] = await once(parent.stdout, "data");
    const pid = Number(String(line));
    await waitFor("the child is a zombie", async () => !isAlive(pid) || undefined, { timeoutMs: 5_000 });
    expect(() => process.kill(pid, 0)).not.toThrow();
    expect(startOf(pid)).toBe(undefined);
  });
});
