/** What Linux tells of running processes. */
import { readdir, readlink } from "node:fs/promises";

/** What a process has open: paths of files, and names such as `socket:[4711]`; nothing once it has ended. */
export async function openFiles(pid: number): Promise<string[]> {
  const directory = `/proc/${pid}/fd`;
  const numbers = await readdir(directory).catch(() => []);
  return Promise.all(numbers.map(async (number) => readlink(`${directory}/${number}`).catch(() => "")));
}
