/** A tracked file that nobody looks at must not change what `scripts/run.js` runs. */
import { copyFile, realpath, symlink } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { tryRun } from "../../scripts/lib/exec.ts";
import { programLine, repositoryRoot } from "../../scripts/lib/repository.ts";
import { temporary, write } from "../support/tree.ts";

const EVIL = 'export const word = "evil"; export const run = () => console.log(word);';

/** A checkout with one command, which prints a word of a module and one of a package. */
async function checkout(): Promise<string> {
  const root = await realpath(await temporary());
  await write(root, {
    "package.json": '{ "type": "module" }',
    "scripts/say.ts":
      'import { word } from "./lib/word.ts";\nimport * as said from "said";\nconsole.log(word, said.word);',
    "scripts/lib/word.ts": 'export const word: string = "good";',
    "node_modules/said/package.json": '{ "name": "said", "main": "main.js", "browser": "browser.js" }',
    "node_modules/said/main.js": 'exports.word = "good";',
    "node_modules/said/browser.js": EVIL,
    "evil.ts": EVIL,
  });
  await copyFile(join(repositoryRoot(), "scripts/run.js"), join(root, "scripts/run.js"));
  await symlink(join(repositoryRoot(), "node_modules/esbuild"), join(root, "node_modules/esbuild"));
  return root;
}

/** What the launcher of an earlier version would have taken for its own record. */
const record = (root: string) =>
  JSON.stringify({ of: `${root}/scripts/say.ts`, bundle: "say.mjs", digests: {} });
const paths = JSON.stringify({
  compilerOptions: { baseUrl: ".", paths: { "*": ["./evil.ts", "../evil.ts"] } },
});
const pnp = JSON.stringify({
  dependencyTreeRoots: [{ name: "root", reference: "workspace:." }],
  enableTopLevelFallback: true,
  fallbackExclusionList: [],
  fallbackPool: [],
  packageRegistryData: [
    [
      null,
      [[null, { packageLocation: "./", packageDependencies: [["said", "npm:1.0.0"]], linkType: "SOFT" }]],
    ],
    ["said", [["npm:1.0.0", { packageLocation: "./evil/", packageDependencies: [], linkType: "HARD" }]]],
  ],
});

it.each<[string, (root: string) => Record<string, string>]>([
  [
    "a bundle with a record",
    (root) => ({ ".cache/commands/say.json": record(root), ".cache/commands/say.mjs": EVIL }),
  ],
  ["another path for a package in tsconfig.json", () => ({ "tsconfig.json": paths })],
  ["another path for a package in scripts/tsconfig.json", () => ({ "scripts/tsconfig.json": paths })],
  [
    "another module in package.json",
    () => ({
      "package.json": JSON.stringify({
        type: "module",
        browser: { "./scripts/lib/word.ts": "./evil.ts", said: "./evil.ts" },
      }),
    }),
  ],
  ["a manifest of Yarn", () => ({ ".pnp.data.json": pnp, "evil/index.js": EVIL })],
])("%s does not change what a command runs", async (_, planted) => {
  const root = await checkout();
  await write(root, planted(root));
  const { stdout, stderr } = await tryRun(...programLine(root, "say", []), { cwd: root });
  expect({ stdout, stderr }).toEqual({ stdout: "good good\n", stderr: "" });
});
