/**
 * `node scripts/run.js <name> [argument…]` bundles `scripts/<name>.ts` and runs it: docs/decisions/0010-commands-start-from-a-bundle.md.
 * JavaScript, because nothing is there yet that reads TypeScript.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

/** Packages that take longer to bundle than to load. Node loads each when a program first imports it. */
const OUTSIDE = {
  "@peculiar/x509": "build/x509.es.js",
  "reflect-metadata": "Reflect.js",
  undici: "index.js",
  zod: "index.js",
};

const checkout = dirname(import.meta.dirname);
// Those of this checkout; a clone inside of it, such as the sandbox's, has none of its own.
const packages = dirname(dirname(createRequire(import.meta.url).resolve("esbuild/package.json")));
const program = resolve(import.meta.dirname, `${process.argv[2]}.ts`);
// Readable by its user only.
const directory = mkdtempSync(join(tmpdir(), "ecommerce-gitops-run-"));
const bundle = join(directory, "bundle.mjs");
// As if the program had been started itself.
process.argv.splice(1, 2, program);
process.setSourceMapsEnabled(true);
let loaded;
try {
  // The compiler itself: its library for Node starts a thread and a second process, and takes as long as Node does.
  const { status, error } = spawnSync(
    join(packages, "esbuild/bin/esbuild"),
    [
      // What decides what is bundled stands here: no tsconfig.json, no other condition or field of a package.json.
      "--tsconfig-raw={}",
      "--conditions=",
      "--main-fields=module,main",
      // The one module that asks where it is.
      `--define:import.meta.url=${JSON.stringify(pathToFileURL(join(checkout, "scripts/lib/repository.ts")))}`,
      // For packages that are no ES modules.
      '--banner:js=import { createRequire as requireOf } from "node:module"; const require = requireOf("/");',
      ...Object.entries(OUTSIDE).map(
        ([name, file]) => `--alias:${name}=${pathToFileURL(join(packages, name, file)).href}`,
      ),
      "--external:file:*",
      "--bundle",
      `--outfile=${bundle}`,
      "--platform=node",
      "--format=esm",
      "--target=node20",
      "--sourcemap=inline",
      "--sources-content=false",
      "--log-level=error",
    ],
    {
      // Loading and running are two steps: the file is gone before the program runs.
      input: `export const run = () => import(${JSON.stringify(program)});`,
      stdio: ["pipe", "ignore", "inherit"],
      // esbuild looks for a manifest of Yarn from this directory up.
      cwd: "/",
      // Wherever the program is.
      env: { ...process.env, NODE_PATH: packages },
    },
  );
  if (error) throw error;
  if (status === 0) loaded = await import(pathToFileURL(bundle).href);
  // Node has noted where the bundle's map is. zx asks for a stack at every call: only one that is printed is worth reading it.
  process.setSourceMapsEnabled(false);
} finally {
  rmSync(directory, { recursive: true });
}
// esbuild has said why.
if (loaded === undefined) process.exit(1);
process.once("uncaughtExceptionMonitor", () => process.setSourceMapsEnabled(true));
await loaded.run();
