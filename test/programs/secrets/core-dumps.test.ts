/** npm starts every command that may have a value in memory without core dumps. */
import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { build } from "esbuild";
import { expect, it } from "vitest";
import { repositoryRoot } from "../../../scripts/lib/repository.ts";

const ROOT = repositoryRoot();
const { scripts }: { scripts: Record<string, string> } = JSON.parse(
  await readFile(join(ROOT, "package.json"), "utf8"),
);
const commands = (await readdir(join(ROOT, "scripts")))
  .filter((name) => name.endsWith(".ts"))
  .map((name) => basename(name, ".ts"));

/** Whether a command brings the module that hands values to sops and gets them back. */
async function hasValues(command: string): Promise<boolean> {
  const { metafile } = await build({
    entryPoints: [`scripts/${command}.ts`],
    absWorkingDir: ROOT,
    bundle: true,
    packages: "external",
    write: false,
    metafile: true,
    platform: "node",
    format: "esm",
    logLevel: "silent",
  });
  return "scripts/lib/secrets/sops.ts" in metafile.inputs;
}

it("those are the ones that may start sops", async () => {
  const all = await Promise.all(commands.map(async (name) => [name, await hasValues(name)] as const));
  const own = all.flatMap(([name, has]) => (has ? [name] : []));
  expect(own).toEqual(expect.arrayContaining(["init", "keys", "seal", "secrets", "start"]));
  const without = commands.filter((name) => scripts[name]?.startsWith("ulimit -c 0; ") === true);
  expect(without.toSorted()).toEqual(own.toSorted());
});
