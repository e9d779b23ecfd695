/** A small repository with credentials, its keys, and ways to run `npm run seal` in it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { repositoryRoot } from "../../scripts/lib/repository.ts";
import { parseSealedPath } from "../../scripts/lib/secrets/credential.ts";
import { createIdentity, formatIdentity, type Identity } from "../../scripts/lib/secrets/keys/age.ts";
import { formatRules } from "../../scripts/lib/secrets/keys/recipients.ts";
import { valuesOf } from "../../scripts/lib/secrets/sealed.ts";
import { connectSops, type Sops } from "../../scripts/lib/secrets/sops.ts";
import { cacheDir } from "../../scripts/lib/tools/cache.ts";
import { resolveTools } from "../../scripts/lib/tools/resolve.ts";
import { bundledLine } from "./commands.ts";
import { smallTree, temporary, write } from "./tree.ts";

export const ENVIRONMENTS = ["dev", "test", "live"] as const;

export interface SealRepository {
  root: string;
  sopsPath: string;
  identities: Readonly<Record<string, Identity>>;
  /** Has no private key. */
  blind: Sops;
  /** Has the keys of all environments. */
  sops: Sops;
  /** What a command gets: a home and a directory for temporary files of its own, and no private key. */
  env: NodeJS.ProcessEnv;
  /** A file with the keys of all environments, outside of `root`. */
  keyFile: string;
}

/**
 * `disk` has a login that `web` has a copy of; `web` has a gateway with two keys that a person brings and one that is
 * generated, and a pass with one key. Nothing is sealed yet.
 */
export async function sealRepository(): Promise<SealRepository> {
  const [tools, root, aside] = await Promise.all([
    resolveTools(["sops", "age-keygen"]),
    temporary(),
    temporary(),
  ]);
  const [sopsPath = "", ageKeygen = ""] = tools.map(({ path }) => path);
  const made = await Promise.all(
    ENVIRONMENTS.map(async (name) => [name, await createIdentity(ageKeygen)] as const),
  );
  const rules = made.map(([environment, { recipient }]) => ({
    environment,
    recipients: [{ name: `cluster-${environment}`, key: recipient }],
  }));
  const tree = smallTree();
  const listed = (text: string, ...names: string[]) =>
    text.replace("resources:\n", `resources:\n${names.map((name) => `  - ${name}.sops.yaml\n`).join("")}`);
  for (const environment of ENVIRONMENTS) {
    for (const [app, ...names] of [
      ["disk", "login"],
      ["web", "web-login", "gateway"],
    ] as const) {
      const path = `overlays/${environment}/${app}/kustomization.yaml`;
      tree[path] = listed(tree[path] ?? "", ...names);
    }
  }
  await write(root, {
    ...tree,
    "apps/disk.yaml": `${tree["apps/disk.yaml"]}secrets:
  - name: login
    keys:
      user: {fixed: shop}
      password: {generate: 32}
`,
    "apps/web.yaml": `${tree["apps/web.yaml"]}secrets:
  - name: web-login
    sameAs: disk/login
  - name: gateway
    keys:
      api-key: {supply: the provider's console}
      hook: {supply: the provider's mail}
      token: {generate: 16}
  - name: pass
    keys:
      word: {supply: somebody}
`,
    ".sops.yaml": formatRules("keys:\ncreation_rules:\n", rules),
  });
  const keyFile = join(aside, "keys.txt");
  await writeFile(keyFile, made.map(([, identity]) => formatIdentity(identity)).join(""), { mode: 0o600 });
  const [home, tmp] = [join(aside, "home"), join(aside, "tmp")];
  await Promise.all([mkdir(home), mkdir(tmp)]);
  const env = {
    PATH: process.env["PATH"],
    HOME: home,
    TMPDIR: tmp,
    TERM: "xterm",
    TOOLS_CACHE: cacheDir(process.env, repositoryRoot()),
  };
  return {
    root,
    sopsPath,
    identities: Object.fromEntries(made),
    blind: connectSops(sopsPath, root, env),
    sops: connectSops(sopsPath, root, { ...env, SOPS_AGE_KEY_FILE: keyFile }),
    env,
    keyFile,
  };
}

/** Puts a sealed file into the tree, without the command. */
export async function sealFile(
  { root, blind }: SealRepository,
  path: string,
  values: Record<string, string>,
  placeholders: readonly string[] = [],
): Promise<void> {
  const { app = "", name = "" } = parseSealedPath(path) ?? {};
  const secret = { name, namespace: "shop", type: "Opaque", app, placeholders };
  const bytes = Object.entries(values).map(([key, value]) => [key, Buffer.from(value)] as const);
  await write(root, { [path]: await blind.seal(path, secret, new Map(bytes)) });
}

/** What is sealed in a file, as text by key. */
export async function opened({ root, sops }: SealRepository, path: string): Promise<Record<string, string>> {
  const file = await sops.open(path, await readFile(join(root, path), "utf8"));
  return Object.fromEntries([...valuesOf(file)].map(([key, value]) => [key, Buffer.from(value).toString()]));
}

/** The command line of `npm run seal`, without npm. */
export function sealCommand({ root }: SealRepository, ...args: readonly string[]): [string, ...string[]] {
  const [command, line] = bundledLine("seal", ["--root", root, ...args]);
  return [command, ...line];
}

export interface Ended {
  exitCode: number | null;
  /** Standard output and standard error, as they came. */
  output: string;
}

/** Runs a command line to its end. */
export async function runCommand(
  [program, ...args]: readonly [string, ...string[]],
  { env, cwd, input = "" }: { env: NodeJS.ProcessEnv; cwd: string; input?: string | Uint8Array },
): Promise<Ended> {
  const child = spawn(program, args, { env, cwd, stdio: "pipe" });
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  return ended(child);
}

/**
 * Runs a command line on a terminal of its own, with the script(1) of util-linux, and answers what it asks.
 * @param answers what is asked, with what is typed then; each is used once, in this order
 */
export async function runOnTerminal(
  command: readonly [string, ...string[]],
  { env, cwd }: { env: NodeJS.ProcessEnv; cwd: string },
  answers: readonly (readonly [string, string])[],
): Promise<Ended> {
  const quoted = command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
  const child = spawn("script", ["-qfec", quoted, "/dev/null"], { env, cwd, stdio: "pipe" });
  const left = [...answers];
  let seen = "";
  child.stdout.on("data", (chunk: Buffer) => {
    seen += chunk.toString();
    for (;;) {
      const [next] = left;
      const at = next === undefined ? -1 : seen.indexOf(next[0]);
      if (next === undefined || at === -1) return;
      seen = seen.slice(at + next[0].length);
      left.shift();
      child.stdin.write(next[1]);
    }
  });
  return ended(child);
}

async function ended(child: ChildProcess): Promise<Ended> {
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const [exitCode] = await once(child, "close");
  return { exitCode, output };
}

/**
 * An editor that is a shell script; the file's path is in `$1`.
 * @param bodies what it does when it is opened for the first time, the second, and so on; nothing afterwards
 * @returns its path; beside it `<path>.rounds` says how often it was opened
 */
export async function editor(...bodies: readonly string[]): Promise<string> {
  const file = join(await temporary(), "editor");
  const cases = bodies.map((body, index) => `${index + 1})\n${body}\n;;\n`);
  const count = `round=$(($(cat "$0.rounds" 2>/dev/null) + 1)); echo $round > "$0.rounds"`;
  await writeFile(file, `#!/bin/sh\n${count}\ncase $round in\n${cases.join("")}esac\n`, { mode: 0o755 });
  return file;
}
