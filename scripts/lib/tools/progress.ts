/** What a resolution reports while it runs, and the same as a line for people. */

export type ToolProgress =
  /** Another process builds from the same module; this one waits and takes the result. */
  | { kind: "waiting"; tools: readonly string[] }
  /** A build starts: tools `first` to `first + tools.length - 1` of the `total` that have to be built. */
  | { kind: "building"; tools: readonly string[]; first: number; total: number; usualSeconds: number }
  /** The build lives: what the Go command is doing. */
  | { kind: "step"; tools: readonly string[]; text: string }
  /** One more is in the cache. */
  | { kind: "built"; tool: string; done: number; total: number; seconds: number };

/** A progress event as one line, such as `building age, age-keygen (1 to 2 of 14, usually 15s)`. */
export function describeProgress(event: ToolProgress): string {
  if (event.kind === "built") {
    return `built ${event.tool} in ${duration(event.seconds)} (${event.done} of ${event.total})`;
  }
  const names = event.tools.join(", ");
  if (event.kind === "waiting") return `waiting for another process that builds ${names}`;
  if (event.kind === "step") return `${names}: ${event.text}`;
  const last = event.first + event.tools.length - 1;
  const which = last === event.first ? `${last}` : `${event.first} to ${last}`;
  return `building ${names} (${which} of ${event.total}, usually ${duration(event.usualSeconds)})`;
}

/** How often a line says that a build lives. */
const STEP_MS = 30_000;

/**
 * Lines of what a resolution reports. A build of 2,500 packages tells of each; of those one line now and then is passed on.
 * @param stepMs how often; for a line that replaces itself more often than for a log
 */
export function progressLines(
  tell: (line: string) => void,
  stepMs: number = STEP_MS,
  now: () => number = () => performance.now(),
): (event: ToolProgress) => void {
  let toldMs = now();
  return (event) => {
    if (event.kind === "step" && now() - toldMs < stepMs) return;
    toldMs = now();
    tell(describeProgress(event));
  };
}

/** Seconds as people say them: `0.3s`, `45s`, `4m30s`. */
export function duration(seconds: number): string {
  if (seconds < 10) return `${Math.round(seconds * 10) / 10}s`;
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole}s` : `${Math.floor(whole / 60)}m${String(whole % 60).padStart(2, "0")}s`;
}
