import { readdir, utimes } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { RenderCache, renderKey } from "../../../scripts/lib/render/cache.ts";
import type { NamedByBlob } from "../../../scripts/lib/render/graph.ts";
import { temporary, write } from "../../support/tree.ts";

const INPUTS: [string, string | undefined][] = [
  ["base/pod.yaml", "100644 abc"],
  ["base/absent.yaml", undefined],
];

it.each<[string, string]>([
  [
    "content",
    renderKey(
      "over",
      [
        ["base/pod.yaml", "100644 abd"],
        ["base/absent.yaml", undefined],
      ],
      "5.8.3",
    ),
  ],
  [
    "file that appears",
    renderKey(
      "over",
      [
        ["base/pod.yaml", "100644 abc"],
        ["base/absent.yaml", "100644 abc"],
      ],
      "5.8.3",
    ),
  ],
  [
    "path",
    renderKey(
      "over",
      [
        ["base/pods.yaml", "100644 abc"],
        ["base/absent.yaml", undefined],
      ],
      "5.8.3",
    ),
  ],
  ["overlay", renderKey("other", INPUTS, "5.8.3")],
  ["version of kustomize", renderKey("over", INPUTS, "5.8.4")],
])("another %s is another key", (_, key) => {
  const same = renderKey("over", INPUTS, "5.8.3");
  expect(key).not.toBe(same);
  expect(renderKey("over", [...INPUTS], "5.8.3")).toBe(same);
});

it("has what was written, whole, whoever else writes it at the same time", async () => {
  const directory = await temporary();
  const key = renderKey("over", INPUTS, "5.8.3");
  const text = "a: b\n".repeat(100_000);
  const caches = Array.from({ length: 8 }, () => new RenderCache(directory));
  const reads = caches.map(async (cache) => {
    const early = await cache.read(key);
    await cache.write(key, text);
    return [early === undefined || early === text, (await cache.read(key)) === text];
  });
  expect(await Promise.all(reads)).toEqual(caches.map(() => [true, true]));
  expect(await readdir(directory, { recursive: true })).toEqual([
    key.slice(0, 2),
    `${key.slice(0, 2)}/${key.slice(2)}`,
  ]);
});

it("is no obstacle where it cannot be written", async () => {
  const root = await temporary();
  await write(root, { file: "" });
  const cache = new RenderCache(join(root, "file/below"));
  await cache.write("0123456789", "text");
  await cache.trim();
  await expect(cache.read("0123456789")).resolves.toBeUndefined();
});

it("removes what was used longest ago when it is too large", async () => {
  const directory = await temporary();
  const cache = new RenderCache(directory);
  const names = ["aaold", "bbread", "ccnew"];
  for (const [index, name] of names.entries()) {
    await cache.write(name, "x".repeat(100));
    const at = new Date(Date.UTC(2026, 0, 1 + index));
    await utimes(join(directory, name.slice(0, 2), name.slice(2)), at, at);
  }
  // Used just now.
  await cache.read("aaold");
  await cache.trim(200);
  const left = await Promise.all(names.map(async (name) => (await cache.read(name)) !== undefined));
  expect(left).toEqual([true, false, true]);
});

it("keeps what kustomizations name for the next time, and forgets those that are gone", async () => {
  const cache = new RenderCache(await temporary());
  const names = { kind: "Kustomization", files: [], problems: [] };
  const use = async (read: readonly string[], found: readonly string[]) =>
    cache.withNames("/checkout", async (known: NamedByBlob) => {
      const hits = read.filter((blob) => known.get(blob) !== undefined);
      for (const blob of found) known.set(blob, names);
      return hits;
    });
  expect(await use(["one", "two"], ["one", "two"])).toEqual([]);
  expect(await use(["one"], [])).toEqual(["one"]);
  expect(await use(["one", "two"], [])).toEqual(["one"]);
});
