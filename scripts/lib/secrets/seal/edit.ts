/** A sealed Secret in an editor: by the real `sops edit`, with its temporary file in memory. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { realpathSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { ExternalError, RefusedError } from "../../errors.ts";
import { onPath } from "../../tools/go.ts";
import { sopsEnvironment } from "../sops.ts";
import { memoryDirectory } from "./memory.ts";

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
