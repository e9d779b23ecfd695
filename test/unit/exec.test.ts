import { expect, it } from "vitest";
import { run, tryRun, tryRunBytes } from "../../scripts/lib/exec.ts";

it("a character stays whole wherever what a program writes is cut in pieces", async () => {
  const script = 'process.stdout.write("a" + "é".repeat(300_000))';
  expect(await run("node", ["-e", script])).toBe(`a${"é".repeat(300_000)}`);
});

it("what is not text comes byte for byte", async () => {
  const { stdout } = await tryRunBytes("printf", ["\\377\\000x"]);
  expect(stdout).toEqual(Buffer.from([0xff, 0, 0x78]));
});

it("a program that is not there cannot be started, and that is said", async () => {
  const failure = { exitCode: 5, message: "no-such-program cannot be started" };
  await expect(tryRun("no-such-program", [])).rejects.toMatchObject(failure);
});
