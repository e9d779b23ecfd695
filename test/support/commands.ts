/**
 * All commands, bundled once for all tests: a test that starts one is not about its launcher (test/programs/run.test.ts is), which
 * compiles for as long as most commands run.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { inject } from "vitest";
import type { TestProject } from "vitest/node";
import { repositoryRoot } from "../../scripts/lib/repository.ts";
import { temporaryDirectory } from "../../scripts/lib/temporary.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** Directory of the bundled commands. */
    commands: string;
  }
}

const OUTSIDE = {
  "@peculiar/x509": "build/x509.es.js",
  "reflect-metadata": "Reflect.js",
  undici: "index.js",
};

/** How a command of this checkout is started as a process of its own. */
export function bundledLine(verb: string, args: readonly string[]): [command: string, args: string[]] {
  return [process.execPath, [join(inject("commands"), `${verb}.mjs`), ...args]];
}

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const directory = await temporaryDirectory("commands-");
  const bundle = async () => bundleInto(directory);
  await bundle();
  project.onTestsRerun(bundle);
  project.provide("commands", directory);
  return async () => rm(directory, { recursive: true });
}

async function bundleInto(outdir: string): Promise<void> {
  const root = repositoryRoot();
  await build({
    entryPoints: [join(root, "scripts/*.ts")],
    outdir,
    outExtension: { ".js": ".mjs" },
    define: { "import.meta.url": JSON.stringify(pathToFileURL(join(root, "scripts/lib/repository.ts"))) },
    banner: {
      js: 'import { createRequire as requireOf } from "node:module"; const require = requireOf("/");',
    },
    // These stay outside, as scripts/run.js has it: split, they would lose their names, or be loaded in another order.
    alias: Object.fromEntries(
      Object.entries(OUTSIDE).map(([name, file]) => [
        name,
        pathToFileURL(join(root, "node_modules", name, file)).href,
      ]),
    ),
    external: ["file:*"],
    bundle: true,
    // What a command does not import, it does not load.
    splitting: true,
    minifyWhitespace: true,
    platform: "node",
    format: "esm",
    target: "node20",
    logLevel: "error",
  });
}
