/** A sealed Secret in an editor: by the real `sops edit`, with its temporary file in memory. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { realpathSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { ExternalError, RefusedError } from "../errors.ts";
import { freeMemory, MEMORY } from "../temporary.ts";
import { onPath } from "../tools/go.ts";
import { type Credential, placesIn, type SecretValues } from "./credential.ts";
import { hasKeysOf, readSealed } from "./seal.ts";
import { keysToSet, planSeal, type SealPlan } from "./seal-plan.ts";
import { type SealedFile, valuesOf } from "./sealed.ts";
import { type Sops, sopsEnvironment } from "./sops.ts";

/** sops ends with it when nothing has been changed. */
const UNCHANGED = 200;

// Behind the person's own configuration, so that it wins.
const VIM = `-n -i NONE -c "silent! set nobackup nowritebackup noswapfile" -c "silent! set noundofile"`;
/** What keeps an editor from leaving copies of a text elsewhere. */
const QUIET: Readonly<Record<string, string>> = { vim: VIM, nvim: VIM, nano: "--ignorercfiles", busybox: "" };

export interface Editor {
  /** As a shell would read it; sops puts the file behind it. */
  command: string;
  /** Whether it keeps no copies elsewhere, as far as is known here. */
  isQuiet: boolean;
}

/**
 * The person's editor, made to keep no swap file, backup, undo file or history.
 * @param env SOPS_EDITOR comes before EDITOR, and after both the first there is of vim, nano and vi
 * @throws RefusedError when there is none
 */
export function chooseEditor(env: NodeJS.ProcessEnv): Editor {
  const found = ["vim", "nano", "vi"].find((name) => onPath(name, env).length > 0);
  const command = env["SOPS_EDITOR"] || env["EDITOR"] || found;
  if (command === undefined) throw new RefusedError("there is no editor", "name one in EDITOR");
  const options = QUIET[kindOf(command, env)];
  return options === undefined
    ? { command, isQuiet: false }
    : { command: `${command} ${options}`, isQuiet: true };
}

/** `vi` is another editor on every system. */
function kindOf(command: string, env: NodeJS.ProcessEnv): string {
  const program = command.trim().split(/\s+/)[0] ?? "";
  const name = basename(program);
  if (name !== "vi") return name;
  const [path] = program.includes("/") ? [program] : onPath(program, env);
  const real = path === undefined ? name : basename(realpathSync(path));
  return real.startsWith("vim") ? "vim" : real;
}

/**
 * Makes a directory in memory that nobody else can read.
 * @throws RefusedError where the system has no such place
 */
export async function memoryDirectory(memory: string = MEMORY): Promise<string> {
  if ((await freeMemory(memory)) !== undefined) return mkdtemp(join(memory, "seal-"));
  throw new RefusedError(
    `${memory} is not in memory, and an editor's file must not be on a disk`,
    "give the values without --edit: at the prompt, on standard input or by --from-file",
  );
}

/**
 * Has a person edit a sealed file. The file itself stays as it is: sops works on a copy.
 * @param options.program path of the sops program
 * @param options.path of the sealed file, for messages
 * @param options.text its content
 * @param options.memory where the temporary files go
 * @param options.onInterrupt takes what removes them
 * @returns the new content, sealed; undefined when nothing was changed
 * @throws ExternalError when sops or the editor fails
 */
export async function editSealed(
  root: string,
  options: {
    program: string;
    path: string;
    text: string;
    editor: Editor;
    env: NodeJS.ProcessEnv;
    onInterrupt: (undo: () => Promise<unknown>) => void;
    memory?: string;
  },
): Promise<string | undefined> {
  const { program, path, text, editor, env, onInterrupt } = options;
  const directory = await memoryDirectory(options.memory);
  const remove = async () => rm(directory, { recursive: true, force: true, maxRetries: 3 });
  let running: ReturnType<typeof spawn> | undefined;
  onInterrupt(async () => {
    running?.kill();
    await remove();
  });
  try {
    const copy = join(directory, basename(path));
    await writeFile(copy, text, { mode: 0o600 });
    running = spawn(program, ["--disable-version-check", "edit", copy], {
      cwd: root,
      stdio: "inherit",
      env: { ...sopsEnvironment(env), TMPDIR: directory, SOPS_EDITOR: editor.command },
    });
    const [exitCode] = await once(running, "exit");
    if (exitCode === UNCHANGED) return undefined;
    if (exitCode === 0) return await readFile(copy, "utf8");
    throw new ExternalError(
      `sops or the editor ended with exit code ${exitCode}: nothing was changed`,
      "EDITOR says which editor it is",
    );
  } finally {
    await remove();
  }
}

