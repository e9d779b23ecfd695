/**
 * `node scripts/run.js <name> [argument…]` runs `scripts/<name>.ts` from a bundle, which is kept until one of its files
 * changes. Why, and how that is noticed: docs/decisions/0010-commands-start-from-a-bundle.md. JavaScript, because nothing is
 * there yet that reads TypeScript.
 */
import { createHash, randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";

/** @typedef {{ run: () => Promise<unknown> }} Bundle */
/** @typedef {Record<string, string>} Digests of all that was bundled, by path */

const checkout = dirname(import.meta.dirname);
const program = resolve(import.meta.dirname, `${process.argv[2]}.ts`);
const name = relative(import.meta.dirname, program)
  .replace(/\.ts$/, "")
  .replaceAll("/", "-");
const cache = join(checkout, ".cache/commands");
const record = join(cache, `${name}.json`);

// As if it had been started itself.
process.argv.splice(1, 2, program);
process.setSourceMapsEnabled(true);
const { run } = (await kept()) ?? (await made());
await run();

/**
 * The bundle of an earlier start.
 * @returns {Promise<Bundle | undefined>} undefined when there is none, or it is of anything but these files
 */
async function kept() {
  try {
    const { of, bundle, digests } = JSON.parse(readFileSync(record, "utf8"));
    const isFresh =
      of === program &&
      Object.entries(digests).every(([path, digest]) => digestOf(readFileSync(path)) === digest);
    return isFresh ? await load(join(cache, bundle)) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * A new bundle.
 * @returns {Promise<Bundle>}
 */
async function made() {
  const { text, digests } = await bundled();
  // What is not in scripts/ is a test's.
  return (name.startsWith("..") ? undefined : await keep(text, digests)) ?? passing(text);
}

/**
 * Loads a bundle and leaves it for the next start.
 * @param {string} text
 * @param {Digests} digests
 * @returns {Promise<Bundle | undefined>} undefined in a checkout that cannot be written, and on a full disk
 */
async function keep(text, digests) {
  const bundle = `${name}.${randomUUID()}.mjs`;
  const file = join(cache, bundle);
  try {
    mkdirSync(cache, { recursive: true });
    writeFileSync(file, text);
    // Before others know of it, and may replace it.
    const loaded = await load(file);
    writeFileSync(`${file}.json`, JSON.stringify({ of: program, bundle, digests }));
    renameSync(`${file}.json`, record);
    for (const other of readdirSync(cache)) {
      if (other.startsWith(`${name}.`) && ![bundle, basename(record)].includes(other))
        rmSync(join(cache, other), { force: true });
    }
    return loaded;
  } catch {
    await rm(file, { force: true }).catch(() => undefined);
    return undefined;
  }
}

/**
 * Loads a bundle from a file that is there for as long as Node takes to read it.
 * @param {string} text
 * @returns {Promise<Bundle>}
 */
async function passing(text) {
  const file = join(tmpdir(), `ecommerce-gitops-${randomUUID()}.mjs`);
  try {
    writeFileSync(file, text, { flag: "wx", mode: 0o600 });
    return await load(file);
  } finally {
    rmSync(file, { force: true });
  }
}

/**
 * Puts the program, all its modules and packages into one file.
 * @returns {Promise<{ text: string, digests: Digests }>}
 */
async function bundled() {
  const { build, stop } = await import("esbuild");
  /** @type {Digests} */
  const digests = {};
  /** @param {string} path */
  const read = (path) => {
    const bytes = readFileSync(path);
    digests[path] = digestOf(bytes);
    return bytes.toString();
  };
  read(import.meta.filename);
  // npm writes it anew whenever it changes a package.
  const installed = join(checkout, "node_modules/.package-lock.json");
  if (existsSync(installed)) read(installed);
  /** @type {import("esbuild").Plugin} */
  const asInTheCheckout = {
    name: "as-in-the-checkout",
    setup(building) {
      building.onLoad({ filter: /\.(json|[cm]?[jt]s)$/ }, ({ path }) => {
        const text = read(path);
        const loader = path.endsWith("json") ? "json" : path.endsWith("ts") ? "ts" : "js";
        if (loader === "json" || !text.includes("import.meta")) return { contents: text, loader };
        const meta = { url: pathToFileURL(path).href, filename: path, dirname: dirname(path) };
        // In the first line, so that the numbers of the others stay.
        return { contents: `const importMeta = ${JSON.stringify(meta)}; ${text}`, loader };
      });
    },
  };
  const { outputFiles } = await build({
    // Loading and running are two steps.
    stdin: { contents: `export const run = () => import(${JSON.stringify(program)});`, resolveDir: "/" },
    plugins: [asInTheCheckout],
    // Each module keeps its own.
    define: { "import.meta": "importMeta" },
    // Those of this checkout, wherever the program is.
    nodePaths: [join(checkout, "node_modules")],
    // For packages that are no ES modules.
    banner: {
      js: 'import { createRequire as requireOf } from "node:module"; const require = requireOf("/");',
    },
    outfile: join(checkout, "bundle.mjs"),
    bundle: true,
    write: false,
    platform: "node",
    format: "esm",
    target: "node20",
    keepNames: true,
    sourcemap: "inline",
    // The bundle may be anywhere.
    sourceRoot: pathToFileURL(`${checkout}/`).href,
    sourcesContent: false,
    logLevel: "silent",
  });
  // Its process would stay beside ours.
  await stop();
  return { text: outputFiles.map(({ text }) => text).join(""), digests };
}

/** @param {Buffer} bytes */
function digestOf(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}

/**
 * @param {string} file
 * @returns {Promise<Bundle>}
 */
async function load(file) {
  const bundle = await import(pathToFileURL(file).href);
  // What a power cut leaves may be an empty file.
  if (!("run" in bundle)) throw new Error(`${file} is cut off`);
  return bundle;
}
