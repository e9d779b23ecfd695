/**
 * `node scripts/run.js <name> [argument…]` runs `scripts/<name>.ts`, bundled anew at each start. Why, and how a package or
 * `import.meta` keeps its meaning: docs/decisions/0010-commands-start-from-a-bundle.md. JavaScript, because nothing is
 * there yet that reads TypeScript.
 */
import { randomUUID } from "node:crypto";
import { readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { build, stop } from "esbuild";

/**
 * Packages stay outside the bundle and are named by where they are, so that it may be anywhere. Each module keeps its own
 * `import.meta`.
 * @type {import("esbuild").Plugin}
 */
const asInTheCheckout = {
  name: "as-in-the-checkout",
  setup(building) {
    building.onResolve({ filter: /^[^./]/ }, ({ path }) => ({
      path: import.meta.resolve(path),
      external: true,
    }));
    building.onLoad({ filter: /\.ts$/ }, ({ path }) => {
      const meta = { url: pathToFileURL(path).href, filename: path, dirname: dirname(path) };
      // In the first line, so that the numbers of the others stay.
      const contents = `const importMeta = ${JSON.stringify(meta)}; ${readFileSync(path, "utf8")}`;
      return { contents, loader: "ts" };
    });
  },
};

const program = resolve(import.meta.dirname, `${process.argv[2]}.ts`);
// As if it had been started itself.
process.argv.splice(1, 2, program);
// The real path: the source map tells the way from here to the sources.
const file = join(realpathSync(tmpdir()), `ecommerce-gitops-${randomUUID()}.mjs`);
const { outputFiles, metafile } = await build({
  // Loading and running are two steps.
  stdin: { contents: `export const run = () => import(${JSON.stringify(program)});`, resolveDir: "/" },
  plugins: [asInTheCheckout],
  define: { "import.meta": "importMeta" },
  outfile: file,
  bundle: true,
  write: false,
  metafile: true,
  platform: "node",
  format: "esm",
  target: "node20",
  keepNames: true,
  sourcemap: "inline",
  sourcesContent: false,
  logLevel: "silent",
});
// Its process would stay beside ours.
await stop();
// The packages first: then the file is there for a few milliseconds only, and their own source maps are not read.
for (const { path, kind } of Object.values(metafile.outputs).flatMap(({ imports }) => imports)) {
  if (kind === "import-statement") await import(path);
}
process.setSourceMapsEnabled(true);
writeFileSync(file, outputFiles.map(({ text }) => text).join(""), { flag: "wx", mode: 0o600 });
const { run } = await import(pathToFileURL(file).href).finally(() => rmSync(file));
await run();
