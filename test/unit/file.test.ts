import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { replaceFile } from "../../scripts/lib/file.ts";
import { temporary, write } from "./support/tree.ts";

it("a file is replaced, and halves of it go that killed processes have left, but no others", async () => {
  const child = spawn("true");
  await once(child, "exit");
  const root = await temporary();
  const others = [`a.yaml.${process.ppid}.tmp`, `b.yaml.${child.pid}.tmp`, "a.yaml.tmp", "a.yaml.bak.tmp"];
  await write(root, Object.fromEntries([...others, `a.yaml.${child.pid}.tmp`].map((name) => [name, "half"])));
  await replaceFile(join(root, "a.yaml"), "whole");
  expect((await readdir(root)).toSorted()).toEqual(["a.yaml", ...others].toSorted());
  expect(await readFile(join(root, "a.yaml"), "utf8")).toBe("whole");
});
