/** The page about who may do what says nothing that no test shows, unless it says that it is accepted, and why. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { repositoryRoot } from "../../scripts/lib/repository.ts";

const ROOT = repositoryRoot();
const PAGE = await readFile(join(ROOT, "docs/threat-model.md"), "utf8");

/** The cells of every line of the tables; a head is what a line of dashes follows. */
function lines(page: string): string[][] {
  const all = page.split("\n");
  const rows = all.filter((line, index) => /^\| .* \|$/.test(line) && !all[index + 1]?.startsWith("|---"));
  return rows.map((line) => line.slice(2, -2).split(" | "));
}

/** Whether a test's file has a text in quotes: the name of a case, or of one of its rows. */
async function has(file: string, name: string): Promise<boolean> {
  const source = await readFile(join(ROOT, file), "utf8");
  return [JSON.stringify(name), `'${name}'`, `\`${name}\``].some((quoted) => source.includes(quoted));
}

/** What is wrong with the last cell of a line; undefined: nothing. */
async function faultOf(cell: string): Promise<string | undefined> {
  if (/^accepted: \S.{10,}$/.test(cell)) return undefined;
  const [, file, name] = /^`(test\/\S+\.test\.ts)`: (\S.*)$/.exec(cell) ?? [];
  if (file === undefined || name === undefined) return "names neither a test nor a reason";
  if (!existsSync(join(ROOT, file))) return `${file} is not there`;
  return (await has(file, name)) ? undefined : `${file} has no case "${name}"`;
}

describe("each line of docs/threat-model.md", () => {
  it("has a test, or says that it is accepted", async () => {
    const found = lines(PAGE);
    expect(found.length).toBeGreaterThan(50);
    const faults = found.map(async (cells) => {
      const fault = cells.length === 3 ? await faultOf(cells[2] ?? "") : `has ${cells.length} cells`;
      return fault === undefined ? [] : [`${cells[0]}: ${fault}`];
    });
    expect((await Promise.all(faults)).flat()).toEqual([]);
  });

  it.each([
    ["", "names neither a test nor a reason"],
    ["accepted: ", "names neither a test nor a reason"],
    ["`test/security/none.test.ts`: a case", "test/security/none.test.ts is not there"],
    ["`test/security/launcher.test.ts`: none", 'test/security/launcher.test.ts has no case "none"'],
    ["`test/security/launcher.test.ts`", "names neither a test nor a reason"],
  ])("is at fault with %j", async (cell, fault) => {
    expect(await faultOf(cell)).toBe(fault);
  });
});
