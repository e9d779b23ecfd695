/** Which version a tool is pinned to, and the key that changes when anything that goes into its binary changes. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { globSync } from "tinyglobby";
import { RefusedError } from "../errors.ts";
import type { ToolSpec } from "./catalogue.ts";

/** Bumped when the way tools are built changes in a manner that the rest of the key does not see. */
const BUILD_RECIPE = 2;

/** A tool with what its go.mod says about it. */
export interface PinnedTool {
  spec: ToolSpec;
  /** The product's version without `v`, such as `5.8.3`. */
  version: string;
  /** Twelve hex digits over everything that decides the binary's bytes: module files, build flags, platform. */
  key: string;
  /** The same for the files that the tool needs beside its binary. */
  assetsKey: string;
  /** Absolute directory of the go.mod. */
  moduleDir: string;
}

/**
 * Reads the tools' versions from their go.mod files.
 * @param specs the tools
 * @param root the repository's root directory
 * @throws RefusedError when a go.mod is missing or does not require the tool's module
 */
export function pinTools(specs: readonly ToolSpec[], root: string): PinnedTool[] {
  const digests = new Map<string, string>();
  return specs.map((spec) => {
    const moduleDir = join(root, spec.module);
    const file = join(spec.module, "go.mod");
    if (!existsSync(join(root, file))) {
      throw new RefusedError(`${file} does not exist, but pins ${spec.name}`, "check the file out again");
    }
    const goMod = readFileSync(join(root, file), "utf8");
    const moduleVersion = requiredVersion(goMod, spec.versionOf);
    if (moduleVersion === undefined) {
      throw new RefusedError(
        `${file} does not require ${spec.versionOf}, so ${spec.name} has no version`,
        `run "go get -tool ${spec.package}@<version>" in ${spec.module}`,
      );
    }
    const digest = digests.get(moduleDir) ?? digestOf(moduleDir);
    digests.set(moduleDir, digest);
    const { package: main, stamp, tags, assets, edits } = spec;
    return {
      spec,
      version: productVersion(spec, moduleVersion),
      key: keyOf([process.platform, process.arch, digest, main, stamp, tags, edits]),
      assetsKey: keyOf([spec.versionOf, moduleVersion, assets]),
      moduleDir,
    };
  });
}

/**
 * The version that a go.mod pins a module to.
 * @returns without `v` and `+incompatible`, from the replacement if that has a version; undefined if not required
 */
export function requiredVersion(goMod: string, module: string): string | undefined {
  const name = module.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  const version = String.raw`v([^\s+]+)(?:\+incompatible)?`;
  const replaced = new RegExp(String.raw`^\s*(?:replace )?${name}(?: v\S+)? => \S+ ${version}`, "m").exec(
    goMod,
  );
  const required = new RegExp(String.raw`^\s*(?:require )?${name} ${version}(?!.* => )`, "m").exec(goMod);
  return required === null ? undefined : (replaced?.[1] ?? required[1]);
}

function keyOf(parts: readonly unknown[]): string {
  return createHash("sha256")
    .update(JSON.stringify([BUILD_RECIPE, ...parts]))
    .digest("hex")
    .slice(0, 12);
}

function productVersion(spec: ToolSpec, moduleVersion: string): string {
  return spec.released === undefined
    ? moduleVersion
    : moduleVersion.replace(spec.released.module, spec.released.as);
}

/** Every file of the module's directory counts: go.mod, go.sum and sources that a `replace` points at. */
function digestOf(moduleDir: string): string {
  const hash = createHash("sha256");
  for (const file of globSync("**", { cwd: moduleDir, dot: true }).sort()) {
    hash
      .update(`${file}\0`)
      .update(readFileSync(join(moduleDir, file)))
      .update("\0");
  }
  return hash.digest("hex");
}
