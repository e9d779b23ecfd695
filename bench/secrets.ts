/** The figures of Secrets: how long the audit of many sealed files takes without a key, and how long sealing one value does. */
import { rm } from "node:fs/promises";
import pLimit from "p-limit";
import { ExternalError } from "../scripts/lib/errors.ts";
import { run } from "../scripts/lib/exec.ts";
import { credentialsOf, generateValue } from "../scripts/lib/secrets/credential.ts";
import { createIdentity } from "../scripts/lib/secrets/keys/age.ts";
import { formatRules } from "../scripts/lib/secrets/keys/recipients.ts";
import { sealCredential, writeSealed } from "../scripts/lib/secrets/seal/seal.ts";
import { connectSops, type Sops } from "../scripts/lib/secrets/sops.ts";
import { temporaryDirectory } from "../scripts/lib/temporary.ts";
import { resolveTool } from "../scripts/lib/tools/resolve.ts";
import { readCatalogue } from "../scripts/lib/tree/catalogue.ts";
import { lastWord, runCommand } from "./command.ts";
import type { BenchOptions, Figure } from "./figures.ts";
import { put } from "./tree.ts";

/** Together 1,000 sealed files. */
const ENVIRONMENTS = ["dev", "prod"];
const APPS = 100;
const SECRETS = 5;
const FILES = ENVIRONMENTS.length * APPS * SECRETS;
/** sops takes a core for 30 ms. */
const PARALLEL = 4;

/** @throws ExternalError when a command fails */
export async function benchSecrets(
  root: string,
  { runs, say, onInterrupt }: BenchOptions,
): Promise<Figure[]> {
  const tree = await temporaryDirectory("bench-");
  const clear = async () => rm(tree, { recursive: true, force: true, maxRetries: 5 });
  onInterrupt(clear);
  try {
    say(`sealing ${FILES} files`);
    await writeTree(tree);
    await sealAll(tree);
    const times = async (verb: string, ...args: string[]) => {
      const seconds: number[] = [];
      for (let index = 0; index < runs; index += 1) {
        const result = await runCommand(root, verb, ["--root", tree, ...args], "");
        if (result.exitCode !== 0) throw new ExternalError(`npm run ${verb} failed: ${lastWord(result)}`);
        seconds.push(result.seconds);
      }
      return seconds;
    };
    say(`${runs} audits without a key`);
    const audit = await times("secrets");
    say(`${runs} times one value`);
    const seal = await times("seal", "--generate", "dev", appName(0), "--secret", secretName(0, 0));
    return [
      { name: `audit of ${FILES} sealed files without a key`, unit: "s", measured: audit, limit: 3 },
      { name: "sealing one value", unit: "s", measured: seal, limit: 1 },
    ];
  } finally {
    await clear();
  }
}

function appName(index: number): string {
  return `service-${String(index + 1).padStart(3, "0")}`;
}

function secretName(app: number, secret: number): string {
  return `${appName(app)}-${secret + 1}`;
}

async function writeTree(root: string): Promise<void> {
  for (const [index, name] of ENVIRONMENTS.entries()) {
    const from = index === 0 ? {} : { promotesFrom: ENVIRONMENTS[index - 1] };
    // JSON is YAML.
    const environment = { kind: "ConfigMap", data: { name, soak: "0s", ...from } };
    await put(root, `overlays/${name}/environment.yaml`, JSON.stringify(environment));
  }
  for (let app = 0; app < APPS; app += 1) {
    const names = Array.from({ length: SECRETS }, (_, index) => secretName(app, index));
    const secrets = names.map((name) => ({ name, keys: { password: { generate: 32 } } }));
    const entry = { app: appName(app), namespace: "shop", kind: "store", owners: ["shop"], secrets };
    await put(root, `apps/${appName(app)}.yaml`, JSON.stringify(entry));
    for (const environment of ENVIRONMENTS) {
      const resources = names.map((name) => `${name}.sops.yaml`);
      const file = `overlays/${environment}/${appName(app)}/kustomization.yaml`;
      await put(root, file, JSON.stringify({ resources }));
    }
  }
  const { recipient } = await createIdentity((await resolveTool("age-keygen")).path);
  const recipients = [{ name: "bench", key: recipient }];
  const rules = ENVIRONMENTS.map((environment) => ({ environment, recipients }));
  await put(root, ".sops.yaml", formatRules("", rules));
  await run("git", ["init", "--quiet"], { cwd: root });
}

async function sealAll(root: string): Promise<void> {
  const sops: Sops = connectSops((await resolveTool("sops")).path, root, process.env);
  const limit = pLimit(PARALLEL);
  const all = credentialsOf(await readCatalogue(root)).flatMap((credential) =>
    ENVIRONMENTS.map((environment) =>
      limit(async () => {
        const values = new Map(
          [...credential.keys].map(([name, key]) => [name, generateValue(key) ?? Buffer.alloc(0)]),
        );
        const one = { credential, environment, values, placeholders: [] };
        await writeSealed(root, await sealCredential(root, sops, one));
      }),
    ),
  );
  await Promise.all(all);
}
