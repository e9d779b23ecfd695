/**
 * `node scripts/run.js <name> [argument…]` bundles `scripts/<name>.ts` and runs it: docs/decisions/0010-commands-start-from-a-bundle.md.
 * JavaScript, because nothing is there yet that reads TypeScript.
 */
import { randomUUID } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { buildSync } from "esbuild";

const checkout = dirname(import.meta.dirname);
const program = resolve(import.meta.dirname, `${process.argv[2]}.ts`);
const bundle = join(tmpdir(), `ecommerce-gitops-${randomUUID()}.mjs`);
// As if the program had been started itself.
process.argv.splice(1, 2, program);
process.setSourceMapsEnabled(true);
const { outputFiles } = buildSync({
  // Loading and running are two steps: the file is gone before the program runs.
  stdin: { contents: `export const run = () => import(${JSON.stringify(program)});`, resolveDir: "/" },
  // What decides what is bundled stands here: no tsconfig.json, no manifest of Yarn (esbuild looks for that from this directory up),
  // no other condition or field of a package.json.
  absWorkingDir: "/",
  tsconfigRaw: {},
  conditions: [],
  mainFields: ["module", "main"],
  // The packages of this checkout, wherever the program is.
  nodePaths: [join(checkout, "node_modules")],
  // The one module that asks where it is.
  define: { "import.meta.url": JSON.stringify(pathToFileURL(join(checkout, "scripts/lib/repository.ts"))) },
  // For packages that are no ES modules.
  banner: { js: 'import { createRequire as requireOf } from "node:module"; const require = requireOf("/");' },
  bundle: true,
  write: false,
  outfile: bundle,
  platform: "node",
  format: "esm",
  target: "node20",
  sourcemap: "inline",
  sourcesContent: false,
  logLevel: "silent",
});
let loaded;
try {
  writeFileSync(bundle, outputFiles[0]?.contents ?? "", { flag: "wx", mode: 0o600 });
  loaded = await import(pathToFileURL(bundle).href);
} finally {
  rmSync(bundle, { force: true });
}
await loaded.run();