/**
 * Plans what an edited file means for all copies of its credential in the environment.
 * @param options.app whose copy is edited
 * @param edit gets path and content of the sealed file, and returns the new content or undefined
 * @returns undefined when no value has changed
 * @throws RefusedError when there is nothing to edit, or more than values was edited; NoKeyError without a private key
 */
export async function planEdit(
  root: string,
  sops: Sops,
  options: { credential: Credential; environment: string; app: string },
  edit: (path: string, text: string) => Promise<string | undefined>,
): Promise<{ plan: SealPlan; given: SecretValues } | undefined> {
  const { credential, environment, app } = options;
  const place = (await placesIn(root, environment, credential)).find((candidate) => candidate.app === app);
  const sealed = place && (await readSealed(root, environment, place));
  if (sealed === undefined)
    throw new RefusedError(
      `${app} has no sealed ${credential.id} in ${environment} yet`,
      "seal it first, without --edit",
    );
  const { path, text } = sealed;
  const plan = await planSeal(root, sops, {
    credential,
    environments: [environment],
    keys: keysToSet(credential, []),
  });
  const before = await sops.open(path, text);
  const edited = await edit(path, text);
  if (edited === undefined) return undefined;
  const after = await sops.open(path, edited).catch((error: unknown) => {
    if (!(error instanceof RefusedError)) throw error;
    throw new RefusedError(error.message, "every value is a text, in quotes; nothing was changed");
  });
  refuseOther(path, credential, before, after);
  const old = valuesOf(before);
  const given = valuesOf(after);
  const changed = [...given].filter(
    ([key, value]) => Buffer.compare(value, old.get(key) ?? Buffer.alloc(0)) !== 0,
  );
  const keys = changed.map(([key]) => key);
  if (keys.length === 0) return undefined;
  const placeholders = before.placeholders.filter((key) => !keys.includes(key));
  const environments = plan.environments.map((one) => ({ ...one, placeholders }));
  return { plan: { credential, keys, environments }, given };
}

function refuseOther(path: string, credential: Credential, before: SealedFile, after: SealedFile): void {
  const nothing = "nothing was changed";
  if (!hasKeysOf(after, credential))
    throw new RefusedError(
      `${path} would have other keys than ${[...credential.keys.keys()].join(", ")}`,
      `${nothing}; the catalogue says which there are: apps/${credential.id.split("/")[0]}.yaml`,
    );
  const same = (["name", "namespace", "type"] as const).every((field) => before[field] === after[field]);
  if (!same)
    throw new RefusedError(
      `${path} would be another Secret`,
      `${nothing}; name, namespace and type come from the catalogue, only values are edited`,
    );
  const values = valuesOf(after);
  for (const [key, how] of credential.keys) {
    if ("fixed" in how && Buffer.from(values.get(key) ?? "").toString() !== how.fixed)
      throw new RefusedError(
        `${key} of ${path} has a fixed value`,
        `${nothing}; change it in apps/${credential.id.split("/")[0]}.yaml`,
      );
  }
  for (const [key, value] of after.data) {
    const compact = value.replaceAll(/\s/g, "");
    if (Buffer.from(compact, "base64").toString("base64") !== compact)
      throw new RefusedError(
        `${key} of ${path} stands under \`data\` and is not base64`,
        `${nothing}; text goes under \`stringData\``,
      );
  }
}
