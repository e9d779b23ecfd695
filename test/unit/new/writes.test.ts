import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { exists } from "../../../scripts/lib/file.ts";
import { finishWrites, writeAll } from "../../../scripts/lib/new/writes.ts";
import { temporary, write } from "../../support/tree.ts";

const WRITES = [
  { path: "apps/cart.yaml", text: "new\n", isNew: true, what: "" },
  { path: "list.yaml", text: "before\ncart\n", isNew: false, what: "" },
  { path: "base/cart/a/b.yaml", text: "deep\n", isNew: true, what: "" },
];
const PENDING = ".cache/new.json";

async function tree(): Promise<string> {
  const root = await temporary();
  await write(root, { "list.yaml": "before\n" });
  return root;
}

/** Stands for a kill: nothing runs after it. */
class Killed extends Error {}

async function killedAfter(root: string, count: number): Promise<void> {
  let left = count;
  const writing = writeAll(root, "cart", WRITES, () => {
    left -= 1;
    if (left === 0) throw new Killed();
  });
  await expect(writing).rejects.toBeInstanceOf(Killed);
}

describe("many files", () => {
  it("are written, and nothing is left to do", async () => {
    const root = await tree();
    await writeAll(root, "cart", WRITES);
    for (const { path, text } of WRITES) expect(await readFile(join(root, path), "utf8")).toBe(text);
    expect(await finishWrites(root)).toBeUndefined();
    expect(await exists(join(root, PENDING))).toBe(false);
  });

  it.each(WRITES.map((_, index) => index + 1))(
    "are all there after the next run, when one is killed at write %d",
    async (count) => {
      const root = await tree();
      await killedAfter(root, count);
      expect(await finishWrites(root)).toBe("cart");
      for (const { path, text } of WRITES) expect(await readFile(join(root, path), "utf8")).toBe(text);
      expect(await finishWrites(root)).toBeUndefined();
    },
  );

  it("are taken back by Git, and written again by the next run", async () => {
    const root = await tree();
    await killedAfter(root, 2);
    await write(root, { "list.yaml": "before\n" });
    expect(await finishWrites(root)).toBe("cart");
    expect(await readFile(join(root, "list.yaml"), "utf8")).toBe("before\ncart\n");
  });

  it("never cover what somebody has written since", async () => {
    const root = await tree();
    await killedAfter(root, 1);
    await write(root, { "list.yaml": "before\nmine\n" });
    await expect(finishWrites(root)).rejects.toThrow(/^list\.yaml has changed since/);
    expect(await readFile(join(root, "list.yaml"), "utf8")).toBe("before\nmine\n");
    expect(await exists(join(root, "base/cart/a/b.yaml"))).toBe(false);
  });
});
