/**
 * A container of the tree without a container engine: its commands run here, with the environment that its manifest says, and with
 * a directory of the test wherever the container has a volume. Every path of a volume is replaced in commands, scripts and
 * configuration; nothing else is.
 */
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type RunResult, tryRun } from "../../scripts/lib/exec.ts";
import { type Container, type Manifest, ofKind, type PodSpec } from "../../scripts/lib/manifests/manifest.ts";

export interface Pod {
  spec: PodSpec;
  namespace: string;
  manifests: readonly Manifest[];
  /** Values of the Secrets, by name and key. */
  secrets: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** Where the volumes are that are no ConfigMap and no Secret, by the name of the claim or else of the volume. */
  volumes: Readonly<Record<string, string>>;
  /** For ConfigMaps and Secrets. */
  directory: string;
  /** Changes what the container's text has beside its paths, such as a port. */
  edit?: (text: string) => string;
}

export interface RunningContainer {
  /** The replacement of paths, for what the container's manifest does not hold. */
  placed: (text: string) => string;
  env: Record<string, string>;
  /** Runs a command in it. */
  run: (command: readonly string[], input?: string) => Promise<RunResult>;
}

/**
 * Writes what a container mounts, and says how its commands run.
 * @param programs a directory with the programs of its image
 * @param user a command that runs another one as the container's user; empty to run it as this one
 * @param override environment that replaces the manifest's
 */
export async function enter(
  pod: Pod,
  container: Container,
  options: { programs: string; user?: readonly string[]; override?: Record<string, string> },
): Promise<RunningContainer> {
  const { directory, edit = (text: string) => text } = pod;
  const mounts = (container.volumeMounts ?? []).map(({ name, mountPath, subPath }) => {
    const volume = pod.spec.volumes?.find((candidate) => candidate.name === name);
    const claim = volume?.persistentVolumeClaim?.claimName;
    const source = volume?.configMap?.name ?? volume?.secret?.secretName;
    const place =
      source === undefined ? (pod.volumes[claim ?? name] ?? join(directory, name)) : join(directory, source);
    return { volume, place, mountPath, target: subPath === undefined ? place : join(place, subPath) };
  });
  const targets = new Map(mounts.map(({ mountPath, target }) => [mountPath, target]));
  const longest = [...targets.keys()].toSorted((one, other) => other.length - one.length);
  // In one go: a directory of the test may begin with the path of a volume.
  const pattern = new RegExp(`(?<![\\w./-])(${longest.join("|")})(?![\\w.-])`, "g");
  const placed = (text: string): string =>
    edit(text.replaceAll(pattern, (path) => targets.get(path) ?? path));
  for (const { volume, place } of mounts) {
    await mkdir(place, { recursive: true });
    const data = dataOf(pod, volume?.configMap?.name);
    for (const [key, value] of Object.entries(data)) await put(join(place, key), placed(value));
    for (const [key, value] of Object.entries(pod.secrets[volume?.secret?.secretName ?? ""] ?? {}))
      await put(join(place, key), value);
  }
  const { programs, user = [], override = {} } = options;
  const env = {
    PATH: `${programs}:${process.env["PATH"]}`,
    LC_ALL: "C.UTF-8",
    ...environmentOf(pod, container, placed),
    ...override,
  };
  const run = async (command: readonly string[], input?: string): Promise<RunResult> => {
    const [program = "", ...args] = [...user, ...command.map(placed)];
    return tryRun(program, args, { env, cwd: directory, ...(input === undefined ? {} : { input }) });
  };
  return { placed, env, run };
}

function environmentOf(
  pod: Pod,
  container: Container,
  placed: (text: string) => string,
): Record<string, string> {
  const maps = (container.envFrom ?? []).map(({ configMapRef }) => dataOf(pod, configMapRef?.name));
  const own = (container.env ?? []).map(({ name, value, valueFrom }) => {
    const secret = valueFrom?.secretKeyRef;
    return [
      name,
      secret === undefined ? placed(value ?? "") : (pod.secrets[secret.name]?.[secret.key] ?? ""),
    ];
  });
  return { ...Object.assign({}, ...maps), ...Object.fromEntries(own) };
}

function dataOf({ manifests, namespace }: Pod, name: string | undefined): Record<string, string> {
  const map = ofKind(manifests, "ConfigMap").find(
    ({ metadata }) => metadata.name === name && metadata.namespace === namespace,
  );
  return map?.data ?? {};
}

async function put(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
  await chmod(path, 0o644);
}
