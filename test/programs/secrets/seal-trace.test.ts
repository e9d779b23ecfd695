/**
 * Values leave no trace: what a command says and leaves is searched for them and, where strace is, all that it writes and starts.
 * Without strace the controls are skipped, so that it shows.
 */
import { randomBytes } from "node:crypto";
import { readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { createIdentity } from "../../../scripts/lib/secrets/keys/age.ts";
import { connectSops } from "../../../scripts/lib/secrets/sops.ts";
import { onPath } from "../../../scripts/lib/tools/go.ts";
import { resolveTool } from "../../../scripts/lib/tools/resolve.ts";
import { bundledLine } from "../../support/commands.ts";
import {
  type Ended,
  opened,
  runCommand,
  runOnTerminal,
  type SealRepository,
  sealCommand,
  sealFile,
  sealRepository,
} from "../../support/seal.ts";
import { commit, git, temporary, write } from "../../support/tree.ts";

const GATEWAY = "overlays/dev/web/gateway.sops.yaml";
const ON_GATEWAY = ["--verbose", "dev", "web", "--secret", "gateway"] as const;
const STRACE = onPath("strace", process.env)[0];
/** All of what a program starts with, writes and connects to, with the names of what it writes to. */
const SHOWN = "execve,execveat,write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,sendmmsg,connect";
/** What these write does not show. */
const UNSHOWN = "sendfile,copy_file_range,splice,tee,vmsplice,mmap";
/** What newer versions of Node hand to the kernel through a ring in memory is in no trace: as if the kernel had none. */
const NO_RINGS = "inject=io_uring_setup:error=ENOSYS";
/** Between programs, by a pipe or a pair of sockets without a name; and the file for the editor, which is in memory. */
const HARMLESS = /^\d+ +\w+\(\d+<(pipe:|UNIX(-STREAM)?:\[\d+->\d+\]>|\/dev\/shm\/seal-)/;

/** What no command here has to do, whatever it is about: connect to something, and write to a file what no trace shows. */
function isOpaque(call: string): boolean {
  if (/^\d+ +connect\(/.test(call)) return call.endsWith(" = 0");
  if (/^\d+ +mmap\(/.test(call)) return /PROT_WRITE[^,]*, MAP_SHARED[^,]*, \d+</.test(call);
  return /^\d+ +(sendfile|copy_file_range|splice|tee|vmsplice)\(/.test(call) && !/ = -1 /.test(call);
}

/** A value that nothing else is, with characters that formats escape around it. */
function canary(): { word: string; value: string } {
  const word = randomBytes(24).toString("hex");
  return { word, value: `"${word}\\ü` };
}

/** How a word can stand in other text: as it is, and in base64 behind 0, 1 or 2 other bytes. */
function forms(word: string): string[] {
  const inner = [0, 1, 2].map((before) =>
    Buffer.from("-".repeat(before) + word)
      .toString("base64")
      .slice(before === 0 ? 0 : 4, -4),
  );
  return [word, ...inner, Buffer.from(word).toString("hex")];
}

interface Traced extends Ended {
  /** Where a word is that has no business there. */
  leaks(word: string): string[];
}

/** Runs a command line and keeps what it has left. */
async function traced(
  { root, env, keyFile }: SealRepository,
  command: readonly [string, ...string[]],
  how: { input?: string; answers?: readonly (readonly [string, string])[]; env?: NodeJS.ProcessEnv },
): Promise<Traced> {
  const log = join(await temporary(), "trace");
  const options = { env: { ...env, ...how.env }, cwd: root, input: how.input ?? "" };
  const whole: [string, ...string[]] =
    STRACE === undefined
      ? [...command]
      : [
          STRACE,
          "-f",
          "-v",
          "-yy",
          "-s",
          "400000",
          "-e",
          `trace=${SHOWN},${UNSHOWN},io_uring_setup`,
          "-e",
          NO_RINGS,
          "-o",
          log,
          ...command,
        ];
  const ended =
    how.answers === undefined
      ? await runCommand(whole, options)
      : await runOnTerminal(whole, options, how.answers);
  const files = new Map<string, string>();
  for (const directory of [
    root,
    dirname(keyFile),
    // Others, such as Argo CD, keep files there, too; no other test of ours does.
    ...(await readdir("/dev/shm"))
      .filter((name) => name.startsWith("seal-"))
      .map((name) => join("/dev/shm", name)),
  ])
    for (const [path, text] of await contents(directory)) files.set(path, text);
  const calls = STRACE === undefined ? [] : (await readFile(log, "utf8")).split("\n");
  return {
    ...ended,
    leaks(word) {
      const has = (text: string) => forms(word).some((form) => text.includes(form));
      return [
        ...(has(ended.output) ? ["what it says"] : []),
        ...[...files].filter(([, text]) => has(text)).map(([path]) => path),
        ...calls
          .filter((call) => (!HARMLESS.test(call) && has(call)) || isOpaque(call))
          .map((call) => call.slice(0, 120)),
      ];
    },
  };
}

async function contents(path: string): Promise<[string, string][]> {
  const about = await stat(path).catch(() => undefined);
  if (about?.isFile() === true) return [[path, await readFile(path, "latin1")]];
  if (about?.isDirectory() !== true) return [];
  const inside = await Promise.all((await readdir(path)).map(async (name) => contents(join(path, name))));
  return inside.flat();
}

/** The command line of another command than `seal`. */
function commandLine({ root }: SealRepository, verb: string, ...args: string[]): [string, ...string[]] {
  const [program, line] = bundledLine(verb, ["--root", root, ...args]);
  return [program, ...line];
}

describe("no trace of a value is left", () => {
  it("the search finds one in a file, an argument and an output", async () => {
    const repository = await sealRepository();
    const { word } = canary();
    const script = `printf %s "$1" | base64 -w0 > "$TMPDIR/left"; printf %s "$1"`;
    const run = await traced(repository, ["sh", "-c", script, "sh", `x${word}`], {});
    const found = run.leaks(word);
    expect(found[0]).toBe("what it says");
    expect(found[1]).toMatch(/tmp\/left$/);
    expect(found.some((leak) => leak.includes("execve("))).toBe(STRACE !== undefined);
  });

  it.skipIf(STRACE === undefined).each([
    ["a file that is removed again", 'cat > "$TMPDIR/x"; rm "$TMPDIR/x"', /^\d+ +write\(1<\S+\/tmp\/x>/],
    ["an argument", 'read -r W; sh -c : "$W"', /^\d+ +execve\(\S+, \["sh", "-c", ":", "/],
    [
      "the environment of a program",
      "read -r W; export W; exec sh -c :",
      /^\d+ +execve\(\S+, \["sh", "-c", ":"\], /,
    ],
    ["a copy that no trace shows", 'cp "$FILE" "$TMPDIR/x"; rm "$TMPDIR/x"', /^\d+ +copy_file_range\(/],
    [
      "a server",
      `exec node -e 'const net = require("node:net"); const server = net.createServer((one) => one.on("data", () => process.exit()).resume());
server.listen(process.env.TMPDIR + "/socket", () => process.stdin.pipe(net.connect(process.env.TMPDIR + "/socket")))'`,
      /^\d+ +connect\(/,
    ],
  ])("with strace the search finds one in %s", async (_, script, leak) => {
    const repository = await sealRepository();
    const { word } = canary();
    const FILE = join(await temporary(), "file");
    await writeFile(FILE, word);
    const run = await traced(repository, ["sh", "-c", script], { input: `${word}\n`, env: { FILE } });
    const found = run.leaks(word);
    expect(found).not.toEqual([]);
    for (const one of found) expect(one).toMatch(leak);
  });

  it("by standard input, beside values that stay", async () => {
    const repository = await sealRepository();
    const [old, given] = [canary(), canary()];
    await sealFile(repository, GATEWAY, { "api-key": old.value, hook: old.value, token: old.value });
    const run = await traced(repository, sealCommand(repository, ...ON_GATEWAY, "hook"), {
      input: given.value,
      env: { SOPS_AGE_KEY_FILE: repository.keyFile },
    });
    expect(run.output).toContain("sealed:");
    expect(await opened(repository, GATEWAY)).toEqual({
      "api-key": old.value,
      hook: given.value,
      token: old.value,
    });
    expect([...run.leaks(old.word), ...run.leaks(given.word)]).toEqual([]);
  });

  it("by the prompt, and for a generated value", async () => {
    const repository = await sealRepository();
    const { word, value } = canary();
    const run = await traced(repository, sealCommand(repository, ...ON_GATEWAY), {
      answers: [
        ["api-key (the provider's console): ", `${value}\r`],
        ["again: ", `${value}\r`],
        ["hook (the provider's mail): ", `${value}\r`],
        ["again: ", `${value}\r`],
        ["token (empty: a new random one): ", "\r"],
      ],
    });
    const { token = "", hook } = await opened(repository, GATEWAY);
    expect(hook).toBe(value);
    expect(token).toHaveLength(16);
    expect([...run.leaks(word), ...run.leaks(token)]).toEqual([]);
  });

  it("in an editor, where it is refused once", async () => {
    const repository = await sealRepository();
    const [old, given, refused] = [canary(), canary(), canary()];
    await sealFile(repository, GATEWAY, { "api-key": old.word, hook: old.word, token: old.word });
    const aside = await temporary();
    for (const [name, { word }] of Object.entries({ given, refused }))
      await writeFile(join(aside, name), word);
    // Takes the new value from a file: an argument of its own would be a leak that is not ours.
    await writeFile(
      join(aside, "editor"),
      `#!/usr/bin/env node
const fs = require("node:fs");
const text = fs.readFileSync(process.argv[2], "utf8");
const [given, refused] = ["given", "refused"].map((name) => fs.readFileSync("${aside}/" + name, "utf8"));
const [indent] = /^ *(?=hook: )/m.exec(text);
fs.writeFileSync(process.argv[2], text.includes(refused)
  ? text.replace(/^.*more: .*\\n/m, "")
  : text.replace(/hook: .*/, "hook: " + given + "\\n" + indent + "more: " + refused));
`,
      { mode: 0o755 },
    );
    const run = await traced(repository, sealCommand(repository, "--edit", ...ON_GATEWAY), {
      answers: [["Press Enter to return to the editor", "\r"]],
      env: { EDITOR: join(aside, "editor"), SOPS_AGE_KEY_FILE: repository.keyFile },
    });
    expect((await opened(repository, GATEWAY))["hook"]).toBe(given.word);
    expect(run.output).toContain("would have other keys");
    expect([old, given, refused].flatMap(({ word }) => run.leaks(word))).toEqual([]);
  });

  it("by sealing again, and in no object of Git", async () => {
    const repository = await sealRepository();
    const { root } = repository;
    const { word, value } = canary();
    await sealFile(repository, GATEWAY, { "api-key": value, hook: value, token: value });
    await git(root, "init", "--quiet");
    await commit(root);
    const objects = await git(root, "count-objects", "-v");
    const run = await traced(repository, sealCommand(repository, "--rotate", "--verbose", "dev", "all"), {
      env: { SOPS_AGE_KEY_FILE: repository.keyFile },
    });
    expect(run.output).toContain("sealed:");
    expect(run.leaks(word)).toEqual([]);
    expect(await git(root, "count-objects", "-v")).toBe(objects);
  });

  it("by another reader who comes and goes, and a look into the files", async () => {
    const repository = await sealRepository();
    const { root, keyFile } = repository;
    const { word, value } = canary();
    await sealFile(repository, GATEWAY, { "api-key": value, hook: value, token: value });
    await git(root, "init", "--quiet");
    const ada = await createIdentity((await resolveTool("age-keygen")).path);
    for (const [verb, args, says] of [
      ["keys", ["add", "dev", "ada", ada.recipient], "ada can read dev\n"],
      ["keys", ["remove", "dev", "ada"], "ada can no longer read dev\n"],
      ["secrets", ["--open"], "opened: 1 file\n"],
    ] as const) {
      await commit(root);
      const line = commandLine(repository, verb, ...args);
      const run = await traced(repository, line, { env: { SOPS_AGE_KEY_FILE: keyFile } });
      expect(run.output).toContain(says);
      expect(run.leaks(word)).toEqual([]);
    }
    expect((await opened(repository, GATEWAY))["hook"]).toBe(value);
  });

  it("by a first day, whose private key is in one file", async () => {
    const repository = await sealRepository();
    const { root, env } = repository;
    await rm(join(root, ".sops.yaml"));
    const settings = { repoURL: "https://forge.test/shop/x.git", revision: "main", domain: "shop.test" };
    const data = { ...settings, forgeAPI: "https://forge.test/api/v1", registry: "r.test" };
    await write(root, { "argocd/settings/settings.yaml": JSON.stringify({ kind: "ConfigMap", data }) });
    await git(root, "init", "--quiet");
    await commit(root);
    const keys = join(await temporary(), "keys.txt");
    const line = commandLine(repository, "init", "--only", "dev", "--dev-key-file", keys);
    const run = await traced(repository, line, {});
    expect(run.output).toContain("dev: 4 files, sealed with new values for");
    const mine = connectSops(repository.sopsPath, root, { ...env, SOPS_AGE_KEY_FILE: keys });
    const login = await opened({ ...repository, sops: mine }, "overlays/dev/web/web-login.sops.yaml");
    const gateway = await opened({ ...repository, sops: mine }, GATEWAY);
    for (const value of [login["password"], gateway["hook"], gateway["token"]])
      expect(run.leaks(value ?? "")).toEqual([]);
    const identity = /^AGE-SECRET-KEY-\S+$/m.exec(await readFile(keys, "utf8"))?.[0] ?? "";
    expect(run.leaks(identity).filter((leak) => !leak.includes(`<${keys}>`))).toEqual([]);
  });

  const errors: [string, (repository: SealRepository) => Promise<void>, readonly string[], number][] = [
    ["a key is missing", async () => {}, [...ON_GATEWAY, "hook"], 3],
    ["no private key is there", async () => {}, ["--rotate", "--verbose", "dev", "all"], 3],
    [
      "the rules name a recipient that is none",
      async ({ root, identities }) => {
        const rules = await readFile(join(root, ".sops.yaml"), "utf8");
        await writeFile(
          join(root, ".sops.yaml"),
          rules.replace(identities["dev"]?.recipient ?? "", `age1${"q".repeat(58)}`),
        );
      },
      ["--verbose", "dev", "web", "--secret", "pass"],
      3,
    ],
    [
      "the file cannot be written",
      async ({ root }) => {
        // The name of the file fits, and that of the one which is written first does not: no right is in root's way.
        await writeFile(
          join(root, "apps/web.yaml"),
          (await readFile(join(root, "apps/web.yaml"), "utf8")).replace(
            "name: pass",
            `name: ${"p".repeat(245)}`,
          ),
        );
      },
      ["--verbose", "dev", "web", "--secret", "p".repeat(245)],
      1,
    ],
  ];
  it.each(errors)("when %s", async (_, prepare, args, exitCode) => {
    const repository = await sealRepository();
    const [old, given] = [canary(), canary()];
    await sealFile(repository, GATEWAY, { "api-key": old.value, hook: old.value, token: old.value });
    await prepare(repository);
    const run = await traced(repository, sealCommand(repository, ...args), { input: given.value });
    expect(run.exitCode).toBe(exitCode);
    expect([...run.leaks(old.word), ...run.leaks(given.word)]).toEqual([]);
  });
});
