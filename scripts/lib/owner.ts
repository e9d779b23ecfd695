/** Whose a file is: names that say which process made it, so that what a killed one has left is known as such. */
import { createHash } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { isAlive, startOf } from "./pid.ts";

/** This process's name, `<space>-<pid>-<start>`: no other process has it, here or elsewhere. */
export function ownName(): string {
  return `${space()}-${process.pid}-${startOf(process.pid) ?? 0}`;
}

/**
 * Whether the process that a name begins with has ended.
 * @returns undefined when that cannot be known: it is one of another machine or container, or no such name
 */
export function isGone(name: string): boolean | undefined {
  const [, where, pid, start] = /^([0-9a-f]{8})-(\d+)-(\d+)(?:-|$)/.exec(name) ?? [];
  if (where !== space()) return undefined;
  return start === "0" ? !isAlive(Number(pid)) : startOf(Number(pid)) !== start;
}

let known: string | undefined;

/** What the numbers of processes are of: this machine since it was started, and this container. */
function space(): string {
  known ??= createHash("sha256").update(readSpace()).digest("hex").slice(0, 8);
  return known;
}

function readSpace(): string {
  try {
    return `${readFileSync("/proc/sys/kernel/random/boot_id", "utf8")} ${readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    // No Linux, and so no containers.
    return process.platform;
  }
}
