/** Credentials: what Secrets hold, each with every place that has a copy of it. The catalogue says so; docs/secrets.md. */
import { randomInt } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { glob } from "tinyglobby";
import { z } from "zod";
import { readDocument } from "../document.ts";
import { RefusedError } from "../errors.ts";
import { exists, readIfThere } from "../file.ts";
import type { App, SecretKey } from "../tree/catalogue.ts";
import { selfSigned } from "./seal/certificate.ts";

/** A Secret that has a credential. */
export interface SecretPlace {
  app: string;
  namespace: string;
  /** Of the Secret, and of the SopsSecret that it is made from. */
  name: string;
}

export interface Credential {
  /** The Secret that the catalogue describes it at, `<app>/<secret>`. */
  id: string;
  /** Of the Secrets; most have none, which is `Opaque`. */
  type: string;
  keys: ReadonlyMap<string, SecretKey>;
  /** The first one is the one of the `id`. */
  places: readonly SecretPlace[];
}

/** The values of one credential by key, as bytes. */
export type SecretValues = ReadonlyMap<string, Uint8Array>;

/**
 * The credentials of a catalogue.
 * @returns in the order of the apps
 * @throws RefusedError when `sameAs` leads nowhere, or two Secrets of one namespace have one name
 */
export function credentialsOf(catalogue: readonly App[]): Credential[] {
  const places = new Map<string, SecretPlace[]>();
  const found: Credential[] = [];
  for (const { app, namespace, secrets } of catalogue) {
    for (const secret of secrets) {
      const place = { app, namespace, name: secret.name };
      const id = "keys" in secret ? `${app}/${secret.name}` : secret.sameAs;
      const known = places.get(id) ?? [];
      if (!("keys" in secret)) {
        places.set(id, [...known, place]);
        continue;
      }
      places.set(id, [place, ...known]);
      found.push({ id, type: secret.type, keys: new Map(Object.entries(secret.keys)), places: [] });
    }
  }
  for (const [id, [first]] of places) {
    if (found.some((credential) => credential.id === id)) continue;
    throw new RefusedError(
      `apps/${first?.app}.yaml: ${first?.name} is the same as ${id}, which no app describes`,
      `there are ${found.map((credential) => credential.id).join(", ")}`,
    );
  }
  refuseTwice([...places.values()].flat());
  return found.map((credential) => ({ ...credential, places: places.get(credential.id) ?? [] }));
}

function refuseTwice(places: readonly SecretPlace[]): void {
  const seen = new Map<string, SecretPlace>();
  for (const place of places) {
    const id = `${place.namespace}/${place.name}`;
    const other = seen.get(id);
    if (other !== undefined)
      throw new RefusedError(
        `apps/${place.app}.yaml: the Secret ${id} is one of ${other.app} already`,
        `call it ${place.app}-${place.name}`,
      );
    seen.set(id, place);
  }
}

/** The file of a sealed Secret, relative to the repository's root. */
export function sealedPath(environment: string, { app, name }: Pick<SecretPlace, "app" | "name">): string {
  return `overlays/${environment}/${app}/${name}.sops.yaml`;
}

/** The reverse of `sealedPath`; undefined for any other path. */
export function parseSealedPath(
  path: string,
): { environment: string; app: string; name: string } | undefined {
  const [top, environment, app, ...rest] = dirname(path).split("/");
  const name = /^(.+)\.sops\.yaml$/.exec(basename(path))?.[1];
  if (top !== "overlays" || !environment || !app || rest.length > 0 || name === undefined) return undefined;
  return { environment, app, name };
}

/** The environment that a path is of, also one that is not as it should be. */
export function environmentOf(path: string): string | undefined {
  return /^overlays\/([^/]+)\//.exec(path)?.[1];
}

/** What lies in a checkout and is not of its tree. */
const OUTSIDE = ["node_modules/**", ".git/**", ".sandbox/**"];

/** Every sealed file of a tree, also one that is in a wrong place. */
export async function sealedFiles(root: string): Promise<string[]> {
  const files = await glob("**/?*.sops.yaml", {
    cwd: root,
    dot: true,
    ignore: OUTSIDE,
  });
  return files.toSorted();
}

/** Every file of a tree that an overlay may take for manifests, sealed or not. */
export async function manifestFiles(root: string): Promise<string[]> {
  return glob(["{apps,argocd,base,overlays}/**/*.{yaml,yml,json}", "**/Kustomization"], {
    cwd: root,
    dot: true,
    followSymbolicLinks: false,
    ignore: OUTSIDE,
  });
}

/** The places that an environment has: those of apps that have an overlay there. */
export async function placesIn(
  root: string,
  environment: string,
  { places }: Credential,
): Promise<SecretPlace[]> {
  const there = await Promise.all(
    places.map(async ({ app }) => exists(join(root, "overlays", environment, app, "kustomization.yaml"))),
  );
  return places.filter((_, index) => there[index]);
}

const Kustomization = z.looseObject({ resources: z.array(z.string()).default([]) });

/**
 * The paths of what an overlay applies, relative to the root; nothing when there is no kustomization.yaml.
 * @param overlay its directory, relative to the root
 * @throws RefusedError when it is not valid
 */
export async function resourcesOf(root: string, overlay: string): Promise<string[]> {
  const file = `${overlay}/kustomization.yaml`;
  const { resources } = readDocument((await readIfThere(join(root, file))) ?? "{}", file, Kustomization);
  return resources.map((resource) => join(overlay, resource));
}

const LETTERS_AND_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/** A new value for a key; undefined when a person has to bring it. */
export function generateValue(key: SecretKey): Uint8Array | undefined {
  if ("supply" in key) return undefined;
  if ("fixed" in key) return Buffer.from(key.fixed);
  return randomText(key.generate);
}

function randomText(length: number): Uint8Array {
  const pick = () => LETTERS_AND_DIGITS[randomInt(LETTERS_AND_DIGITS.length)] ?? "";
  return Buffer.from(Array.from({ length }, pick).join(""));
}

/** As many characters as nobody guesses. */
const PLACEHOLDER_LENGTH = 32;

/**
 * Values for every key: what a person has to bring is random; a pair tls.crt and tls.key is a self-signed certificate.
 * @param host the DNS name for a certificate
 */
export async function placeholderValues({ keys }: Credential, host: string): Promise<SecretValues> {
  const pair = keys.has("tls.crt") && keys.has("tls.key") ? await selfSigned(host) : undefined;
  const value = (name: string, key: SecretKey) =>
    pair?.get(name) ?? generateValue(key) ?? randomText(PLACEHOLDER_LENGTH);
  return new Map([...keys].map(([name, key]) => [name, value(name, key)]));
}

/** The keys whose values a person has to bring, with where they come from. */
export function suppliedKeys({ keys }: Credential): Map<string, string> {
  return new Map([...keys].flatMap(([name, key]) => ("supply" in key ? [[name, key.supply] as const] : [])));
}
