import { describe, expect, it } from "vitest";
import {
  amount,
  type Figure,
  figureTable,
  isWithinLimit,
  median,
} from "../../../scripts/lib/bench/figures.ts";
import { isDelivered, withTag } from "../../../scripts/lib/bench/merge.ts";
import { figuresOf } from "../../../scripts/lib/bench/sandbox.ts";

const figure = (more: Partial<Figure>): Figure => ({
  name: "start",
  unit: "s",
  measured: 1,
  limit: 60,
  ...more,
});

describe("a figure", () => {
  it.each([
    [59.9, true],
    [60, true],
    [60.1, false],
    [Number.NaN, false],
  ])("of %d with the limit 60 is within it: %s", (measured, within) => {
    expect(isWithinLimit(figure({ measured }))).toBe(within);
  });

  it.each([
    [{ measured: 39 }, "start   39 s      60 s        yes"],
    [{ measured: 39, aim: 40 }, "start   39 s      60 s   40 s  yes"],
    [{ measured: 52.34, aim: 40 }, "start   52.3 s    60 s   40 s  yes, aim missed"],
    [{ measured: 61, aim: 40 }, "start   61 s      60 s   40 s  NO"],
  ])("%o is one line", (more, line) => {
    expect(figureTable([figure(more)]).split("\n")[1]).toBe(line);
  });

  it.each([
    [2.345, "GB", "2.35 GB"],
    [3.5, "GB", "3.50 GB"],
    [12.04, "%", "12.0 %"],
    [0, "items", "0"],
  ] as const)("of %d %s reads %s", (value, unit, text) => {
    expect(amount(value, unit)).toBe(text);
  });
});

describe("the median", () => {
  it.each([
    [[3], 3],
    [[10, 2, 9], 9],
    [[4, 1, 3, 2], 2.5],
    [[], Number.NaN],
  ])("of %j is %d", (numbers, expected) => {
    expect(median(numbers)).toBe(expected);
  });
});

describe("the sandbox's figures", () => {
  const good = {
    start: 60,
    memory: [{ when: "idle", processes: 30, rssBytes: 4e9, pssBytes: 3.5e9 }],
    idle: 25,
    merges: [2, 10, 3].map((seconds) => ({ app: "user-service", tag: "a", seconds })),
    stop: 15,
    left: [],
  };
  const memory = (pssBytes: number | undefined, rssBytes = 4e9) => ({
    when: "later",
    processes: 30,
    rssBytes,
    pssBytes,
  });

  it("are within the limits when each is exactly at its own", () => {
    expect(figuresOf(good).filter((each) => !isWithinLimit(each))).toEqual([]);
  });

  it.each([
    ["a slow start", { start: 60.1 }, ["npm start"]],
    ["one look with too much memory", { memory: [...good.memory, memory(3.6e9)] }, ["memory"]],
    ["too much memory where shared pages cannot be told apart", { memory: [memory(undefined)] }, ["memory"]],
    ["no rest", { idle: 25.1 }, ["idle"]],
    ["a slow stop", { stop: 15.1 }, ["npm stop"]],
    ["something left", { left: ["port 23000: forge"] }, ["processes, ports"]],
    ["one slow merge", { merges: [...good.merges, { app: "a", tag: "a", seconds: 10.1 }] }, ["slowest"]],
    ["slow merges", { merges: [{ app: "a", tag: "a", seconds: 11 }] }, ["median", "slowest"]],
  ])("find %s", (_, change, names) => {
    const failed = figuresOf({ ...good, ...change }).filter((each) => !isWithinLimit(each));
    expect(failed.map(({ name }) => name)).toEqual(names.map((name) => expect.stringContaining(name)));
  });
});

describe("the change that is merged", () => {
  const before = "8f3c1d0a5b7e4926a1c8d35f60e97b24c41a8d6e";
  const after = "0123456789abcdef0123456789abcdef01234567";
  const text = `images:\n  - name: registry/ecommerce/user-service # why\n    newTag: "${before}"\n`;

  it("is the tag and not one byte beside it", () => {
    expect(withTag(text, "kustomization.yaml", "ecommerce/user-service", after)).toBe(
      text.replace(before, after),
    );
  });

  it("is refused when the tag is written twice, or the image is not pinned", () => {
    expect(() => withTag(`# ${before}\n${text}`, "k.yaml", "ecommerce/user-service", after)).toThrow(
      "more than once",
    );
    expect(() => withTag(text, "k.yaml", "ecommerce/order-service", after)).toThrow("pins no image");
  });

  const application = {
    name: "dev-user-service",
    app: "user-service",
    env: "dev",
    cluster: "dev",
    images: [`registry.example.com/ecommerce/user-service:${after}`],
    sync: "Synced",
    health: "Healthy",
    revision: "",
    operation: "",
    message: "",
    operating: false,
    operationMessage: "",
    comparisonError: undefined,
    unhealthy: undefined,
    isEmpty: false,
    healthSince: undefined,
    deployments: [],
  };

  it.each([
    ["Synced, Healthy and running the tag", {}, after, true],
    ["running another tag", {}, before, false],
    ["OutOfSync", { sync: "OutOfSync" }, after, false],
    ["Progressing", { health: "Progressing" }, after, false],
    ["as it should be, with any tag", {}, undefined, true],
    ["Degraded, with any tag", { health: "Degraded" }, undefined, false],
  ])("is there when the application is %s: %s", (_, change, tag, delivered) => {
    expect(isDelivered({ ...application, ...change }, tag)).toBe(delivered);
  });
});
