/** Copies files out of a Go module; the module cache is read-only, and its files are never executable. */
import { chmod, copyFile, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { glob } from "tinyglobby";

/**
 * Copies what matches a glob pattern, at the same paths.
 * @param executable whether the copies may be executed
 * @returns how many files matched
 */
export async function copyMatching(
  source: string,
  target: string,
  pattern: string,
  executable = false,
): Promise<number> {
  const files = await glob(pattern, { cwd: source, dot: true });
  for (const file of files) {
    const copy = join(target, file);
    await mkdir(dirname(copy), { recursive: true });
    await copyFile(join(source, file), copy);
    await chmod(copy, executable ? 0o755 : 0o644);
  }
  return files.length;
}
