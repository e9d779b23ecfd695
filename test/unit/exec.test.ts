import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { run, tryRun, tryRunBytes } from "../../scripts/lib/exec.ts";
import { temporary } from "../support/tree.ts";

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

it("a program is started without a shell, which would read its arguments and a file that BASH_ENV names", async () => {
  const file = join(await temporary(), "evil.sh");
  await writeFile(file, "echo evil");
  const words = ["$HOME", "`id`", "a b", "*", "", "'"];
  const env = { ...process.env, BASH_ENV: file };
  expect(await run("printf", ["%s,", ...words], { env })).toBe(`${words.join()},`);
});
