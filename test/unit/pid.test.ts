import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { describe, expect, it, onTestFinished } from "vitest";
import { isAlive, startOf } from "../../scripts/lib/pid.ts";
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
    // exec leaves the child, which ends with its input, to a program that knows nothing of it.
    const parent = spawn("sh", ["-c", "cat <&3 & echo $!; exec sleep 600"], {
      stdio: ["ignore", "pipe", "ignore", "pipe"],
    });
    onTestFinished(() => void parent.kill());
    const [line] = await once(parent.stdio[1] ?? parent, "data");
    const pid = Number(String(line));
    const isLeft = async () =>
      (await readFile(`/proc/${parent.pid}/comm`, "utf8")) === "sleep\n" || undefined;
    await waitFor("the child is left", isLeft);
    parent.stdio[3]?.destroy();
    await waitFor("the child is a zombie", async () => !isAlive(pid) || undefined);
    expect(() => process.kill(pid, 0)).not.toThrow();
    expect(startOf(pid)).toBe(undefined);
  });
});
