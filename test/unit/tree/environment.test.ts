import { describe, expect, it } from "vitest";
import { readEnvironments } from "../../../scripts/lib/tree/environment.ts";
import { smallTree, temporary, write } from "../../support/tree.ts";

const file = (name: string, promotesFrom: string | undefined, soak = "1h") =>
  `kind: ConfigMap\ndata:\n  name: ${name}\n  soak: ${soak}\n${promotesFrom === undefined ? "" : `  promotesFrom: ${promotesFrom}\n`}`;

describe("the environments", () => {
  it("come in the order of promotion, not of the alphabet", async () => {
    const root = await temporary();
    await write(root, smallTree());
    expect(await readEnvironments(root)).toEqual([
      { name: "dev", promotesFrom: undefined, soakSeconds: 1800, syncsItself: false },
      { name: "test", promotesFrom: "dev", soakSeconds: 1800, syncsItself: false },
      { name: "live", promotesFrom: "test", soakSeconds: 1800, syncsItself: false },
    ]);
  });

  it.each([
    ["0s", 0],
    ["90s", 90],
    ["5m", 300],
    ["24h", 86_400],
  ])("have a soak time: %s", async (soak, seconds) => {
    const root = await temporary();
    await write(root, { "overlays/a/environment.yaml": file("a", undefined, soak) });
    expect(await readEnvironments(root)).toMatchObject([{ soakSeconds: seconds }]);
  });

  it.each([
    ["none at all", {}],
    ["two first ones", { a: undefined, b: undefined }],
    ["a fork", { a: undefined, b: "a", c: "a" }],
    ["a circle", { a: "b", b: "a" }],
    ["a circle beside the line", { a: undefined, b: "c", c: "b" }],
    ["an unknown source", { a: undefined, b: "nowhere" }],
  ])("are refused with %s", async (_, line: Record<string, string | undefined>) => {
    const root = await temporary();
    const files = Object.entries(line).map(([name, from]) => [
      `overlays/${name}/environment.yaml`,
      file(name, from),
    ]);
    await write(root, Object.fromEntries(files));
    await expect(readEnvironments(root)).rejects.toThrow("the environments are not one line");
  });

  it.each([
    ["a directory of another name", file("b", undefined), "overlays/a/environment.yaml is about b"],
    [
      "a soak time in words",
      file("a", undefined, "long"),
      "overlays/a/environment.yaml:4: data.soak: not a time such as 30m",
    ],
    ["an unknown field", `${file("a", undefined)}  soaks: 1m\n`, "soaks"],
  ])("refuse %s", async (_, text, message) => {
    const root = await temporary();
    await write(root, { "overlays/a/environment.yaml": text });
    await expect(readEnvironments(root)).rejects.toThrow(message);
  });
});
