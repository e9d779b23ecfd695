/** What a sandbox has to remember so that a second start repairs the first: its ports and generated credentials. */
import { createHash, randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import getPort, { portNumbers } from "get-port";
import { z } from "zod";
import { readIfThere, replaceFile } from "../file.ts";
import type { Layout } from "./layout.ts";

const State = z.strictObject({
  ports: z.record(z.string(), z.number().int()),
  credentials: z.record(z.string(), z.string()),
});

export type State = z.infer<typeof State>;

/** Below the range that systems hand out for outgoing connections (32768 on Linux, 49152 elsewhere). */
const PORTS = { from: 20_000, to: 32_000, each: 100 };

/**
 * Reads the sandbox's state, and adds what is missing: free loopback ports and random credentials.
 * @param portNames what needs a port of its own
 * @param credentialNames what needs 32 random bytes, as 43 characters of base64url
 */
export async function ensureState(
  layout: Layout,
  portNames: readonly string[],
  credentialNames: readonly string[],
): Promise<State> {
  await mkdir(layout.dir, { recursive: true, mode: 0o700 });
  const state = (await readState(layout)) ?? { ports: {}, credentials: {} };
  const taken = new Set(Object.values(state.ports));
  const from = firstPort(layout);
  for (const name of portNames) {
    if (state.ports[name] !== undefined) continue;
    const port = await getPort({
      host: "127.0.0.1",
      port: portNumbers(from, from + PORTS.each - 1),
      exclude: taken,
    });
    taken.add(port);
    state.ports[name] = port;
  }
  for (const name of credentialNames) state.credentials[name] ??= randomBytes(32).toString("base64url");
  await replaceFile(layout.state, JSON.stringify(state, null, 2));
  return state;
}

/** A range for each checkout, so that two that start together do not choose the same ports. */
function firstPort(layout: Layout): number {
  const ranges = (PORTS.to - PORTS.from) / PORTS.each;
  return (
    PORTS.from + (createHash("sha256").update(layout.root).digest().readUInt32BE() % ranges) * PORTS.each
  );
}

/** The state of the sandbox, if there is one. */
export async function readState(layout: Layout): Promise<State | undefined> {
  const text = await readIfThere(layout.state);
  return text === undefined ? undefined : State.parse(JSON.parse(text));
}

/** The port that was given to a name. */
export function portOf(state: State, name: string): number {
  const port = state.ports[name];
  if (port === undefined) throw new Error(`no port was reserved for ${name}`);
  return port;
}

/** The credential that was generated for a name. */
export function credentialOf(state: State, name: string): string {
  const credential = state.credentials[name];
  if (credential === undefined) throw new Error(`no credential was generated for ${name}`);
  return credential;
}
