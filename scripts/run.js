/**
 * `node scripts/run.js <name> [argument…]` runs `scripts/<name>.ts` from a bundle, which is kept until one of its files
 * changes. Why, and how that is noticed: docs/decisions/0010-commands-start-from-a-bundle.md. JavaScript, because nothing is
 * there yet that reads TypeScript.
 */
import { randomUUID } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";

/** @typedef {{ run: () => Promise<unknown> }} Bundle */
/** @typedef {Map<string, string>} Stamps what was bundled, and by what its change is seen */

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
    const { of, bundle, stamps } = JSON.parse(readFileSync(record, "utf8"));
    const isFresh =
      of === program && Object.entries(stamps).every(([path, stamp]) => stampOf(path).stamp === stamp);
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
  const begun = Date.now();
  const { text, stamps, newest } = await bundled();
  // What was written in this second may be written again without a trace; what is not in scripts/ is a test's.
  const mayStay = newest < begun - 1000 && !name.startsWith("..");
  return (mayStay ? await keep(text, stamps) : undefined) ?? passing(text);
}

/**
 * Loads a bundle and leaves it for the next start.
 * @param {string} text
 * @param {Stamps} stamps
 * @returns {Promise<Bundle | undefined>} undefined in a checkout that cannot be written, and on a full disk
 */
async function keep(text, stamps) {
  const bundle = `${name}.${randomUUID()}.mjs`;
  const file = join(cache, bundle);
  try {
    mkdirSync(cache, { recursive: true });
    writeFileSync(file, text);
    // Before others know of it, and may replace it.
    const loaded = await load(file);
    writeFileSync(
      `${file}.json`,
      JSON.stringify({ of: program, bundle, stamps: Object.fromEntries(stamps) }),
    );
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
  writeFileSync(file, text, { flag: "wx", mode: 0o600 });
  return load(file).finally(() => rmSync(file));
}

/**
 * Puts the program, all its modules and packages into one file.
 * @returns {Promise<{ text: string, stamps: Stamps, newest: number }>} when the newest of them was changed, in milliseconds
 */
async function bundled() {
  const { build, stop } = await import("esbuild");
  /** @type {Stamps} */
  const stamps = new Map();
  let newest = 0;
  /** @param {string} path */
  const note = (path) => {
    const { stamp, changed } = stampOf(path);
    stamps.set(path, stamp);
    newest = Math.max(newest, changed);
  };
  note(import.meta.filename);
  // npm writes it anew whenever it changes a package.
  note(join(checkout, "node_modules/.package-lock.json"));
  /** @type {import("esbuild").Plugin} */
  const asInTheCheckout = {
    name: "as-in-the-checkout",
    setup(building) {
      building.onLoad({ filter: /./ }, ({ path }) => {
        note(path);
        if (!/\.[cm]?[jt]s$/.test(path)) return undefined;
        const text = readFileSync(path, "utf8");
        const loader = path.endsWith("ts") ? "ts" : "js";
        if (!text.includes("import.meta")) return { contents: text, loader };
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
  return { text: outputFiles.map(({ text }) => text).join(""), stamps, newest };
}

/**
 * What a file is known by, as in Git's index; and when it was changed, in milliseconds.
 * @param {string} path
 */
function stampOf(path) {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return { stamp: "none", changed: 0 };
  const { mtimeMs, ctimeMs, size, ino } = found;
  return { stamp: [mtimeMs, ctimeMs, size, ino].join(" "), changed: mtimeMs };
}

/**
 * @param {string} file
 * @returns {Promise<Bundle>}
 */
async function load(file) {
  return import(pathToFileURL(file).href);
}
