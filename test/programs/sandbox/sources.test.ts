import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { run } from "../../../scripts/lib/exec.ts";
import { makeSource, readSources } from "../../../scripts/lib/sandbox/sources.ts";
import { temporary, write } from "../../support/tree.ts";

const env = { PATH: process.env["PATH"], GIT_CONFIG_GLOBAL: "/dev/null", GIT_CONFIG_SYSTEM: "/dev/null" };
const COMMITS = [
  { date: "2026-08-31T08:12:00Z", subject: "Sign up" },
  { date: "2026-09-09T13:40:00Z", subject: "Größere Bilder: “zoom”" },
];

describe("a service's repository", () => {
  it("has the commits, in their order and of their days", async () => {
    const directory = join(await temporary(), "web.git");
    const newest = await makeSource(directory, COMMITS, env);
    const log = ["log", "--reverse", "--format=%cI %s", "main"];
    expect((await run("git", log, { cwd: directory, env })).trimEnd().split("\n")).toEqual([
      "2026-08-31T08:12:00+00:00 Sign up",
      "2026-09-09T13:40:00+00:00 Größere Bilder: “zoom”",
    ]);
    expect(await run("git", ["show", `${newest}:CHANGES.md`], { cwd: directory, env })).toBe(
      "Sign up\nGrößere Bilder: “zoom”\n",
    );
    expect(await readFile(join(directory, "HEAD"), "utf8")).toBe("ref: refs/heads/main\n");
  });

  it("has the same SHAs wherever and whenever it is made", async () => {
    const root = await temporary();
    const [one, two] = [
      await makeSource(join(root, "1"), COMMITS, env),
      await makeSource(join(root, "2"), COMMITS, env),
    ];
    expect(two).toBe(one);
    const [first] = COMMITS;
    if (first === undefined) throw new Error("no commits");
    expect(await makeSource(join(root, "3"), [{ ...first, subject: "Sign in" }], env)).not.toBe(one);
  });

  it("takes the place of what an interrupted start has left", async () => {
    const root = await temporary();
    await write(root, { "web.git/config": "half", "web.git.half/config": "half" });
    const newest = await makeSource(join(root, "web.git"), COMMITS, env);
    expect(newest).toMatch(/^[0-9a-f]{40}$/);
    expect(await run("git", ["rev-list", "--count", newest], { cwd: join(root, "web.git"), env })).toBe(
      "2\n",
    );
  });
});

describe("what is made up", () => {
  it("is read by app; there may be nothing", async () => {
    const root = await temporary();
    expect(await readSources(root)).toEqual([]);
    await write(root, { "sandbox/sources/web.yaml": JSON.stringify(COMMITS) });
    expect(await readSources(root)).toEqual([{ app: "web", commits: COMMITS }]);
  });

  it.each([
    ["no list", "a: b\n", /^sandbox\/sources\/web\.yaml:\d: /],
    ["nothing in it", "[]\n", /^sandbox\/sources\/web\.yaml:\d: /],
    [
      "a date that is none",
      "- date: yesterday\n  subject: Sign up\n",
      /^sandbox\/sources\/web\.yaml:1: 0\.date: /,
    ],
    [
      "a subject of two lines",
      '- date: 2026-08-31T08:12:00Z\n  subject: "a\\nb"\n',
      /^sandbox\/sources\/web\.yaml:2: 0\.subject: not one line$/,
    ],
  ])("is refused with %s, with file and line", async (_, text, message) => {
    const root = await temporary();
    await write(root, { "sandbox/sources/web.yaml": text });
    await expect(readSources(root)).rejects.toThrow(message);
  });
});
